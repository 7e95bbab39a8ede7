"""Each pattern has one factor, of its own kind; and shuffled places are not spatial."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment

import nonneg as nng
from nonneg.models.nsf import exchange, solver, start
from nonneg.tl._nsf import front
from testing.nonneg import real_data

from .conftest import KERNEL

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def matched(truth, factors):
    """Correlations of true factors with those that they belong to."""
    k = truth.shape[1]
    r = np.abs(np.corrcoef(truth.T, factors.T)[:k, k:])
    return r[linear_sum_assignment(-r)]


def mixed(name, size, seed, n_genes=300):
    simulate = getattr(nng.datasets, name)
    return simulate(size, n_genes, n_nonspatial=3, rng=seed)


@pytest.mark.parametrize(
    ("name", "size", "seed"), [("quilt", 18, 1), ("ggblocks", 24, 2)]
)
def test_no_pattern_has_two_factors(name, size, seed):
    # Where NMF of as many components as patterns ends with one of them in two.
    adata = mixed(name, size, seed)
    plain = adata.copy()
    nng.tl.nmf(plain, 7, beta_loss="kullback-leibler")
    assert matched(adata.obsm["truth"], plain.obsm["X_nmf"]).min() < 0.5
    nng.tl.pnmf(adata, 7, size_factors=None)
    assert matched(adata.obsm["truth"], adata.obsm["X_pnmf"]).min() > 0.98


def hybrid(adata, **kwargs):
    kwargs = KERNEL | {"size_factors": None, "nugget": 0.1, "n_spatial": 4} | kwargs
    nng.tl.nsfh(adata, 7, **kwargs)
    truth, found = adata.obsm["truth"], adata.obsm["X_nsfh"]
    return [matched(truth[:, part], found[:, part]) for part in (slice(4), slice(4, 7))]


def start_backwards(monkeypatch):
    """The least spatial of the starting factors become fields."""

    def backwards(coords, section):
        return lambda factors, rows: front_order(coords, section)(factors, rows)[::-1]

    front_order = front.by_morans_i
    monkeypatch.setattr(front, "by_morans_i", backwards)


def test_a_start_in_the_wrong_slots_is_put_right(monkeypatch):
    start_backwards(monkeypatch)
    spatial, others = hybrid(mixed("ggblocks", 18, 0))
    assert spatial.min() > 0.98
    assert others.min() > 0.95
    # It is the moves that do it.
    monkeypatch.setattr(solver, "exchange", lambda ascent, fit: fit)
    spatial, _ = hybrid(mixed("ggblocks", 18, 0))
    assert spatial.min() < 0.5


def test_both_ways_have_the_same_dispersions(monkeypatch):
    """What is judged are places, not how long dispersions have been learned."""
    noises = []

    def first_state(ascent, w, mean, var, noise):
        noises.append(noise)
        return start.first_state(ascent, w, mean, var, noise)

    monkeypatch.setattr(exchange, "first_state", first_state)
    start_backwards(monkeypatch)
    adata = mixed("ggblocks", 12, 0, 40)
    hybrid(adata, likelihood="negative_binomial", max_iter=1)
    assert noises
    assert np.ptp(noises[0]) > 0


def test_moves_do_not_lower_the_bound(monkeypatch):
    adata = mixed("quilt", 18, 1)
    hybrid(adata)
    with_moves = adata.uns["nsfh"]["elbo"][-1]
    monkeypatch.setattr(solver, "exchange", lambda ascent, fit: fit)
    hybrid(adata)
    assert with_moves >= adata.uns["nsfh"]["elbo"][-1] - 1e-3 * abs(with_moves)


@pytest.mark.parametrize(
    "name", [pytest.param("ggblocks", marks=pytest.mark.slow), "quilt"]
)
def test_importance_without_space_is_what_it_is_by_chance(name):
    adata = mixed(name, 18, 0, 150)
    places = adata.obsm["spatial"]
    hybrid(adata)
    for frame in (adata.var, adata.obs):
        found = frame["nsfh_spatial_importance"]
        assert found.mean() > frame["nsfh_spatial_importance_null"].mean() + 0.2
    adata.obsm["spatial"] = np.random.default_rng(0).permutation(places)
    hybrid(adata)
    for frame in (adata.var, adata.obs):
        # Fields have about half of the counts all the same.
        assert frame["nsfh_spatial_importance"].mean() < 0.1
        assert frame["nsfh_spatial_importance_null"].mean() < 0.1


def test_fields_are_foretold_and_other_factors_are_not(fits):
    for method in ("nsf", "rsf"):
        share = fits[method].uns[method]["spatial_share"]
        assert share.shape == (4,)
        assert ((share > 0.3) & (share <= 1)).all()
    np.testing.assert_array_equal(fits["nsfh"].uns["nsfh"]["spatial_share"][2:], 0)
    assert "spatial_share" not in fits["pnmf"].uns["pnmf"]


def test_fields_that_are_left_empty_are_told():
    """Where counts are hardly trusted, factors without space take what fields have."""
    adata = mixed("ggblocks", 12, 0, 40)
    kwargs = KERNEL | {"size_factors": None, "n_spatial": 4}
    match = "of 4 spatial factors ha.*less than.*temperature=10"
    with pytest.warns(UserWarning, match=match):
        nng.tl.nsfh(adata, 7, **kwargs | {"temperature": 1e4})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*of the expected values")
        nng.tl.nsfh(adata, 7, **kwargs)
        nng.tl.nsf(adata, 4, size_factors=None, **KERNEL)


@pytest.mark.slow
def test_layers_of_single_cells_are_spatial():
    """Cells differ from their neighbours in all but a few genes, and fields keep these."""
    adata = ad.read_h5ad(real_data("osmfish_cortex.h5ad"))
    # Some are listed twice.
    twice = pd.DataFrame(adata.obsm["spatial"]).duplicated()
    rows = np.flatnonzero(adata.obs["valid"] & ~twice.to_numpy())
    adata = adata[np.random.default_rng(0).choice(rows, 1000, replace=False)].copy()
    nng.tl.nsfh(adata, 12, n_spatial=6, size_factors=None, n_inducing=300)
    importance = adata.var["nsfh_spatial_importance"]
    assert importance[["Rorb", "Syt6"]].min() > 0.3
    assert importance[["Gad2", "Vip"]].max() < 0.2
