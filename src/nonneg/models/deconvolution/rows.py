"""Loops over the stored entries of rows, for what is asked of each location once."""

from __future__ import annotations

from ...operators._numba import compiled


@compiled
def information_rows(data, indices, indptr, amounts, signatures, first, out):  # type: ignore[no-untyped-def]
    """``Σ_g y_g b_g b_gᵀ / (u b_g)²`` of the rows from ``first``, signatures (g, k)."""
    k = amounts.shape[1]
    for r in range(out.shape[0]):
        i = first + r
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            mean = 1e-30
            for t in range(k):
                mean += amounts[i, t] * signatures[j, t]
            weight = data[p] / (mean * mean)
            for s in range(k):
                scaled = weight * signatures[j, s]
                for t in range(s + 1):
                    out[r, s, t] += scaled * signatures[j, t]
        for s in range(k):
            for t in range(s):
                out[r, t, s] = out[r, s, t]


@compiled
def pearson_rows(data, indices, indptr, amounts, signatures, size, floor, out):  # type: ignore[no-untyped-def]
    """``Σ_g (y - m)² / (m + floor)`` without the part of genes that are not counted."""
    k = amounts.shape[1]
    for i in range(out.size):
        total = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            mean = 0.0
            for t in range(k):
                mean += amounts[i, t] * signatures[j, t]
            mean *= size[i]
            # What an entry adds to that of a gene without counts, about its mean.
            total += (data[p] - mean) ** 2 / (mean + floor) - mean
        out[i] = total + size[i]
