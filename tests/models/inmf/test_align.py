"""Clusters, quantile and centroid alignment, against loops and exact limits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nonneg.models.inmf.align import centroid_align, max_factor, quantile_align, vote

QUANTILES = dict(reference=0, n_quantiles=50, min_cells=20, max_sample=1000, seed=0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def simulated(rng, sizes=(300, 200, 120), k=4):
    """Scores with zeros, data sets that differ, one leading factor per cell."""
    batch = np.repeat(np.arange(len(sizes)), sizes)
    lead = rng.integers(k, size=len(batch))
    scores = rng.gamma(1.0, 0.3, (len(batch), k)) * (rng.random((len(batch), k)) < 0.6)
    scores[np.arange(len(batch)), lead] += 1 + rng.gamma(2.0, 1.0, len(batch))
    scores *= rng.uniform(0.5, 2, (len(sizes), k))[batch]
    return scores, batch, lead


# --- clusters ---------------------------------------------------------------


def test_max_factor(rng):
    scores, batch, _ = simulated(rng)
    scores[[5, 400]] = 0
    expected = []
    for i, b in enumerate(batch):
        x = scores[batch == b]
        rms = np.sqrt((x**2).sum(axis=0) / (len(x) - 1))
        expected.append(np.argmax(scores[i] / rms) if scores[i].any() else -1)
    np.testing.assert_array_equal(max_factor(scores, batch), expected)


def test_max_factor_at_the_edges():
    # A single cell, a factor that a data set does not have, a tie.
    scores = np.array([[0.0, 2.0, 2.0], [3.0, 0.0, 1.0], [1.0, 0.0, 3.0]])
    assert max_factor(scores, np.array([0, 1, 1])).tolist() == [1, 0, 2]


def test_max_factor_ignores_the_scale(rng):
    scores, batch, _ = simulated(rng)
    scaled = scores * np.array([[1, 2, 4, 8], [8, 0.5, 1, 4], [1, 1, 2, 16]])[batch]
    np.testing.assert_array_equal(max_factor(scaled, batch), max_factor(scores, batch))


def slow_vote(scores, batch, clusters, k):
    """Cell by cell, from the clusters as they were before."""
    refined = clusters.copy()
    for i in range(len(scores)):
        others = np.flatnonzero((batch == batch[i]) & (clusters >= 0))
        if clusters[i] < 0:
            continue
        others = others[others != i]
        distance = ((scores[others] - scores[i]) ** 2).sum(axis=1)
        votes = Counter(clusters[others[distance.argsort()[:k]]].tolist())
        tied = [c for c in sorted(votes) if votes[c] == max(votes.values())]
        if tied and clusters[i] not in tied:
            refined[i] = tied[0]
    return refined


@pytest.mark.parametrize("k", [1, 2, 4, 20, 1000])
def test_vote(rng, k):
    scores, batch, lead = simulated(rng, sizes=(60, 40, 15))
    # Wrong ones, which neighbours set right.
    clusters = np.where(rng.random(115) < 0.3, rng.integers(4, size=115), lead)
    clusters[[3, 70]] = -1
    before = clusters.copy()
    found = vote(scores, batch, clusters, n_neighbors=k)
    np.testing.assert_array_equal(found, slow_vote(scores, batch, clusters, k))
    np.testing.assert_array_equal(clusters, before)
    assert (found != clusters).sum() > 5


def test_ties_of_a_vote():
    """Two neighbours with a vote each: own cluster first, or else the smallest."""
    line = np.array([0.0, 1.0, 2.1, 100.0, 101.0, 102.1])[:, None]
    scores = np.hstack([line, np.zeros((6, 3))])
    clusters = np.array([2, 0, 1, 2, 2, 1])
    found = vote(scores, np.zeros(6, int), clusters, n_neighbors=2)
    # Each of the first three sees two other clusters. Cells 3 and 4 see their own among
    # the tied; cell 5 has no tie.
    assert found.tolist() == [0, 1, 0, 2, 2, 2]


def test_votes_of_cells_alone():
    scores = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0], [0.0, 0.0]])
    clusters = np.array([1, -1, 0, -1])
    batch = np.array([0, 0, 1, 2])
    assert vote(scores, batch, clusters, n_neighbors=20).tolist() == [1, -1, 0, -1]


# --- quantiles --------------------------------------------------------------


def slow_quantile_align(scores, batch, clusters, reference, n_quantiles, min_cells):
    """Loops over everything; ties collapsed as `approxfun` of R does."""
    aligned = scores.copy()
    levels = np.arange(n_quantiles + 1) / n_quantiles
    for b in set(batch) - {reference}:
        for c in set(clusters) - {-1}:
            here = np.flatnonzero((batch == b) & (clusters == c))
            there = np.flatnonzero((batch == reference) & (clusters == c))
            if min(len(here), len(there)) < min_cells:
                continue
            for j in range(scores.shape[1]):
                q2 = np.quantile(scores[here, j], levels, method="linear")
                q1 = np.quantile(scores[there, j], levels, method="linear")
                constant = len(set(q1)) < 2 or len(set(q2)) < 2
                if constant or q1.sum() == 0 or q2.sum() == 0:
                    aligned[here, j] = 0
                    continue
                knots = sorted(set(q2))
                image = [q1[q2 == knot].mean() for knot in knots]
                aligned[here, j] = np.interp(scores[here, j], knots, image)
    return aligned


@pytest.mark.parametrize("reference", [0, 1])
@pytest.mark.parametrize("n_quantiles", [1, 7, 50])
@pytest.mark.parametrize("min_cells", [20, 45])
def test_quantile_align(rng, reference, n_quantiles, min_cells):
    scores, batch, clusters = simulated(rng)
    clusters[[5, 400]] = -1
    scores[[5, 400]] = 0
    # Without values, and constant, in a cluster of a data set or of the reference.
    scores[(batch == 2) & (clusters == 1), 2] = 0
    scores[(batch == 2) & (clusters == 0), 1] = 0.7
    scores[(batch == reference) & (clusters == 3), 0] = 0
    found = quantile_align(
        scores,
        batch,
        clusters,
        **QUANTILES
        | dict(reference=reference, n_quantiles=n_quantiles, min_cells=min_cells),
    )
    expected = slow_quantile_align(
        scores, batch, clusters, reference, n_quantiles, min_cells
    )
    np.testing.assert_allclose(found.scores, expected, rtol=1e-10, atol=1e-12)
    assert found.scores.min() == 0
    sizes = np.array([np.bincount(clusters[batch == b] + 1)[1:] for b in range(3)])
    enough = (sizes >= min_cells) & (sizes[reference] >= min_cells)
    enough[reference] = False
    np.testing.assert_array_equal(
        found.moved, enough[batch, clusters] & (clusters >= 0)
    )
    # The cases are there.
    assert found.moved.any()
    assert min_cells == 20 or not enough[2].all()
    np.testing.assert_array_equal(found.scores[~found.moved], scores[~found.moved])


def test_identical_data_sets_stay(rng):
    scores, _, clusters = simulated(rng, sizes=(300,))
    scores, clusters = np.tile(scores, (3, 1)), np.tile(clusters, 3)
    found = quantile_align(scores, np.repeat([0, 1, 2], 300), clusters, **QUANTILES)
    assert found.moved.sum() == 600
    np.testing.assert_allclose(found.scores, scores, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 7.0])
def test_scale_of_a_factor_is_undone(rng, scale):
    """From the scores to the end."""
    scores, _, _ = simulated(rng, sizes=(300,))
    scores, batch = np.tile(scores, (2, 1)), np.repeat([0, 1], 300)
    scaled = scores.copy()
    scaled[300:, 2] *= scale
    clusters = max_factor(scaled, batch)
    np.testing.assert_array_equal(clusters, max_factor(scores, batch))
    found = quantile_align(scaled, batch, clusters, **QUANTILES)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-10)


def test_monotone_map_is_undone(rng):
    """With as many quantiles as cells; with fewer, up to the distance between them."""
    scores = rng.gamma(1.0, 1.0, (1001, 3)) * (rng.random((1001, 3)) < 0.7)
    other = rng.permutation(np.sqrt(scores) + scores**2)
    both, batch = np.concatenate([scores, other]), np.repeat([0, 1], 1001)
    clusters, options = np.zeros(2002, int), QUANTILES | dict(max_sample=1001)
    undone = (np.sqrt(scores) + scores**2).argsort(axis=0, kind="stable")
    expected = np.take_along_axis(scores, undone, axis=0)
    by_rank = other.argsort(axis=0, kind="stable")

    def found(n_quantiles):
        aligned = quantile_align(
            both, batch, clusters, **options | dict(n_quantiles=n_quantiles)
        )
        return np.take_along_axis(aligned.scores[1001:], by_rank, axis=0)

    np.testing.assert_allclose(found(1000), expected, rtol=1e-9)
    # Every twentieth is a quantile, except where zeros end within a gap.
    few = found(50)
    start = 20 * np.ceil((scores == 0).sum(axis=0).max() / 20).astype(int)
    np.testing.assert_allclose(few[start::20], expected[start::20], rtol=1e-9)
    assert (few[start:] != expected[start:]).any()
    gap = np.diff(expected[::20], axis=0).repeat(20, axis=0)
    assert (np.abs(few - expected)[:-1] <= gap + 1e-12).all()


def test_order_within_clusters(rng):
    scores, batch, clusters = simulated(rng)
    found = quantile_align(scores, batch, clusters, **QUANTILES).scores
    for b in range(1, 3):
        for c in range(4):
            rows = (batch == b) & (clusters == c)
            for j in range(4):
                order = scores[rows, j].argsort()
                steps = np.diff(found[rows, j][order])
                assert steps.min() >= -1e-12
                ties = np.diff(scores[rows, j][order]) == 0
                assert (steps[ties] == 0).all()
            # The distribution of the reference: means of the leading factor.
            there = scores[(batch == 0) & (clusters == c), c]
            assert found[rows, c].mean() == pytest.approx(there.mean(), rel=0.1)
            assert found[rows, c].max() == pytest.approx(there.max())
            assert found[rows, c].min() == pytest.approx(there.min())


def test_large_clusters_are_sampled(rng):
    """Quantiles from few cells, the ends from all."""
    scores = rng.gamma(2.0, 1.0, (6000, 2))
    batch = np.repeat([0, 1], 3000)
    clusters = np.zeros(6000, int)
    scores[4000] = 1e3
    full = quantile_align(
        scores, batch, clusters, **QUANTILES | dict(max_sample=3000)
    ).scores
    drawn = quantile_align(scores, batch, clusters, **QUANTILES).scores
    again = quantile_align(scores, batch, clusters, **QUANTILES).scores
    other = quantile_align(scores, batch, clusters, **QUANTILES | dict(seed=1)).scores
    np.testing.assert_array_equal(drawn, again)
    assert (drawn != other).any()
    assert (drawn != full).any()
    assert np.abs(np.median(drawn - full)) < 0.1
    # Without widening, all values above the largest drawn one had one image.
    few = quantile_align(scores, batch, clusters, **QUANTILES | dict(max_sample=100))
    top = np.sort(few.scores[3000:], axis=0)[-50:]
    assert (np.diff(top, axis=0) > 0).all()


def test_order_of_cells_and_data_sets(rng):
    scores, batch, _ = simulated(rng)
    clusters = vote(scores, batch, max_factor(scores, batch), n_neighbors=20)
    found = quantile_align(scores, batch, clusters, **QUANTILES).scores
    order = rng.permutation(len(batch))
    swap = np.array([2, 0, 1])
    s, b = scores[order], swap[batch[order]]
    c = vote(s, b, max_factor(s, b), n_neighbors=20)
    np.testing.assert_array_equal(c, clusters[order])
    same = quantile_align(s, b, c, **QUANTILES | dict(reference=2)).scores
    np.testing.assert_allclose(same, found[order], rtol=1e-12)
    centred = centroid_align(scores, batch, lam=1.0)
    np.testing.assert_allclose(
        centroid_align(s, b, lam=1.0), centred[order], rtol=1e-9, atol=1e-12
    )


# --- centroids --------------------------------------------------------------


def slow_centroid_align(scores, batch, lam):
    """Ridge regressions with a design matrix, as least squares with extra rows."""
    z = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    total = scores.sum(axis=1)
    share = np.array([x / s if s else x for x, s in zip(scores, total, strict=True)])
    n_batches = batch.max() + 1
    one_hot = np.eye(n_batches)[batch]
    design = np.column_stack([np.ones(len(batch)), one_hot])
    penalty = np.sqrt(lam) * np.eye(n_batches + 1)[1:]
    corrected = z.copy()
    for k in range(scores.shape[1]):
        root = np.sqrt(share[:, [k]])
        beta, *_ = np.linalg.lstsq(
            np.concatenate([root * design, penalty]),
            np.concatenate([root * z, np.zeros((n_batches, scores.shape[1]))]),
            rcond=None,
        )
        corrected -= share[:, [k]] * (one_hot @ beta[1:])
    return corrected


@pytest.mark.parametrize("lam", [1e-3, 1.0, 50.0])
def test_centroid_align(rng, lam):
    scores, batch, _ = simulated(rng)
    scores[[5, 400]] = 0
    # A factor that one data set does not have.
    scores[batch == 1, 3] = 0
    found = centroid_align(scores, batch, lam=lam)
    expected = slow_centroid_align(scores, batch, lam)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_centroids_of_identical_data_sets_stay(rng):
    scores, _, _ = simulated(rng, sizes=(300,))
    z = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    found = centroid_align(np.tile(scores, (3, 1)), np.repeat([0, 1, 2], 300), lam=1.0)
    np.testing.assert_allclose(found, np.tile(z, (3, 1)), rtol=1e-9, atol=1e-12)


def test_centroids_without_penalty_coincide(rng):
    """Where factors do not overlap, centroids of a factor's cells become one."""
    lead = rng.integers(3, size=400)
    batch = rng.integers(2, size=400)
    scores = np.zeros((400, 3))
    scores[np.arange(400), lead] = rng.gamma(2.0, 1.0, 400) + 2 * batch
    found = centroid_align(scores, batch, lam=0.0)
    for k in range(3):
        first, second = (found[(lead == k) & (batch == b)].mean(0) for b in (0, 1))
        np.testing.assert_allclose(first, second, atol=1e-12)
    # A large penalty leaves the z-scores.
    z = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    np.testing.assert_allclose(centroid_align(scores, batch, lam=1e12), z, atol=1e-8)


def test_centroids_of_scores_without_values(rng):
    scores, batch, _ = simulated(rng)
    scores[:, 2] = 0
    scores[batch == 0, 1] = 0
    for lam in (0.0, 1.0):
        found = centroid_align(scores, batch, lam=lam)
        assert np.isfinite(found).all()
        assert (found[:, 2] == 0).all()
    assert (centroid_align(scores, batch, lam=1.0)[:, [0, 1, 3]] < 0).any()
