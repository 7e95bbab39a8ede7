"""How well cells that are not fitted are explained, while others are fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..clock import clock
from .loadings import objectives
from .scores import exact_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .problem import Block, Loadings, Penalties, ScaledData

# Objectives fall by less and less, and are drawn on logarithmic scales: the next step that is
# looked at is so much further on. 26 of 200 steps.
_GROWTH = 1.2


@dataclass
class Validation:
    """Cells that are not fitted, in memory, and a sample of those that are."""

    data: ScaledData
    sample: ScaledData
    penalties: Penalties
    seconds: float = 0.0
    """Spent on them so far."""

    def objective(
        self,
        loadings: Loadings,
        keep: Callable[[Block, Any], None] = lambda *_: None,
    ) -> float:
        """Objective for exact scores, relative to the squared norm of these cells."""
        return self._objective(self.data, loadings, keep)

    def objective_of_sample(self, loadings: Loadings) -> float:
        """The same of cells that are fitted: without the noise of a mini-batch."""
        if self._with_norms is None:
            norms = _sq_norm(self.sample)
            self._with_norms = replace(self.sample, sq_norm=norms)
        return self._objective(self._with_norms, loadings, lambda *_: None)

    _with_norms: ScaledData | None = None

    def _objective(
        self, data: ScaledData, loadings: Loadings, keep: Callable[[Block, Any], None]
    ) -> float:
        began = clock()
        lam = self.penalties.lam
        statistics = exact_scores(data, loadings, lam, keep)
        value = objectives(data.sq_norm, loadings, statistics, lam)
        self.seconds += clock() - began
        return relative(value, self.penalties, data)


def _sq_norm(data: ScaledData) -> NDArray[np.float64]:
    """Squared norm of each data set, scaled."""
    norms = np.zeros(len(data.names))
    for d, _, op, scale in data.blocks():
        weight = np.broadcast_to(np.square(np.asarray(scale)), (op.shape[0], 1))
        squares = op.square_rmatmul(weight.astype(data.dtype))
        gene_scale = np.asarray(data.gene_scale[d], np.float64)
        norms[d] += np.asarray(squares, np.float64)[:, 0] @ np.square(gene_scale)
    return norms


def relative(values: Any, penalties: Penalties, data: ScaledData) -> float:
    """Objectives of data sets, weighted, relative to the same of their squared norms."""
    weight = np.asarray(penalties.weight, np.float64)
    whole = float(weight @ np.asarray(data.sq_norm, np.float64))
    return float(weight @ np.asarray(values, np.float64)) / whole if whole else 0.0


def is_due(step: int, n_steps: int = 0) -> bool:
    """Whether to look after a step: fewer and fewer, and after epochs of ``n_steps``."""
    if n_steps and step % n_steps == 0:
        return True
    due = 1
    while due < step:
        due = max(due + 1, math.ceil(due * _GROWTH))
    return due == step


class Look(NamedTuple):
    """What is found after a step of a fit in batch."""

    iteration: int
    objective: float
    held_out: float
    spent: float
    """Seconds that looks took until then."""


@dataclass
class Watch:
    """Looks at held-out cells during fits in batch, from one start after the other."""

    validation: Validation
    starts: list[list[Look]] = field(default_factory=list)
    _iteration: int = 0
    _before: float = 0.0

    def begin(self) -> None:
        """The next start."""
        self.starts.append([])
        self._iteration, self._before = 0, self.validation.seconds

    def step(self, loadings: Loadings, objective: float) -> None:
        """After every step."""
        self._iteration += 1
        if is_due(self._iteration):
            held_out = self.validation.objective(loadings)
            spent = self.validation.seconds - self._before
            self.starts[-1].append(Look(self._iteration, objective, held_out, spent))

    def of(self, objective: Sequence[float]) -> list[Look]:
        """What was found on the way of a fit, among those of several starts."""
        n = len(objective)
        # An interruption may come between a look and the end of its step.
        complete = [[look for look in s if look.iteration <= n] for s in self.starts]
        return next(
            looks
            for looks in complete
            if looks
            and all(look.objective == objective[look.iteration - 1] for look in looks)
        )


def without(seconds: Sequence[float], looks: Sequence[Look]) -> NDArray[np.float64]:
    """Seconds after every iteration, without those of looking."""
    spent = np.zeros(len(seconds))
    for look in looks:
        spent[look.iteration - 1 :] = look.spent
    return np.asarray(seconds, np.float64) - spent
