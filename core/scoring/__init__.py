"""Scorers: what a step is worth, according to a model. `prm.py` is the first; an aggregation serves search and vote alike."""
