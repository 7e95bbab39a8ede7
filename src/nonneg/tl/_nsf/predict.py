"""Factors and expected counts at any coordinates, from spatial fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from ..._adata.checks import as_numbers
from ..._adata.coordinates import Transform
from ..._adata.genes import read_positions
from ..._adata.keys import side_key
from ..._adata.schema import ProbabilisticEntry
from ..._adata.size_factors import is_total
from ..._adata.views import PREDICTED, read_side
from ..._core.text import counted
from ...models.nsf.counts import Rates, interval, rates, row_blocks
from ...models.nsf.kriging import Kriged, elsewhere, stretch_of
from ...models.nsf.likelihood import expected
from ...models.nsf.lognormal import moments as factor_moments
from ...models.nsf.lognormal import pool
from ...models.nsf.predict import Fields, predict_fields
from ...operators.threads import computing
from .._predict.targets import find_outside, not_spatial, predicted, read_targets
from .front import FAMILY
from .store import KRIGED, moments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..._adata.views import Factors
    from .._predict.targets import Wanted
    from .front import Method


_OUTSIDE = (
    "Nothing is known there but means and trends, and `.layers['std']` is what the fit "
    "expects of any place before it sees data: leave these out."
)


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
        scaled = transform(xy, label)
        field = predict_fields(fields, scaled, label, log_link=not linear)
        mean, var = _beside_nearby(stored, field, transform, scaled, label)
    outside = find_outside(
        (scaled, label),
        (np.asarray(entry.field["sites"]), np.asarray(entry.field["site_section"])),
        scale=transform.scale,
        consequence=_OUTSIDE,
    )
    scores, std = moments(mean, var, linear=linear)
    obs = pd.DataFrame(outside, index=pd.RangeIndex(len(xy)).astype(str))
    library_key = params.get("library_key")
    if library_key is not None:
        obs[library_key] = pd.Categorical(transform.sections[label])
    if not wanted.expression:
        var_ = pd.DataFrame({"is_spatial": entry.is_spatial}, index=stored.names)
        return predicted(
            scores, std, obs, var_, xy=xy, key=wanted.key, library_key=library_key
        )
    used = slice(None) if wanted.genes is None else read_positions(adata, wanted.genes)
    found = expression_of(adata, stored, used)
    if wanted.interval is not None and not found.counts:
        msg = (
            f"interval={wanted.interval} is of counts, but key={wanted.key!r} was fitted to "
            f"{'log-normalised' if linear else 'real'} values. Leave it out, or fit "
            "`nonneg.tl.nsf` to counts."
        )
        raise ValueError(msg)
    names = adata.var_names[used]
    kinds = ["mean", "std"] + ["lower", "upper"] * (wanted.interval is not None)
    values = {kind: np.empty((len(xy), len(names)), np.float32) for kind in kinds}
    size = wanted.sizes()
    for rows in row_blocks(len(xy), len(names)):
        own = found.rates(scores[rows], std[rows], size[rows])
        values["mean"][rows], values["std"][rows] = own.mean, np.sqrt(own.var)
        if wanted.interval is not None:
            values["lower"][rows], values["upper"][rows] = interval(
                own, found.dispersion, wanted.interval
            )
    obsm: dict[str, Any] = {
        "spatial": xy,
        stored.keys.obsm: scores,
        f"{stored.keys.obsm}_std": std,
    }
    known = {
        "key": wanted.key,
        "library_key": library_key,
        "obsm": stored.keys.obsm,
        "is_spatial": entry.is_spatial,
    }
    return AnnData(
        values.pop("mean"),
        obs=obs,
        var=pd.DataFrame(index=names),
        obsm=obsm,
        layers=values,
        uns={PREDICTED: known},
    )


class Expression(NamedTuple):
    """What turns factors into expected counts, of some variables."""

    loadings: NDArray[np.floating[Any]]
    dispersion: NDArray[np.floating[Any]] | float
    """Of the variance of counts: of every variable."""
    center: NDArray[np.floating[Any]] | None
    """Of log-normalised values: their means, beside which factors are."""
    counts: bool
    """Whether the noise is that of counts."""
    loading_totals: NDArray[np.floating[Any]] | None
    """(k,): sums over all variables, where size factors are totals; `None` elsewhere."""
    size_median: float
    """What totals were divided by."""

    def rates(
        self,
        scores: NDArray[np.floating[Any]],
        std: NDArray[np.floating[Any]],
        size: NDArray[np.floating[Any]] | float = 1.0,
    ) -> Rates:
        """Means and variances of expected counts."""
        var = np.square(std, dtype=np.float64)
        if self.loading_totals is not None:
            # That totals are known would also make shares a little surer than rates.
            # Intervals on real sections are too narrow rather than too wide: it is left.
            whole = scores.astype(np.float64) @ self.loading_totals
            whole = np.maximum(whole, np.finfo(np.float32).tiny)[:, None]
            size = size * self.size_median / whole
        if self.center is None:
            return rates(scores, var, self.loadings, size)
        found = rates(scores, var, self.loadings)
        # Back through the normalisation; the deviation by the delta method.
        log_mean = found.mean + self.center
        mean = size * np.maximum(np.expm1(log_mean), 0)
        return Rates(mean, np.square(size * np.exp(log_mean)) * found.var)


def expression_of(
    adata: AnnData, stored: Factors, used: Any = slice(None)
) -> Expression:
    """From what is stored with a fit of the family, for the variables that are used."""
    entry = stored.entry
    member = FAMILY[cast("Method", entry.method)]
    likelihood = entry.params["likelihood"]

    def of_variables(kind: str) -> NDArray[np.float64]:
        return read_side(adata, stored, "var", kind)[used]

    # Fits of earlier versions have no sums of loadings, and dispersions only where these
    # are fitted.
    scatters = side_key(stored.keys, "var", "dispersion") in entry.side_keys.get(
        "var", ()
    )
    sums = cast("ProbabilisticEntry", entry).loading_totals
    counts = likelihood != "gaussian"
    known = counts and sums is not None and is_total(entry.params["size_factors"])
    if known:
        sums = _read_loading_totals(stored, sums)
    return Expression(
        stored.loadings[used],
        of_variables("dispersion") if scatters else 0.0,
        of_variables("center") if member.linear else None,
        counts=counts,
        loading_totals=sums if known else None,
        size_median=float(entry.params["size_median"]) if known else 1.0,
    )


def _read_loading_totals(stored: Factors, sums: Any) -> NDArray[np.float64]:
    """Sums of loadings, one for each factor."""
    where = f"adata.uns[{stored.keys.uns!r}]['loading_totals']"
    values = as_numbers(sums, where)
    k = len(stored.names)
    if values.shape != (k,) or not np.isfinite(values).all():
        msg = (
            f"{where} must hold {counted(k, 'finite number')}, one for each factor: it has "
            "changed since the fit. Fit again."
        )
        raise ValueError(msg)
    return values


def _beside_nearby(
    stored: Factors,
    field: tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]],
    transform: Transform,
    coords: NDArray[np.float64],
    label: NDArray[np.intp],
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Mean and variance of all factors, or of their logarithms, given those of the fields.

    What the nearest locations say is a second opinion of fields, and all that is known of
    the factors without space.
    """
    entry = cast("ProbabilisticEntry", stored.entry)
    mean, var = field
    if entry.kriged is None or entry.field is None:
        found = np.asarray(
            # Fits of earlier versions have the prior only.
            entry.nonspatial_prior
            if entry.nonspatial_elsewhere is None
            else entry.nonspatial_elsewhere
        )
        others = np.broadcast_to(found[:, None], (2, len(coords), found.shape[1]))
    else:
        kriged = _read_kriged(stored, entry.kriged, entry.field)
        length = as_numbers(
            cast("Mapping[str, Any]", entry.kernel)["length_scale"],
            f"adata.uns[{stored.keys.uns!r}]['kernel']['length_scale']",
        )
        stretch = stretch_of(length)
        others = np.stack(
            elsewhere(
                kriged._replace(length_scale=kriged.length_scale * transform.scale),
                entry.params["kernel"],
                seen=(
                    np.asarray(entry.field["sites"]) / stretch,
                    np.asarray(entry.field["site_section"], np.intp),
                ),
                wanted=(coords / stretch, label),
            )
        )
        n_fields = others.shape[2] - _n_others(entry)
        told = np.flatnonzero(kriged.share[:n_fields] > 0)
        if told.size:
            nearby = expected(*others[:, :, told])
            mean, var = mean.copy(), var.copy()
            mean[:, told], var[:, told] = pool(mean[:, told], var[:, told], nearby)
        others = others[:, :, n_fields:]
    return np.hstack([mean, others[0]]), np.hstack([var, others[1]])


