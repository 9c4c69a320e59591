"""Trainings of the captioners of scenes that ship: recipes, corpora, cards, baselines. No job imports it."""
