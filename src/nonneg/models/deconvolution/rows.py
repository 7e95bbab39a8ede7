"""Loops over the stored entries of rows, for what is asked of each location once."""

from __future__ import annotations

import numpy as np

from ...operators._numba import compiled

# What a type has that is absent.
_ABSENT = np.float32(1e-10)

# Keeps means from zero, and what is divided by them finite.
_TINY = np.float32(1e-18)


# Entries that are added at a time: each pass over a matrix waits for the one before.
_TOGETHER = 8


@compiled
def _information(data, indices, start, stop, amounts, signatures, part, out):  # type: ignore[no-untyped-def]
    """``Σ_g y_g b_g b_gᵀ / (u b_g)²`` of one row, signatures (g, width).

    ``part`` (8, width) is workspace.
    """
    width = signatures.shape[1]
    out[:] = 0
    for first in range(start, stop, _TOGETHER):
        part[:] = 0
        for q in range(min(_TOGETHER, stop - first)):
            j = indices[first + q]
            mean = _TINY
            for t in range(width):
                mean += amounts[t] * signatures[j, t]
            scale = np.sqrt(data[first + q]) / mean
            for t in range(width):
                part[q, t] = scale * signatures[j, t]
        for s in range(width):
            b0, b1, b2, b3 = part[0, s], part[1, s], part[2, s], part[3, s]
            b4, b5, b6, b7 = part[4, s], part[5, s], part[6, s], part[7, s]
            for t in range(width):
                low = (b0 * part[0, t] + b1 * part[1, t]) + (
                    b2 * part[2, t] + b3 * part[3, t]
                )
                high = (b4 * part[4, t] + b5 * part[5, t]) + (
                    b6 * part[6, t] + b7 * part[7, t]
                )
                out[s, t] += low + high


@compiled
def _invert(a, row):  # type: ignore[no-untyped-def]
    """A positive definite matrix becomes its inverse; ``row`` is workspace."""
    k = a.shape[0]
    for p in range(k):
        scale = 1 / a[p, p]
        a[p, p] = 1
        for t in range(k):
            row[t] = scale * a[p, t]
        for s in range(k):
            factor = a[s, p]
            a[s, p] = 0
            for t in range(k):
                a[s, t] -= factor * row[t]
        for t in range(k):
            a[p, t] = row[t]


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
    part = np.empty((_TOGETHER, width), signatures.dtype)
    for i in range(n):
        total = 0.0
        for s in range(k):
            u[s] = max(amounts[i, s], _ABSENT)
            roots[s] = np.sqrt(np.float64(u[s]))
            total += u[s] * conversion[s]
        _information(
            data, indices, indptr[i], indptr[i + 1], u, signatures, part, information
        )
        for s in range(k):
            # Slope of the likelihood where a type is absent: it is held at zero.
            slack = np.float64(size[i]) * columns[s]
            for t in range(k):
                slack -= information[s, t] * u[t]
                cov[s, t] = 4 * roots[s] * roots[t] * information[s, t] / spread
            cov[s, s] += 2 * (max(slack, 0.0) / spread + stiffness[i]) + 1e-3
        _invert(cov, along)
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
    """What stored entries add to ``Σ_g m``, so that it is ``Σ_g (y - m)² / (m + floor)``.

    Without a count, ``m² / (m + floor)`` is taken to be ``m``.
    """
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
        out[i] = total
