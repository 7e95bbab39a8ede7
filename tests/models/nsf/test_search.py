"""What kernels are chosen by: scores, folds, and what these must not depend on."""

from __future__ import annotations

import anndata as ad
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import gammaln
from scipy.stats import nbinom

import nonneg as nng
from nonneg.models.nsf.gaussian import Gaussian
from nonneg.models.nsf.likelihood import (
    Observations,
    column_sq_norm,
    count_log_ratio,
    dispersion_of,
    relative_variance,
)
from nonneg.models.nsf.negative_binomial import NegativeBinomial
from nonneg.models.nsf.poisson import Poisson
from nonneg.models.nsf.problem import Options, SearchOptions, make_space
from nonneg.models.nsf.search import hold_out
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator
from testing.nonneg import real_data

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("dispersion", [1e-6, 1e-3, 0.05, 1.0, 30.0])
def test_density_of_counts(dispersion):
    """As scipy has it in double precision, also close to Poisson's."""
    rng = np.random.default_rng(0)
    mean = rng.gamma(0.5, 20, 200).astype(np.float32) + np.float32(0.01)
    x = rng.poisson(mean * rng.gamma(1 / 3, 3, 200)).astype(np.float32)
    columns = (jnp.asarray(a)[:, None] for a in (x, mean))
    ours = count_log_ratio(*columns, jnp.float32(dispersion))
    shape = 1 / dispersion
    theirs = nbinom.logpmf(x, shape, shape / (shape + mean.astype(float)))
    theirs += gammaln(x + 1.0) - x * np.log(mean)
    np.testing.assert_allclose(ours[:, 0], theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["dense", "sparse", "jax"])
def test_scatter_by_products(kind):
    """Sums of squares from products with what is stored, as entry by entry."""
    rng = np.random.default_rng(0)
    mean = rng.normal(0, 1, (50, 3)).astype(np.float32)
    var = rng.gamma(1, 0.1, (50, 3)).astype(np.float32)
    w = rng.gamma(1, 1, (8, 3)).astype(np.float32)
    w[3] = 0
    size = rng.gamma(5, 0.2, 50).astype(np.float32)
    x = rng.poisson(size[:, None] * (np.exp(mean) @ w.T) * rng.gamma(2, 0.5, (50, 8)))
    x = x.astype(np.float32)
    factors = size[:, None] * np.exp(mean + var / 2)
    rate = factors @ w.T
    unsure = (factors**2 * np.expm1(var)) @ (w**2).T
    expected = [((x - rate) ** 2 - rate - unsure).sum(0), (rate**2 + unsure).sum(0)]
    op = CSROperator(sp.csr_matrix(x)) if kind == "sparse" else DenseOperator(x)
    own = Poisson(op, size)
    if kind == "jax":
        mean, var, w = map(jnp.asarray, (mean, var, w))
    found = np.asarray(own.scatter(mean, var, w))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-2)
    rows = np.array([1, 4, 30])
    others = Observations(DenseOperator(x[rows]), size[rows])
    np.testing.assert_allclose(
        np.asarray(own.scatter(mean[rows], var[rows], w, others))[1],
        (rate**2 + unsure)[rows].sum(0),
        rtol=2e-4,
    )
    dispersion = np.asarray(dispersion_of(found))
    assert dispersion[3] == 0
    assert dispersion.min() >= 0


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial", "gaussian"])
@pytest.mark.parametrize("held_out", [0.0, 1.0, 1e4])
def test_genes_that_were_not_seen_do_not_count(likelihood, held_out):
    """Whether they are seen in a held-out observation or nowhere."""
    rng = np.random.default_rng(0)
    mean = rng.normal(0, 1, (30, 3)).astype(np.float32)
    var = np.full_like(mean, 0.1)
    w = rng.gamma(1, 1, (8, 3)).astype(np.float32)
    x = rng.poisson(np.exp(mean) @ w.T).astype(np.float32)
    size = np.ones(30, np.float32)

    def score(train, held, w):
        op = DenseOperator(train)
        model = {
            "poisson": lambda: Poisson(op, size),
            "negative_binomial": lambda: NegativeBinomial(op, size),
            "gaussian": lambda: Gaussian(op, column_sq_norm(op)),
        }[likelihood]()
        others = Observations(DenseOperator(held), size)
        return np.asarray(model.score(model.noise, others, mean, var, w))

    unseen = np.zeros((30, 1), np.float32)
    seen = unseen.copy()
    seen[4] = held_out
    more = (np.hstack([x, unseen]), np.hstack([x, seen]), np.vstack([w, 0 * w[:1]]))
    np.testing.assert_allclose(score(*more), score(x, x, w), rtol=1e-5)


