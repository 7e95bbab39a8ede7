"""Train the few parameters of a network, or search them at random."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax

from ..loop import Report, Trace, drive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loop import Callback
    from .network import Example, Network, Parameters

# Where training begins.
START = {
    "graph_weight": 30.0,
    "group_weight": 3.0,
    "width": 1.0,
    "label_width": 1.0,
}

# Within which a search at random draws, log-uniformly.
_RANGE = {
    "graph_weight": (1.0, 3000.0),
    "group_weight": (0.1, 300.0),
    "width": (0.3, 3.0),
    "label_width": (0.3, 3.0),
}

# Steps between looks at the validation maps.
_LOOK = 5

# What a step may move together, over the learning rate's.
_CLIP = 1.0


class Trained(NamedTuple):
    """Parameters, and how they were found."""

    numbers: dict[str, float]
    error: float
    """On validation maps."""
    first_error: float
    losses: list[float]
    """On the training maps of every step."""
    trace: Trace
    """Its objective: the error on validation maps."""


class State(NamedTuple):
    """Training in progress."""

    parameters: Any
    optimiser: Any
    best: Any
    error: float | None
    """On validation maps, where the last step looked at them."""
    lowest: float
    n_worse: int
    """Looks since the lowest error."""
    losses: tuple[float, ...]


@lru_cache(maxsize=8)
def _optimiser(learning_rate: float) -> Any:
    return optax.chain(optax.clip_by_global_norm(_CLIP), optax.adam(learning_rate))


@partial(jax.jit, static_argnames="learning_rate")
def _descend(
    network: Network,
    parameters: Parameters,
    optimiser: Any,
    examples: Example,
    *,
    learning_rate: float,
) -> Any:
    def loss(p: Parameters) -> Any:
        return network.errors(p, examples).mean()

    value, slope = jax.value_and_grad(loss)(parameters)
    moves, optimiser = _optimiser(learning_rate).update(slope, optimiser)
    return optax.apply_updates(parameters, moves), optimiser, value


@jax.jit
def _errors(network: Network, parameters: Parameters, examples: Example) -> Any:
    return jax.lax.map(lambda e: network.error(parameters, e), examples)


@dataclass(frozen=True)
class TrainingSolver:
    """Adam on the logarithms of parameters, over batches of maps.

    Finished when ``patience`` looks at the validation maps have found nothing better.
    """

    network: Network
    training: Example
    validation: Example
    batches: NDArray[np.intp]
    """(max_iter, batch_size)"""
    learning_rate: float
    patience: int

    @property
    def max_iter(self) -> int:
        """Steps."""
        return len(self.batches)

    def init(self, parameters: Parameters, /) -> State:
        """The state before the first step."""
        optimiser = _optimiser(self.learning_rate).init(parameters)
        error = self._look(parameters)
        return State(parameters, optimiser, parameters, error, error, 0, ())

    def step(self, state: State, /) -> State:
        """One batch, and now and then the validation maps."""
        batch = self.batches[len(state.losses)]
        examples = jax.tree.map(lambda part: part[batch], self.training)
        parameters, optimiser, loss = _descend(
            self.network,
            state.parameters,
            state.optimiser,
            examples,
            learning_rate=self.learning_rate,
        )
        losses = (*state.losses, float(loss))
        best, lowest, n_worse = state.best, state.lowest, state.n_worse
        error = None
        if len(losses) % _LOOK == 0 or len(losses) == self.max_iter:
            error = self._look(parameters)
            n_worse += 1
            if error < lowest:
                best, lowest, n_worse = parameters, error, 0
        return State(parameters, optimiser, best, error, lowest, n_worse, losses)

    def finished(self, state: State, /) -> bool:
        """Whether nothing better was found for long."""
        return state.n_worse >= self.patience

    def finish(self, state: State, /) -> dict[str, float]:
        """The best values so far."""
        return {name: float(np.exp(p)) for name, p in state.best.items()}

    def report(self, state: State, /) -> Report:
        """The error on validation maps."""
        return Report(state.error)

    def _look(self, parameters: Parameters) -> float:
        return float(_errors(self.network, parameters, self.validation).mean())


def logarithms(values: dict[str, float], like: Example) -> Parameters:
    """Parameters of a network."""
    return {
        name: jax.numpy.asarray(np.log(value), like.truth.dtype)
        for name, value in values.items()
    }


def train(
    network: Network,
    training: Example,
    validation: Example,
    start: dict[str, float],
    *,
    batch_size: int,
    learning_rate: float,
    max_iter: int,
    patience: int,
    rng: np.random.Generator,
    callback: Callback | None = None,
) -> Trained:
    """Descend from ``start``; an interruption keeps the best so far."""
    n = len(training.truth)
    size = min(batch_size, n)
    n_epochs = -(-max_iter * size // n)
    order = np.concatenate([rng.permutation(n) for _ in range(n_epochs)])
    solver = TrainingSolver(
        network,
        training,
        validation,
        order[: max_iter * size].reshape(max_iter, size),
        learning_rate,
        patience,
    )
    state = solver.init(logarithms(start, training))
    first = state.lowest
    state, trace = drive(solver, state, callback)
    return Trained(solver.finish(state), state.lowest, first, list(state.losses), trace)


def search(
    network: Network,
    maps: Example,
    names: list[str],
    rng: np.random.Generator,
    *,
    seconds: float = np.inf,
    n_trials: int | None = None,
) -> tuple[dict[str, float], float, int]:
    """The best of parameters that are drawn at random, its error, and how many.

    The control of training: as long, over all maps, without gradients.
    """
    best: dict[str, float] = {}
    lowest, n_done = np.inf, 0
    until = perf_counter() + seconds
    while n_done < n_trials if n_trials is not None else perf_counter() < until:
        values = {
            name: float(np.exp(rng.uniform(*np.log(_RANGE[name])))) for name in names
        }
        error = float(_errors(network, logarithms(values, maps), maps).mean())
        n_done += 1
        if error < lowest:
            best, lowest = values, error
    return best, lowest, n_done
