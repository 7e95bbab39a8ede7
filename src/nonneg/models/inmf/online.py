"""Online iNMF: one mini-batch of cells at a time, in memory that does not grow.

Every mini-batch updates sums over cells, which forget older ones exponentially over
about one epoch, and the loadings follow the sums :cite:p:`Gao2021`. The sums are over
cells, not means over mini-batches as printed there, so that the fixed points are those
of the objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace
from ..clock import clock
from ..factor.momentum import move_on
from ..loop import Report
from .loadings import add, objectives, update_loadings
from .minibatches import MinibatchSampler
from .normalise import rescale, standardise
from .problem import (
    Block,
    Loadings,
    SufficientStatistics,
    to_host,
    zeros,
)
from .revive import in_use, revive
from .scores import (
    exact_scores,
    score_blocks,
    settle_rows,
    solve_rows,
    update_scores,
    zero_scores,
)
from .validation import is_due

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..loop import Callback
    from .problem import Penalties, ScaledData
    from .validation import Validation


# Where a mini-batch is all cells, steps are those of the batch fit, which stays on saddles
# for long. Reading takes more time than rounds with what was read: three of them per epoch,
# which begin further on by a part of the last move, after five that do not (see
# `factor.extrapolate`). Of 24 fits of small data, 20 epochs then end at most .04 % above
# the batch fit; with one round, seven of them end up to 1.5 % above.
_ROUNDS, _MOMENTUM, _WARM_UP = 3, 0.9, 5


class OnlineState(NamedTuple):
    """All that a fit needs to go on."""

    loadings: Loadings
    running: SufficientStatistics
    """Statistics that forget, of the data sets that are read."""
    n_effective: NDArray[np.float64]
    """Number of cells that they stand for."""
    step: int
    objective: NDArray[np.float64]
    """Estimated after every epoch."""
    seconds: NDArray[np.float64]
    change: NDArray[np.float64]
    """Relative change of W in every step."""
    ahead: Loadings
    """Where the next round begins: further on than the loadings, or at them."""
    value: float
    """Objective that the next round must not exceed, where one mini-batch is all cells."""
    validation: NDArray[np.float64]
    """(n_looks, 4): step, seconds, objective of a sample and of held-out cells."""


class OnlineResult(NamedTuple):
    """Loadings, and the exact statistics of all cells that were read."""

    loadings: Loadings
    statistics: SufficientStatistics
    known: SufficientStatistics | None
    """Of earlier cells, in the scale of the loadings."""
    norm: NDArray[np.float64]
    """What scores were multiplied by, in their order; loadings were divided by it."""


@dataclass(frozen=True)
class OnlineSolver:
    """Follow running statistics of mini-batches with the loadings."""

    sampler: MinibatchSampler
    sample: ScaledData
    penalties: Penalties
    known: SufficientStatistics | None = None
    """Statistics of cells that are not there any more."""
    active: NDArray[np.bool_] | None = None
    """Data sets whose specific part is fitted; ``None``: all."""

    def begin(self, loadings: Loadings) -> OnlineState:
        """State before the first mini-batch."""
        data, (n_batches, rank, n_vars) = self.sampler.data, loadings.V.shape
        total = data.dtype if data.on_device else np.dtype(np.float64)
        return OnlineState(
            loadings=loadings,
            running=SufficientStatistics(
                zeros(data, (n_batches, rank, rank), total),
                zeros(data, (n_batches, rank, n_vars), total),
            ),
            n_effective=np.zeros(n_batches),
            step=0,
            objective=np.empty(0),
            seconds=np.empty(0),
            change=np.empty(0),
            ahead=loadings,
            value=np.inf,
            validation=np.empty((0, 4)),
        )

    def step(self, state: OnlineState, blocks: list[Block]) -> OnlineState:
        """Scores of a mini-batch, running statistics, and loadings."""
        before = state.loadings.W
        for i in range(_ROUNDS if self.sampler.n_steps == 1 else 1):
            state = self._round(state, blocks, state.step * _ROUNDS + i)
        after = state.loadings.W
        xp = namespace(after)
        moved = float(xp.linalg.norm(after - before))
        moved /= max(float(xp.linalg.norm(after)), 1e-30)
        return state._replace(
            step=state.step + 1, change=np.append(state.change, moved)
        )

    def _round(
        self, state: OnlineState, blocks: list[Block], n_before: int
    ) -> OnlineState:
        data, penalties = self.sampler.data, self.penalties
        new = score_blocks(
            data,
            blocks,
            state.ahead,
            penalties.lam,
            update=settle_rows,
            keep=lambda *_: None,
        )
        n_new = np.zeros(len(data.names))
        for block in blocks:
            n_new[block.batch] += block.op.shape[0]
        kept = 1 - 1 / self.sampler.n_steps
        running = SufficientStatistics(
            *(kept * old + x for old, x in zip(state.running, new, strict=True))
        )
        n_effective = kept * state.n_effective + n_new
        statistics = running
        if self.known is not None:
            # Beside other cells, those that arrive count in full.
            arrived = _standing_for(running, n_effective, data.n_cells)
            statistics = add(arrived, self.known)
        xp = namespace(statistics.gram)
        # Data sets of which no cell came yet keep what they began with.
        active = xp.einsum("dkk->d", statistics.gram) > 0
        if self.active is not None:
            active = active & self.active
        after = update_loadings(
            state.ahead, statistics, penalties, active=active, shared=data.shared
        )
        ahead, value = after, np.inf
        if self.sampler.n_steps == 1:
            value = float(
                penalties.weight
                @ objectives(data.sq_norm, after, statistics, penalties.lam)
            )
            if value > state.value:
                # This round began too far on: the next begins where the last one ended.
                return state._replace(ahead=state.loadings, value=np.inf)
            if n_before >= _WARM_UP:
                ahead = _further(after, state.loadings)
        return state._replace(
            loadings=after,
            running=running,
            n_effective=n_effective,
            ahead=ahead,
            value=value,
        )

    def revive(self, state: OnlineState) -> OnlineState:
        """Point factors that no cell uses at the worst explained cells of the sample."""
        statistics = add(state.running, self.known)
        if state.step == 0 or in_use(statistics).all():
            return state
        sample, rank = self.sample, state.loadings.W.shape[0]
        scores, _ = update_scores(
            sample,
            state.loadings,
            self.penalties.lam,
            zero_scores(sample, rank),
            solve_rows,
        )
        never = np.zeros(rank, int)
        loadings, _ = revive(sample, state.loadings, scores, statistics, never)
        return state._replace(loadings=loadings, ahead=loadings, value=np.inf)

    def estimate(self, state: OnlineState) -> float:
        """The objective, from statistics that stand for fewer cells than there are."""
        data, penalties = self.sampler.data, self.penalties
        running = _standing_for(state.running, state.n_effective, data.n_cells)
        value = objectives(data.sq_norm, state.loadings, running, penalties.lam)
        return float(penalties.weight @ value)

    def finish(
        self, state: OnlineState, keep: Callable[[Block, Any], None], *, sort: bool
    ) -> OnlineResult:
        """Exact scores of all cells, handed over block by block, and statistics."""
        data, known = self.sampler.data, self.known
        # Before the scores are computed: they may be on disk when all are known.
        seen = to_host(add(state.running, known))
        loadings, norm, order = standardise(to_host(state.loadings), seen)
        if not sort:
            loadings = Loadings(*(x[..., np.argsort(order), :] for x in loadings))
            order = np.arange(order.size)
        start = Loadings(*map(jnp.asarray, loadings)) if data.on_device else loadings
        statistics = to_host(exact_scores(data, start, self.penalties.lam, keep))
        return OnlineResult(
            loadings,
            SufficientStatistics(*(np.asarray(x, np.float64) for x in statistics)),
            None if known is None else rescale(known, norm, order),
            norm[order],
        )


def spent(state: OnlineState) -> float:
    """Seconds until the last that was recorded."""
    recorded = np.append(state.seconds, state.validation[:, 1])
    return float(recorded.max(initial=0.0))


def fit(
    solver: OnlineSolver,
    state: OnlineState,
    *,
    n_epochs: int,
    began: float | None = None,
    callback: Callback | None = None,
    save: Callable[[OnlineState], None] | None = None,
    validation: Validation | None = None,
) -> tuple[OnlineState, bool]:
    """Go on from a state to the end of the last epoch.

    ``began`` is when the work began, by :func:`clock`, as if it had not stopped. ``save`` is called
    after every mini-batch. Cells of ``validation`` are looked at on the way, which takes
    time that is not counted. Also returns whether an interruption ended the fit: then
    the state is that after the last complete mini-batch.
    """
    n_steps = solver.sampler.n_steps
    began = clock() - spent(state) if began is None else began

    def seconds() -> float:
        return clock() - began - (0 if validation is None else validation.seconds)

    try:
        while state.step < n_epochs * n_steps:
            epoch, first = divmod(state.step, n_steps)
            if first == 0:
                # Not where a fit goes on: it must end as if it had not stopped.
                state = solver.revive(state)
            for blocks in solver.sampler.steps(epoch, first):
                after = solver.step(state, blocks)
                if after.step % n_steps == 0:
                    after = after._replace(
                        objective=np.append(after.objective, solver.estimate(after)),
                        seconds=np.append(after.seconds, seconds()),
                    )
                if validation is not None and is_due(after.step, n_steps):
                    now = seconds()
                    both = (
                        validation.objective_of_sample(after.loadings),
                        validation.objective(after.loadings),
                    )
                    looks = [*after.validation, (after.step, now, *both)]
                    after = after._replace(validation=np.array(looks, np.float64))
                state = after
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


def _further(after: Loadings, before: Loadings) -> Loadings:
    """Loadings that are further on in the same direction, and not negative."""
    return Loadings(
        *(move_on(x, old, _MOMENTUM) for x, old in zip(after, before, strict=True))
    )


def _standing_for(
    statistics: SufficientStatistics,
    n_effective: NDArray[np.float64],
    n_cells: NDArray[Any],
) -> SufficientStatistics:
    """Statistics of some cells, as if of another number of them."""
    share = np.divide(
        n_cells, n_effective, out=np.zeros(n_effective.size), where=n_effective > 0
    )
    return SufficientStatistics(*(x * share[:, None, None] for x in statistics))
