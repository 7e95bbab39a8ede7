from __future__ import annotations

import itertools

import numpy as np
import pytest

from nonneg.metrics import match_factors


@pytest.fixture
def factors():
    return np.random.default_rng(0).gamma(0.5, 1.0, (60, 5))


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
def test_recovers_a_permutation(factors, metric):
    shuffled = factors[:, [3, 1, 4, 0, 2]] * [1, 2, 3, 4, 5]
    match = match_factors(factors, shuffled, metric=metric)
    assert match.permutation.tolist() == [3, 1, 4, 0, 2]
    assert match.matched.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(match.similarity, 1, rtol=1e-12)


def test_maximises_the_sum_not_each_pair():
    a = np.array([[1.0, 0.9], [0.0, 0.4359]])
    b = np.array([[0.95, 0.2], [0.3122, 0.9798]])
    match = match_factors(a, b)
    norm = [x / np.linalg.norm(x, axis=0) for x in (a, b)]
    similarity = norm[0].T @ norm[1]
    best = max(
        itertools.permutations(range(2)),
        key=lambda p: sum(similarity[i, j] for i, j in enumerate(p)),
    )
    assert match.permutation.tolist() == list(best)
    # Column 1 of a is nearest to column 0 of b but yields it.
    assert similarity[1].argmax() == 0
    assert match.permutation[1] == 1


def test_values(factors):
    noisy = factors + 0.1
    cosine = match_factors(factors, noisy).similarity
    expected = np.sum(factors * noisy, 0) / (
        np.linalg.norm(factors, axis=0) * np.linalg.norm(noisy, axis=0)
    )
    np.testing.assert_allclose(cosine, expected, rtol=1e-12)
    pearson = match_factors(factors, noisy, metric="pearson").similarity
    np.testing.assert_allclose(pearson, 1, rtol=1e-12)


def test_different_numbers_of_columns(factors):
    wide = match_factors(factors[:, [4, 2]], factors)
    assert wide.permutation.tolist() == [4, 2]
    assert wide.matched.tolist() == [0, 1]
    tall = match_factors(factors, factors[:, [4, 2]])
    assert tall.matched.tolist() == [2, 4]
    assert tall.permutation.tolist() == [1, 0]
    np.testing.assert_allclose(tall.similarity, 1)


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
def test_zero_columns_have_similarity_zero(factors, metric):
    empty = factors.copy()
    empty[:, 2] = 0.0 if metric == "cosine" else 0.1
    match = match_factors(factors, empty, metric=metric)
    assert match.permutation.tolist() == [0, 1, 2, 3, 4]
    assert match.similarity[2] == 0


def test_rows_with_nan_in_either_are_left_out(factors):
    a, b = factors.copy(), factors[:, ::-1].copy()
    a[:10], b[5:20] = np.nan, np.nan
    match = match_factors(a, b)
    assert match.permutation.tolist() == [4, 3, 2, 1, 0]
    np.testing.assert_allclose(match.similarity, 1)


def test_refusals(factors):
    with pytest.raises(ValueError, match=r"a \(60, 5\) and b \(5, 60\)"):
        match_factors(factors, factors.T)
    with pytest.raises(ValueError, match="No row is free of NaN"):
        match_factors(factors, np.full_like(factors, np.nan))
    with pytest.raises(ValueError, match="metric='amari' must be one of"):
        match_factors(factors, factors, metric="amari")
