from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import nonneg as nng


def test_content(adata):
    nng.tl.nmf(adata, 4)
    ax = nng.pl.objective(adata)
    info = adata.uns["nmf"]
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, info["iteration"])
    np.testing.assert_array_equal(y, info["objective"])
    assert ax.get_xscale() == "log"
    assert ax.get_title() == f"nmf: converged after {info['n_iter']} iterations"


def test_not_converged(adata):
    nng.tl.nmf(adata, 4)
    adata.uns["nmf"]["converged"] = False
    assert "not converged" in nng.pl.objective(adata).get_title()


def test_ax_and_key(adata):
    nng.tl.nmf(adata, 4, key_added="again")
    ax = plt.subplot()
    assert nng.pl.objective(adata, "again", ax=ax) is ax
    assert ax.get_title().startswith("again:")


def test_refusal(adata):
    with pytest.raises(KeyError, match="records no objective: it holds"):
        nng.pl.objective(adata, "truth")
