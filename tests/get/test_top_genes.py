from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng

from .conftest import LOADINGS, SCORES, store


def test_by_loading(adata):
    expected = pd.DataFrame(
        {
            "factor": ["nmf_0", "nmf_0", "nmf_1", "nmf_1"],
            "rank": [1, 2, 1, 2],
            "gene": ["gene_1", "gene_0", "gene_4", "gene_1"],
            "loading": np.float32([0.8, 0.6, 0.8, 0.6]),
            "specificity": np.float32([0.8 / 1.4, 1, 1, 0.6 / 1.4]),
        }
    )
    table = nng.get.top_genes(adata)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_by_specificity_ties_by_loading(adata):
    loadings = LOADINGS.copy()
    loadings[3] = [0.1, 0, 0]
    store(adata, SCORES, loadings)
    table = nng.get.top_genes(adata, 3, method="specificity")
    first = table[table["factor"] == "nmf_0"]
    assert list(first["gene"]) == ["gene_0", "gene_3", "gene_1"]
    assert list(first["specificity"])[:2] == [1, 1]


def test_n(adata):
    assert list(nng.get.top_genes(adata, 1)["gene"]) == ["gene_1", "gene_4"]


def test_normalisation_comes_first(adata):
    scores = SCORES * np.float32([1, 3, 1])
    store(adata, scores, LOADINGS)
    table = nng.get.top_genes(adata, normalize="spde").set_index(["factor", "gene"])
    # gene_1: 0.8 * 8 against 0.6 * 24
    assert table.loc[("nmf_0", "gene_1"), "specificity"] == pytest.approx(6.4 / 20.8)
    np.testing.assert_array_equal(table["loading"], table["specificity"])


def test_signed_loadings(adata):
    loadings = LOADINGS * np.float32([[1], [-1], [1], [1], [1]])
    store(adata, SCORES, loadings)
    table = nng.get.top_genes(adata)
    assert list(table["gene"]) == ["gene_0", "gene_4"]
    assert (table["specificity"] == 1).all()


def test_refusals(adata):
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        nng.get.top_genes(adata, 0)
    with pytest.raises(ValueError, match="method='score' must be one of"):
        nng.get.top_genes(adata, method="score")
