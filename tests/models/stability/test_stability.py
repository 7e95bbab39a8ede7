"""Stability below AnnData: samples as weights, fitted side by side, compared and joined."""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment, nnls
from sklearn.decomposition import NMF, PCA

from nonneg.models.loop import drive
from nonneg.models.stability import batch
from nonneg.models.stability.batch import BatchSolver
from nonneg.models.stability.components import principal_patterns
from nonneg.models.stability.consensus import (
    Moments,
    consensus,
    reconstruction,
    refit,
)
from nonneg.models.stability.draws import Draws
from nonneg.models.stability.match import amari, chance, distances, hungarian
from nonneg.models.stability.replicates import Replicates, sketch_of
from nonneg.models.stability.spectra import Spectra
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator
from nonneg.operators.threads import computing
from testing.nonneg import low_rank

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SEED = 0
K = 4
X = low_rank(60, 40, K, noise=0.3)


def streamed(x, size=17):
    """A matrix in blocks of rows, the last one shorter."""
    bounds = np.minimum(np.arange(-(-len(x) // size) + 1) * size, len(x))
    return BlockOperator(
        lambda: lambda rows: np.concatenate([x[r] for r in rows]),
        DenseOperator,
        bounds,
        x.shape[1],
        x.dtype,
    )


OPERATORS = {
    "dense": DenseOperator,
    "csr": lambda x: CSROperator(sp.csr_matrix(x)),
    "blocks": streamed,
}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def drawn(x, draws, sample):
    """A copy of a sample."""
    index = draws.index(sample)
    return x[index] if draws.resample == "obs" else x[:, index]


def descend(x, w, h, n_steps):
    """Coordinate descent, written out."""
    w, h = w.copy(), h.copy()
    for _ in range(n_steps):
        for a, b, y in ((w, h.T, x), (h.T, w, x.T)):
            gram, product = b.T @ b, y @ b
            for j in range(a.shape[1]):
                step = (product[:, j] - a @ gram[:, j]) / gram[j, j]
                a[:, j] = np.maximum(a[:, j] + step, 0)
    return w, h


@pytest.mark.parametrize("resample", ["var", "obs"])
@pytest.mark.parametrize("kind", OPERATORS)
def test_a_sample_is_a_fit_to_its_copy(kind, resample, x64):
    """Weights are repeated variables or observations, all the way of the fit."""
    op = OPERATORS[kind](X)
    draws = Draws(X.shape, 3, resample, SEED)
    rng = np.random.default_rng(1)
    w, h = rng.random((60, K)), rng.random((K, 40))
    views = [draws.view(op, sample) for sample in range(3)]
    scales = [
        (np.ones(60) if v.row_scale is None else v.row_scale, v.scale) for v in views
    ]
    solver = BatchSolver(op, views, tol=0, max_iter=25)
    starts = [(w * r[:, None], h * c) for r, c in scales]
    state, _ = drive(solver, solver.init(starts))
    for found in solver.finish(state):
        index = draws.index(found.sample)
        if resample == "obs":
            expected = descend(X[index], w[index], h, 25)
            ours = found.H
            theirs = expected[1]
        else:
            expected = descend(X[:, index], w, h[:, index], 25)
            ours, theirs = found.W, expected[0].T
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8 * theirs.max())


def test_samples_leave_the_batch_as_they_finish(x64):
    op = DenseOperator(X)
    n = 10
    draws = Draws(X.shape, n, "var", SEED)
    replicates = Replicates(op, draws, tol=1e-4, max_iter=500)
    spectra = Spectra(op, draws)
    alone = []
    for sample in range(n):
        part = replicates.fit(K, [sample], [spectra(sample, K)])
        alone.append((part.n_iter[0], part.patterns[0]))
    together = replicates.fit(K, range(n), [spectra(sample, K) for sample in range(n)])
    assert len(set(together.n_iter.tolist())) > 3
    assert together.n_iter.tolist() == [n_iter for n_iter, _ in alone]
    assert together.converged.all()
    np.testing.assert_allclose(
        together.patterns, np.stack([values for _, values in alone]), atol=2e-3
    )


@pytest.mark.parametrize(
    "kind", ["dense", pytest.param("blocks", marks=pytest.mark.slow)]
)
def test_a_sketch_leads_to_the_same_minimum(kind, x64):
    """It is far from the data, and the fixed point is theirs all the same."""
    x = low_rank(90, 80, 3, noise=1.0)
    op = OPERATORS[kind](x)
    right = np.linalg.svd(x)[2][:5].T
    left = x @ right
    assert np.linalg.norm(x - left @ right.T) > 0.1 * np.linalg.norm(x)
    draws = Draws(x.shape, 4, "var", SEED)
    views = [draws.view(op, sample) for sample in range(4)]
    spectra = Spectra(op, draws)
    starts = Replicates(op, draws)._starts(
        3, range(4), [spectra(s, 3) for s in range(4)]
    )
    fits = []
    for some in (None, (jnp.asarray(left), jnp.asarray(right))):
        solver = BatchSolver(op, views, some, tol=1e-9, max_iter=4000)
        state, _ = drive(solver, solver.init(starts))
        fits.append(solver.finish(state))
    for exact, quick in zip(*fits, strict=True):
        assert quick.converged
        assert abs(quick.n_iter - exact.n_iter) <= 0.3 * exact.n_iter + batch.REFRESH
        np.testing.assert_allclose(unit(quick.W), unit(exact.W), rtol=0, atol=2e-3)


def test_passes_over_the_data_are_few():
    """With a sketch, one for several steps."""
    passes = []

    class Counted(DenseOperator):
        def row_blocks(self):
            passes.append(1)
            return super().row_blocks()

    op = Counted(jnp.asarray(low_rank(300, 300, 2), jnp.float32))
    draws = Draws(op.shape, 2, "var", SEED)
    sketch = sketch_of(op, 2, SEED)
    assert sketch is not None
    solver = BatchSolver(op, [draws.view(op, 0)], sketch, tol=0, max_iter=40)
    rng = np.random.default_rng(0)
    start = (rng.random((300, 2), np.float32), rng.random((2, 300), np.float32))
    passes.clear()
    drive(solver, solver.init([start]))
    early = batch.SETTLED // batch.REFRESH
    late = -(-(39 - batch.SETTLED) // (2 * batch.REFRESH))
    # The last step is one, too.
    assert len(passes) == early + late + 1


def test_dead_components_are_revived(x64):
    op = DenseOperator(X)
    draws = Draws(X.shape, 2, "var", SEED)
    views = [draws.view(op, sample) for sample in range(2)]
    rng = np.random.default_rng(1)
    w, h = rng.random((60, K)), rng.random((K, 40))
    h[2] = 0
    solver = BatchSolver(op, views, tol=0, max_iter=6)
    state, _ = drive(solver, solver.init([(w, h * views[0].scale), (w, h + 1)]))
    first, second = solver.finish(state)
    assert (first.W.max(axis=1) > 0).all()
    assert (second.W.max(axis=1) > 0).all()


@pytest.mark.parametrize("resample", ["var", "obs"])
@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_spectra_are_of_the_samples(kind, resample, shape, x64):
    """Each sample's own, whichever way they are computed."""
    x = low_rank(*shape, 3, noise=0.05)
    op = OPERATORS[kind](x)
    draws = Draws(x.shape, 2, resample, SEED)
    spectra = Spectra(op, draws)
    vectors = []
    for sample in range(2):
        rows, columns = draws.scales(sample)
        weighted = x * columns * (1 if rows is None else rows[:, None])
        expected, singular, _ = np.linalg.svd(weighted.T, full_matrices=False)
        v, found = spectra(sample, 3)
        np.testing.assert_allclose(found, singular[:3], rtol=1e-5)
        # Vectors settle to about 1 %.
        assert (np.abs((v * expected[:, :3]).sum(axis=0)) > 0.999).all()
        vectors.append(v)
    assert np.abs((vectors[0] * vectors[1]).sum(axis=0)).min() < 0.999


@pytest.mark.parametrize("resample", ["var", "obs"])
@pytest.mark.parametrize("kind", OPERATORS)
def test_components_are_those_of_scikit_learn(kind, resample, x64):
    x = low_rank(60, 40, 3, noise=0.05)
    op = OPERATORS[kind](x)
    draws = Draws(x.shape, 2, resample, SEED)
    spectra = Spectra(op, draws)
    for sample in range(2):
        copy = drawn(x, draws, sample)
        rows = copy if resample == "obs" else copy.T
        expected = PCA(3).fit(rows).components_
        vectors = spectra(sample, 3, centered=True).V
        found = principal_patterns(op, draws, sample, vectors).astype(float)
        assert (np.abs((unit(found) * expected).sum(axis=1)) > 0.999).all()


@cache
def volume(n_patterns=5, n_genes=200, seed=0):
    """Smooth and blocky patterns in a small volume."""
    rng = np.random.default_rng(seed)
    shape = np.array([14, 11, 9])
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    place = place.reshape(-1, 3)
    patterns = []
    for k in range(n_patterns):
        away = (place - rng.random(3) * shape) / rng.uniform(1.5, 3.5, 3)
        inside = (np.abs(away) < 1).all(axis=1).astype(float)
        patterns.append(np.exp(-(away**2).sum(axis=1) / 2) if k % 2 else inside)
    loadings = rng.dirichlet(np.full(n_patterns, 0.2), n_genes).T
    x = np.stack(patterns, axis=1) @ (loadings * rng.gamma(3, 1, n_genes))
    x = x * rng.gamma(20, 1 / 20, x.shape) + rng.gamma(0.5, 0.05, x.shape)
    return x.astype(np.float32), np.stack(patterns)


@pytest.mark.parametrize("rank", [pytest.param(4, marks=pytest.mark.slow), 7])
def test_instability_is_that_of_a_loop_of_scikit_learn(rank):
    """On both sides of the five that there are; a common start would lower it above."""
    x, _ = volume()
    op = DenseOperator(x)
    n = 24
    draws = Draws(x.shape, n, "var", SEED)
    with computing():
        sketch = sketch_of(op, 7, SEED)
        assert sketch is not None or op.shape[1] < 8 * 34
        replicates, spectra = Replicates(op, draws, sketch), Spectra(op, draws)
        starts = [spectra(sample, 7) for sample in range(n)]
        found = np.concatenate(
            [
                replicates.fit(rank, some, [starts[s] for s in some]).patterns
                for some in replicates.batches(rank, range(n))
            ]
        )
    theirs = np.stack(
        [
            NMF(rank, init="nndsvda", random_state=sample).fit_transform(
                drawn(x, draws, sample)
            )
            for sample in range(n)
        ]
    ).swapaxes(1, 2)
    ours, peers = (
        distances(p).hungarian[np.triu_indices(n, 1)].mean() for p in (found, theirs)
    )
    assert ours == pytest.approx(peers, abs=0.005)


def dictionaries(n=6, size=400, k=5, noise=0.3):
    rng = np.random.default_rng(3)
    d = rng.gamma(0.6, 1, (k, size))
    return np.stack(
        [
            np.abs(
                d[rng.permutation(k)] * rng.gamma(5, 0.2, (k, 1))
                + noise * rng.normal(size=d.shape)
            )
            for _ in range(n)
        ]
    )


def test_distances_are_as_defined():
    patterns = dictionaries()
    found = distances(patterns)
    for p in range(6):
        for q in range(6):
            a, b = unit(patterns[p]), unit(patterns[q])
            cosines = a @ b.T
            pearson = np.corrcoef(patterns[p], patterns[q])[:5, 5:]
            i, j = linear_sum_assignment(-cosines)
            assert found.hungarian[p, q] == pytest.approx(
                1 - cosines[i, j].mean(), abs=1e-5
            )
            assert found.amari[p, q] == pytest.approx(
                (10 - cosines.max(0).sum() - cosines.max(1).sum()) / 10, abs=1e-5
            )
            i, j = linear_sum_assignment(-pearson)
            assert found.centered[p, q] == pytest.approx(
                1 - pearson[i, j].mean(), abs=1e-5
            )
    assert (found.amari <= found.hungarian + 1e-7).all()
    assert not distances(dictionaries(noise=0.05)).alone.any()


def test_distances_do_not_depend_on_order_scale_or_precision():
    patterns = dictionaries()
    found = distances(patterns)
    changed = patterns[:, ::-1] * 7
    again = distances(changed)
    coarse = distances((patterns / patterns.max(axis=2)[..., None]).astype(np.float16))
    for name in ("hungarian", "amari", "centered"):
        expected = getattr(found, name)
        np.testing.assert_allclose(getattr(again, name), expected, atol=1e-6)
        np.testing.assert_allclose(getattr(coarse, name), expected, atol=1e-4)
    signs = np.where(np.arange(6) % 2, 1, -1)[:, None, None]
    np.testing.assert_allclose(
        distances(patterns * signs, signed=True).hungarian, found.hungarian, atol=1e-6
    )


def test_patterns_that_are_zero_or_constant():
    patterns = dictionaries(noise=0.05)
    patterns[0, 0] = 0
    patterns[1, 1] = 1
    found = distances(patterns)
    assert found.hungarian[0, 2] > 0.15
    assert np.isfinite(found.centered).all()
    assert found.alone[0].sum() == 1


def test_chance_is_what_the_entries_alone_share():
    rng = np.random.default_rng(0)
    flat = rng.random((4, 3, 500))
    # Independent uniform patterns have cosines of 3/4.
    assert chance(flat, "hungarian", rng, signed=False) == pytest.approx(0.25, abs=0.02)
    sparse = (rng.random((4, 3, 500)) < 0.02).astype(float)
    assert chance(sparse, "hungarian", rng, signed=False) > 0.8


def test_similarities_of_matrices():
    cosines = np.array([[0.9, 0.2], [0.8, 0.1]])
    assert hungarian(cosines) == pytest.approx(0.5)
    assert amari(cosines) == pytest.approx(1 - (0.55 + 0.85) / 2)


def test_a_consensus_is_what_samples_share():
    patterns = dictionaries(n=15, noise=0.05)
    outlier = np.random.default_rng(0).random(patterns.shape[1:])
    patterns = np.concatenate([patterns, outlier[None]])
    found = distances(patterns)
    shared = consensus(patterns, found.hungarian, found.alone)
    truth = unit(np.random.default_rng(3).gamma(0.6, 1, (5, 400)))
    cosines = shared.patterns @ truth.T
    i, j = linear_sum_assignment(-cosines)
    assert cosines[i, j].min() > 0.998
    np.testing.assert_allclose(np.linalg.norm(shared.patterns, axis=1), 1, rtol=1e-5)
    assert shared.similarity[:15].min() > 0.97
    assert shared.similarity[15].max() < 0.8
    np.testing.assert_allclose(shared.alone, 1 / 16)
    signs = np.where(np.arange(16) % 2, 1, -1)[:, None, None]
    signed = consensus(patterns * signs, found.hungarian, found.alone, signed=True)
    np.testing.assert_allclose(
        np.abs(signed.patterns), np.abs(shared.patterns), atol=1e-6
    )


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("side", ["var", "obs"])
def test_all_data_are_refitted(kind, side, x64):
    op = OPERATORS[kind](X)
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.2, 2, 40)
    patterns = rng.random((3, 60 if side == "var" else 40))
    w, h = refit(op, patterns, side, var_weights=weights)
    if side == "var":
        expected = np.stack([nnls(patterns.T, x)[0] for x in X.T], axis=1)
        np.testing.assert_allclose(h, expected, atol=1e-8)
    else:
        root = np.sqrt(weights)
        expected = np.stack([nnls((patterns * root).T, x * root)[0] for x in X])
        np.testing.assert_allclose(w, expected, atol=1e-8)
    accuracy = reconstruction(op, Moments.of(op, op.stats()), w, h)
    for j in range(40):
        theirs = np.corrcoef(X[:, j], w @ h[:, j])[0, 1]
        assert accuracy[j] == pytest.approx(theirs, abs=1e-8)


def test_constant_variables_have_no_reconstruction(x64):
    x = X.copy()
    x[:, 0], x[:, 1] = 0, 2
    op = DenseOperator(x)
    w, h = refit(op, np.random.default_rng(0).random((3, 60)), "var")
    accuracy = reconstruction(op, Moments.of(op, op.stats()), w, h)
    assert accuracy[:2].tolist() == [0, 0]
    assert (np.abs(accuracy[2:]) > 0).all()


def test_random_starts_differ_and_samples_do_not():
    op = DenseOperator(X.astype(np.float32))
    draws = Draws(X.shape, 3, None, SEED)
    rows, columns = draws.scales(1)
    assert rows is None
    assert (columns == 1).all()
    replicates = Replicates(op, draws, init="random")
    starts = replicates._starts(K, range(3), None)
    assert np.abs(starts[0][0] - starts[1][0]).max() > 0.1
    mean = np.mean([(w @ h).mean() for w, h in starts])
    assert 0.3 < mean / X.mean() < 2
