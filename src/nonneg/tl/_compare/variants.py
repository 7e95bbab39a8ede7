"""What is to be compared: variants of models, and their numbers of factors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.validators import check_one_of, check_positive_int
from .models import MODELS, Setting, family_member

if TYPE_CHECKING:
    from collections.abc import Sequence


# Arguments of a model that `compare` gives itself, and where they belong.
_RESERVED = {
    "n_components": "pass it to `compare`",
    "n_spatial": "pass it to `compare`",
    "layer": "pass it to `compare`",
    "spatial_key": "pass it to `compare`",
    "library_key": "pass it to `compare`",
    "table_key": "pass it to `compare`",
    "rng": "pass it to `compare`",
    "obsm": "counts of variables are compared",
    "mask_var": "subset `adata` to the variables first: all models are scored on the same",
    "key_added": "fits are not kept",
    "copy": "fits are not kept",
}


def read_variants(
    models: str | Sequence[str] | Mapping[str, Mapping[str, Any]],
    common: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, model and arguments of everything to be compared."""
    if isinstance(models, Mapping):
        named = [(name, dict(own)) for name, own in models.items()]
    else:
        names = [models] if isinstance(models, str) else models
        named = [(name, {}) for name in names]
    if not named:
        msg = f"models={models!r} names no models. There are {list(MODELS)}."
        raise ValueError(msg)
    found = []
    for name, own in named:
        given = name if "model" not in own else own.pop("model")
        check_one_of(given, MODELS, f"models[{name!r}]" if given != name else "models")
        found.append((str(name), given, {**common.get(given, {}), **own}))
    for name in common:
        check_one_of(name, MODELS, "model_kwargs")
    for name, method, kwargs in found:
        _check_kwargs(name, method, kwargs)
    return found


def _check_kwargs(name: str, method: str, kwargs: Mapping[str, Any]) -> None:
    """Before the first fit, whether a model takes its arguments."""
    fit = MODELS[method].fit
    taken = [] if fit is None else list(inspect.signature(fit).parameters)[1:]
    for argument, value in kwargs.items():
        if argument in _RESERVED:
            msg = (
                f"{argument!r} is no argument of model {name!r}: {_RESERVED[argument]}."
            )
            raise ValueError(msg)
        if argument not in taken:
            own = [one for one in taken if one not in _RESERVED]
            msg = (
                f"Model {name!r} has no argument {argument!r}; {method!r} takes {own}."
            )
            raise ValueError(msg)
        if argument == "size_factors" and not isinstance(value, str | None):
            msg = (
                f"size_factors of model {name!r} is an array, but fits are to parts of the "
                "observations: store it in adata.obs and name the column."
            )
            raise ValueError(msg)


def read_settings(
    variants: Sequence[tuple[str, str, Mapping[str, Any]]],
    n_components: int | Sequence[int],
    n_spatial: int | Sequence[int] | None,
) -> list[Setting]:
    sizes = (
        [n_components] if isinstance(n_components, int | np.integer) else n_components
    )
    sizes = [check_positive_int(size, "n_components") for size in sizes]
    spatial: Sequence[int | None]
    if n_spatial is None:
        spatial = [None]
    else:
        spatial = [n_spatial] if isinstance(n_spatial, int | np.integer) else n_spatial
    found = []
    for name, method, kwargs in variants:
        model = MODELS[method]
        if model.fit is None:
            found.append(Setting(name, method, kwargs, None, None))
            continue
        hybrid = family_member(method).hybrid
        for argument, given, n in (
            ("n_components", n_components, len(sizes)),
            ("n_spatial", n_spatial, len(spatial) if hybrid else 1),
        ):
            if not n:
                msg = f"{argument}={given!r} must hold a number for model {name!r}."
                raise ValueError(msg)
        for size, t in product(sizes, spatial if hybrid else [None]):
            if t is not None and t > size:
                continue
            default = -(-size // 2) if hybrid else size
            n = default if t is None else t
            n_spatial_ = n if model.spatial else None
            found.append(Setting(name, method, kwargs, size, n_spatial_))
    if not found:
        msg = "There is nothing to compare: every n_spatial is above n_components."
        raise ValueError(msg)
    return found
