"""Instability against its formula."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

import nonneg as nng


@pytest.fixture
def fits():
    rng = np.random.default_rng(0)
    return [rng.gamma(1, 1, (50, 3)) for _ in range(4)]


def cosines(a, b):
    return (a / np.linalg.norm(a, axis=0)).T @ (b / np.linalg.norm(b, axis=0))


def test_hungarian(fits):
    """Over all matchings, by hand."""
    found = []
    for a, b in combinations(fits, 2):
        c = cosines(a, b)
        best = max(c[range(3), list(p)].mean() for p in permutations(range(3)))
        found.append(1 - best)
    assert nng.metrics.instability(fits) == pytest.approx(np.mean(found))


def test_amari(fits):
    found = []
    for a, b in combinations(fits, 2):
        c = cosines(a, b)
        found.append((6 - c.max(0).sum() - c.max(1).sum()) / 6)
    value = nng.metrics.instability(fits, metric="amari")
    assert value == pytest.approx(np.mean(found))
    assert value <= nng.metrics.instability(fits)


def test_correlation_is_the_cosine_of_centred_patterns(fits):
    """Unrelated patterns are far apart by correlation, and not by cosine."""
    pearson = nng.metrics.instability(fits, similarity="pearson")
    centred = [fit - fit.mean(0) for fit in fits]
    assert pearson == pytest.approx(nng.metrics.instability(centred))
    assert pearson > nng.metrics.instability(fits) + 0.3


def test_order_and_scale_do_not_matter(fits):
    other = [fit[:, [2, 0, 1]] * [1, 10, 0.1] for fit in fits]
    assert nng.metrics.instability(other) == pytest.approx(
        nng.metrics.instability(fits)
    )


def test_refusals(fits):
    with pytest.raises(ValueError, match="two matrices"):
        nng.metrics.instability(fits[:1])
    with pytest.raises(ValueError, match="of one shape"):
        nng.metrics.instability([fits[0], fits[1][:, :2]])
