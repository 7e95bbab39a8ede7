"""Instability of patterns that are given."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from nonneg.metrics import instability

RNG = np.random.default_rng(0)
FITS = [RNG.gamma(0.6, 1, (200, 4)) for _ in range(3)]


def by_hand(fits, metric, similarity):
    total = []
    for p in range(len(fits)):
        for q in range(p):
            if similarity == "pearson":
                c = np.corrcoef(fits[p].T, fits[q].T)[:4, 4:]
            else:
                a, b = (x / np.linalg.norm(x, axis=0) for x in (fits[p], fits[q]))
                c = a.T @ b
            if metric == "hungarian":
                i, j = linear_sum_assignment(-c)
                total.append(1 - c[i, j].mean())
            else:
                total.append((8 - c.max(0).sum() - c.max(1).sum()) / 8)
    return np.mean(total)


@pytest.mark.parametrize("metric", ["hungarian", "amari"])
@pytest.mark.parametrize("similarity", ["cosine", "pearson"])
def test_as_defined(metric, similarity):
    found = instability(FITS, metric=metric, similarity=similarity)
    assert found == pytest.approx(by_hand(FITS, metric, similarity), abs=1e-12)


def test_orders_scales_and_missing_rows_do_not_matter():
    changed = [5 * FITS[0][:, ::-1], FITS[1].copy(), FITS[2]]
    assert instability(changed) == pytest.approx(instability(FITS))
    changed[1][7] = np.nan
    kept = np.arange(200) != 7
    assert instability(changed) == pytest.approx(instability([f[kept] for f in FITS]))


def test_scales_of_chance():
    """Independent uniform patterns: cosines are 3/4, correlations 0."""
    random = [RNG.random((5000, 3)) for _ in range(2)]
    assert instability(random) == pytest.approx(0.25, abs=0.02)
    assert instability(random, similarity="pearson") == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("patterns", "kwargs", "message"),
    [
        (FITS[:1], {}, "two matrices or more of one shape, but there are 1"),
        ([FITS[0], FITS[1][:, :3]], {}, r"\(200, 3\), \(200, 4\)"),
        ([np.full((3, 2), np.nan)] * 2, {}, "No row is free of NaN"),
        (FITS, {"metric": "cosine"}, "metric='cosine' must be"),
        (FITS, {"similarity": "amari"}, "similarity='amari' must be"),
    ],
)
def test_refusals(patterns, kwargs, message):
    with pytest.raises(ValueError, match=message):
        instability(patterns, **kwargs)
