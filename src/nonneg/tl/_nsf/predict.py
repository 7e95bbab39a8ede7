"""Factors and expected counts at any coordinates, from spatial fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from ..._adata.coordinates import Transform
from ..._adata.schema import ProbabilisticEntry
from ...models.nsf.predict import Fields, predict_fields
from ...operators.threads import computing
from .._predict.targets import not_spatial, read_targets
from .front import FAMILY
from .store import moments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._adata.views import Factors
    from .._predict.targets import Wanted
    from .front import Method


def predict_from_fields(adata: AnnData, stored: Factors, wanted: Wanted) -> AnnData:
    """From the posterior of the fields."""
    entry = stored.entry
    assert isinstance(entry, ProbabilisticEntry)
    if entry.field is None or entry.kernel is None or entry.transform is None:
        raise ValueError(
            not_spatial(wanted.key, entry.method, projected=entry.projected is not None)
        )
    transform = _transform(entry.transform)
    xy, label = read_targets(wanted, transform.axes.size, transform.sections)
    params = entry.params
    linear = FAMILY[cast("Method", entry.method)].linear
    with computing():
        fields = _fields(params, entry.kernel, entry.field, transform.scale)
        mean, var = predict_fields(fields, transform(xy, label), label)
    others = np.asarray(
        # Fits of earlier versions have the prior only.
        entry.nonspatial_prior
        if entry.nonspatial_elsewhere is None
        else entry.nonspatial_elsewhere
    )
    iid = np.broadcast_to(others[:, None], (2, len(xy), others.shape[1]))
    scores, std = moments(
        np.hstack([mean, iid[0]]), np.hstack([var, iid[1]]), linear=linear
    )
    obs = pd.DataFrame(index=pd.RangeIndex(len(xy)).astype(str))
    library_key = params.get("library_key")
    if library_key is not None:
        obs[library_key] = pd.Categorical(transform.sections[label])
    obsm: dict[str, Any] = {"spatial": xy}
    if not wanted.expression:
        names = pd.DataFrame({"is_spatial": entry.is_spatial}, index=stored.names)
        return AnnData(scores, obs=obs, var=names, obsm=obsm, layers={"std": std})
    w = stored.loadings
    values, spread = scores @ w.T, np.sqrt(std**2 @ (w**2).T)
    if linear:
        # Back through the normalisation.
        values = values + np.asarray(adata.var[f"{wanted.key}_center"], np.float32)
        spread = spread * np.exp(values)
        values = np.maximum(np.expm1(values), 0)
    return AnnData(
        values.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=adata.var_names),
        obsm=obsm | {stored.keys.obsm: scores, f"{stored.keys.obsm}_std": std},
        layers={"std": spread.astype(np.float32)},
    )


def _transform(entry: Mapping[str, Any]) -> Transform:
    return Transform(
        float(entry["scale"]),
        np.asarray(entry["axes"], bool),
        np.asarray(entry["centers"]),
        np.asarray(entry["sections"], object),
    )


def _fields(
    params: Mapping[str, Any],
    kernel: Mapping[str, Any],
    field: Mapping[str, Any],
    scale: float,
) -> Fields:
    return Fields(
        kernel=params["kernel"],
        trend_kind=params["trend"],
        n_neighbors=int(params["n_neighbors"]),
        length_scale=np.asarray(kernel["length_scale"]) * scale,
        amplitude=np.asarray(kernel["amplitude"]),
        # Fits of earlier versions had none.
        nugget=float(kernel.get("nugget", 0.0)),
        **{name: np.asarray(value) for name, value in field.items()},
    )
