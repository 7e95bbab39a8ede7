"""Fit amounts, and where asked effects on signatures with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..._core.settings import settings
from ...operators.choose import local_operator
from ...operators.device import on_accelerator
from ..loop import Trace, drive
from .counts import CountLayer, NegativeBinomial, Poisson
from .coupling import Coupling
from .effects import EffectLayer
from .least_squares import LeastSquaresLayer, Quadratic
from .problem import Fit, Mixture, Tuning
from .solver import DeconvolutionSolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator
    from ..loop import Callback
    from .problem import LikelihoodName

# Of a type that a start does not have: what is zero could not grow.
_START = 1e-5

# Effects trade with amounts in steps so small that many of them matter.
_CLOSER = 0.1


class Budget(NamedTuple):
    """How far a fit goes."""

    tol: float = 1e-3
    max_iter: int = 500
    rounds: int = 500
    """Steps of effects with amounts, after those of amounts alone."""


def as_local(x: Any, where: str) -> MatrixOperator:
    """Operator of a matrix in memory, where the settings say."""
    return local_operator(
        x,
        where=where,
        columns=None,
        dtype=np.dtype(np.float32),
        n_threads=settings.n_threads,
        on_device=on_accelerator(),
    )


def fit_mixture(
    mixture: Mixture,
    tuning: Tuning,
    likelihood: LikelihoodName = "poisson",
    *,
    dispersion: NDArray[np.float64] | None = None,
    start: NDArray[np.floating[Any]] | None = None,
    support: NDArray[np.float32] | None = None,
    budget: Budget = Budget(),  # noqa: B008
    callback: Callback | None = None,
) -> Fit:
    """Minimise over amounts, then over amounts and effects.

    ``dispersion`` holds what variances of the genes are times that of Poisson counts,
    ``support`` (n, k) which types a location may have.
    """
    scaled, weights, size, kept = weigh(mixture, tuning, dispersion)
    make = _LAYERS[likelihood](scaled, size, tuning, kept, dispersion)
    layer = make(scaled.signatures)
    roots = first_roots(layer.start() if start is None else start)
    if support is not None:
        layer = replace(layer, support=jnp.asarray(support))
    solver = DeconvolutionSolver(layer, budget.tol, budget.max_iter)
    state, trace = drive(solver, solver.init(roots), callback)
    amounts, signatures = solver.finish(state), scaled.signatures
    if tuning.effects and budget.rounds and not trace.interrupted:
        effects = EffectLayer(
            lambda b: replace(layer, likelihood=make(b).likelihood),
            scaled.signatures,
            np.asarray(scaled.counts.sum(0), np.float64).ravel(),
            size,
            tuning.gene_effect,
            tuning.entry_effect,
            _CLOSER * layer.unit,
        )
        further = DeconvolutionSolver(effects, budget.tol, budget.rounds)
        try:
            state, after = drive(
                further,
                further.init(effects.start(state.moved)),
                None if callback is None else _continued(callback, trace.n_iter),
            )
        except KeyboardInterrupt:
            # Before the first step of effects: amounts alone are kept.
            trace = trace._replace(converged=False, interrupted=True)
        else:
            amounts, _ = further.finish(state)
            gene, entry = effects.factors(state.moved)
            signatures = scaled.signatures * gene * entry
            trace = _joined(trace, after)
    return Fit(np.asarray(amounts, np.float64), signatures / weights, trace)


def raise_if_interrupted(trace: Trace) -> None:
    """After fits that only prepare another one: there is nothing to keep yet."""
    if trace.interrupted:
        raise KeyboardInterrupt


def _continued(callback: Callback, n_done: int) -> Callback:
    return lambda iteration, report: callback(n_done + iteration, report)


def _joined(first: Trace, second: Trace) -> Trace:
    """Of two loops in turn."""
    seconds = first.seconds[-1] if first.seconds else 0.0
    return Trace(
        objective=first.objective + second.objective,
        iteration=first.iteration + [first.n_iter + i for i in second.iteration],
        seconds=first.seconds + [seconds + s for s in second.seconds],
        n_iter=first.n_iter + second.n_iter,
        converged=second.converged,
        interrupted=second.interrupted,
    )


class Scaled(NamedTuple):
    """A mixture as it enters the likelihood."""

    mixture: Mixture
    """Counts and signatures times the weights."""
    weights: NDArray[np.float64]
    """(n_vars,)"""
    size: NDArray[np.float32]
    """(n, 1): depth, without weights."""
    kept: float
    """What a count is worth on average."""


def weigh(
    mixture: Mixture, tuning: Tuning, dispersion: NDArray[np.float64] | None
) -> Scaled:
    """Weights of the genes, and what follows from them."""
    weights = np.ones(mixture.signatures.shape[1])
    if tuning.gene_weights:
        assert dispersion is not None
        # Residuals of genes of one type go together, so that the inverse of their
        # variance is too much: between it and the likelihood as it is.
        weights = dispersion**-0.5
    columns = np.asarray(mixture.counts.sum(0), np.float64).ravel()
    # Couplings are in counts: those that count for less can carry less.
    kept = float(weights @ columns / columns.sum())
    size = np.asarray(mixture.counts.sum(1), np.float32)
    scaled = mixture.scaled(weights) if tuning.gene_weights else mixture
    return Scaled(scaled, weights, size, kept)


def first_roots(start: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Square roots of amounts to begin with, none of which is near zero."""
    return np.sqrt(np.maximum(start, _START)).astype(np.float32)


