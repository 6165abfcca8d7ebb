"""Scores explanations against held-out windows, with their nulls."""
