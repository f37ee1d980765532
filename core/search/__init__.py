"""Spending compute at inference time: strategies that ask, one scheduler that spends, one ledger that counts.

A strategy (`strategies/`, one file each) is a stateless machine over a plain state: it asks for continuations and is told what
came (`base.py`). `search.py` drives one strategy on one problem and is a pure function of what it is told, so a log replays to
the same state. `scheduler.py` spends, for all searches at once.
"""
