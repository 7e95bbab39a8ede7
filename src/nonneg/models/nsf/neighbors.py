"""Sums over the few inducing points of each location, on the host."""

from __future__ import annotations

from ...operators._numba import compiled


@compiled
def add_gram(neighbors, weights, values, out):  # type: ignore[no-untyped-def]
    """Add ``Aᵀ diag(values) A``."""
    for i in range(neighbors.shape[0]):
        for p in range(neighbors.shape[1]):
            if neighbors[i, p] < 0:
                continue
            scaled = values[i] * weights[i, p]
            for q in range(neighbors.shape[1]):
                if neighbors[i, q] >= 0:
                    out[neighbors[i, p], neighbors[i, q]] += scaled * weights[i, q]


@compiled
def quadratic_forms(neighbors, weights, cov, out):  # type: ignore[no-untyped-def]
    """Fill in ``diag(A cov Aᵀ)``."""
    for i in range(neighbors.shape[0]):
        total = 0.0
        for p in range(neighbors.shape[1]):
            if neighbors[i, p] < 0:
                continue
            for q in range(neighbors.shape[1]):
                if neighbors[i, q] >= 0:
                    total += (
                        weights[i, p]
                        * weights[i, q]
                        * cov[neighbors[i, p], neighbors[i, q]]
                    )
        out[i] = total


@compiled
def add_transposed(neighbors, weights, values, out):  # type: ignore[no-untyped-def]
    """Add ``Aᵀ values``, values (n_locations, c)."""
    for i in range(neighbors.shape[0]):
        for p in range(neighbors.shape[1]):
            j = neighbors[i, p]
            if j >= 0:
                for t in range(values.shape[1]):
                    out[j, t] += weights[i, p] * values[i, t]
