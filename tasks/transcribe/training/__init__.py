"""Trainings of the networks and word models that ship: recipes, corpora, cards, baselines. No job imports it."""
