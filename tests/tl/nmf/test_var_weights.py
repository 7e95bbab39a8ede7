"""Weights of variables in tl.nmf."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.optimize import nnls

import nonneg as nng
from testing.nonneg import (
    PLACES,
    assert_same,
    counts,
    low_rank,
    real_data,
    snapshot,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
K = 3
X = low_rank(50, 30, K, noise=0.5).astype(np.float32)
LONG = dict(tol=1e-7, max_iter=5000)


def weights(seed=0):
    return np.random.default_rng(seed).integers(1, 5, X.shape[1])


def weighted():
    adata = AnnData(X.copy())
    adata.var["weight"] = weights().astype(float)
    adata.var["used"] = np.arange(30) % 4 != 0
    return adata


def product(adata, key="nmf"):
    obsm = adata.uns[key]["obsm_key"]
    return adata.obsm[obsm] @ adata.varm[adata.uns[key]["varm_key"]].T


@pytest.mark.parametrize(
    "solver", ["hals", "mu", pytest.param("anls", marks=pytest.mark.slow)]
)
def test_weights_are_repeated_variables(solver):
    adata = weighted()
    repeated = AnnData(np.repeat(X, weights(), axis=1))
    repeated.var_names = [str(i) for i in range(repeated.n_vars)]
    options = LONG | {"tol": {"hals": 1e-7, "mu": 0, "anls": 1e-5}[solver]}
    nng.tl.nmf(adata, K, var_weights="weight", solver=solver, **options)
    nng.tl.nmf(repeated, K, solver=solver, **options)
    first = np.cumsum(weights()) - 1
    ours, theirs = product(adata), product(repeated)[:, first]
    bound = 2e-3 if solver != "mu" else 2e-2
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound * theirs.max())
    assert adata.uns["nmf"]["objective"][-1] == pytest.approx(
        repeated.uns["nmf"]["objective"][-1], rel=1e-4
    )
    loss = 0.5 * (np.square(X - ours, dtype=float) * weights()).sum()
    assert adata.uns["nmf"]["objective"][-1] == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(np.linalg.norm(adata.varm["nmf"], axis=0), 1, rtol=1e-5)
    mass = adata.obsm["X_nmf"].sum(0) * adata.varm["nmf"].sum(0)
    np.testing.assert_allclose(adata.uns["nmf"]["mass"], mass, rtol=1e-4)
    assert (np.diff(mass) <= 0).all()


@pytest.mark.parametrize("solver", ["hals", "mu"])
@pytest.mark.parametrize("l1_ratio", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_penalties_are_on_loadings_as_they_are(solver, l1_ratio):
    """The optimality conditions hold, with weights and penalties written out."""
    adata = weighted()
    alpha, n = 0.02, X.shape
    options = dict(alpha_W=alpha, l1_ratio=l1_ratio, tol=0, max_iter=1500)
    nng.tl.nmf(adata, K, var_weights="weight", solver=solver, **options)
    entry = adata.uns["nmf"]
    # As they were before loadings were given unit norm.
    w = adata.obsm["X_nmf"].astype(float) / entry["scale"]
    h = adata.varm["nmf"].T.astype(float) * entry["scale"][:, None]
    error = (w @ h - X) * weights()
    of_w, of_h = alpha * n[1], alpha * n[0]
    gradients = (
        (w, error @ h.T + of_w * (l1_ratio + (1 - l1_ratio) * w)),
        (h, w.T @ error + of_h * (l1_ratio + (1 - l1_ratio) * h)),
    )
    for factor, gradient in gradients:
        free = factor > 1e-3 * factor.max()
        size = np.abs(gradient[free]).max() / np.abs(X * weights() @ h.T).max()
        assert size < (1e-4 if solver == "hals" else 5e-3)
        assert (gradient[factor == 0] > -1e-3 * np.abs(error).max()).all()


def test_variables_of_weight_zero_have_no_say():
    adata = weighted()
    some = np.arange(30) % 4 != 0
    nng.tl.nmf(adata, K, var_weights=some.astype(float), **LONG)
    alone = AnnData(X[:, some])
    nng.tl.nmf(alone, K, **LONG)
    ours, theirs = product(adata)[:, some], product(alone)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3 * theirs.max())
    w = adata.obsm["X_nmf"].astype(float)
    for j in np.flatnonzero(~some):
        expected = nnls(w, X[:, j].astype(float))[0]
        np.testing.assert_allclose(adata.varm["nmf"][j], expected, atol=1e-4)


def test_equal_weights_change_nothing():
    adata = weighted()
    nng.tl.nmf(adata, K, var_weights=np.full(30, 4.0), **LONG)
    plain = nng.tl.nmf(weighted(), K, copy=True, **LONG)
    ours, theirs = product(adata), product(plain)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3 * theirs.max())


@pytest.fixture(scope="module")
def in_memory():
    """A fit of dense data; not to be changed."""
    adata = counts()
    adata.var["weight"] = np.arange(adata.n_vars) % 3 + 0.5
    nng.tl.nmf(adata, K, var_weights="weight", tol=0, max_iter=10)
    return adata


@pytest.mark.parametrize("array_type", PLACES, ids=str)
def test_array_types(array_type, in_memory, tmp_path):
    plain = counts()
    plain.var["weight"] = in_memory.var["weight"].to_numpy()
    options = dict(var_weights="weight", tol=0, max_iter=10)
    adata = array_type(plain, tmp_path)
    nng.tl.nmf(adata, K, **options)
    np.testing.assert_allclose(product(adata), product(in_memory), rtol=1e-3, atol=1e-3)


def test_they_are_stored_and_used_for_new_observations(tmp_path):
    adata = weighted()
    nng.tl.nmf(adata, K, var_weights="weight", mask_var="used", **LONG)
    used = adata.var["used"].to_numpy()
    stored = adata.var["nmf_weight"]
    assert stored[used].tolist() == weights()[used].tolist()
    assert stored[~used].isna().all()
    assert adata.uns["nmf"]["params"]["var_weights"] == "weight"
    adata.write_h5ad(tmp_path / "fit.h5ad")
    reference = ad.read_h5ad(tmp_path / "fit.h5ad")
    new = AnnData(X.copy())
    nng.tl.project(new, reference)
    scores = adata.obsm["X_nmf"]
    np.testing.assert_allclose(
        new.obsm["X_nmf"], scores, rtol=0, atol=2e-3 * scores.max()
    )
    plain = weighted()
    nng.tl.nmf(plain, K, key_added="nmf")
    assert "nmf_weight" not in plain.var
    nng.tl.nmf(adata, K)
    assert "nmf_weight" not in adata.var


def array(n=30, value=1.0):
    return np.full(n, value)


REFUSED = {
    "divergence": (
        dict(var_weights="weight", beta_loss="kullback-leibler"),
        ValueError,
        "weights of squared errors",
    ),
    "penalised anls": (
        dict(var_weights="weight", solver="anls", alpha_W=0.1),
        ValueError,
        "cannot solve",
    ),
    "length": (dict(var_weights=array(7)), ValueError, "30 numbers, one per variable"),
    "negative": (dict(var_weights=array(value=-1)), ValueError, "30 of the weights"),
    "nan": (dict(var_weights=array(value=np.nan)), ValueError, "finite"),
    "zero": (dict(var_weights=array(value=0)), ValueError, "all zero"),
    "few": (
        dict(var_weights=(np.arange(30) < 2).astype(float)),
        ValueError,
        "variables with a weight above 0, 2",
    ),
    "text": (dict(var_weights=np.array(["a"] * 30)), ValueError, "must hold numbers"),
    "another order": (
        dict(var_weights=pd.Series(1.0, [str(i) for i in range(30)][::-1])),
        ValueError,
        "index is not adata.var_names",
    ),
    "column": (dict(var_weights="nothing"), KeyError, "not in adata.var"),
    "obsm": (
        dict(var_weights=array(), obsm="X_other"),
        ValueError,
        "not of columns of obsm",
    ),
}


@pytest.mark.parametrize(("kwargs", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(kwargs, error, message):
    adata = weighted()
    adata.obsm["X_other"] = X.copy()
    before = snapshot(adata)
    with pytest.raises(error, match=message):
        nng.tl.nmf(adata, K, **kwargs)
    assert_same(snapshot(adata), before)


def test_variables_that_count_must_hold_something():
    x = X.copy()
    x[:, :5] = 0
    adata = AnnData(sp.csr_matrix(x))
    with pytest.raises(
        ValueError, match="All variables with a weight above 0 are zero"
    ):
        nng.tl.nmf(adata, K, var_weights=(np.arange(30) < 5).astype(float))


@pytest.mark.slow
@pytest.mark.data
def test_published_patterns():
    """Several images of one gene count as one; without that, other patterns are found."""
    file = np.load(real_data("wu2016_drosophila.npz"))
    adata = AnnData(file["X"].astype(np.float32))
    _, gene, n_images = np.unique(
        file["genes"], return_inverse=True, return_counts=True
    )
    adata.var["weight"] = 1 / n_images[gene]
    options = dict(tol=1e-5, max_iter=1000)
    nng.tl.nmf(adata, 21, var_weights="weight", **options)
    published = file["PP_published"]
    found = nng.metrics.match_factors(published, adata.obsm["X_nmf"]).similarity
    assert found.mean() >= 0.999
    assert found.min() >= 0.995
    nng.tl.nmf(adata, 21, **options)
    other = nng.metrics.match_factors(published, adata.obsm["X_nmf"]).similarity
    assert other.min() < 0.7
