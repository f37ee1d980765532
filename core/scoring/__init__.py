"""Scorers: what a step is worth, according to a model. One aggregation serves search and vote alike."""
