"""Which traces are worth training on: selection formulas as published, every stage counted."""
