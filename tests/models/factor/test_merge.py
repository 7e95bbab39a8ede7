"""Components that share a pattern become one, and what that costs is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from nonneg.models.factor.merge import merge_alike, merging_loss


@pytest.fixture
def parts():
    """Columns of both sum to the mass of the component."""
    rng = np.random.default_rng(0)
    mass = np.array([5.0, 1.0, 30.0, 8.0])
    return [rng.dirichlet(np.full(n, 0.3), 4).T * mass for n in (20, 12)]


def divergence(x, y):
    return np.where(x > 0, x * np.log(np.where(x > 0, x / y, 1)), 0).sum()


def test_the_loss_bounds_the_divergence_from_one_component(parts):
    scores, loadings = parts
    mass = scores.sum(0)
    loss = merging_loss(scores, loadings)
    np.testing.assert_allclose(loss, loss.T)
    assert np.isinf(np.diag(loss)).all()
    for a in range(4):
        for b in range(a):
            pair = scores[:, [a, b]] / mass[[a, b]] @ loadings[:, [a, b]].T
            one = np.outer(pair.sum(1), pair.sum(0)) / pair.sum()
            exact = divergence(pair, one)
            assert 0 < exact <= loss[a, b] * (1 + 1e-12)
            # No idle bound: it is at most what the lighter of them weighs, in bits.
            assert loss[a, b] < 20 * exact


def test_components_that_were_split_are_joined(parts):
    scores, loadings = parts
    share = np.linspace(0.1, 0.9, 20)[:, None]
    # In loadings alike, in scores not: their sum is one component all the same.
    split = scores * share
    doubled = np.concatenate([split, scores - split], axis=1)
    weights = split.sum(0) / scores.sum(0)
    both = np.concatenate([loadings * weights, loadings * (1 - weights)], axis=1)
    order = np.random.default_rng(1).permutation(8)
    found = merge_alike(doubled[:, order], both[:, order], 4)
    for ours, expected in zip(found, parts, strict=True):
        by_mass = np.argsort(ours.sum(0))
        np.testing.assert_allclose(
            ours[:, by_mass], expected[:, np.argsort(expected.sum(0))]
        )


def test_empty_components_go_first(parts):
    scores, loadings = (np.column_stack([x, np.zeros(len(x))]) for x in parts)
    for ours, expected in zip(merge_alike(scores, loadings, 4), parts, strict=True):
        np.testing.assert_allclose(ours, expected)
