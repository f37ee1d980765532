"""How far raters agree, who of them can be relied on, and what their votes come to.

`figures.py` is the arithmetic (counts in, figures out), `votes.py` what is counted and how SQL counts it, `aggregate.py` makes
one label of many votes, `raters.py` looks at each rater, `disputes.py` finds where they differ.
"""
