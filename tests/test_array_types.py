"""However the matrix is held, the result is the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import nonneg as nng
from nonneg.operators.choose import as_operator
from nonneg.operators.threads import computing
from testing.nonneg import (
    ARRAY_TYPES,
    PLACES,
    assert_same_fit,
    counts,
    fitted_mean,
    low_rank,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    # Batches of cells, which lie anywhere.
    "ignore:Observations with different adata.obs.'batch'.",
)

# Integers, so that every type holds them exactly.
ADATA = counts()
PLACE = np.arange(ADATA.n_obs)
ADATA.obsm["spatial"] = np.stack([PLACE % 12, PLACE // 12], axis=1).astype(float)
INTEGRATED = dict(batch_key="batch", size_factors="total")
# Every type once for NMF; test_data_types.py has types of values for all verbs.
GRID = pytest.mark.parametrize("array_type", ARRAY_TYPES, ids=str)
EACH_PLACE = pytest.mark.parametrize("array_type", PLACES, ids=str)
LOSSES = pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])


@cache
def expected(method, **kwargs):
    """What a factorization of the dense matrix in memory is; not to be changed."""
    return getattr(nng.tl, method)(ADATA, 4, copy=True, **kwargs)


@cache
def reference(method, **kwargs):
    """A factorization of other data; not to be changed."""
    return getattr(nng.tl, method)(counts(seed=1), 4, copy=True, **kwargs)


@cache
def projected(loss=None):
    """The data on another factorization, or without a loss on an integration."""
    if loss is not None:
        return nng.tl.project(ADATA, reference("nmf", beta_loss=loss), copy=True)
    model = reference("inmf", **INTEGRATED)
    return nng.tl.project(ADATA, model, key="inmf", batch_key="batch", copy=True)


@GRID
@LOSSES
@pytest.mark.parametrize(
    "init", [pytest.param("random", marks=pytest.mark.slow), "nndsvda"]
)
def test_nmf(array_type, beta_loss, init, tmp_path):
    # The objective of Kullback-Leibler is found in the tenth iteration and the last.
    kwargs = dict(beta_loss=beta_loss, init=init, tol=0, max_iter=11)
    adata = array_type(ADATA, tmp_path)
    assert nng.tl.nmf(adata, 4, **kwargs) is None
    assert_same_fit(adata, expected("nmf", **kwargs))
    assert adata.obsm["X_nmf"].dtype == np.float32


@EACH_PLACE
@pytest.mark.parametrize("nonnegative", ["scores", "loadings"])
def test_seminmf(array_type, nonnegative, tmp_path):
    kwargs = dict(nonnegative=nonnegative, tol=0, max_iter=11)
    adata = array_type(ADATA, tmp_path)
    nng.tl.seminmf(adata, 4, **kwargs)
    assert_same_fit(adata, expected("seminmf", **kwargs))


@pytest.mark.parametrize(
    "array_type",
    [
        pytest.param(
            each, id=str(each), marks=[pytest.mark.slow] * ("dense" in str(each))
        )
        for each in PLACES
    ],
)
@pytest.mark.parametrize(
    "likelihood",
    [
        "poisson",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("negative_binomial", "gaussian")
        ),
    ],
)
def test_nsfh(array_type, likelihood, tmp_path):
    kwargs = dict(length_scale=3, amplitude=1, temperature=1, tol=0, max_iter=3)
    kwargs |= dict(likelihood=likelihood, n_spatial=2)
    adata = array_type(ADATA, tmp_path)
    nng.tl.nsfh(adata, 4, **kwargs)
    assert_same_fit(adata, expected("nsfh", **kwargs), "nsfh", rtol=1e-3)


@EACH_PLACE
@pytest.mark.parametrize(
    "beta_loss",
    ["kullback-leibler", pytest.param("frobenius", marks=pytest.mark.slow)],
)
def test_project(array_type, beta_loss, tmp_path):
    adata = array_type(ADATA, tmp_path)
    nng.tl.project(adata, reference("nmf", beta_loss=beta_loss))
    assert_same_fit(adata, projected(beta_loss))


@EACH_PLACE
def test_inmf(array_type, tmp_path):
    kwargs = dict(**INTEGRATED, tol=0, max_iter=10)
    adata = array_type(ADATA, tmp_path)
    assert nng.tl.inmf(adata, 4, **kwargs) is None
    assert_same_fit(adata, expected("inmf", **kwargs), "inmf", rtol=1e-4)
    assert adata.obsm["X_inmf"].dtype == np.float32


@EACH_PLACE
def test_online_inmf(array_type, tmp_path):
    """Also in which order cells arrive."""
    kwargs = dict(**INTEGRATED, minibatch_size=50, n_epochs=2)
    adata = array_type(ADATA, tmp_path)
    assert nng.tl.online_inmf(adata, 4, **kwargs) is None
    assert_same_fit(adata, expected("online_inmf", **kwargs), "inmf", rtol=1e-3)


@EACH_PLACE
def test_project_on_an_integration(array_type, tmp_path):
    kwargs = dict(key="inmf", batch_key="batch")
    adata = array_type(ADATA, tmp_path)
    nng.tl.project(adata, reference("inmf", **INTEGRATED), **kwargs)
    assert_same_fit(adata, projected(), "inmf", rtol=1e-4)


@pytest.mark.parametrize("array_type", ARRAY_TYPES[::4], ids=str)
def test_online_inmf_update(array_type, tmp_path):
    model = reference("inmf", **INTEGRATED)
    found, adata = ADATA.copy(), array_type(ADATA, tmp_path)
    for each in (found, adata):
        nng.tl.online_inmf_update(model, each, batch="c", minibatch_size=50)
    assert_same_fit(adata, found, "inmf", rtol=1e-3)


@EACH_PLACE
@pytest.mark.parametrize("batch_key", [None, "batch"])
def test_deviant_genes(array_type, batch_key, tmp_path):
    found = nng.pp.deviant_genes(ADATA, 12, batch_key=batch_key, copy=True).var
    adata = array_type(ADATA, tmp_path)
    nng.pp.deviant_genes(adata, 12, batch_key=batch_key)
    for column in ("deviance", "highly_variable", "highly_variable_rank"):
        ours = np.asarray(adata.var[column])
        np.testing.assert_allclose(ours, found[column], rtol=1e-5)


@EACH_PLACE
def test_mask(array_type, tmp_path):
    kwargs = dict(mask_var="used", init="random", tol=0, max_iter=11)
    adata = array_type(ADATA, tmp_path)
    nng.tl.nmf(adata, 4, **kwargs)
    assert_same_fit(adata, expected("nmf", **kwargs))
    missing = np.isnan(np.asarray(adata.varm["nmf"])).all(1)
    np.testing.assert_array_equal(missing, ~ADATA.var["used"])


@EACH_PLACE
def test_chunk_size(array_type, tmp_path):
    """For stored data only; it changes nothing but the number of blocks."""
    adata = array_type(ADATA, tmp_path)
    kwargs = dict(init="random", tol=0, max_iter=11)
    if array_type.where == "stored":
        nng.tl.nmf(adata, 4, chunk_size=7, **kwargs)
        assert_same_fit(adata, expected("nmf", **kwargs))
        return
    for call in (
        lambda: nng.tl.nmf(adata, 4, chunk_size=7, **kwargs),
        lambda: nng.tl.seminmf(adata, 4, chunk_size=7),
        lambda: nng.pp.deviant_genes(adata, 4, chunk_size=7),
        lambda: nng.tl.inmf(adata, 4, batch_key="batch", chunk_size=7),
        lambda: nng.tl.online_inmf(adata, 4, batch_key="batch", chunk_size=7),
    ):
        with pytest.raises(ValueError, match="chunk_size=7 only applies to backed"):
            call()


def test_layers_and_obsm_of_any_type():
    adata = counts()
    mean = fitted_mean(expected("nmf", init="random", max_iter=15))
    adata.layers["counts"] = sp.csr_matrix(adata.X)
    adata.obsm["array"] = np.asarray(adata.X)
    adata.obsm["sparse"] = sp.csr_matrix(adata.X)
    adata.obsm["frame"] = pd.DataFrame(
        np.asarray(adata.X), index=adata.obs_names, columns=adata.var_names
    )
    adata.X = None
    nng.tl.nmf(adata, 4, layer="counts", key_added="layer", init="random", max_iter=15)
    fit = fitted_mean(adata, "layer")
    assert np.abs(fit - mean).max() < 1e-4 * fit.max()
    for key in ("array", "sparse", "frame"):
        nng.tl.nmf(adata, 4, obsm=key, key_added="fit", init="random", max_iter=15)
        fit = adata.obsm["fit"] @ adata.uns["fit"]["loadings"].T
        assert np.abs(fit - mean).max() < 1e-4 * fit.max()
        assert adata.uns["fit"]["varm_key"] is None
        assert "fit" not in adata.varm


def test_stored_csc_says_what_to_do(tmp_path):
    import anndata as ad

    adata = counts()
    adata.X = sp.csc_matrix(adata.X)
    adata.write_h5ad(tmp_path / "csc.h5ad")
    backed = ad.read_h5ad(tmp_path / "csc.h5ad", backed="r")
    for call in (
        lambda: nng.tl.nmf(backed, 4),
        lambda: nng.tl.seminmf(backed, 4),
        lambda: nng.pp.deviant_genes(backed, 4),
        lambda: nng.tl.inmf(backed, 4, batch_key="batch"),
        lambda: nng.tl.online_inmf(backed, 4, batch_key="batch"),
    ):
        with pytest.raises(ValueError, match=r"stored as CSC.*to_memory.*CSR"):
            call()
    assert not backed.uns


def test_unknown_chunk_sizes():
    """Rows selected by a lazy mask: their number is not known before it is computed."""
    import dask.array as da

    adata = counts()
    x = da.from_array(np.asarray(adata.X), chunks=(50, -1))
    x = x[da.from_array(np.ones(120, bool), chunks=50)]
    assert np.isnan(x.shape[0])
    op = as_operator(x, where="X")
    assert op.shape == (120, 40)
    np.testing.assert_array_equal(op.matmul(np.eye(40, dtype=np.float32)), adata.X)


def test_float64_is_used_where_jax_has_it(tmp_path, x64):
    """Also in the thread that reads: blocks of a file are not rounded to float32."""
    import h5py

    x = low_rank(60, 40, 4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        op = as_operator(file.create_dataset("x", data=x), where="X", chunk_size=25)
        assert op.dtype == np.float64
        for rows, block in op.row_blocks():
            assert block.dtype == np.float64
            np.testing.assert_array_equal(block.matmul(np.eye(40)), x[rows])
        assert op.stats().sq_norm == pytest.approx(np.square(x).sum(), rel=1e-13)


def test_blocks_arrive_on_the_chosen_device(tmp_path):
    """Settings of JAX belong to a thread; blocks are read in another one."""
    import h5py
    import jax

    with (
        h5py.File(tmp_path / "x.h5", "w") as file,
        nng.settings.override(device="cpu:0"),
        jax.enable_x64(True),
        computing(),
    ):
        data = file.create_dataset("x", data=low_rank(60, 40, 4))
        op = as_operator(data, where="X", chunk_size=25)
        blocks = [block for _, block in op.row_blocks()]
    assert len(blocks) == 3
    assert all(block.x.device == jax.devices("cpu")[0] for block in blocks)
    assert all(block.dtype == np.float64 for block in blocks)


def test_convergence_is_reported_alike(tmp_path):
    for array_type in ARRAY_TYPES[::6]:
        adata = array_type(ADATA, tmp_path)
        with pytest.warns(ConvergenceWarning, match="after 2 iterations"):
            nng.tl.nmf(adata, 4, tol=0, max_iter=2)
        assert adata.uns["nmf"]["converged"] is False
