"""Mixtures of known signatures over a tissue."""
