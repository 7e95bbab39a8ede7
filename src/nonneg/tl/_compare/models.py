"""Models and baselines: how they are fitted, and what they expect of observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ..._adata.keys import side_key
from ..._adata.views import read_factors
from ...models.nsf.counts import Rates
from .._nmf.nmf import nmf
from .._nsf.fa import fa
from .._nsf.front import FAMILY, FamilyMember
from .._nsf.nsf import nsf
from .._nsf.nsfh import nsfh
from .._nsf.pnmf import pnmf
from .._nsf.predict import expression_of
from .._nsf.rsf import rsf
from .._nsf.store import share_of_zeros
from .._predict.predict import predict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ..._adata.schema import ProbabilisticEntry
    from .._nsf.front import Method
    from .._nsf.predict import Expression
    from .data import HoldOut


_KEY = "model"


class Setting(NamedTuple):
    """One model with its numbers of factors."""

    name: str
    """What it is called in the table."""
    method: str
    kwargs: Mapping[str, Any]
    """Further arguments."""
    n_components: int | None
    n_spatial: int | None


class Model(NamedTuple):
    """A row of the table of models: how it is fitted, and what it is called with."""

    fit: Callable[..., Any] | None = None
    """`None`: there is nothing to fit, and there are no factors."""
    spatial: bool = False
    defaults: Mapping[str, Any] = {}
    sized: bool = False
    """Whether size factors are part of the scores."""


class Expected(NamedTuple):
    """What a model expects of some observations."""

    scores: Any
    """(n, k): factors at size factor 1, or weights of observations."""
    loadings: Any
    """(n_vars, k)"""
    size: NDArray[np.float64]
    """(n, 1)"""
    std: NDArray[np.floating[Any]] | None = None
    """Of the factors; `None`: the model says nothing of it."""
    how: Expression | None = None
    """What makes counts of factors; `None`: their products with the loadings."""

    def rates(self, rows: slice) -> Rates:
        """Of a block of observations."""
        scores, size = self.scores[rows], self.size[rows]
        std = np.zeros(scores.shape) if self.std is None else self.std[rows]
        if self.how is not None:
            return self.how.rates(scores, std, size)
        # Of neighbours, both are sparse.
        found: Any = scores @ self.loadings.T
        mean = size * (found.toarray() if hasattr(found, "toarray") else found)
        return Rates(mean, np.zeros_like(mean))

    @property
    def counts(self) -> bool:
        """Whether it has a distribution of counts."""
        return self.how is None or self.how.counts


class Outcome(NamedTuple):
    """What is scored of a model."""

    held: Expected
    seen: Expected | None
    """Of the training part; `None`: there is no fit that could be too close."""
    sparsity: float
    converged: bool | None
    """`None`: there is nothing to fit."""


def run(part: HoldOut, setting: Setting, seed: int) -> Outcome:
    """Fit a model to the training part, and what it expects of both."""
    model = MODELS[setting.method]
    if model.fit is None:
        return _BASELINES[setting.method](part)
    kwargs = {**model.defaults, **setting.kwargs, "rng": seed}
    seen_size, held_size = part.sizes(kwargs.get("size_factors", "total"))
    if model.spatial:
        kwargs |= {
            "spatial_key": part.whole.spatial_key,
            "library_key": part.whole.library_key,
        }
        if family_member(setting.method).hybrid:
            kwargs["n_spatial"] = setting.n_spatial
    model.fit(part.train, setting.n_components, **kwargs, key_added=_KEY)
    stored = read_factors(part.train, _KEY)
    if stored.entry.interrupted:
        raise KeyboardInterrupt
    if model.sized:
        w = stored.loadings
        scores = stored.scores / part.train_divisor
        seen = Expected(scores, w, part.train_size)
        held = Expected(part.average @ scores, w, part.held_size)
        return Outcome(held, seen, share_of_zeros(w), stored.entry.converged)
    how = expression_of(part.train, stored)
    w = stored.loadings
    std = np.asarray(part.train.obsm[side_key(stored.keys, "obsm", "std")])
    seen = Expected(stored.scores, w, seen_size, std, how)
    if model.spatial:
        found = predict(
            part.train, part.held_coords, key=_KEY, section=part.held_section
        )
        at, spread = np.asarray(found.X), np.asarray(found.layers["std"])
        held = Expected(at, w, held_size, spread, how)
    else:
        # Averages of neighbours have no distribution of their own.
        held = Expected(part.average @ stored.scores, w, held_size, None, how)
    entry = cast("ProbabilisticEntry", stored.entry)
    sparsity = float(cast("float", entry.sparsity))
    return Outcome(held, seen, sparsity, entry.converged)


def _rates(part: HoldOut) -> Outcome:
    seen, held = (
        Expected(np.ones(size.shape), part.rate[:, None], size)
        for size in (part.train_size, part.held_size)
    )
    return Outcome(held, seen, np.nan, None)


def _neighbors(part: HoldOut) -> Outcome:
    counts = part.train_counts.multiply(1 / part.train_divisor).tocsr()
    held = Expected(part.average, counts.T.tocsr(), part.held_size)
    return Outcome(held, None, np.nan, None)


_BASELINES: dict[str, Callable[[HoldOut], Outcome]] = {
    "neighbors": _neighbors,
    "intercept": _rates,
}


MODELS = {
    "nsf": Model(nsf, spatial=True),
    "nsfh": Model(nsfh, spatial=True),
    "rsf": Model(rsf, spatial=True),
    "pnmf": Model(pnmf),
    "fa": Model(fa),
    "nmf": Model(nmf, defaults={"beta_loss": "kullback-leibler"}, sized=True),
    **dict.fromkeys(_BASELINES, Model()),
}


def family_member(name: str) -> FamilyMember:
    """What tells a model of the NSF family apart; others have nothing of it."""
    return FAMILY.get(cast("Method", name), FamilyMember())