def make_layer(
    likelihood: LikelihoodName,
    scaled: Scaled,
    tuning: Tuning,
    dispersion: NDArray[np.float64] | None,
) -> Any:
    """The layer of a mixture, with its signatures as they are."""
    make = _LAYERS[likelihood](
        scaled.mixture, scaled.size, tuning, scaled.kept, dispersion
    )
    return make(scaled.mixture.signatures)


type _Make = Callable[[NDArray[np.float64]], Any]


def _ties(mixture: Mixture, tuning: Tuning, kept: float) -> dict[str, Any]:
    """Fields of a coupling: graph and groups, with weights times ``kept``."""
    ties: dict[str, Any] = {}
    if tuning.graph_weight and mixture.graph is not None:
        ties |= {
            "graph": as_local(mixture.graph, "the graph"),
            "degree": jnp.asarray(mixture.graph.sum(1), jnp.float32),
            "graph_weight": np.float32(tuning.graph_weight * kept),
        }
    if tuning.group_weight:
        sizes = np.bincount(mixture.group).astype(np.float32)
        ties |= {
            "group": jnp.asarray(mixture.group),
            "group_size": jnp.asarray(sizes[:, None]),
            "group_weight": np.float32(tuning.group_weight * kept),
        }
        if mixture.prototypes is not None:
            ties["prototypes"] = jnp.asarray(mixture.prototypes, jnp.float32)
    return ties


def _poisson(
    mixture: Mixture,
    size: NDArray[np.float32],
    tuning: Tuning,
    kept: float,
    dispersion: NDArray[np.float64] | None,
) -> _Make:
    op = as_local(mixture.counts, "the counts")
    coupling = Coupling(**_ties(mixture, tuning, kept))
    return lambda b: CountLayer(
        Poisson(op, jnp.asarray(size), jnp.asarray(b, jnp.float32)),
        coupling,
        float(len(size)),
    )


def _negative_binomial(
    mixture: Mixture,
    size: NDArray[np.float32],
    tuning: Tuning,
    kept: float,
    dispersion: NDArray[np.float64] | None,
) -> _Make:
    op = as_local(mixture.counts, "the counts")
    coupling = Coupling(**_ties(mixture, tuning, kept))
    assert dispersion is not None
    mean = np.asarray(mixture.counts.mean(0), np.float64).ravel()
    shape = np.clip(mean / np.maximum(dispersion - 1, 1e-3), 0.1, 1e4)
    return lambda b: CountLayer(
        NegativeBinomial(
            op,
            jnp.asarray(size),
            jnp.asarray(b, jnp.float32),
            jnp.asarray(shape, jnp.float32),
        ),
        coupling,
        float(len(size)),
    )


def _least_squares(
    mixture: Mixture,
    size: NDArray[np.float32],
    tuning: Tuning,
    kept: float,
    dispersion: NDArray[np.float64] | None,
) -> _Make:
    unit = mixture.counts.multiply(1 / size).tocsr()
    # Of mean 1, as signatures are, so that weights mean the same for all data.
    scale = mixture.signatures.shape[1]
    op = as_local(unit * scale, "the counts")
    sq_norm = float(np.square(unit.data.astype(np.float64)).sum()) * scale**2
    # Weights are of squared data.
    quadratic = Quadratic(**_ties(mixture, tuning, 1.0))

    def make(b: NDArray[np.float64]) -> LeastSquaresLayer:
        b = b * scale
        return LeastSquaresLayer(
            jnp.asarray(op.matmul(np.asarray(b.T, np.float32))),
            jnp.asarray(b @ b.T, jnp.float32),
            sq_norm,
            quadratic,
            1e-6 * sq_norm,
        )

    return make


_LAYERS: dict[str, Callable[..., _Make]] = {
    "poisson": _poisson,
    "negative_binomial": _negative_binomial,
    "gaussian": _least_squares,
}
