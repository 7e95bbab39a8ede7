"""Extrapolation: every step begins further on than the last one ended.

After :cite:t:`Ang2019`: factors are moved on along their last step by a share that grows
while the objective falls. A step that raises it is undone, the share lowered, and the
next one taken without: the objective of what is kept falls as it does without.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace
from ..loop import Solver
from .momentum import Momentum, move_on

if TYPE_CHECKING:
    from ..loop import Report


# The first share, by what it and its limit grow in a step, and by what it is divided
# when a step is undone: as in the article.
_SHARE, _GROWTH, _LIMIT_GROWTH, _DROP = 0.5, 1.05, 1.01, 1.5

# Steps without extrapolation at the beginning. From the first step on it can lose a
# component for good where the start is far away: on dense data, NMF ended 60 % higher,
# and after two steps, iNMF of real cells stopped .3 % higher in two of eight fits.
_WARM_UP = 5


class Alternating[State, Result](Solver[State, Result], Protocol):
    """A solver that updates two factors in turn, and counts ``reseeds`` in its state."""

    def factors(self, state: State, /) -> tuple[Any, Any]:
        """The one that is updated first, and the other: arrays, or trees of them."""
        ...

    def revived(self, state: State, /) -> State:
        """The state without dead components."""
        ...

    def advanced(
        self, state: State, second: Any, momentum: Momentum | None, /
    ) -> tuple[State, Any]:
        """The state after a step that begins with another second factor.

        With ``momentum``, the first factor is moved on after its update. Also returns
        what it was before.
        """
        ...


class ExtrapolatedState(NamedTuple):
    """A fit in progress, and how the next step begins."""

    kept: Any
    """The best state so far: that of the last step that was not undone."""
    last: Any
    """The first factor before it was moved on."""
    ahead: Any
    """The second one, moved on."""
    share: Any
    limit: Any
    """What the share must not exceed."""
    n_plain: Any
    """Steps that are still to be taken without."""


@partial(jax.tree_util.register_dataclass, data_fields=["plain"], meta_fields=[])
@dataclass(frozen=True)
class ExtrapolatedSolver[State, Result]:
    """Another solver, with extrapolation and restarts."""

    plain: Alternating[State, Result]

    @property
    def max_iter(self) -> int:
        """Maximum number of steps."""
        return self.plain.max_iter

    def init(self, start: Any, /) -> ExtrapolatedState:
        """The state before the first step."""
        kept: Any = self.plain.init(start)
        first, second = self.plain.factors(kept)
        xp, dtype = namespace(kept.objective), kept.objective.dtype
        return ExtrapolatedState(
            kept=kept,
            last=first,
            ahead=second,
            share=xp.full((), _SHARE, dtype),
            limit=xp.ones((), dtype),
            n_plain=xp.full((), _WARM_UP),
        )

    def step(self, state: ExtrapolatedState, /) -> ExtrapolatedState:
        """Update one factor, then the other, each moved on afterwards; or go back."""
        before: Any = self.plain.revived(state.kept)
        factors = self.plain.factors(before)
        pointed = (before.reseeds != state.kept.reseeds).any()
        last, ahead = _either(pointed, factors, (state.last, state.ahead))
        xp: Any = jnp if isinstance(before.objective, jax.core.Tracer) else np
        share = xp.where((state.n_plain > 0) | pointed, 0, state.share)
        after: Any
        after, reached = self.plain.advanced(before, ahead, Momentum(last, share))
        rises = ~(after.objective <= before.objective) & (share > 0)
        beyond = jax.tree.map(
            partial(move_on, share=share), self.plain.factors(after)[1], factors[1]
        )
        kept, last, ahead = _either(rises, (before, *factors), (after, reached, beyond))
        grown = xp.where(share > 0, _GROWTH, 1) * state.share
        limit = xp.minimum(1, xp.where(share > 0, _LIMIT_GROWTH, 1) * state.limit)
        return ExtrapolatedState(
            kept=kept,
            last=last,
            ahead=ahead,
            share=xp.where(rises, state.share / _DROP, xp.minimum(grown, state.limit)),
            limit=xp.where(rises, state.share, limit),
            n_plain=xp.where(rises, 1, xp.maximum(state.n_plain - 1, 0)),
        )

    def finished(self, state: ExtrapolatedState, /) -> Any:
        """Whether the tolerance is met."""
        return self.plain.finished(state.kept)

    def finish(self, state: ExtrapolatedState, /) -> Result:
        """The result of what is kept."""
        return self.plain.finish(state.kept)

    def report(self, state: ExtrapolatedState, /) -> Report:
        """That of what is kept."""
        return self.plain.report(state.kept)


def _either(condition: Any, first: Any, second: Any) -> Any:
    """One of two, of the same structure."""
    if isinstance(condition, jax.core.Tracer):
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), first, second)
    return first if condition else second
