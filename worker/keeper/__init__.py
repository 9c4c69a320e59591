"""The keeper's duties: one file each, started by keeper.py, each on a thread of its own."""
