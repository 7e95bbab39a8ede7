"""Public bug reports of this field, rebuilt as small inputs: what comes of each here."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import assert_same, counts, snapshot

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Of empty cells and genes, where these are not the matter.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
GIVEN = dict(batch_key="batch", size_factors="total", max_iter=20)


@pytest.mark.parametrize(
    "kwargs", [{}, {"solver": "mu"}, {"beta_loss": "kullback-leibler"}]
)
def test_scores_of_the_data_that_were_fitted(kwargs):
    """scikit-learn 18663: transform of the training data is not what fit_transform gave."""
    adata = counts()
    nng.tl.nmf(adata, 3, init="nndsvda", tol=1e-6, max_iter=2000, **kwargs)
    again = adata.copy()
    nng.tl.project(again, adata)
    difference = np.abs(again.obsm["X_nmf"] - adata.obsm["X_nmf"]).max()
    # Multiplicative updates creep.
    assert (
        difference < (0.03 if "solver" in kwargs else 0.01) * adata.obsm["X_nmf"].max()
    )


@pytest.mark.parametrize("init", ["nndsvd", "nndsvda", "random"])
def test_more_components_than_variables(init):
    """scikit-learn 11650: IndexError of the singular vectors."""
    adata = counts(n_vars=4)
    with pytest.raises(
        ValueError, match=r"n_components=5 exceeds .* 120 .* 4 variables"
    ):
        nng.tl.nmf(adata, 5, init=init)
    nng.tl.nmf(adata, 4, init=init, max_iter=3)
    assert np.isfinite(adata.obsm["X_nmf"]).all()


def test_genes_that_one_data_set_lacks():
    """liger 174, 263: genes without counts in a data set become NaN when scaled."""
    adata = counts()
    dense = np.array(adata.X)
    dense[(adata.obs["batch"] == "a").to_numpy(), :5] = 0
    dense[7] = 0
    adata.X = sp.csr_matrix(dense)
    with pytest.warns(UserWarning, match="zero in all cells of a data set"):
        nng.tl.inmf(adata, 3, **GIVEN)
    assert np.isfinite(adata.obsm["X_inmf"]).all()
    assert np.isfinite(adata.varm["inmf"]).all()
    assert np.isfinite(adata.uns["inmf"]["objective"]).all()


@pytest.mark.parametrize("min_cells", [1, 2, 20])
def test_quantiles_of_data_sets_of_a_few_cells(min_cells):
    """liger 254, 9: crashes where clusters have one cell, or none."""
    adata = counts()
    adata.obs["batch"] = np.where(np.arange(120) < 4, "few", "many")
    nng.tl.inmf(adata, 3, **GIVEN)
    nng.tl.quantile_align(adata, min_cells=min_cells)
    assert np.isfinite(adata.obsm["X_inmf_aligned"]).all()
    assert (adata.obsm["X_inmf_aligned"] >= 0).all()


def deconvolve(adata, reference, **kwargs):
    nng.tl.deconvolve(
        adata, reference, cell_type_key="cell_type", graph_weight=1.0, group_weight=0.0,
        effects=False, max_iter=20, **kwargs,
    )  # fmt: skip


def test_locations_without_shares_are_told():
    """spacexr 155: NaN for some locations, without a word. SPOTlight 23: genes of zeros."""
    adata, reference = nng.datasets.spots(6, 40, 3)
    x = adata.X.toarray()
    x[3] = 0
    adata.X = sp.csr_matrix(x)
    y = np.array(reference.X.toarray() if sp.issparse(reference.X) else reference.X)
    y[:, :5] = 0
    reference.X = y
    with pytest.warns(UserWarning, match="1 of 36 locations has no counts"):
        deconvolve(adata, reference)
    missing = np.isnan(adata.obsm["X_deconv"]).all(1)
    assert np.flatnonzero(missing).tolist() == [3]
    np.testing.assert_allclose(adata.obsm["X_deconv"][~missing].sum(1), 1, rtol=1e-4)


def test_types_without_counts_are_named():
    """spacexr 22: a type whose profile is NaN ends in an error of eigen()."""
    adata, reference = nng.datasets.spots(6, 40, 3)
    y = np.array(reference.X.toarray() if sp.issparse(reference.X) else reference.X)
    y[(reference.obs["cell_type"] == "type_1").to_numpy()] = 0
    reference.X = y
    before = snapshot(adata)
    with pytest.raises(ValueError, match=r"All cells of \['type_1'\].*without counts"):
        deconvolve(adata, reference)
    assert_same(snapshot(adata), before)


def test_a_view_of_one_variable():
    """scanpy 323: results cannot be added to it."""
    adata = counts()[:, :1]
    assert adata.is_view
    nng.tl.nmf(adata, 1, max_iter=3)
    assert adata.uns["nmf"]["method"] == "nmf"
    assert adata.obsm["X_nmf"].shape == (120, 1)


def test_columns_of_one_name():
    """anndata 884: columns that repeat are lost when they are read; here they are told."""
    adata = counts()
    adata.obs = pd.DataFrame(
        np.array([["a", "b"]] * 120), columns=["batch", "batch"], index=adata.obs_names
    )
    before = [*adata.obs.columns]
    with pytest.raises(ValueError, match="obs has 2 columns named 'batch'"):
        nng.tl.inmf(adata, 3, **GIVEN)
    assert [*adata.obs.columns] == before
    assert "inmf" not in adata.uns


def test_views_of_files_stay_as_they_are(tmp_path):
    """anndata 718: what is written through a view of a backed file damages it."""
    path = tmp_path / "a.h5ad"
    counts().write_h5ad(path)
    content = path.read_bytes()
    backed = ad.read_h5ad(path, backed="r+")
    with pytest.raises(ValueError, match="view of one that is backed"):
        nng.tl.nmf(backed[:50], 3)
    backed.file.close()
    assert path.read_bytes() == content


def test_colours_belong_to_names():
    """squidpy 559: colours go by position, so that those of a part of the cells shift."""
    from matplotlib.colors import to_hex

    adata, reference = nng.datasets.spots(6, 40, 3)
    deconvolve(adata, reference)
    palette = {"type_0": "#ff0000", "type_1": "#00ff00", "type_2": "#0000ff"}
    for chosen in (["type_2"], ["type_2", "type_0"]):
        (ax, *_) = np.ravel(
            nng.pl.deconvolution(
                adata, cell_types=chosen, palette=palette, kind="pies", img=False
            )
        )
        legend = ax.get_legend() or ax.figure.legends[0]
        shown = {
            text.get_text(): to_hex(handle.get_facecolor())
            if hasattr(handle, "get_facecolor")
            else to_hex(handle.get_color())
            for text, handle in zip(
                legend.get_texts(), legend.legend_handles, strict=True
            )
        }
        for name in chosen:
            assert shown[name] == palette[name]


def test_sections_after_concatenation():
    """squidpy 613: spots of all slides on one slide."""
    import matplotlib.pyplot as plt

    one, two = nng.datasets.ggblocks(8, 20), nng.datasets.ggblocks(8, 20, rng=1)
    both = ad.concat({"one": one, "two": two}, label="slide", index_unique="-")
    nng.tl.nsf(
        both, 2, library_key="slide", length_scale=3.0, amplitude=1.0, temperature=1.0,
        max_iter=3,
    )  # fmt: skip
    axes = nng.pl.factor_maps(both, "nsf", factors=[0])
    assert len(axes) == 2
    n_drawn = [len(ax.collections[0].get_offsets()) for ax in axes]
    assert n_drawn == [64, 64]
    plt.close("all")


@pytest.mark.parametrize("form", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow)])
def test_spatial_fits_can_be_saved(form, tmp_path):
    """muon 76: a fit with covariates of an AnnData cannot be written."""
    adata = nng.datasets.ggblocks(8, 20)
    nng.tl.nsf(adata, 2, length_scale=3.0, amplitude=1.0, temperature=1.0, max_iter=3)
    getattr(adata, f"write_{form}")(tmp_path / f"a.{form}")
    read = getattr(ad, f"read_{form}")(tmp_path / f"a.{form}")
    here, there = (nng.tl.predict(x, np.ones((1, 2))).X for x in (adata, read))
    np.testing.assert_allclose(here, there, rtol=1e-6)


def test_cells_at_one_place():
    """squidpy 925: several cells share their coordinates."""
    adata = nng.datasets.ggblocks(8, 20)
    adata.obsm["spatial"] = np.repeat(adata.obsm["spatial"][::4], 4, axis=0)
    nng.tl.nsf(adata, 2, length_scale=3.0, amplitude=1.0, temperature=1.0, max_iter=5)
    scores = adata.obsm["X_nsf"]
    assert np.isfinite(scores).all()
    # One place, one value of the field.
    np.testing.assert_allclose(scores[::4], scores[1::4], rtol=1e-5)
