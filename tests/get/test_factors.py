from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn import preprocessing

import nonneg as nng

from .conftest import LOADINGS, SCORES, store

SUMS = np.array([8, 8, 0])  # of the scores
SPDE = {
    "scores": SCORES / [8, 8, 1],
    # gene_1: 0.8 * 8 against 0.6 * 8
    "loadings": [[1, 0, 0], [4 / 7, 3 / 7, 0], [np.nan] * 3, [0] * 3, [0, 1, 0]],
}
LDA = {
    # contributions: scores times the sums of loadings, 1.4 each
    "scores": [[1, 0, 0], [0.6, 0.4, 0], [0, 1, 0], [1, 0, 0]],
    "loadings": LOADINGS / [1.4, 1.4, 1],
}
NORMALISED = {
    "spde": SPDE,
    "lda": LDA,
    "sum": {"scores": SCORES / [8, 8, 1], "loadings": LOADINGS / [1.4, 1.4, 1]},
    "l2": {"scores": SCORES / np.sqrt([26, 40, 1]), "loadings": LOADINGS},
    "max": {"scores": SCORES / [4, 6, 1], "loadings": LOADINGS / [0.8, 0.8, 1]},
    None: {"scores": SCORES, "loadings": LOADINGS},
}


@pytest.mark.parametrize("normalize", NORMALISED)
def test_normalised(adata, normalize):
    expected = NORMALISED[normalize]
    scores = nng.get.factor_df(adata, normalize=normalize)
    loadings = nng.get.loadings_df(adata, normalize=normalize)
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-6)
    np.testing.assert_allclose(loadings, expected["loadings"], rtol=1e-6)
    np.testing.assert_array_equal(nng.get.factors(adata, normalize=normalize).X, scores)
    assert (scores.dtypes == np.float32).all()
    assert (loadings.dtypes == np.float32).all()


def test_names(adata):
    names = ["nmf_0", "nmf_1", "nmf_2"]
    scores, loadings = nng.get.factor_df(adata), nng.get.loadings_df(adata)
    assert list(scores.columns) == list(loadings.columns) == names
    assert scores.index.equals(adata.obs_names)
    assert loadings.index.equals(adata.var_names)
    assert list(nng.get.factors(adata).var_names) == names


def test_spde_and_lda_give_back_the_fit_with_their_totals(adata):
    fit = SCORES @ LOADINGS.T
    A = nng.get.factor_df(adata, normalize="spde").to_numpy()
    B = nng.get.loadings_df(adata, normalize="spde").to_numpy()
    np.testing.assert_allclose((A @ B.T) * fit.sum(0), fit, rtol=1e-6)
    A = nng.get.factor_df(adata, normalize="lda").to_numpy()
    B = nng.get.loadings_df(adata, normalize="lda").to_numpy()
    totals = np.nansum(fit, axis=1, keepdims=True)
    np.testing.assert_allclose(totals * (A @ B.T), fit, rtol=1e-6)


def test_everything_is_carried_over_and_shared(adata):
    factors = nng.get.factors(adata)
    assert factors.shape == (4, 3)
    # A copy: functions of scanpy change X in place.
    assert not np.shares_memory(factors.X, adata.obsm["X_nmf"])
    np.testing.assert_array_equal(factors.X, adata.obsm["X_nmf"])
    assert np.shares_memory(factors.obsm["spatial"], adata.obsm["spatial"])
    assert np.shares_memory(
        factors.obsp["spatial_connectivities"].data,
        adata.obsp["spatial_connectivities"].data,
    )
    pd.testing.assert_frame_equal(factors.obs, adata.obs)
    assert factors.uns["layer_colors"] == ["#ff0000", "#0000ff"]


def test_additions_leave_the_original_alone(adata):
    factors = nng.get.factors(adata)
    factors.obs["new"] = 1
    factors.obsm["new"] = np.zeros((4, 1))
    factors.obsp["new"] = np.eye(4)
    factors.uns["new"] = 1
    assert "new" not in adata.obs
    assert "new" not in adata.obsm
    assert "new" not in adata.obsp
    assert "new" not in adata.uns


