"""Scores of new observations."""
