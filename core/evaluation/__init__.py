"""Measuring what inference-time compute is worth: problems, models, strategies and budgets in, honest curves out.

`plan.py` says what is evaluated, `problems.py` on what, `run.py` runs it through one scheduler so that it can be killed, `estimate.py`
has the estimators, `figures.py` the figures, `compare.py` two of them problem by problem, `report.py` writes them down. Knows no app.
"""