def test_of_a_view(adata):
    del adata.obs["layer"]
    view = adata[[3, 1]]
    factors = nng.get.factors(view)
    np.testing.assert_array_equal(factors.X, SCORES[[3, 1]])
    assert type(factors.obsm["spatial"]) is np.ndarray
    factors.obsm["spatial"][:] = -1
    assert view.is_view
    assert adata.obsm["spatial"].min() == 0


def test_round_trip(adata, tmp_path):
    nng.get.factors(adata).write_h5ad(tmp_path / "factors.h5ad")
    read = ad.read_h5ad(tmp_path / "factors.h5ad")
    np.testing.assert_array_equal(read.X, SCORES)
    assert list(read.var_names) == ["nmf_0", "nmf_1", "nmf_2"]


def test_second_key(adata):
    store(adata, 2 * SCORES, LOADINGS, key="other")
    table = nng.get.factor_df(adata, "other")
    assert list(table.columns) == ["other_0", "other_1", "other_2"]
    np.testing.assert_array_equal(table, 2 * SCORES)
    np.testing.assert_array_equal(nng.get.factor_df(adata), SCORES)


def test_fit_to_obsm(adata):
    adata.obsm["X_pca"] = np.zeros((4, 2))
    adata.obsm["named"] = pd.DataFrame(
        np.zeros((4, 2)), index=adata.obs_names, columns=["up", "down"]
    )
    for obsm, names in (("X_pca", ["X_pca_0", "X_pca_1"]), ("named", ["up", "down"])):
        store(adata, SCORES, LOADINGS[:2], key="of_obsm", obsm=obsm)
        table = nng.get.loadings_df(adata, "of_obsm")
        assert list(table.index) == names
        np.testing.assert_array_equal(table, LOADINGS[:2])


def test_negative_entries(adata):
    store(adata, -SCORES, LOADINGS)
    for normalize in ("spde", "lda", "sum"):
        with pytest.raises(ValueError, match=f"'{normalize}'.*Use 'l2', 'max' or None"):
            nng.get.factors(adata, normalize=normalize)
    largest = nng.get.factor_df(adata, normalize="max")
    np.testing.assert_allclose(largest.min(), [-1, -1, 0])


def test_refusals(adata):
    with pytest.raises(KeyError, match=r"key='pca'; there are \['nmf'\]"):
        nng.get.factors(adata, "pca")
    with pytest.raises(ValueError, match="normalize='L2' must be one of"):
        nng.get.loadings_df(adata, normalize="L2")


@pytest.fixture
def squares():
    """Maps of a simulation with a graph."""
    sq = pytest.importorskip("squidpy")
    adata = nng.datasets.quilt(36, 30, n_nonspatial=2)
    sq.gr.spatial_neighbors_grid(adata, n_neighs=4)
    return adata


def test_squidpy_and_scanpy_run_on_factors(squares):
    import scanpy as sc
    import squidpy as sq

    before = list(squares.uns)
    factors = nng.get.factors(squares, "truth")
    sq.gr.spatial_autocorr(factors, mode="moran")
    moran = factors.uns["moranI"]["I"]
    assert set(moran.index) == set(factors.var_names)
    spatial = squares.uns["truth"]["is_spatial"]
    names = np.array(factors.var_names)
    assert moran[names[spatial]].min() > 0.5
    assert moran[names[~spatial]].abs().max() < 0.1
    graph = preprocessing.normalize(squares.obsp["spatial_connectivities"], norm="l1")
    expected = sc.metrics.morans_i(graph, squares.obsm["truth"].T)
    np.testing.assert_allclose(moran[names], expected, rtol=1e-5, atol=1e-7)
    sc.pl.embedding(factors, "spatial", color="truth_0", show=False)
    assert list(squares.uns) == before