def _n_others(entry: ProbabilisticEntry) -> int:
    """Number of factors without space."""
    return int(np.sum(~np.asarray(entry.is_spatial, bool)))


def _read_kriged(
    stored: Factors, entry: Mapping[str, Any], field: Mapping[str, Any]
) -> Kriged:
    """As it was left by the fit; of fields as well, but in fits of earlier versions."""
    assert isinstance(stored.entry, ProbabilisticEntry)
    n_others, k = _n_others(stored.entry), len(stored.names)
    section = np.asarray(field["site_section"])
    n_told = k if any(np.shape(x) == (k,) for x in entry.values()) else n_others
    shapes = {
        "site_mean": (len(section), n_others),
        "site_var": (len(section), n_others),
    }
    shapes["center"] = (int(section.max()) + 1, n_told)
    values = []
    for name in KRIGED:
        where = f"adata.uns[{stored.keys.uns!r}]['kriged'][{name!r}]"
        shape = shapes.get(name, (n_told,))
        found = as_numbers(entry[name], where) if name in entry else np.empty(0)
        limits = np.finfo(float)
        low = limits.tiny if name == "length_scale" else 0
        high = 1 if name in {"share", "foretold", "trust"} else limits.max
        if found.shape != shape or not ((found >= low) & (found <= high)).all():
            msg = (
                f"{where} must hold numbers of shape {shape}, from {low:g} to {high:g}: it "
                "has changed since the fit. Fit again."
            )
            raise ValueError(msg)
        values.append(found.astype(np.float64))
    kriged = Kriged(*values)
    if n_told == n_others:
        return kriged
    of_fields = (np.asarray(field[name]) for name in ("site_mean", "site_var"))
    mean, var = factor_moments(*of_fields)
    return kriged._replace(
        mean=np.hstack([mean, kriged.mean]), var=np.hstack([var, kriged.var])
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
        **{
            name: np.asarray(field[name])
            for name in Fields._fields[Fields._fields.index("inducing") :]
        },
    )
