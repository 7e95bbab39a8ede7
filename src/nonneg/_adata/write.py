"""Write an AnnData once: all of a result, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from .._core.logging import logger
from .keys import SIDE_KEYS, factor_keys, side_key
from .schema import ENTRIES, from_uns, is_entry, to_uns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from .keys import FactorKeys
    from .views import Factors

    type Place = tuple[str, str]
    """Attribute of an AnnData, and a key in it."""


def matrix_place(layer: str | None) -> Place:
    """Place of a layer, or of X, which is the layer `None`."""
    return "layers", cast("str", layer)


@dataclass(frozen=True)
class Write:
    """The arguments that say where a result goes."""

    key_added: str | None = None
    copy: bool = False
    table_key: str | None = None


def keys_to_write(adata: AnnData, method: str, key_added: str | None) -> FactorKeys:
    """Keys of a new factorization, which must not replace anything else.

    What a user stored under a name that a method has by default is replaced, as
    everywhere in scanpy.
    """
    keys = factor_keys(method, key_added)
    stored = adata.uns.get(keys.uns)
    own = _written(adata, keys.uns)
    others = {
        place: other
        for other in adata.uns
        if other != keys.uns
        for place in _written(adata, other)
    }
    taken = "something that is not a factorization of nonneg"
    if stored is not None and key_added is not None and not is_entry(stored):
        msg = f"adata.uns[{keys.uns!r}] holds {taken}. Choose another key_added."
        raise ValueError(msg)
    for place in (("obsm", keys.obsm), ("varm", keys.varm)):
        attr, name = place
        if place in own or name not in getattr(adata, attr):
            continue
        if place in others:
            taken = f"what is stored with key={others[place]!r}"
        elif key_added is None or is_entry(stored):
            # Of an entry that cannot be read, nothing is known to be.
            continue
        msg = f"adata.{attr}[{name!r}] holds {taken}. Choose another key_added."
        raise ValueError(msg)
    return keys


def check_replaced(adata: AnnData, key: str, sign: str) -> None:
    """Raise if something in uns would be replaced that is not of its kind."""
    stored = adata.uns.get(key)
    if stored is not None and sign not in set(_names_in(stored)):
        msg = (
            f"adata.uns[{key!r}] holds something else, which would be lost. Choose "
            "another key_added."
        )
        raise ValueError(msg)


def write_factors(
    adata: AnnData,
    keys: FactorKeys,
    *,
    method: str,
    scores: NDArray[Any],
    loadings: NDArray[Any],
    params: Mapping[str, Any],
    info: Mapping[str, Any],
    columns: NDArray[Any] | None = None,
    side: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Store a factorization: all of it, or nothing.

    ``loadings`` go to varm, or into uns where they belong to an element of obsm.
    ``side`` holds further values by attribute and kind (see ``SIDE_KEYS``). Whatever an
    earlier factorization under the same key has written beside it is removed: it would
    belong to other factors.
    """
    of_obsm = params.get("obsm") is not None
    values: dict[Place, Any] = {("obsm", keys.obsm): np.asarray(scores, np.float32)}
    if not of_obsm:
        values["varm", keys.varm] = np.asarray(loadings, np.float32)
    beside = {
        (attr, side_key(keys, attr, kind)): value
        for attr, kinds in (side or {}).items()
        for kind, value in kinds.items()
    }
    entry = ENTRIES[method](
        method=method,
        params={**params, "version": version("nonneg")},
        obsm_key=keys.obsm,
        varm_key=None if of_obsm else keys.varm,
        side_keys=_by_attribute(beside),
        loadings=np.asarray(loadings, np.float32) if of_obsm else None,
        columns=columns if of_obsm else None,
        **info,
    )
    for (attr, name), value in beside.items():
        is_array = attr in {"obsm", "varm"}
        values[attr, name] = np.asarray(value, np.float32) if is_array else value
    values["uns", keys.uns] = to_uns(entry)
    write_values(adata, values, _replaced(adata, keys.uns) - set(values))
    logger.info("Stored %s in adata.uns[%r] and what it names.", method, keys.uns)


def write_beside(
    adata: AnnData, factors: Factors, side: Mapping[str, Mapping[str, Any]]
) -> None:
    """Store what was made of a factorization: it goes when that one is replaced."""
    beside = {
        (attr, side_key(factors.keys, attr, kind)): value
        for attr, kinds in side.items()
        for kind, value in kinds.items()
    }
    old = {
        (attr, str(name))
        for attr, names in factors.entry.side_keys.items()
        for name in np.ravel(names)
    }
    entry = replace(factors.entry, side_keys=_by_attribute(old | set(beside)))
    values: dict[Place, Any] = {**beside, ("uns", factors.keys.uns): to_uns(entry)}
    write_values(adata, values)


