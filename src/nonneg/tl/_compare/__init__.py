"""Comparison of models and settings on an AnnData."""
