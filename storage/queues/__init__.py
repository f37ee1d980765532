"""Queues: what is to be rated, by how many, under which rules, and who has what in hand.

`settings.py` is what a queue is, `claims.py` hands out work as leases, `assignments.py` is one rater's work on one item,
`progress.py` how far everybody is. In which order items come is in `storage/sampling`.
"""
