"""Fits of all methods under one key."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import nonneg as nng

KEY = "fit"
_SHORT = dict(max_iter=2, key_added=KEY)
_SPATIAL = dict(length_scale=3.0, temperature=1.0)


def spots():
    """Counts with coordinates, data sets, regions, and an element of obsm."""
    adata = nng.datasets.ggblocks(8, 20)
    del adata.uns["truth"], adata.obsm["truth"], adata.varm["truth"]
    adata.obs["batch"] = pd.Categorical(["a", "b"] * (adata.n_obs // 2))
    adata.layers["frames"] = adata.X.toarray().astype(np.float32)
    adata.var["time"] = np.arange(adata.n_vars) / 10
    adata.var["speed"] = np.random.default_rng(0).standard_normal(adata.n_vars)
    adata.uns["video"] = {"fs": 10.0, "channels": np.array(["blue"], object)}
    place = np.rint(adata.obsm["spatial"]).astype(int)
    adata.obs["voxel"] = np.ravel_multi_index((place - place.min(0)).T[::-1], (8, 8))
    adata.uns["volume"] = {
        "shape": np.array([8, 8]),
        "spacing": np.ones(2),
        "origin": np.zeros(2),
    }
    left = adata.obsm["spatial"][:, 0] < 4
    adata.obs["region"] = pd.Categorical(np.where(left, "left", "right"))
    adata.obsm["X_pca"] = adata.X[:, :6].toarray()
    return adata


def _integration(function, **kwargs):
    def fit(adata):
        function(
            adata, 3, batch_key="batch", size_factors="total", key_added=KEY, **kwargs
        )

    return fit


def _aligned(adata):
    _integration(nng.tl.inmf, max_iter=3)(adata)
    nng.tl.quantile_align(adata, key=KEY, min_cells=2)
    nng.tl.factor_markers(adata, key=KEY, min_cells=2)


def _projected(adata):
    reference = spots()
    nng.tl.nmf(reference, 3, max_iter=2)
    nng.tl.project(adata, reference, key_added=KEY)


def _weighted(adata):
    weights = np.linspace(0.5, 1, adata.n_vars)
    nng.tl.nmf(adata, 3, var_weights=weights, **_SHORT)
    nng.tl.gene_importance(adata, key=KEY)
    nng.tl.coexpression_network(adata, key=KEY)


def _stable(adata):
    nng.tl.stability(adata, [2, 3], n_bootstraps=3, **_SHORT)


def _in_regions(adata):
    nng.tl.nmf(adata, 3, **_SHORT)
    nng.tl.region_correlation(adata, key=KEY, n_surrogates=3)
    nng.tl.region_prediction(adata, "left", key=KEY, n_factors=2)


def _movie(adata, key="svd"):
    """Observations as pixels, variables as frames."""
    nng.pp.svd(adata, 4, layer="frames", key_added=key)


def _compressed(adata):
    nng.pp.svd(adata, 2, layer="frames", solver="blockwise", key_added=KEY)


def _without_blood(adata):
    _movie(adata)
    _movie(adata, "violet")
    nng.pp.hemodynamic_correction(
        adata, reference_key="violet", highpass=None, key_added=KEY
    )
    _forget(adata, "svd")
    _forget(adata, "violet")


def _forget(adata, key):
    del adata.obsm[key], adata.varm[key], adata.uns[key], adata.obs[f"{key}_mean"]


def _localised(adata):
    _movie(adata)
    nng.tl.locanmf(adata, max_rank=2, key_added=KEY)
    _forget(adata, "svd")
    times = np.arange(4, 16) / 10
    events = pd.DataFrame({"time": times, "side": ["a", "b"] * 6})
    of = dict(key=KEY, window=(-0.2, 0.2))
    nng.tl.region_cca(adata, key=KEY, n_shifts=4, min_shift=0.2, n_folds=2)
    nng.tl.seed_correlation(adata, 3, key=KEY)
    nng.tl.event_average(adata, events, by="side", **of)
    nng.tl.demixed_pca(adata, "side", events, **of)
    nng.tl.decode_events(adata, "side", events, n_null=3, **of)
    nng.tl.decode_behavior(adata, "speed", key=KEY, window=(0, 0), n_null=3, n_folds=3)


def _deconvolved(adata):
    means = 1.0 + np.arange(3 * adata.n_vars).reshape(3, -1) % 7
    types = pd.DataFrame(means, index=["a", "b", "c"], columns=adata.var_names)
    fixed = dict(graph_weight=1, group_weight=0, effects=False)
    nng.tl.deconvolve(adata, types, **fixed, **_SHORT)


METHODS = {
    "nmf": lambda adata: nng.tl.nmf(adata, 3, **_SHORT),
    "nmf of obsm": lambda adata: nng.tl.nmf(adata, 2, obsm="X_pca", **_SHORT),
    "genes": _weighted,
    "stability": _stable,
    "regions": _in_regions,
    "svd": _compressed,
    "hemo": _without_blood,
    "locanmf": _localised,
    "seminmf": lambda adata: nng.tl.seminmf(adata, 3, **_SHORT),
    "project": _projected,
    "fa": lambda adata: nng.tl.fa(adata, 2, **_SHORT),
    "pnmf": lambda adata: nng.tl.pnmf(
        adata, 2, likelihood="negative_binomial", **_SHORT
    ),
    "rsf": lambda adata: nng.tl.rsf(adata, 2, **_SPATIAL, **_SHORT),
    "nsf": lambda adata: nng.tl.nsf(adata, 4, amplitude=1.0, **_SPATIAL, **_SHORT),
    "nsfh": lambda adata: nng.tl.nsfh(adata, 3, amplitude=1.0, **_SPATIAL, **_SHORT),
    "inmf": _integration(nng.tl.inmf, max_iter=3),
    "aligned": _aligned,
    "deconvolve": _deconvolved,
    "online_inmf": _integration(nng.tl.online_inmf, n_epochs=1),
}


@pytest.fixture(scope="session")
def fits():
    """An AnnData for each method. Tests that change one copy it."""
    results = {name: spots() for name in METHODS}
    with warnings.catch_warnings():
        # Fits this short do not converge.
        warnings.simplefilter("ignore")
        for name, fit in METHODS.items():
            fit(results[name])
    return results
