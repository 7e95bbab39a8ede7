"""How much of genes and spots is spatial, by the hybrid model."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng

from .conftest import KERNEL, close, fit, mean_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_spatial_importance(fits):
    adata = fits["nsfh"]
    x, w = (
        np.asarray(a, np.float64) for a in (adata.obsm["X_nsfh"], adata.varm["nsfh"])
    )
    gene, spot = x.sum(0) * w, x * w.sum(0)
    for frame, part in ((adata.var, gene), (adata.obs, spot)):
        # Fields count with what neighbours foretell of them, also by chance.
        for name in ("", "_null"):
            share = adata.uns["nsfh"][f"spatial_share{name}"]
            np.testing.assert_allclose(
                frame[f"nsfh_spatial_importance{name}"],
                part @ share / part.sum(1),
                rtol=1e-5,
                atol=1e-8,
            )
        ours = frame["nsfh_spatial_importance"]
        assert ours.between(0, 1).all()
        assert (frame["nsfh_spatial_importance_std"] >= 0).all()


def test_importance_is_that_of_the_simulation():
    adata = nng.datasets.ggblocks(18, 80, n_nonspatial=3, mixing=0.55)
    nng.tl.nsfh(adata, 7, n_spatial=4, **KERNEL)
    truth = adata.var["spatial_share"]
    error = np.abs(adata.var["nsfh_spatial_importance"] - truth).mean()
    # 0.02 on the 36 x 36 locations and 500 genes of the paper.
    assert error < 0.06


def test_importance_by_chance_does_not_depend_on_the_frame(adata):
    # Of a lattice, locations at the same distance may have the same totals.
    xy = adata.obsm["spatial"] + np.random.default_rng(0).uniform(0, 0.1, (144, 2))
    adata.obsm["spatial"], turned = xy, adata.copy()
    turned.obsm["spatial"] = xy[:, ::-1] * [-1, 1]
    for each in (adata, turned):
        nng.tl.nsfh(each, 3, n_spatial=2, **KERNEL)
    null = "spatial_share_null"
    ours, theirs = (each.uns["nsfh"][null] for each in (adata, turned))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("n_spatial", [0, 4])
def test_hybrid_of_one_kind(adata, n_spatial):
    fit(adata, "nsfh", n_spatial=n_spatial)
    share = adata.uns["nsfh"]["spatial_share"] if n_spatial else np.zeros(4)
    low, high = share.min(), share.max()
    assert adata.var["nsfh_spatial_importance"].between(low, high).all()
    other = nng.datasets.ggblocks(12, 40)
    fit(other, "nsf" if n_spatial else "pnmf")
    key = "nsf" if n_spatial else "pnmf"
    close(mean_of(adata, "nsfh"), mean_of(other, key), 1e-2)
