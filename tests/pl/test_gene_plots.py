"""What figures of genes show."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import nonneg as nng


@pytest.fixture
def fitted(adata):
    nng.tl.nmf(adata, 4)
    return adata


def test_network(fitted):
    nng.tl.coexpression_network(fitted, quantile=0.7, edges=0.5)
    panels = nng.pl.coexpression_network(fitted)
    nodes = fitted.uns["nmf_coexpression"]
    assert {ax.get_title() for ax in panels} <= set(nodes["factor"])
    for ax in panels:
        graph = nng.get.coexpression_graph(fitted, factors=ax.get_title())
        lines, points = ax.collections
        assert len(lines.get_segments()) == graph.number_of_edges()
        connected = [gene for gene, degree in graph.degree() if degree]
        assert len(points.get_offsets()) == len(connected)
        assert {text.get_text() for text in ax.texts} >= set(connected)
        shares = [graph.nodes[gene]["share"] for gene in connected]
        np.testing.assert_allclose(points.get_array(), shares)
    chosen = panels[1].get_title()
    one = nng.pl.coexpression_network(fitted, factors=chosen, isolated=True)
    assert [ax.get_title() for ax in one] == [chosen]
    _, points = one[0].collections
    graph = nng.get.coexpression_graph(fitted, factors=chosen)
    assert len(points.get_offsets()) == graph.number_of_nodes()
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="factors have networks"):
        nng.pl.coexpression_network(fitted, ax=ax)


def test_network_must_be_there(fitted):
    with pytest.raises(KeyError, match="coexpression_network` first"):
        nng.pl.coexpression_network(fitted)


def test_importance(fitted):
    with pytest.raises(KeyError, match="gene_importance` first"):
        nng.pl.gene_importance(fitted)
    nng.tl.gene_importance(fitted)
    counts, importance, reconstruction = nng.pl.gene_importance(fitted)
    heights = [bar.get_height() for bar in counts.patches]
    expected = fitted.var["nmf_n_factors"].value_counts()
    assert heights == [expected.get(i, 0) for i in range(1, 5)]
    for ax, name in (
        (importance, "nmf_importance"),
        (reconstruction, "nmf_reconstruction"),
    ):
        total = sum(bar.get_height() for bar in ax.patches)
        assert total == fitted.var[name].notna().sum()
    mean = fitted.var["nmf_reconstruction"].mean()
    assert reconstruction.get_title() == f"mean {mean:.2f}"


def assert_inside(texts, box):
    for text in texts:
        own = text.get_window_extent()
        assert box.x0 <= own.x0 <= own.x1 <= box.x1, text.get_text()


@pytest.mark.parametrize("k", [1, 2])
def test_the_name_of_a_line_is_inside(adata, k):
    nng.tl.nmf(adata, k)
    nng.tl.gene_importance(adata)
    _, ax, _ = nng.pl.gene_importance(adata)
    ax.figure.draw_without_rendering()
    assert_inside(ax.texts, ax.get_window_extent())


def test_long_names_of_points_are_inside(fitted):
    fitted.var_names = [f"a-rather-long-name-{i}" for i in range(fitted.n_vars)]
    nng.tl.coexpression_network(fitted, quantile=0.7, edges=0.5)
    panels = nng.pl.coexpression_network(fitted)
    figure = panels[0].figure
    figure.draw_without_rendering()
    assert_inside([text for ax in panels for text in ax.texts], figure.bbox)
