"""What a rollout of reinforcement learning is worth: step by step (`dag.py`, `prm.py`), at its end (`outcome.py`), and
how one would notice that it is being cheated (`guards.py`). Knows no trainer and no tensor."""
