"""Hostile SQL from every side. `python -m tests.attacks.report` prints what became of it."""
