"""Compositions of cell types."""
