from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng

DATA = Path(os.environ.get("NONNEG_DATA", "../shared/data"))
SIMULATIONS = [nng.datasets.quilt, nng.datasets.ggblocks]
PATTERNS = {
    "quilt": ["squares", "corners", "diagonals", "checkers"],
    "ggblocks": ["plus", "ring", "steps", "tee"],
}
# Cells of the 6 x 6 layout in which the patterns of ggblocks are present.
BLOCKS = [
    {1, 6, 7, 8, 13},
    {3, 4, 5, 9, 11, 15, 16, 17},
    {18, 24, 25, 30, 31, 32},
    {21, 22, 23, 28, 34},
]


@pytest.fixture(params=SIMULATIONS, ids=lambda f: f.__name__)
def simulate(request):
    return request.param


def test_content(simulate):
    adata = simulate()
    assert adata.shape == (1296, 200)
    assert sp.issparse(adata.X)
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.int32
    assert adata.X.min() == 0
    assert adata.obs_names.is_unique
    assert set(np.unique(adata.obsm["truth"])) == {0, 1}
    assert adata.obsm["truth"].dtype == adata.varm["truth"].dtype == np.float32
    np.testing.assert_array_equal(
        adata.obsm["spatial"], adata.obs[["array_col", "array_row"]]
    )
    names = adata.var["pattern"].cat.categories
    assert list(names) == PATTERNS[simulate.__name__]
    # Every gene in exactly one pattern, the one that var names.
    assert ((adata.varm["truth"] > 0).sum(1) == 1).all()
    np.testing.assert_array_equal(
        adata.varm["truth"].argmax(1), adata.var["pattern"].cat.codes
    )
    assert set(np.unique(adata.varm["truth"])) == {0, 20}
    assert (adata.var["spatial_share"] == 1).all()


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_quilt_is_that_of_the_paper():
    path = DATA / "nsf_paper" / "S1_quilt.h5ad"
    if not path.exists():
        pytest.skip(f"{path} is not there; set NONNEG_DATA")
    paper = ad.read_h5ad(path)
    x, y = np.asarray(paper.obsm["spatial"]).T
    order = np.lexsort((x.round(3), -y.round(3)))
    ours = nng.datasets.quilt(36).obsm["truth"]
    np.testing.assert_array_equal(ours, np.asarray(paper.obsm["spfac"])[order])


def test_quilt_in_cells():
    adata = nng.datasets.quilt(12, 5)
    images = [nng.get.image(adata, f"truth_{i}") for i in range(4)]
    assert [int(image.sum()) for image in images] == [64, 84, 24, 64]
    for image in images:
        np.testing.assert_array_equal(image, image.T)
        np.testing.assert_array_equal(image, image[::-1])


def test_ggblocks_in_cells():
    adata = nng.datasets.ggblocks(6, 5)
    present = [set(np.flatnonzero(column)) for column in adata.obsm["truth"].T]
    assert present == BLOCKS


@pytest.mark.parametrize("size", [36, (24, 48), (13, 30)])
def test_any_size_shows_the_same_cells(simulate, size):
    n_cells = 12 if simulate is nng.datasets.quilt else 6
    shape = (size, size) if isinstance(size, int) else size
    small = simulate(n_cells, 5).obsm["truth"].reshape(n_cells, n_cells, 4)
    large = simulate(size, 5).obsm["truth"].reshape(*shape, 4)
    rows, cols = (np.arange(n) * n_cells // n for n in shape)
    np.testing.assert_array_equal(large, small[np.ix_(rows, cols)])
    # Every cell is there.
    assert set(rows) == set(cols) == set(range(n_cells))


def test_moments(simulate):
    adata = simulate(60, 40, background=0.5, height=6, dispersion=0.3)
    counts = adata.X.toarray()
    present = adata.obsm["truth"] @ (adata.varm["truth"].T > 0) > 0
    for mean, values in ((6.5, counts[present]), (0.5, counts[~present])):
        variance = mean + 0.3 * mean**2
        sd_of_mean = np.sqrt(variance / values.size)
        assert abs(values.mean() - mean) < 4 * sd_of_mean
        assert values.var() == pytest.approx(variance, rel=0.05)


def test_poisson_counts(simulate):
    adata = simulate(60, 40, dispersion=0)
    values = adata.X.toarray()[adata.obsm["truth"] @ adata.varm["truth"].T > 0]
    assert values.var() == pytest.approx(values.mean(), rel=0.02)


def test_mixed(simulate):
    adata = simulate(n_genes=60, n_nonspatial=3, mixing=0.6, height=10)
    F, W = adata.obsm["truth"], adata.varm["truth"]
    assert F.shape == (1296, 7)
    assert W.shape == (60, 7)
    np.testing.assert_allclose(W[:, :4].sum(1), 6)
    np.testing.assert_allclose(W[:, 4:].sum(1), 4)
    assert ((W[:, 4:] > 0).sum(1) == 1).all()
    assert F[:, 4:].mean() == pytest.approx(0.2, abs=0.02)
    # The definition of Townes and Engelhardt: share of the spatial factors among the
    # loadings in SPDE form.
    loadings = nng.get.loadings_df(adata, "truth", normalize="spde")
    np.testing.assert_allclose(
        adata.var["spatial_share"], loadings.iloc[:, :4].sum(axis=1), rtol=1e-5
    )
    total = F @ W.T
    expected = (F[:, :4] @ W[:, :4].T).sum(0) / total.sum(0)
    np.testing.assert_allclose(adata.var["spatial_share"], expected, rtol=1e-5)
    assert adata.uns["truth"]["is_spatial"].tolist() == [True] * 4 + [False] * 3


def test_default_mixing(simulate):
    assert simulate(12, 5).uns["truth"]["params"]["mixing"] == 1
    mixed = simulate(12, 5, n_nonspatial=2)
    assert mixed.uns["truth"]["params"]["mixing"] == 0.55


def test_no_share_without_signal(simulate):
    assert simulate(12, 5, height=0).var["spatial_share"].isna().all()


def test_rng(simulate):
    first, second, other = simulate(12, 9), simulate(12, 9), simulate(12, 9, rng=1)
    assert (first.X != second.X).nnz == 0
    assert (first.X != other.X).nnz > 0
    drawn = simulate(12, 9, rng=np.random.default_rng(7))
    again = simulate(12, 9, rng=drawn.uns["truth"]["params"]["seed"])
    assert (drawn.X != again.X).nnz == 0


def test_round_trip(simulate, tmp_path):
    adata = simulate(12, 9, n_nonspatial=2)
    adata.write_h5ad(tmp_path / "simulated.h5ad")
    read = ad.read_h5ad(tmp_path / "simulated.h5ad")
    assert (read.X != adata.X).nnz == 0
    assert read.uns["truth"]["params"] == adata.uns["truth"]["params"]
    np.testing.assert_array_equal(nng.get.factors(read, "truth").X, adata.obsm["truth"])


def test_refusals(simulate):
    with pytest.raises(ValueError, match="size=5 is too small"):
        simulate(5)
    with pytest.raises(ValueError, match=r"mixing=1.2 must be between 0 and 1"):
        simulate(12, n_nonspatial=1, mixing=1.2)
    with pytest.raises(ValueError, match=r"leaves 0.4 .* Set n_nonspatial"):
        simulate(12, mixing=0.6)
    with pytest.raises(
        ValueError, match="dispersion=-1 must be a finite number of at least 0"
    ):
        simulate(12, dispersion=-1)
    with pytest.raises(ValueError, match="n_nonspatial=-1 must be at least 1"):
        simulate(12, n_nonspatial=-1)
