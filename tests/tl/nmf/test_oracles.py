"""Objectives against scikit-learn's, from the same data."""

from __future__ import annotations

import warnings
from functools import cache

import anndata as ad
import numpy as np
import pytest
from anndata import AnnData
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

import nonneg as nng
from testing.nonneg import (
    counts,
    frobenius,
    kullback_leibler,
    penalised,
    real_data,
)

LOSSES = {"frobenius": frobenius, "kullback-leibler": kullback_leibler}
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # One spot has two counts, none of them in deviant genes.
    pytest.mark.filterwarnings("ignore:adata.X has 1 observation that is all zero"),
]


def theirs(x, k, loss, **kwargs):
    """Objective of scikit-learn's fit, by the formula."""
    options = dict(solver="cd" if loss == "frobenius" else "mu") | kwargs
    model = NMF(k, beta_loss=loss, init="nndsvda", random_state=0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        w = model.fit_transform(x)
    return LOSSES[loss](x, w, model.components_), w, model.components_


@pytest.fixture(scope="module")
def mob():
    adata = ad.read_h5ad(real_data("mob.h5ad"))
    nng.pp.deviant_genes(adata, 2000, subset=True)
    return adata


@pytest.mark.data
@pytest.mark.parametrize("loss", LOSSES)
def test_mob(mob, loss):
    x = mob.X.toarray().astype(np.float64)
    nng.tl.nmf(mob, 10, beta_loss=loss)
    w, h = mob.obsm["X_nmf"].astype(float), mob.varm["nmf"].T.astype(float)
    ours = LOSSES[loss](x, w, h)
    assert ours == pytest.approx(mob.uns["nmf"]["objective"][-1], rel=1e-4)
    assert ours <= theirs(x, 10, loss)[0] * 1.001


@cache
def their_best():
    """Lowest objective of scikit-learn's two solvers."""
    x = np.asarray(counts().X, np.float64)
    return min(
        theirs(x, 4, "frobenius", solver=s, tol=1e-6, max_iter=2000)[0]
        for s in ("cd", "mu")
    )


@pytest.mark.parametrize(
    "solver", ["hals", pytest.param("anls", marks=pytest.mark.slow), "mu"]
)
def test_random_frobenius(solver):
    adata = counts()
    nng.tl.nmf(adata, 4, solver=solver, tol=1e-7, max_iter=2000)
    assert adata.uns["nmf"]["objective"][-1] <= their_best() * 1.001


def test_random_kl():
    adata = counts()
    x = np.asarray(adata.X, np.float64)
    nng.tl.nmf(adata, 4, beta_loss="kullback-leibler", tol=1e-7, max_iter=2000)
    best = theirs(x, 4, "kullback-leibler", tol=1e-6, max_iter=2000)[0]
    assert adata.uns["nmf"]["objective"][-1] <= best * 1.001


@pytest.mark.parametrize(
    "l1_ratio",
    [
        pytest.param(0.0, marks=pytest.mark.slow),
        0.5,
        pytest.param(1.0, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_penalties_are_scaled_alike(loss, l1_ratio):
    """Both converge to the same value of the same objective, ours the documented."""
    adata = counts()
    x = np.asarray(adata.X, np.float64)
    penalty = dict(alpha_W=0.02, alpha_H=0.03, l1_ratio=l1_ratio)
    fit, w, h = theirs(x, 4, loss, tol=1e-9, max_iter=5000, **penalty)
    expected = penalised(fit, w, h, **penalty)
    nng.tl.nmf(adata, 4, beta_loss=loss, tol=1e-7, max_iter=5000, **penalty)
    objective = adata.uns["nmf"]["objective"][-1]
    assert objective == pytest.approx(expected, rel=2e-3)
    # Not the same without them.
    assert objective > 1.01 * fit


def test_transform():
    """Scores of new rows on the same loadings."""
    adata, new = counts(), counts(50, seed=3)
    x = np.asarray(adata.X, np.float64)
    model = NMF(4, init="nndsvda", tol=1e-8, max_iter=2000).fit(x)
    reference = AnnData(adata.X.copy(), var=adata.var[[]])
    nng.tl.nmf(reference, 4)
    norm = np.linalg.norm(model.components_, axis=1)
    reference.varm["nmf"] = (model.components_ / norm[:, None]).T.astype(np.float32)
    nng.tl.project(new, reference)
    expected = model.transform(np.asarray(new.X, np.float64)) * norm
    np.testing.assert_allclose(new.obsm["X_nmf"], expected, atol=1e-3 * expected.max())
