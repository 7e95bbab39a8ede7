"""Layers of the deconvolution, unrolled as a network with a few parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...operators.dense import DenseOperator
from ..loop import run
from .choose import gene_dispersion
from .counts import CountLayer, Poisson
from .coupling import Coupling
from .fit import first_roots, make_layer, weigh
from .least_squares import LeastSquaresLayer, Quadratic
from .problem import Mixture, Tuning
from .solver import DeconvolutionSolver

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .graph import Edges

type Unrolled = Literal["poisson", "gaussian"]

type Parameters = dict[str, Any]
"""Logarithms of the weights and widths that are learned."""


class Example(NamedTuple):
    """A map as layers take it, and its truth; also many of them, stacked."""

    counts: Any
    """(n, n_vars), times weights; least squares: (n, k), products with signatures."""
    size: Any
    """(n, 1); least squares: the squared norm."""
    signatures: Any
    """(k, n_vars), times weights; least squares: their Gram matrix."""
    kept: Any
    start: Any
    """(n, k): square roots of the amounts to begin with."""
    truth: Any
    """(n, k): share of counts."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["squared", "other", "edges", "group", "group_size"],
    meta_fields=["likelihood", "n_layers"],
)
@dataclass(frozen=True)
class Network:
    """P steps, the ones that a deconvolution makes, over one arrangement.

    A step is a layer, and with it an extrapolation of the last two.
    """

    squared: Any
    """(n, n): squared distances of neighbours."""
    other: Any
    """(n, n): the same of labels."""
    edges: Any
    """(n, n): 1 for neighbours."""
    group: Any
    group_size: Any
    likelihood: Unrolled
    n_layers: int

    def amounts(self, parameters: Parameters, example: Example) -> Any:
        """Amounts of the types, (n, k)."""
        solver = DeconvolutionSolver(
            self.layer(parameters, example), 0.0, self.n_layers
        )
        state = solver.init(example.start)
        return run(solver, state, self.n_layers, remat=True).moved ** 2

    def error(self, parameters: Parameters, example: Example) -> Any:
        """Frobenius norm of the error of shares, over that of the truth."""
        amounts = self.amounts(parameters, example)
        shares = amounts / amounts.sum(1, keepdims=True)
        away = shares - example.truth
        return jnp.sqrt((away**2).sum() / (example.truth**2).sum())

    def errors(self, parameters: Parameters, examples: Example) -> Any:
        """The same of each of many."""
        return jax.vmap(self.error, (None, 0))(parameters, examples)

    def layer(self, parameters: Parameters, example: Example) -> Any:
        """The layer of one map."""
        value = {name: jnp.exp(p) for name, p in parameters.items()}
        graph, degree = self._graph(value)
        weight = value["graph_weight"]
        if self.likelihood == "gaussian":
            return LeastSquaresLayer(
                example.counts,
                example.signatures,
                example.size,
                Quadratic(graph, degree, weight),
                1.0,
            )
        coupling = Coupling(graph, degree, weight * example.kept)
        if "group_weight" in value:
            coupling = replace(
                coupling,
                group=self.group,
                group_size=self.group_size,
                group_weight=value["group_weight"] * example.kept,
            )
        likelihood = Poisson(
            DenseOperator(example.counts), example.size, example.signatures
        )
        return CountLayer(likelihood, coupling, 1.0)

    def _graph(self, value: Parameters) -> tuple[DenseOperator, Any]:
        # Not learned where all neighbours are equally far.
        a = self.squared / value.get("width", 1.0) ** 2
        if "label_width" in value:
            a = a + self.other / value["label_width"] ** 2
        a = self.edges * jnp.exp(-a)
        degree = a.sum(1)
        scale = jax.lax.rsqrt(jnp.where(degree > 0, degree, 1))
        a = a * scale * scale[:, None]
        return DenseOperator(a), a.sum(1, keepdims=True)


def network_of(
    edges: Edges,
    group: NDArray[np.intp],
    likelihood: Unrolled,
    n_layers: int,
) -> Network:
    """A network over an arrangement of locations."""
    n = group.size
    dense = np.zeros((3, n, n))
    present = np.ones(edges.source.size)
    for part, value in zip(dense, (edges.squared, edges.other, present), strict=True):
        part[edges.source, edges.target] = value
    squared, other, known = (jnp.asarray(a, _dtype()) for a in dense)
    return Network(
        squared,
        other,
        known,
        jnp.asarray(group),
        jnp.asarray(np.bincount(group)[:, None], _dtype()),
        likelihood,
        n_layers,
    )


def example_of(
    mixture: Mixture,
    truth: NDArray[np.float64],
    likelihood: Unrolled,
    *,
    gene_weights: bool,
) -> Example:
    """A map as a deconvolution would read it."""
    dispersion = gene_dispersion(mixture, likelihood) if gene_weights else None
    tuning = Tuning(gene_weights=gene_weights)
    scaled = weigh(mixture, tuning, dispersion)
    layer = make_layer(likelihood, scaled, tuning, dispersion)
    if isinstance(layer, LeastSquaresLayer):
        parts: tuple[Any, ...] = (layer.product, layer.sq_norm, layer.gram)
    else:
        counts = scaled.mixture.counts.toarray()
        parts = (counts, scaled.size, scaled.mixture.signatures)
    parts = (*parts, scaled.kept, first_roots(layer.start()), truth)
    return Example(*(jnp.asarray(part, _dtype()) for part in parts))


def stacked(examples: list[Example]) -> Example:
    """Many of them as one."""
    return jax.tree.map(lambda *parts: jnp.stack(parts), *examples)


def _dtype() -> Any:
    return jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