def test_loadings_of_genes_may_be_small():
    """What is unknown of a rate is a part of it, whatever the unit of the loadings."""
    factors, spread = np.ones((1, 2), np.float32), np.full((1, 2), 0.5, np.float32)
    for scale in (1.0, 1e-25):
        w = np.full((1, 2), scale, np.float32)
        found = jax.jit(relative_variance)(factors @ w.T, spread, w)
        np.testing.assert_allclose(found, 0.25, rtol=1e-6)


def space_of(coords, totals, section=None):
    section = np.zeros(len(coords), np.intp) if section is None else section
    return make_space(coords, section, Options(), totals)


@pytest.mark.parametrize(
    ("n", "n_folds"), [(5, 5), (100, 5), (290, 5), (600, 2), (1300, 1)]
)
def test_folds_are_disjoint_and_every_location_is_held_out_where_they_are_few(
    n, n_folds
):
    rng = np.random.default_rng(0)
    space = space_of(rng.uniform(0, 4, (n, 2)), rng.poisson(100, n).astype(float))
    folds = hold_out(space, rng, SearchOptions())
    held = np.concatenate([fold.locations for fold in folds])
    assert len(folds) == n_folds
    assert len(set(held.tolist())) == len(held)
    assert len(held) == n if n_folds == 5 else len(held) >= 240
    for fold in folds:
        assert not set(fold.rows) & set(fold.train)
        assert len(fold.rows) + len(fold.train) == n


def _turned(coords):
    angle = np.deg2rad(37)
    cos, sin = np.cos(angle), np.sin(angle)
    return coords @ np.array([[cos, -sin], [sin, cos]])


CHANGES = {
    "rotation": _turned,
    "mirroring": lambda coords: coords * [-1, 1],
    "shift": lambda coords: coords + 1000.0,
    "scale": lambda coords: coords * 173.3,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("layout", ["lattice", "random"])
def test_the_same_locations_are_held_out(change, layout):
    rng = np.random.default_rng(1)
    coords = rng.uniform(0, 4, (225, 2))
    if layout == "lattice":
        coords = np.stack(np.meshgrid(*[np.arange(15.0)] * 2), -1).reshape(-1, 2)
    totals = rng.permutation(10_000)[:225].astype(float)
    rows = rng.permutation(225)

    def observations(coords, totals):
        space = space_of(coords, totals)
        folds = hold_out(space, np.random.default_rng(0), SearchOptions())
        return [set(totals[fold.rows]) for fold in folds]

    before = observations(coords, totals)
    assert observations(CHANGES[change](coords)[rows], totals[rows]) == before


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([*CHANGES], id="place"),
        pytest.param(
            ["order of rows", "order of genes"], id="order", marks=pytest.mark.slow
        ),
    ],
)
def test_factors_do_not_depend_on_how_a_section_lies(changes, lying):
    adata, expected = lying
    other = adata.copy()
    rows = np.arange(adata.n_obs)
    if "order of rows" in changes:
        rows = np.random.default_rng(2).permutation(adata.n_obs)
        other = other[rows].copy()[:, ::-1].copy()
    else:
        for change in changes:
            other.obsm["spatial"] = CHANGES[change](other.obsm["spatial"])
    nng.tl.nsf(other, 4)
    found = np.empty_like(expected)
    found[rows] = other.obsm["X_nsf"]
    match = nng.metrics.match_factors(expected, found, metric="pearson")
    assert match.similarity.mean() > 0.995


@pytest.fixture(scope="module")
def lying():
    adata = nng.datasets.ggblocks(10, 40)
    fitted = adata.copy()
    nng.tl.nsf(fitted, 4)
    return adata, fitted.obsm["X_nsf"]


@pytest.mark.slow
@pytest.mark.data
def test_seeds_agree_on_a_section():
    """Folds of few locations differ; what the last fit begins with does not."""
    adata = ad.read_h5ad(real_data("pdac_a_spatial.h5ad"))
    nng.pp.deviant_genes(adata, 200, subset=True)
    fits = [nng.tl.nsf(adata, 10, rng=rng, copy=True).obsm["X_nsf"] for rng in (0, 1)]
    match = nng.metrics.match_factors(*fits, metric="pearson")
    # .835 where it began with the fit of a fold.
    assert match.similarity.mean() > 0.98


def test_more_factors_than_a_part_of_the_section_can_tell_apart():
    adata = nng.datasets.ggblocks(6, 60)
    before = adata.copy()
    with pytest.raises(ValueError, match=r"n_components=33 is more than the 2\d of 36"):
        nng.tl.nsf(adata, 33)
    assert adata.uns.keys() == before.uns.keys()
