"""Reasoning traces made from exact state DAGs: wrong turns and backtracks included."""
