"""Loops over the stored entries of rows, for what is asked of each location once."""

from __future__ import annotations

import numpy as np

from ...operators._numba import compiled

# What a type has that is absent.
_ABSENT = np.float32(1e-10)

# Keeps squares of means from underflow.
_TINY = np.float32(1e-18)


@compiled
def _information(data, indices, start, stop, amounts, signatures, out):  # type: ignore[no-untyped-def]
    """``Σ_g y_g b_g b_gᵀ / (u b_g)²`` of one row, signatures (g, width)."""
    width = signatures.shape[1]
    out[:] = 0
    p = start
    # Four entries at a time: each pass over the matrix waits for the one before.
    while p + 4 <= stop:
        j0, j1, j2, j3 = indices[p], indices[p + 1], indices[p + 2], indices[p + 3]
        m0 = m1 = m2 = m3 = _TINY
        for t in range(width):
            m0 += amounts[t] * signatures[j0, t]
            m1 += amounts[t] * signatures[j1, t]
            m2 += amounts[t] * signatures[j2, t]
            m3 += amounts[t] * signatures[j3, t]
        w0, w1 = data[p] / (m0 * m0), data[p + 1] / (m1 * m1)
        w2, w3 = data[p + 2] / (m2 * m2), data[p + 3] / (m3 * m3)
        for s in range(width):
            b0, b1 = w0 * signatures[j0, s], w1 * signatures[j1, s]
            b2, b3 = w2 * signatures[j2, s], w3 * signatures[j3, s]
            for t in range(width):
                out[s, t] += (b0 * signatures[j0, t] + b1 * signatures[j1, t]) + (
                    b2 * signatures[j2, t] + b3 * signatures[j3, t]
                )
        p += 4
    while p < stop:
        j = indices[p]
        mean = _TINY
        for t in range(width):
            mean += amounts[t] * signatures[j, t]
        weight = data[p] / (mean * mean)
        for s in range(width):
            scaled = weight * signatures[j, s]
            for t in range(width):
                out[s, t] += scaled * signatures[j, t]
        p += 1


@compiled
def _invert(a):  # type: ignore[no-untyped-def]
    """A positive definite matrix becomes its inverse."""
    k = a.shape[0]
    for p in range(k):
        scale = 1 / a[p, p]
        a[p, p] = 1
        for t in range(k):
            a[p, t] *= scale
        for s in range(k):
            if s != p:
                factor = a[s, p]
                a[s, p] = 0
                for t in range(k):
                    a[s, t] -= factor * a[p, t]


@compiled
def error_rows(  # type: ignore[no-untyped-def]
    data,
    indices,
    indptr,
    amounts,
    signatures,
    size,
    columns,
    stiffness,
    conversion,
    spread,
    out,
):
    """Standard errors of shares, through the square roots of amounts.

    Signatures (n_vars, width) are padded for the loops; ``columns`` are their sums.
    """
    n, k = out.shape
    width = signatures.shape[1]
    u = np.zeros(width, signatures.dtype)
    information = np.empty((width, width), signatures.dtype)
    cov = np.empty((k, k))
    roots = np.empty(k)
    along = np.empty(k)
    for i in range(n):
        total = 0.0
        for s in range(k):
            u[s] = max(amounts[i, s], _ABSENT)
            roots[s] = np.sqrt(np.float64(u[s]))
            total += u[s] * conversion[s]
        _information(
            data, indices, indptr[i], indptr[i + 1], u, signatures, information
        )
        for s in range(k):
            # Slope of the likelihood where a type is absent: it is held at zero.
            slack = np.float64(size[i]) * columns[s]
            for t in range(k):
                slack -= information[s, t] * u[t]
                cov[s, t] = 4 * roots[s] * roots[t] * information[s, t] / spread
            cov[s, s] += 2 * (max(slack, 0.0) / spread + stiffness[i]) + 1e-3
        _invert(cov)
        # The diagonal of J C Jᵀ, where J = (diag(c) - v cᵀ) / Σ u c.
        whole = 0.0
        for s in range(k):
            along[s] = 0
            for t in range(k):
                # Of squares of normal variables.
                cov[s, t] = (
                    4 * roots[s] * roots[t] * cov[s, t] + 2 * cov[s, t] * cov[s, t]
                )
                along[s] += cov[s, t] * conversion[t]
            whole += along[s] * conversion[s]
        for s in range(k):
            c = conversion[s]
            share = u[s] * c / total
            variance = c * c * cov[s, s] - 2 * c * share * along[s]
            variance = max(variance + share * share * whole, 0.0)
            # A share of which nothing is known is uniform at worst: no more than 1/2.
            out[i, s] = min(np.sqrt(variance) / total, 0.5)


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
