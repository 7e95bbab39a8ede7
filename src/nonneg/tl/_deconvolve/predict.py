"""Cell types at any coordinates, from the nearest locations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..._adata.coordinates import read_coordinates
from ..._adata.labels import read_sections
from .._predict.targets import find_outside, not_spatial, predicted, read_targets

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.views import Factors
    from .._predict.targets import Wanted


def predict_from_neighbours(adata: AnnData, stored: Factors, wanted: Wanted) -> AnnData:
    """The composition that the coupling of the model costs least."""
    params = stored.entry.params
    spatial_key, library_key = params.get("spatial_key"), params.get("library_key")
    if spatial_key is None:
        raise ValueError(not_spatial(wanted.key, stored.entry.method))
    if wanted.expression:
        msg = (
            f"key={wanted.key!r} holds cell types, of which expression=True is not "
            "known: their signatures have no depth. Take the shares."
        )
        raise ValueError(msg)
    known = np.flatnonzero(np.isfinite(stored.scores).all(1))
    if known.size == 0:
        msg = f"key={wanted.key!r} has no location with cell types to predict from."
        raise ValueError(msg)
    coords = read_coordinates(adata, spatial_key)[known]
    labels, names = read_sections(adata, library_key)
    xy, label = read_targets(wanted, coords.shape[1], np.asarray(names, object))
    outside = find_outside(
        (xy, label),
        (coords, labels[known]),
        consequence="They get the composition of the nearest ones, and `.layers['std']` does "
        "not say how far these are.",
    )
    shares = np.empty((len(xy), stored.scores.shape[1]), np.float32)
    std = np.empty_like(shares)
    for s in np.unique(label):
        inside = labels[known] == s
        if not inside.any():
            msg = f"Section {names[s]!r} has no location with cell types."
            raise ValueError(msg)
        at = label == s
        shares[at], std[at] = _from_nearest(
            xy[at], coords[inside], stored.scores[known[inside]], params["n_neighbors"]
        )
    obs = pd.DataFrame(outside, index=pd.RangeIndex(len(xy)).astype(str))
    if library_key is not None:
        obs[library_key] = pd.Categorical(np.asarray(names, object)[label])
    var = pd.DataFrame(index=stored.names)
    return predicted(
        shares, std, obs, var, xy=xy, key=wanted.key, library_key=library_key
    )


def _from_nearest(
    xy: NDArray[np.float64],
    coords: NDArray[np.float64],
    shares: NDArray[np.float32],
    n_neighbors: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n_found = min(int(n_neighbors), len(coords))
    distance, index = cKDTree(coords).query(xy, k=np.arange(1, n_found + 1))
    # Affinities as those of the fit, in units of the distance that neighbours have here.
    reach = np.maximum(distance[:, -1:], 1e-300)
    weight = np.exp(-np.square(distance / reach))
    weight /= weight.sum(1, keepdims=True)
    near = shares[index].astype(np.float64)
    mean = np.square((weight[:, :, None] * np.sqrt(near)).sum(1))
    mean /= mean.sum(1, keepdims=True)
    spread = (weight[:, :, None] * np.square(near - mean[:, None])).sum(1)
    return mean, np.sqrt(spread)