def write_values(
    adata: AnnData,
    values: Mapping[Place, Any],
    removed: Iterable[Place] = (),
    *,
    keep_vars: NDArray[np.bool_] | None = None,
) -> None:
    """Put values in their places and empty others: all of it, or nothing.

    With ``keep_vars`` other variables are dropped, from the values of variables too.
    """
    if keep_vars is None:
        own(adata)
        _exchange(adata, values, removed)
        return
    kept = adata[:, keep_vars].copy()
    of_kept = {
        (attr, name): value[keep_vars] if attr in {"var", "varm"} else value
        for (attr, name), value in values.items()
    }
    _exchange(kept, of_kept, removed)
    _become(adata, kept)


def _replaced(adata: AnnData, key: str) -> set[Place]:
    """What the factorization under a key has written and no other one names."""
    others = [_written(adata, other) for other in adata.uns if other != key]
    return _written(adata, key).difference(*others)


def _written(adata: AnnData, key: str) -> set[Place]:
    """Where the factorization under a key, and what was made of it, is stored."""
    stored = adata.uns.get(key)
    if not is_entry(stored):
        return set()
    try:
        entry = from_uns(stored, key)
    except ValueError:
        # Of another version, or not ours: nothing is known to be.
        return set()
    places = {("obsm", entry.obsm_key)}
    if entry.varm_key is not None:
        places.add(("varm", entry.varm_key))
    for attr in SIDE_KEYS.keys() & entry.side_keys.keys():
        places |= {(attr, str(name)) for name in np.ravel(entry.side_keys[attr])}
    for attr in ("obsm", "obs"):
        if entry.align is not None and f"{attr}_key" in entry.align:
            places.add((attr, str(entry.align[f"{attr}_key"])))
    # What tells each from something else of that name.
    signs = {
        "markers": {"factor", "kind", "gene"},
        "region_correlation": {"sets", "members"},
        "region_prediction": {"auc", "random"},
        "region_cca": {"r", "r_held_out"},
        "event_average": {"mean", "conditions"},
        "demixed_pca": {"decoder", "marginal"},
        "decode_events": {"table", "predicted"},
        "decode_behavior": {"table", "window"},
        "seed_correlation": {"seeds"},
    }
    for kind, names in signs.items():
        beside = f"{key}{SIDE_KEYS['uns'][kind]}"
        if names <= set(_names_in(adata.uns.get(beside))):
            places.add(("uns", beside))
    return {place for place in places if place[1] in getattr(adata, place[0])}


def _names_in(stored: Any) -> Iterable[str]:
    """Columns of a data frame, or keys of a dictionary."""
    keys = getattr(stored, "keys", None)
    return () if keys is None else keys()


def _by_attribute(places: Iterable[Place]) -> dict[str, NDArray[Any]]:
    names: dict[str, list[str]] = {}
    for attr, name in places:
        names.setdefault(attr, []).append(name)
    return {attr: np.array(sorted(some), object) for attr, some in names.items()}


def _exchange(
    adata: AnnData, values: Mapping[Place, Any], removed: Iterable[Place]
) -> None:
    """Put values in their places and empty others; on failure, nothing changes."""
    places = [*values, *removed]
    before = {
        (attr, name): getattr(adata, attr)[name]
        for attr, name in places
        if name in getattr(adata, attr)
    }
    try:
        for (attr, name), value in values.items():
            getattr(adata, attr)[name] = value
        for attr, name in removed:
            _remove(adata, attr, name)
    except BaseException:
        for attr, name in places:
            if (attr, name) in before:
                getattr(adata, attr)[name] = before[attr, name]
            elif name in getattr(adata, attr):
                _remove(adata, attr, name)
        raise


def _remove(adata: AnnData, attr: str, name: str) -> None:
    if attr in {"obs", "var"}:
        # A new frame: this one may be shared with another object. That of a lazy AnnData
        # is anndata's own class, which has no `drop`.
        frame = getattr(adata, attr)
        if isinstance(frame, pd.DataFrame):
            kept = frame.drop(columns=name)
        else:
            kept = frame[[other for other in frame.columns if other != name]]
        setattr(adata, attr, kept)
    else:
        del getattr(adata, attr)[name]


def own(adata: AnnData) -> None:
    """Make a view an AnnData of its own before it is written to."""
    if adata.is_view:
        _become(adata, adata.copy())


def _become(adata: AnnData, other: AnnData) -> None:
    adata._init_as_actual(other)  # type: ignore[no-untyped-call]
