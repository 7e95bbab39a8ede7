"""Signatures are read from whatever holds them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import nonneg as nng
from nonneg._adata.signatures import read_signatures
from testing.nonneg import ARRAY_TYPES

REFERENCE = nng.datasets.spots(4, 50, 4, cells_per_type=25).reference
SIGNATURES = nng.pp.signatures(REFERENCE, "cell_type")
# Integers, so that every type holds them exactly.
SIGNATURES.X = np.minimum(np.rint(SIGNATURES.X), 200)
REFERENCE.X = np.minimum(REFERENCE.X.toarray(), 200)

GRID = pytest.mark.parametrize("array_type", ARRAY_TYPES, ids=str)


@GRID
@pytest.mark.parametrize(
    ("reference", "cell_type_key"),
    [(SIGNATURES, None), (REFERENCE, "cell_type")],
    ids=["signatures", "cells"],
)
def test_array_types(reference, cell_type_key, array_type, tmp_path):
    expected = read_signatures(reference, cell_type_key, None)
    found = read_signatures(array_type(reference, tmp_path), cell_type_key, None)
    np.testing.assert_array_equal(found.types, expected.types)
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-6)
    np.testing.assert_allclose(found.library_size, expected.library_size, rtol=1e-6)
    np.testing.assert_array_equal(found.n_cells, expected.n_cells)


def test_part_of_stored_signatures(tmp_path):
    """A view, also of a file."""
    SIGNATURES.write_h5ad(tmp_path / "signatures.h5ad")
    types, genes = SIGNATURES.obs_names[[2, 0]], SIGNATURES.var_names[::-2]
    for whole in (SIGNATURES, ad.read_h5ad(tmp_path / "signatures.h5ad", "r")):
        found = read_signatures(whole[types, genes], None, None)
        assert list(found.types) == list(types)
        np.testing.assert_array_equal(found.means, SIGNATURES[types, genes].X)
