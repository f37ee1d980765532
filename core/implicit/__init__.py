"""Trees of traces that mark no decisions: inferred from words (`tree.py`), or exact where the text names its nodes (`named.py`)."""
