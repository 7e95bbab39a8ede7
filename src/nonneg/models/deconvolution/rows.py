"""Loops over the stored entries of rows, for what is asked of each location once."""

from __future__ import annotations

import numpy as np

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


@compiled
def extra_rows(data, indices, indptr, amounts, signatures, profile, share, gain):  # type: ignore[no-untyped-def]
    """Share of one more profile in every row, and what it adds to the log likelihood.

    Genes with a negative profile have no say.
    """
    k = amounts.shape[1]
    for i in range(share.size):
        start, stop = indptr[i], indptr[i + 1]
        total = 0.0
        for t in range(k):
            total += amounts[i, t]
        ratio = np.empty(stop - start, np.float64)
        counts = 0.0
        for p in range(start, stop):
            mean = 1e-12
            for t in range(k):
                mean += amounts[i, t] * signatures[indices[p], t]
            extra = profile[indices[p]]
            ratio[p - start] = extra * total / mean if extra >= 0 else 1.0
            counts += data[p]
        part = 0.1
        for _ in range(30):
            allocated = 0.0
            for p in range(start, stop):
                q = part * ratio[p - start]
                allocated += data[p] * q / (1 - part + q)
            part = min(allocated / max(counts, 1e-12), 0.999)
        found = 0.0
        for p in range(start, stop):
            found += data[p] * np.log(1 - part + part * ratio[p - start])
        share[i] = part
        gain[i] = found
