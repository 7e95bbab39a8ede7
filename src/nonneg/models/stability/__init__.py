"""Stability of factorizations: the same data drawn again, and what comes back."""
