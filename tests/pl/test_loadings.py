from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import nonneg as nng


def genes_of(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def factors_of(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


def values_of(ax):
    return np.asarray(ax.collections[0].get_array())


@pytest.fixture
def fitted(adata):
    nng.tl.nmf(adata, 4)
    return adata


def test_content(fitted):
    ax = nng.pl.loadings(fitted, n_top=3)
    leading = nng.get.top_genes(fitted, 3)["gene"]
    assert sorted(genes_of(ax)) == sorted(set(leading))
    assert factors_of(ax) == [f"nmf_{i}" for i in range(4)]
    table = nng.get.loadings_df(fitted, normalize="max")
    np.testing.assert_array_equal(values_of(ax), table.loc[genes_of(ax)])
    assert ax.collections[0].get_clim() == (0, 1)
    assert ax.yaxis_inverted()  # the first gene on top


def test_order(fitted):
    values = values_of(nng.pl.loadings(fitted, n_top=4))
    home = values.argmax(axis=1)
    assert (np.diff(home) >= 0).all()
    for factor in range(4):
        assert (np.diff(values[home == factor, factor]) <= 0).all()


def test_normalize_and_factors(fitted):
    ax = nng.pl.loadings(fitted, n_top=2, factors=[2, "nmf_0"], normalize="spde")
    assert factors_of(ax) == ["nmf_2", "nmf_0"]
    table = nng.get.loadings_df(fitted, normalize="spde")
    np.testing.assert_array_equal(
        values_of(ax), table.loc[genes_of(ax), ["nmf_2", "nmf_0"]]
    )
    ranked = nng.get.top_genes(fitted, 2, normalize="spde")
    expected = ranked[ranked["factor"].isin(["nmf_0", "nmf_2"])]["gene"]
    assert sorted(genes_of(ax)) == sorted(set(expected))


def test_specific_genes(fitted):
    ax = nng.pl.loadings(fitted, n_top=2, method="specificity")
    leading = nng.get.top_genes(fitted, 2, method="specificity", normalize="max")
    assert sorted(genes_of(ax)) == sorted(set(leading["gene"]))


def test_dark_figures_begin_with_dark_colours(fitted):
    with plt.style.context("dark_background"):
        mesh = nng.pl.loadings(fitted).collections[0]
    assert mesh.get_cmap().name == "magma"


def test_masked_genes_are_left_out(adata):
    mask = np.arange(40) % 2 == 0
    nng.tl.nmf(adata, 4, mask_var=mask)
    ax = nng.pl.loadings(adata, n_top=40)
    assert set(genes_of(ax)) <= set(adata.var_names[mask])
    assert np.isfinite(values_of(ax)).all()


def test_signed_loadings(fitted):
    fitted.varm["nmf"][:, 0] -= 0.1
    mesh = nng.pl.loadings(fitted, normalize=None).collections[0]
    low, high = mesh.get_clim()
    assert low == -high
    assert mesh.get_cmap().name == "RdBu_r"


def test_ax(fitted):
    _, axes = plt.subplots(1, 2)
    assert nng.pl.loadings(fitted, ax=axes[0]) is axes[0]
    assert not axes[1].collections
