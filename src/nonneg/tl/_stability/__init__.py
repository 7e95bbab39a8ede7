"""Stability of factorizations of an AnnData."""
