"""Stored factorizations: read, normalised, selected, named."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from .._core.text import counted
from .._core.validators import check_one_of
from .checks import as_numbers, check_key
from .keys import FactorKeys, side_key
from .schema import ENTRIES, DeconvolutionEntry, from_uns, is_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .schema import Entry


@dataclass(frozen=True)
class Factors:
    """A stored factorization."""

    scores: NDArray[np.float32]
    """(n_obs, k)"""
    loadings: NDArray[np.float32]
    """(n_vars, k); NaN for variables that were not used."""
    entry: Entry
    keys: FactorKeys
    names: list[str]
    """``<method>_0``, ``<method>_1``, … or ``<key>_0``, …; or cell types."""


# In uns of what a model predicts elsewhere: its `key`, and `library_key`. With expected counts
# of genes, factors are beside them: `obsm`, and which of them are spatial.
PREDICTED = "predicted"
_OF_FACTORS = {"key", "library_key"}
_OF_COUNTS = _OF_FACTORS | {"obsm", "is_spatial"}

# Of default keys that differ from the name.
_VERBS = {
    "deconv": "tl.deconvolve",
    "svd": "pp.svd",
    "hemo": "pp.hemodynamic_correction",
}


_GONE = (
    "It was removed after the fit, or left out where objects were joined: "
    "`anndata.concat` drops varm unless it is given `merge`, and obsm that not all have."
)


def read_factors(adata: AnnData, key: str = "nmf") -> Factors:
    """The factorization stored under a key."""
    fitted = [str(name) for name, stored in adata.uns.items() if is_entry(stored)]
    if key not in fitted:
        if _predictions(adata) is not None:
            msg = (
                "adata holds what `nonneg.tl.predict` gave, values without loadings. Take the "
                "fitted object; `nonneg.get.factors` and `nonneg.pl.factor_maps` take this one "
                "as well."
            )
            raise KeyError(msg)
        verb = _VERBS.get(key, f"tl.{key}" if key in ENTRIES else "tl.nmf")
        msg = f"No factorization is stored under key={key!r}; there are {fitted}. " + (
            f"Name one of these with `key`, or fit one, e.g. with `nonneg.{verb}`."
            if fitted
            else f"Fit one first, e.g. with `nonneg.{verb}`; `anndata.concat` drops those that "
            "there were unless it is given `merge` and `uns_merge`."
        )
        raise KeyError(msg)
    entry = from_uns(adata.uns[key], f"adata.uns[{key!r}]")
    check_key(adata, "obsm", entry.obsm_key, hint=_GONE)
    if entry.varm_key is None:
        loadings = np.asarray(entry.loadings)
    else:
        check_key(adata, "varm", entry.varm_key, hint=_GONE)
        loadings = np.asarray(adata.varm[entry.varm_key])
    scores = np.asarray(adata.obsm[entry.obsm_key])
    for values, attr, name in (
        (scores, "obsm", entry.obsm_key),
        (loadings, "varm", entry.varm_key),
    ):
        is_number = values.dtype.kind in "fiu"
        if values.ndim != 2 or not values.shape[1] or not is_number:
            stored = adata.uns[key] if name is None else getattr(adata, attr)[name]
            where = f"adata.uns[{key!r}]" if name is None else f"adata.{attr}[{name!r}]"
            kind = (
                "" if is_number or values.ndim != 2 else f", with dtype {values.dtype}"
            )
            msg = (
                f"{where} is a {type(stored).__name__} of shape {np.shape(stored)}{kind}, "
                "which holds no factors: it has changed since the fit. Fit again."
            )
            raise ValueError(msg)
    names = _names(entry, key, scores.shape[1])
    sizes = {"scores": scores.shape[1], "loadings": loadings.shape[1]}
    sizes["names"] = len(names)
    if len(set(sizes.values())) > 1:
        msg = (
            f"key={key!r} has numbers of factors that differ, {sizes}: what is stored has "
            "changed since the fit. Fit again."
        )
        raise ValueError(msg)
    return Factors(
        scores=scores,
        loadings=loadings,
        entry=entry,
        keys=FactorKeys(obsm=entry.obsm_key, varm=entry.varm_key or "", uns=key),
        names=names,
    )


def _predictions(adata: AnnData) -> Mapping[str, Any] | None:
    """What is known of predictions, where nothing was fitted; `None` of other objects."""
    known = adata.uns.get(PREDICTED)
    is_ours = isinstance(known, Mapping) and set(known) in (_OF_FACTORS, _OF_COUNTS)
    fitted = any(is_entry(stored) for stored in adata.uns.values())
    return known if is_ours and not fitted else None


def read_predicted(adata: AnnData, key: str) -> Mapping[str, Any] | None:
    """What is known of predictions of a model; `None` of other objects."""
    known = _predictions(adata)
    if known is None:
        return None
    if known["key"] != key:
        msg = (
            f"adata holds what `nonneg.tl.predict` gave for key={known['key']!r}: name that, "
            f"not {key!r}."
        )
        raise KeyError(msg)
    return known


def predicted_factors(adata: AnnData, known: Mapping[str, Any]) -> AnnData:
    """Observations x factors, from predictions and what is known of them."""
    if "obsm" not in known:
        return adata.to_memory() if adata.isbacked else adata.copy()
    name, std = known["obsm"], f"{known['obsm']}_std"
    for stored in (name, std):
        check_key(adata, "obsm", stored, hint="It was removed. Predict again.")
    scores, spread = (np.array(adata.obsm[stored]) for stored in (name, std))
    is_spatial = np.asarray(known["is_spatial"])
    if scores.ndim != 2 or not scores.shape == spread.shape == (
        adata.n_obs,
        is_spatial.size,
    ):
        msg = (
            f"adata.obsm[{name!r}], adata.obsm[{std!r}] and adata.uns[{PREDICTED!r}] do not "
            "belong to each other: they have changed. Predict again."
        )
        raise ValueError(msg)
    names = [f"{known['key']}_{i}" for i in range(is_spatial.size)]
    result = AnnData(
        scores,
        obs=cast("pd.DataFrame", adata.obs).copy(),
        var=pd.DataFrame({"is_spatial": is_spatial}, index=names),
        layers={"std": spread},
        uns={PREDICTED: {part: known[part] for part in _OF_FACTORS}},
    )
    for other in adata.obsm:
        if other not in (name, std):
            result.obsm[other] = adata.obsm[other].copy()
    return result


def read_side(
    adata: AnnData,
    factors: Factors,
    attr: Literal["obs", "obsm", "var", "varm"],
    kind: str,
    *shape: int | None,
    hint: str = _GONE,
) -> NDArray[np.floating[Any]]:
    """Numbers that are stored beside a factorization, of the shape that they were given.

    ``shape`` is that of each observation's or variable's; ``None``: any length.
    """
    name = side_key(factors.keys, attr, kind)
    check_key(adata, attr, name, hint=hint)
    where = f"adata.{attr}[{name!r}]"
    stored = getattr(adata, attr)[name]
    is_array = isinstance(stored, np.ndarray) and stored.dtype.kind == "f"
    values: NDArray[np.floating[Any]] = (
        stored if is_array else as_numbers(stored, where)
    )
    found = values.shape[1:]
    if len(found) != len(shape) or any(
        n is not None and n != m for n, m in zip(shape, found, strict=True)
    ):
        msg = (
            f"{where} has shape {values.shape}, which does not belong to the "
            f"{counted(len(factors.names), 'factor')} of key={factors.keys.uns!r}: it has "
            "changed. Call what made it again."
        )
        raise ValueError(msg)
    return values


def fitted_sections(adata: AnnData, entry: Entry) -> str | None:
    """Column of obs with the sections that were fitted, where it is still there."""
    name = entry.params.get("library_key")
    return name if isinstance(name, str) and name in adata.obs else None


def _names(entry: Entry, key: str, n_factors: int) -> list[str]:
    if isinstance(entry, DeconvolutionEntry) and entry.cell_types is not None:
        return [str(name) for name in entry.cell_types]
    return [f"{key}_{i}" for i in range(n_factors)]


type Normalize = Literal["spde", "lda", "sum", "l2", "max"]

type FactorSelection = int | str | Sequence[int | str]

_OPTIONS = ("spde", "lda", "sum", "l2", "max")


def normalised_scores(
    factors: Factors, normalize: Normalize | None
) -> NDArray[np.float32]:
    """Observations x factors under a normalisation."""
    if normalize is None:
        return factors.scores
    _check(factors, normalize)
    scores: NDArray[np.floating[Any]] = factors.scores.astype(np.float64)
    if normalize == "lda":
        scores = scores * np.nansum(factors.loadings, axis=0, dtype=np.float64)
        scores = _divide(scores, scores.sum(axis=1, keepdims=True))
    else:
        scores = _divide(scores, _size(scores, normalize))
    return scores.astype(np.float32)


def normalised_loadings(
    factors: Factors, normalize: Normalize | None
) -> NDArray[np.float32]:
    """Variables x factors under a normalisation; NaN rows stay NaN."""
    if normalize is None:
        return factors.loadings
    _check(factors, normalize)
    loadings: NDArray[np.floating[Any]] = factors.loadings.astype(np.float64)
    if normalize == "spde":
        loadings = loadings * factors.scores.sum(axis=0, dtype=np.float64)
        loadings = shares(loadings)
    else:
        loadings = _divide(loadings, _size(loadings, normalize))
    return loadings.astype(np.float32)


def shares(x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Part of every row's sum of absolute values; zero rows stay zero."""
    return _divide(np.abs(x), np.abs(x).sum(axis=1, keepdims=True))


