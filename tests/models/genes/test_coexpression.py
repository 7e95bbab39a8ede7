"""Correlations between genes against their definitions, with full matrices."""

from __future__ import annotations

import numpy as np
import pytest

from nonneg.models.genes.coexpression import (
    gene_centred_correlation,
    leading_genes,
    reconstructed_correlation,
    strongest_edges,
)
from nonneg.models.genes.importance import gene_importance


@pytest.fixture
def factors():
    rng = np.random.default_rng(0)
    return rng.gamma(0.5, 1, (500, 4)), rng.gamma(0.3, 1, (30, 4))


def test_pearson_is_that_of_all_observations(factors):
    scores, loadings = factors
    expected = np.corrcoef(loadings @ scores.T)
    np.testing.assert_allclose(
        reconstructed_correlation(scores, loadings), expected, atol=1e-6
    )


def test_variant_of_the_program(factors):
    """Centred over genes, then cosines over observations."""
    scores, loadings = factors
    x = loadings @ scores.T
    x = x - x.mean(0)
    norm = np.sqrt((x**2).sum(1))
    expected = x @ x.T / np.outer(norm, norm)
    found = gene_centred_correlation(scores, loadings)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # They are not the same thing.
    pearson = reconstructed_correlation(scores, loadings)
    assert np.abs(found - pearson).max() > 0.5


def test_genes_without_loadings_are_alone(factors):
    scores, loadings = factors
    loadings[3] = 0
    found = reconstructed_correlation(scores, loadings)
    assert (found[3] == 0).all()
    assert np.isfinite(found).all()


def test_strongest_edges():
    r = np.array([[1, 0.5, -0.2], [0.5, 1, 0.9], [-0.2, 0.9, 1]])
    two = strongest_edges(r, 0.5)
    assert list(zip(two.first, two.second, strict=True)) == [(1, 2), (0, 1)]
    # What is negative joins nobody, however many edges are asked for.
    assert strongest_edges(r, 1).weight.tolist() == [0.9, 0.5]


def test_leading_genes():
    share = np.array([[0.1, 0.9], [0.7, 0.3], [np.nan, np.nan], [0.6, 0.4], [0, 1]])
    assert leading_genes(share, 0, 0.5).tolist() == [1, 3]
    assert leading_genes(share, 0, 0.999).tolist() == [1, 3]
    # Four genes have shares, but one has none of this factor.
    assert leading_genes(share, 0, 0.01).tolist() == [1, 3, 0]


def test_importance_does_not_depend_on_the_scale_of_factors(factors):
    scores, loadings = factors
    loadings[0] = 0
    first = gene_importance(loadings, scores.max(0), 0.01)
    scale = np.array([1, 10, 0.1, 3])
    second = gene_importance(loadings / scale, (scores * scale).max(0), 0.01)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b)
    assert first.factor[0] == -1
    assert np.isnan(first.largest[0])
    assert first.n_factors[0] == 0
    known = first.largest[1:]
    assert ((known >= 0.25) & (known <= 1)).all()
