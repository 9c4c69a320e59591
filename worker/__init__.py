"""Runs jobs: `python -m worker cpu|gpu` is a pool, `python -m worker keeper` has the background duties.

The order to read in: run (one job, claim to commit), app (the Celery process), parent (who watches it),
batcher and loaded (models in memory), keeper and journal.
"""
