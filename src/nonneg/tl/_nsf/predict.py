"""Factors and expected counts at any coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from ..._adata.coordinates import Transform
from ..._adata.schema import ProbabilisticEntry
from ..._adata.views import read_factors
from ..._core.docs import shared_docs
from ...models.nsf.predict import Fields, predict_fields
from ...operators.threads import computing
from .front import FAMILY
from .store import moments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@shared_docs
def predict(
    adata: AnnData,
    coords: NDArray[np.floating[Any]],
    *,
    key: str = "nsf",
    section: str | NDArray[np.str_] | None = None,
    expression: bool = False,
) -> AnnData:
    """Factors, or expected counts, at any coordinates.

    From the posterior of a spatial model: what it expects where nothing was measured,
    and how sure it is. At locations of the fit, the result is the fit. Factors without
    a spatial pattern are predicted by their prior.

    Parameters
    ----------
    adata
        Annotated data with a spatial model. Its observations are not needed: a model
        file written by `adata[:0].copy().write_h5ad(...)` will do.
    coords
        Coordinates (n, n_dims), in the units of those that were fitted.
    key
        Key of the model.
    section
        Section that the coordinates lie in, or one for each, where the model was
        fitted with a `library_key`.
    expression
        Return expected counts instead of factors.

    Returns
    -------
    AnnData with the coordinates in `.obsm['spatial']`.

    By default observations x factors: posterior means in `X`, standard deviations in
    `.layers['std']`. With `expression=True` observations x variables: expected counts
    of an observation with size factor 1 in `X`, their standard deviations in
    `.layers['std']` (of the mean, without the noise of counting), and factors in
    `.obsm[key]` and `.obsm[key + '_std']` under the keys of the fit.

    Raises
    ------
    KeyError
        If there is no model under the key, or no such section.
    ValueError
        If the model is not spatial, or coordinates do not suit it.

    See Also
    --------
    nonneg.tl.project : scores of new observations from their counts

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.nsf(adata, 4)
    >>> between = nng.tl.predict(adata, adata.obsm["spatial"][:5] + 0.01)
    >>> between.shape, between.layers["std"].shape
    ((5, 4), (5, 4))
    """
    stored = read_factors(adata, key)
    entry = stored.entry
    if (
        not isinstance(entry, ProbabilisticEntry)
        or entry.method not in FAMILY
        or entry.field is None
        or entry.kernel is None
        or entry.transform is None
    ):
        msg = (
            f"key={key!r} holds {entry.method!r}, which is not a spatial model. Fit "
            "one with `nonneg.tl.nsf`, `nsfh` or `rsf`."
        )
        raise ValueError(msg)
    transform = _transform(entry.transform)
    xy, label = _read(coords, section, transform)
    params = entry.params
    linear = FAMILY[entry.method].linear
    with computing():
        fields = _fields(params, entry.kernel, entry.field, transform.scale)
        mean, var = predict_fields(fields, transform(xy, label), label)
    prior = np.asarray(entry.nonspatial_prior)
    iid = np.broadcast_to(prior[:, None], (2, len(xy), prior.shape[1]))
    scores, std = moments(
        np.hstack([mean, iid[0]]), np.hstack([var, iid[1]]), linear=linear
    )
    obs = pd.DataFrame(index=pd.RangeIndex(len(xy)).astype(str))
    library_key = params.get("library_key")
    if library_key is not None:
        obs[library_key] = pd.Categorical(transform.sections[label])
    obsm: dict[str, Any] = {"spatial": xy}
    if not expression:
        names = pd.DataFrame({"is_spatial": entry.is_spatial}, index=stored.names)
        return AnnData(scores, obs=obs, var=names, obsm=obsm, layers={"std": std})
    w = stored.loadings
    values, spread = scores @ w.T, np.sqrt(std**2 @ (w**2).T)
    if linear:
        # Back through the normalisation.
        values = values + np.asarray(adata.var[f"{key}_center"], np.float32)
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
        **{name: np.asarray(value) for name, value in field.items()},
    )


def _read(
    coords: NDArray[np.floating[Any]],
    section: str | NDArray[np.str_] | None,
    transform: Transform,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    xy = np.asarray(coords, np.float64)
    n_dims = transform.axes.size
    if xy.ndim != 2 or xy.shape[1] != n_dims or len(xy) == 0:
        msg = (
            f"coords must have shape (n, {n_dims}), as those that the model was fitted "
            f"to, but have {xy.shape}."
        )
        raise ValueError(msg)
    if not np.isfinite(xy).all():
        msg = "coords contain NaN or infinite values."
        raise ValueError(msg)
    sections = [str(name) for name in transform.sections]
    if sections == [""]:
        if section is not None:
            msg = f"section={section!r}, but the model was fitted without library_key."
            raise ValueError(msg)
        return xy, np.zeros(len(xy), np.intp)
    if section is None:
        msg = f"Name the section that coords lie in, one of {sections}."
        raise ValueError(msg)
    names = np.broadcast_to(np.asarray(section, str), len(xy))
    missing = sorted(set(names.tolist()) - set(sections))
    if missing:
        msg = f"There is no section {missing[0]!r}; there are {sections}."
        raise KeyError(msg)
    return xy, np.searchsorted(np.asarray(sections), names).astype(np.intp)
