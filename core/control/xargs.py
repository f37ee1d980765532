"""How a request tells `vllm_steps.py` what it wants (`vllm_xargs`), and how a client finds out that it is there.

Apart from the class itself, because importing that imports vLLM wherever vLLM is installed.
"""

# Bounds, and how many tokens at the end of the prompt are the model's own (their steps count).
MIN, MAX, PREFIX = "worldline_min_steps", "worldline_max_steps", "worldline_prefix_tokens"
# A request that carries PROBE is refused with SIGNATURE in the reason: nothing is generated to find out.
PROBE, SIGNATURE = "worldline_probe", "worldline-steps 1"
