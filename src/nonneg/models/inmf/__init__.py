"""Integrative NMF, in batch and online, and alignment of its scores."""
