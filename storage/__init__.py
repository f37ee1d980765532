"""What Worldline keeps: traces, ratings, model scores, frozen snapshots and what is exported from them. Imports core,
nothing above it.
"""