def select_factors(
    names: Sequence[str], selection: FactorSelection | None
) -> list[int]:
    """Positions of factors given by name or number; `None`: all."""
    return select_named(names, selection, "factor")


def select_named(
    names: Sequence[str], selection: int | str | Sequence[int | str] | None, kind: str
) -> list[int]:
    """Positions of what is given by name or number; `None`: all."""
    if selection is None:
        return list(range(len(names)))
    if isinstance(selection, str | int | np.integer):
        selection = [selection]
    chosen = []
    for one in selection:
        if isinstance(one, str):
            if one not in names:
                msg = f"There is no {kind} {one!r}; there are {list(names)}."
                raise KeyError(msg)
            chosen.append(names.index(one))
            continue
        position = operator.index(one)
        if not 0 <= position < len(names):
            msg = f"There is no {kind} {position}; there are 0 to {len(names) - 1}."
            raise KeyError(msg)
        chosen.append(position)
    if not chosen:
        msg = f"No {kind} is selected; there are {list(names)}."
        raise ValueError(msg)
    return chosen


def variable_names(adata: AnnData, factors: Factors) -> pd.Index[str]:
    """Names of the rows of the loadings: genes, or columns of an obsm element."""
    source = factors.entry.params.get("obsm")
    if source is None:
        return adata.var_names
    if isinstance(frame := adata.obsm.get(source), pd.DataFrame):
        return frame.columns.astype(str)
    return pd.Index([f"{source}_{i}" for i in range(factors.loadings.shape[0])])


def _check(factors: Factors, normalize: str) -> None:
    check_one_of(normalize, _OPTIONS, "normalize")
    if normalize in {"l2", "max"}:
        return
    if (factors.loadings < 0).any() or (factors.scores < 0).any():
        msg = (
            f"normalize={normalize!r} takes shares of sums, which needs non-negative "
            f"scores and loadings, but key={factors.keys.uns!r} holds negative ones. "
            "Use 'l2', 'max' or None."
        )
        raise ValueError(msg)


def _size(x: NDArray[np.floating[Any]], normalize: str) -> NDArray[np.float64]:
    """Sum, 2-norm or largest absolute value of every column."""
    if normalize == "l2":
        return np.asarray(np.sqrt(np.nansum(x**2, axis=0)))
    if normalize == "max":
        return np.asarray(np.nanmax(np.abs(x), axis=0))
    return np.asarray(np.nansum(x, axis=0))


def _divide(
    x: NDArray[np.floating[Any]], by: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """Quotient with 0 / 0 = 0."""
    return x / np.where(by == 0, 1, by)
