"""Trainings of the language models that ship: recipes, corpora, cards, baselines. No job imports it."""
