from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import assert_same, counts, snapshot


@pytest.fixture(scope="module")
def adata():
    spots, reference = nng.datasets.spots(8, 60)
    nng.tl.deconvolve(
        spots,
        reference,
        cell_type_key="cell_type",
        graph_weight=5,
        group_weight=0,
        effects=False,
    )
    return spots


def test_types_add_up_to_the_counts(adata):
    before = snapshot(adata)
    names = adata.uns["deconv"]["cell_types"]
    parts = [nng.get.cell_type_counts(adata, name) for name in names]
    assert_same(snapshot(adata), before)
    used = adata.var["deconv_used"].to_numpy()
    total = sum(part.X.toarray() for part in parts)
    np.testing.assert_allclose(total, adata.X[:, used].toarray(), rtol=1e-4)
    assert all((part.X.data >= 0).all() for part in parts)


def test_parts_are_in_proportion_to_amounts(adata):
    names = list(adata.uns["deconv"]["cell_types"])
    found = [nng.get.cell_type_counts(adata, name).X.sum() for name in names]
    share = np.asarray(found) / np.sum(found)
    mean = np.average(
        adata.obsm["X_deconv_rna"], axis=0, weights=adata.obs["deconv_depth"]
    )
    np.testing.assert_allclose(share, mean, atol=0.03)


def test_refusals(adata):
    with pytest.raises(KeyError, match="no type 'x'"):
        nng.get.cell_type_counts(adata, "x")
    other = counts()
    nng.tl.nmf(other, 3, tol=0.1)
    with pytest.raises(ValueError, match="no deconvolution"):
        nng.get.cell_type_counts(other, "a", key="nmf")
