"""A file that an earlier version wrote is read by everything that reads fits."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import nonneg as nng
from nonneg._adata.schema import ENTRIES
from nonneg._adata.views import read_factors

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
# Made by tests/data/make_fits.py.
FILE = Path(__file__).parents[1] / "data" / "fits_v1.h5ad"
RANKS = {
    **dict(nmf=3, nmf_of_obsm=2, seminmf=3),
    **dict(nsf=3, nsfh=3, rsf=2, fa=2, pnmf=2, inmf=3, online=3),
}
INTEGRATIONS = ("inmf", "online")
EXACT = ("nmf", "nmf_of_obsm", "seminmf", *INTEGRATIONS)


@pytest.fixture(scope="module")
def stored():
    return ad.read_h5ad(FILE)


@pytest.fixture
def adata(stored):
    return stored.copy()


@pytest.fixture(autouse=True)
def figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def test_it_is_small_and_has_every_method(stored):
    assert FILE.stat().st_size < 400_000
    made_by = {read_factors(stored, key).entry.method for key in RANKS}
    simulated = {"quilt", "ggblocks", "batches", "spots", "atlas_expression"}
    simulated |= {"widefield"}
    # These came after this file.
    later = {"deconvolve", "stability", "svd", "hemo", "locanmf", "region_traces"}
    assert made_by == set(ENTRIES) - simulated - later


@pytest.mark.parametrize("key", RANKS)
def test_get_and_plots(stored, key):
    shape = (stored.n_obs, RANKS[key])
    assert nng.get.factors(stored, key).shape == shape
    assert nng.get.factor_df(stored, key).shape == shape
    n_rows = 5 if key == "nmf_of_obsm" else stored.n_vars
    assert nng.get.loadings_df(stored, key).shape == (n_rows, RANKS[key])
    ranked = nng.get.top_genes(stored, 3, key=key)
    assert set(ranked["factor"]) <= {f"{key}_{i}" for i in range(RANKS[key])}
    assert nng.get.image(stored, f"{key}_0").shape == (8, 8)
    # Sections that were fitted apart have maps of their own.
    params = stored.uns[key]["params"]
    n_sections = (
        stored.obs[params["library_key"]].nunique() if params.get("library_key") else 1
    )
    assert len(nng.pl.factor_maps(stored, key)) == RANKS[key] * n_sections
    assert key in nng.pl.objective(stored, key).get_title()
    nng.pl.top_genes(stored, key)
    nng.pl.loadings(stored, key)


@pytest.mark.parametrize("key", RANKS)
def test_project(stored, adata, key):
    """Scores of the cells that were fitted are about those that were stored."""
    kwargs = {"batch_key": "batch"} if key in INTEGRATIONS else {}
    nng.tl.project(adata, stored, key=key, key_added="again", **kwargs)
    before, after = stored.obsm[stored.uns[key]["obsm_key"]], adata.obsm["again"]
    assert after.shape == before.shape
    # Posterior means of few iterations are near what loadings say alone.
    for one, other in zip(before.T, after.T, strict=True):
        assert np.corrcoef(one, other)[0, 1] > (0.99 if key in EXACT else 0.5)


@pytest.mark.parametrize("key", ["nsf", "nsfh", "rsf"])
def test_predict(stored, key):
    """At the locations of the fit, the prediction of spatial factors is the fit."""
    section = {"nsfh": stored.obs["batch"].astype(str).to_numpy()}.get(key)
    found = nng.tl.predict(stored, stored.obsm["spatial"], key=key, section=section)
    spatial = stored.uns[key]["is_spatial"]
    np.testing.assert_allclose(
        found.X[:, spatial], stored.obsm[f"X_{key}"][:, spatial], rtol=1e-3
    )


def test_what_only_some_methods_have(stored, adata):
    assert nng.get.dataset_specificity(stored).shape == (3, 1)
    nng.pl.metagenes(stored)
    nng.pl.cluster_composition(stored)
    nng.pl.cluster_composition(stored, key="online")
    nng.pl.shared_change(stored, key="online")
    nng.pl.spatial_importance(stored)
    nng.pl.objective(stored, "inmf", against="time")
    assert list(stored.uns["inmf_markers"].columns[:4]) == [
        *("factor", "kind", "dataset", "gene"),
    ]
    nng.tl.online_inmf_update(
        adata, adata.copy(), batch="c", n_epochs=1, size_factors="total"
    )


@pytest.mark.parametrize("key", RANKS)
def test_it_can_be_replaced(adata, key):
    """A new fit removes what the file says the old one wrote."""
    names = adata.uns[key]["obsm_key"], adata.uns[key].get("side_keys", {})
    nng.tl.nmf(adata, 2, tol=1.0, key_added=key)
    assert names[0] not in adata.obsm or names[0] == key
    for attr, removed in names[1].items():
        assert not set(map(str, removed)) & set(getattr(adata, attr))
