"""Simulated data sets that share metagenes."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg._adata.views import read_factors

batches = nng.datasets.batches


def mean_counts(adata):
    """Expected counts, data set by data set."""
    H, W = adata.obsm["truth"], adata.varm["truth"]
    mean = np.empty(adata.shape)
    for d, name in enumerate(adata.uns["truth"]["batches"]):
        rows = (adata.obs["batch"] == name).to_numpy()
        mean[rows] = H[rows] @ (W + adata.varm["truth_specific"][:, d]).T
    return mean


def test_content():
    adata = batches()
    assert adata.shape == (1300, 300)
    assert sp.issparse(adata.X)
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    assert adata.obs["batch"].tolist() == (
        ["batch_0"] * 600 + ["batch_1"] * 400 + ["batch_2"] * 300
    )
    assert adata.obsm["truth"].shape == (1300, 6)
    assert adata.varm["truth"].shape == (300, 6)
    assert adata.varm["truth_specific"].shape == (300, 3, 6)
    for factor in (
        adata.obsm["truth"],
        adata.varm["truth"],
        adata.varm["truth_specific"],
    ):
        assert factor.dtype == np.float32
        assert factor.min() >= 0
    info = adata.uns["truth"]
    assert info["batches"].tolist() == ["batch_0", "batch_1", "batch_2"]
    assert info["n_cells"].tolist() == [600, 400, 300]
    assert info["params"]["batch_key"] == "batch"
    # A factorization like others.
    assert read_factors(adata, "truth").names == [f"truth_{i}" for i in range(6)]
    leading = adata.obsm["truth"].argmax(axis=1)
    assert adata.obs["cell_type"].tolist() == [f"type_{i}" for i in leading]


def test_metagenes():
    adata = batches(n_vars=2000, specific=0.5)
    W, V = adata.varm["truth"], adata.varm["truth_specific"]
    np.testing.assert_allclose(V.sum(axis=0) / W.sum(axis=0), 0.5, rtol=1e-4)
    # What all data sets had of a specific metagene would be shared.
    assert ((V > 0).sum(axis=1) <= 1).all()
    # Most are zero, but every gene is in some.
    assert (W == 0).mean() == pytest.approx(0.7 * 5 / 6, abs=0.02)
    assert (W > 0).any(axis=1).all()
    assert (batches(specific=0).varm["truth_specific"] == 0).all()


def test_one_component_prevails():
    share = batches().obsm["truth"]
    share = share.max(axis=1) / share.sum(axis=1)
    assert np.median(share) > 0.7


@pytest.mark.parametrize("specific", [0, 0.3, 2])
def test_counts_follow_the_means(specific):
    adata = batches(specific=specific, depth=3000)
    counts, mean = adata.X.toarray(), mean_counts(adata)
    # Depth does not depend on the specific part.
    assert counts.sum(axis=1).mean() == pytest.approx(3000, rel=0.01)
    assert (counts[mean == 0] == 0).all()
    # Poisson: squared deviations are as large as the mean, in every data set.
    seen = mean > 0.5
    for name in adata.uns["truth"]["batches"]:
        rows = (adata.obs["batch"] == name).to_numpy()[:, None] & seen
        ratio = (counts[rows] - mean[rows]) ** 2 / mean[rows]
        assert ratio.mean() == pytest.approx(1, abs=5 * ratio.std() / rows.sum() ** 0.5)


def test_many_data_sets_are_in_order():
    names = batches([5] * 11, 20, 2).uns["truth"]["batches"]
    assert names[[0, 10]].tolist() == ["batch_00", "batch_10"]
    assert sorted(names) == names.tolist()


def test_rng():
    first, second, other = (batches((9, 9), 20, 2, rng=rng) for rng in (0, 0, 1))
    assert (first.X != second.X).nnz == 0
    assert (first.X != other.X).nnz > 0
    drawn = batches((9, 9), 20, 2, rng=np.random.default_rng(7))
    again = batches((9, 9), 20, 2, rng=drawn.uns["truth"]["params"]["seed"])
    assert (drawn.X != again.X).nnz == 0


def test_round_trip(tmp_path):
    adata = batches((9, 9), 20, 2)
    adata.write_h5ad(tmp_path / "simulated.h5ad")
    read = ad.read_h5ad(tmp_path / "simulated.h5ad")
    assert (read.X != adata.X).nnz == 0
    assert read.uns["truth"]["params"] == adata.uns["truth"]["params"]
    np.testing.assert_array_equal(
        read.varm["truth_specific"], adata.varm["truth_specific"]
    )


def test_refusals():
    with pytest.raises(ValueError, match=r"n_obs=\(30,\) must be the sizes of at l"):
        batches((30,))
    with pytest.raises(ValueError, match="n_obs=0 must be at least 1"):
        batches((30, 0))
    with pytest.raises(TypeError, match=r"n_vars=2.5 must be an integer"):
        batches(n_vars=2.5)
    with pytest.raises(ValueError, match="specific=-1 must be a finite number of at"):
        batches(specific=-1)
    with pytest.raises(ValueError, match="depth=-1 must be a finite number of at"):
        batches(depth=-1)
