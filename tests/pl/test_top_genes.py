from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import nonneg as nng


@pytest.fixture
def fitted(adata):
    nng.tl.nmf(adata, 4)
    return adata


def dots_of(ax):
    return ax.collections[-1]


@pytest.mark.parametrize(
    ("method", "color"), [("loading", "specificity"), ("specificity", "loading")]
)
def test_content(fitted, method, color):
    axes = nng.pl.top_genes(fitted, n=6, method=method)
    ranked = nng.get.top_genes(fitted, 6, method=method)
    assert [ax.get_title() for ax in axes] == [f"nmf_{i}" for i in range(4)]
    for ax in axes:
        genes = ranked[ranked["factor"] == ax.get_title()]
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert labels == list(genes["gene"])
        np.testing.assert_array_equal(
            dots_of(ax).get_offsets(), genes[[method, "rank"]]
        )
        np.testing.assert_array_equal(dots_of(ax).get_array(), genes[color])
        # What genes are ranked by falls from the top down.
        assert (np.diff(dots_of(ax).get_offsets()[:, 0]) <= 0).all()
        assert ax.get_xlabel() == method
        assert ax.yaxis_inverted()  # rank 1 on top
        assert ax.get_xlim()[0] == 0


def test_colors_are_shared(fitted):
    axes = nng.pl.top_genes(fitted)
    highest = nng.get.top_genes(fitted, 10)["specificity"].max()
    for ax in axes:
        assert dots_of(ax).get_clim() == (0, pytest.approx(highest))
    assert len(axes[0].figure.axes) == 5
    assert axes[0].figure.axes[-1].get_ylabel() == "specificity"


def test_layout(fitted):
    axes = nng.pl.top_genes(fitted, ncols=2, factors=[3, 0, 1])
    assert [ax.get_title() for ax in axes] == ["nmf_3", "nmf_0", "nmf_1"]
    # The lowest panel of a column has the label.
    assert [ax.get_xlabel() for ax in axes] == ["", "loading", "loading"]
    grid = axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 2)


def test_ax(fitted):
    _, axes = plt.subplots(1, 2)
    assert nng.pl.top_genes(fitted, factors=1, ax=axes[0]) == [axes[0]]
    with pytest.raises(ValueError, match="ax is one Axes, but there are 4 factors"):
        nng.pl.top_genes(fitted, ax=axes[0])
