"""Benchmarks: classes for asv, and comparisons with peers (``python -m benchmarks``)."""
