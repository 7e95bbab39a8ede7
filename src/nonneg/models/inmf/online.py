"""Online iNMF: one mini-batch of cells at a time, in memory that does not grow.

Every mini-batch updates sums over cells, which forget older ones exponentially over
about one epoch, and the loadings follow the sums :cite:p:`Gao2021`. The sums are over
cells, not means over mini-batches as printed there, so that the fixed points are those
of the objective.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..loop import Report
from .loadings import add, fit_loadings, objectives
from .minibatches import Plan
from .normalise import rescale, standardise
from .problem import Block, Model, Sums
from .revive import in_use, revive
from .scores import add_blocks, solve, update_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..._core.typing import Floats
    from ..loop import Callback
    from .problem import Data, Penalties


# Sweeps for the scores of a mini-batch, which start from zero.
_SWEEPS = 10


class OnlineState(NamedTuple):
    """All that a fit needs to go on."""

    model: Model
    running: Sums
    """Sums that forget, of the data sets that arrive."""
    n_effective: NDArray[np.float64]
    """Number of cells that they stand for."""
    step: int
    objective: NDArray[np.float64]
    """Estimated after every epoch."""
    seconds: NDArray[np.float64]
    change: NDArray[np.float64]
    """Relative change of W in every step."""


def begin(model: Model) -> OnlineState:
    """State before the first mini-batch."""
    n_batches, rank, n_vars = model.V.shape
    return OnlineState(
        model=model,
        running=Sums(
            np.zeros((n_batches, rank, rank)), np.zeros((n_batches, rank, n_vars))
        ),
        n_effective=np.zeros(n_batches),
        step=0,
        objective=np.empty(0),
        seconds=np.empty(0),
        change=np.empty(0),
    )


@dataclass(frozen=True)
class Arrival:
    """What is fitted, and what is known from before."""

    plan: Plan
    sample: Data
    penalties: Penalties
    known: Sums | None = None
    """Sums over cells that are not there any more."""
    active: NDArray[np.bool_] | None = None
    """Data sets whose own part is fitted; ``None``: all."""
    began: float = field(default_factory=perf_counter)


def fit(
    arrival: Arrival,
    state: OnlineState,
    *,
    n_epochs: int,
    callback: Callback | None = None,
    save: Callable[[OnlineState], None] | None = None,
) -> tuple[OnlineState, bool]:
    """Go on from a state to the end of the last epoch.

    ``save`` is called after every mini-batch. Also returns whether an interruption
    ended it: then the state is that after the last complete mini-batch.
    """
    n_steps = arrival.plan.n_steps
    began = arrival.began - float(np.max(state.seconds, initial=0.0))
    try:
        while state.step < n_epochs * n_steps:
            epoch, first = divmod(state.step, n_steps)
            if first == 0:
                # Not where a fit goes on: it must end as if it had not stopped.
                state = _revive(arrival, state)
            for blocks in arrival.plan.steps(epoch, first):
                state = _step(arrival, state, blocks)
                if state.step % n_steps == 0:
                    state = _end_epoch(arrival, state, perf_counter() - began)
                if save is not None:
                    save(state)
                if callback is not None:
                    objective = state.objective[-1] if state.objective.size else None
                    callback(state.step, Report(objective))
    except KeyboardInterrupt:
        if state.step == 0:
            raise
        return state, True
    return state, False


def _step(arrival: Arrival, state: OnlineState, blocks: list[Block]) -> OnlineState:
    data, penalties = arrival.plan.data, arrival.penalties
    model = state.model
    new = add_blocks(
        data,
        blocks,
        model,
        penalties.lam,
        scores=None,
        update=partial(update_rows, rule="hals", n_sweeps=_SWEEPS),
        keep=lambda *_: None,
    )
    n_new = np.zeros(len(data.names))
    for block in blocks:
        n_new[block.batch] += block.op.shape[0]
    n_steps = arrival.plan.n_steps
    kept = 1 - 1 / n_steps
    running = Sums(*(kept * old + x for old, x in zip(state.running, new, strict=True)))
    n_effective = kept * state.n_effective + n_new
    sums = running
    if arrival.known is not None:
        # Beside other cells, those that arrive count in full.
        arrived = _standing_for(running, n_effective, data.n_cells)
        sums = add(arrived, arrival.known)
    # Data sets of which no cell came yet keep what they began with.
    there = np.einsum("dkk->d", sums.gram) > 0
    active = there if arrival.active is None else there & arrival.active
    after = fit_loadings(model, sums, penalties, active=active)
    moved = np.linalg.norm(after.W - model.W) / max(
        float(np.linalg.norm(after.W)), 1e-30
    )
    return state._replace(
        model=after,
        running=running,
        n_effective=n_effective,
        step=state.step + 1,
        change=np.append(state.change, moved),
    )


def _standing_for(
    sums: Sums, n_effective: NDArray[np.float64], n_cells: NDArray[Any]
) -> Sums:
    """Sums over some cells, as if over another number of them."""
    share = np.divide(
        n_cells, n_effective, out=np.zeros(n_effective.size), where=n_effective > 0
    )
    return Sums(*(x * share[:, None, None] for x in sums))


def _end_epoch(arrival: Arrival, state: OnlineState, seconds: float) -> OnlineState:
    """Estimate the objective from sums that stand for fewer cells than there are."""
    data, penalties = arrival.plan.data, arrival.penalties
    running = _standing_for(state.running, state.n_effective, data.n_cells)
    value = objectives(data.sq_norm, state.model, running, penalties.lam)
    estimate = float(penalties.weight @ value)
    return state._replace(
        objective=np.append(state.objective, estimate),
        seconds=np.append(state.seconds, seconds),
    )


def _revive(arrival: Arrival, state: OnlineState) -> OnlineState:
    """Point factors that no cell uses at the worst explained cells of the sample."""
    sums = add(state.running, arrival.known)
    if state.step == 0 or in_use(sums).all():
        return state
    sample, rank = arrival.sample, state.model.W.shape[0]
    scores = np.zeros((sample.shape[0], rank), sample.dtype)

    def keep(block: Block, new: Floats) -> None:
        scores[block.rows] = new

    solve(sample, state.model, arrival.penalties.lam, keep)
    return state._replace(model=revive(sample, state.model, scores, sums, {}))


class Scored(NamedTuple):
    """A model and the exact sums of all cells that are there."""

    model: Model
    sums: Sums
    known: Sums | None
    """Sums from before, in the scale of the model."""
    objective: float


def finish(
    arrival: Arrival,
    state: OnlineState,
    keep: Callable[[Block, Floats], None],
    *,
    sort: bool,
) -> Scored:
    """Exact scores of all cells, handed over block by block, and their sums."""
    data, penalties = arrival.plan.data, arrival.penalties
    # Before the scores are computed: they may be on disk when all are known.
    model, norm, order = standardise(state.model, add(state.running, arrival.known))
    if not sort:
        model = Model(*(x[..., np.argsort(order), :] for x in model))
        order = np.arange(order.size)
    sums = solve(data, model, penalties.lam, keep)
    value = objectives(data.sq_norm, model, sums, penalties.lam)
    known = None if arrival.known is None else rescale(arrival.known, norm, order)
    return Scored(model, sums, known, float(penalties.weight @ value))
