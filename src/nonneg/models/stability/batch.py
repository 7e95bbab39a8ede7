"""Factorizations of many samples at once.

The data are the same for all: a product with them is one product with the factors of all
samples side by side, several times faster than one after the other. What is left are small
updates of each sample's factors. Samples differ in when they are finished: those that are
leave the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...kernels.hals import hals_update
from ...kernels.kkt import projected_gradient
from ..factor.alternate import exact
from ..factor.revive import revive
from ..loop import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator
    from ...operators.weighted import WeightedOperator


# Samples that are updated in one compiled call. Their number is fixed, so that nothing is
# compiled again as samples finish.
LANES = 8

# A pass over the data for so many steps; the others use a sketch of them. Later on, when
# steps have become small, for twice as many.
REFRESH = 4
SETTLED = 8 * REFRESH

# Sweeps per product: as in coordinate descent as it was published. More of them need
# fewer products, but lead elsewhere where there are several minima, and those are what
# instability counts.
_N_SWEEPS = 1

_NOBODY = -1


class Lanes(NamedTuple):
    """Some samples: factors with one row per component."""

    sample: NDArray[np.intp]
    """Positions in the batch; negative once the sample is finished."""
    W: Any
    """(lanes, k, n_obs); on the host, and updated in place, where data are streamed."""
    H: Any
    """(lanes, k, n_vars), of the weighted data"""
    alive: NDArray[np.bool_]
    """(lanes, k)"""
    reseeds: NDArray[np.intp]
    """(lanes, k)"""
    stale_w: Any = None
    """(n_obs, lanes k): product with the data less that with the sketch, in the last pass."""
    stale_h: Any = None
    """(n_vars, lanes k)"""


class Found(NamedTuple):
    """A finished sample."""

    sample: int
    W: NDArray[Any]
    """(k, n_obs)"""
    H: NDArray[Any]
    """(k, n_vars), of the weighted data"""
    n_iter: int
    converged: bool


class BatchState(NamedTuple):
    """Fits in progress, and those that are finished."""

    lanes: tuple[Lanes, ...]
    found: tuple[Found, ...]
    n_iter: int


@dataclass(frozen=True)
class BatchSolver:
    """HALS for the least squares of several samples of one matrix.

    The tolerance is that of :class:`~nonneg.models.nmf.frobenius.FrobeniusSolver`, and
    components that died are revived as there.

    With a sketch, most steps do without the data: a product with them is replaced by that
    with the sketch and what this lacked the last time. The error is of the size of what
    has changed since; it vanishes as the fit settles, so that the fixed points and the
    residuals are those of the data.
    """

    op: MatrixOperator
    views: Sequence[WeightedOperator]
    """The matrix as each sample weights it."""
    sketch: tuple[Any, Any] | None = None
    """(n_obs, r) and (n_vars, r), whose product is about the data."""
    tol: float = 1e-4
    max_iter: int = 200

    def init(self, factors: Sequence[tuple[Any, Any]], /) -> BatchState:
        """The state before the first step, from each sample's starting factors."""
        n_lanes = min(LANES, len(factors))
        groups = []
        for first in range(0, len(factors), n_lanes):
            members = list(range(first, min(first + n_lanes, len(factors))))
            # Places that are left are taken by a sample that is there already.
            filled = members + [members[0]] * (n_lanes - len(members))
            names = members + [_NOBODY] * (n_lanes - len(members))
            w = np.stack([factors[i][0].T for i in filled])
            h = jnp.stack([jnp.asarray(factors[i][1]) for i in filled])
            shape = h.shape[:2]
            groups.append(
                Lanes(np.array(names), w, h, np.ones(shape, bool), np.zeros(shape, int))
            )
        return BatchState(tuple(groups), (), 0)

    def step(self, state: BatchState, /) -> BatchState:
        """Update W, then H, of all samples."""
        n_iter = state.n_iter + 1
        last = n_iter >= self.max_iter
        interval = REFRESH if state.n_iter < SETTLED else 2 * REFRESH
        whole = last or self.sketch is None or state.n_iter % interval == 0
        groups = [self._revive(lanes) for lanes in state.lanes]
        scales = [
            (self._scales(lanes, "row_scale"), self._scales(lanes, "scale"))
            for lanes in groups
        ]
        if not whole:
            return BatchState(self._in_sketch(groups, scales), state.found, n_iter)
        kept, residuals = self._pass(groups, scales)
        found: list[Found] = []
        for i, (lanes, residual) in enumerate(zip(kept, residuals, strict=True)):
            sample = np.array(lanes.sample)
            for lane in np.flatnonzero(sample != _NOBODY):
                converged = bool(residual[lane] <= self.tol)
                if converged or last:
                    w, h = np.array(lanes.W[lane]), np.array(lanes.H[lane])
                    found.append(Found(int(sample[lane]), w, h, n_iter, converged))
                    sample[lane] = _NOBODY
            kept[i] = lanes._replace(sample=sample)
        return BatchState(_regroup(kept), (*state.found, *found), n_iter)

    def _pass(
        self, groups: list[Lanes], scales: list[tuple[Any, Any]]
    ) -> tuple[list[Lanes], list[NDArray[Any]]]:
        """Updates from one pass over the data, W block by block; and residuals."""
        n_groups = len(groups)
        loadings = _side_by_side(
            [
                _flat(g.H, columns)
                for g, (_, columns) in zip(groups, scales, strict=True)
            ]
        )
        grams = [_gram(lanes.H) for lanes in groups]
        product_h: Any = 0.0
        gram_w: list[Any] = [0.0] * n_groups
        violation: list[Any] = [0.0] * n_groups
        size: list[Any] = [0.0] * n_groups
        new_w: list[Any] = [lanes.W for lanes in groups]
        stale_w, stale_h = None, None
        flat: list[Any] = []
        for rows, block in self.op.row_blocks():
            is_part = block.shape[0] < self.op.shape[0]
            product = block.matmul(loadings)
            if self.sketch is not None:
                rest = _rest(product, self.sketch[0][rows], self.sketch[1], loadings)
                if not is_part:
                    stale_w = rest
                elif stale_w is None:
                    stale_w = np.empty((self.op.shape[0], rest.shape[1]), rest.dtype)
                if is_part:
                    stale_w[rows] = np.asarray(rest)
            flat = []
            for i, part in enumerate(_cut(product, n_groups)):
                scale = scales[i][0]
                scale = None if scale is None else scale[:, rows]
                moved = _update(new_w[i][..., rows], part, grams[i], scale)
                if is_part:
                    if rows.start == 0:
                        new_w[i] = np.array(new_w[i])
                    new_w[i][..., rows] = np.asarray(moved.factor)
                else:
                    new_w[i] = moved.factor
                flat.append(_flat(moved.factor, scale))
                gram_w[i] = gram_w[i] + moved.gram
                violation[i] = violation[i] + exact(moved.violation)
                size[i] = size[i] + exact(moved.size)
            pulled: Any = block.rmatmul(_side_by_side(flat))
            # Sums over many blocks keep float64 so that they do not lose digits.
            product_h = product_h + (exact(pulled) if is_part else pulled)
        if self.sketch is not None:
            # Rᵀ-side of the sketch: from all rows of W.
            weights = [
                _flat(w, rows) for w, (rows, _) in zip(new_w, scales, strict=True)
            ]
            stale_h = _rest(
                product_h, self.sketch[1], self.sketch[0], _side_by_side(weights)
            )
        kept: list[Lanes] = []
        residuals: list[NDArray[Any]] = []
        for i, part in enumerate(_cut(product_h, n_groups)):
            moved = _update(groups[i].H, part, gram_w[i], scales[i][1])
            residuals.append(
                (
                    _ratio(violation[i], size[i])
                    + _ratio(exact(moved.violation), exact(moved.size))
                )
                / 2
            )
            kept.append(
                groups[i]._replace(
                    W=new_w[i],
                    H=moved.factor,
                    alive=(_diagonals(gram_w[i]) > 0) & (_diagonals(moved.gram) > 0),
                    stale_w=None if stale_w is None else _cut(stale_w, n_groups)[i],
                    stale_h=None if stale_h is None else _cut(stale_h, n_groups)[i],
                )
            )
        return kept, residuals

    def _in_sketch(
        self, groups: list[Lanes], scales: list[tuple[Any, Any]]
    ) -> tuple[Lanes, ...]:
        """Updates from the sketch, and what it lacked in the last pass."""
        assert self.sketch is not None
        left, right = self.sketch
        kept = []
        for lanes, (rows, columns) in zip(groups, scales, strict=True):
            product = _add(lanes.stale_w, left, right, _flat(lanes.H, columns))
            of_w = _update(lanes.W, product, _gram(lanes.H), rows)
            product = _add(lanes.stale_h, right, left, _flat(of_w.factor, rows))
            of_h = _update(lanes.H, product, of_w.gram, columns)
            alive = (_diagonals(of_w.gram) > 0) & (_diagonals(of_h.gram) > 0)
            kept.append(lanes._replace(W=of_w.factor, H=of_h.factor, alive=alive))
        return tuple(kept)

    def finished(self, state: BatchState, /) -> bool:
        """Whether all samples are."""
        return not state.lanes

    def finish(self, state: BatchState, /) -> list[Found]:
        """The samples that are finished, in order."""
        return sorted(state.found, key=lambda found: found.sample)

    def report(self, state: BatchState, /) -> Report:
        """Nothing: an objective would cost more than it tells."""
        return Report(None)

    def _scales(self, lanes: Lanes, name: str) -> Any:
        """Scales of the lanes, (lanes, n); of those that nobody needs, of the first."""
        scales = [getattr(self.views[max(i, 0)], name) for i in lanes.sample]
        return None if scales[0] is None else np.stack(scales)

    def _revive(self, lanes: Lanes) -> Lanes:
        """Point components that died at what is explained worst, as one fit would."""
        dead = ~lanes.alive.all(axis=1) & (lanes.sample != _NOBODY)
        if not dead.any():
            return lanes
        w, h, reseeds = np.array(lanes.W), np.array(lanes.H), lanes.reseeds.copy()
        for lane in np.flatnonzero(dead):
            view = self.views[lanes.sample[lane]]
            ones = np.ones((view.shape[1], 1), view.dtype)
            w_lane, h_lane, reseeds[lane] = revive(
                view,
                np.asarray(view.matmul(ones))[:, 0],
                w[lane].T,
                h[lane],
                alive=lanes.alive[lane],
                reseeds=reseeds[lane],
            )
            w[lane], h[lane] = np.asarray(w_lane).T, h_lane
        xp: Any = np if isinstance(lanes.W, np.ndarray) else jnp
        return lanes._replace(W=xp.asarray(w), H=jnp.asarray(h), reseeds=reseeds)


class _Moved(NamedTuple):
    factor: jax.Array
    gram: jax.Array
    violation: jax.Array
    """Sum of absolute projected gradients before, of every sample."""
    size: jax.Array
    """That of the products."""


@jax.jit
def _update(factor: Any, product: Any, gram: Any, scale: Any) -> _Moved:
    """Sweeps over the factors of several samples, one after the other.

    ``product`` is (p, lanes k), of the data without the samples' scales of the p.
    """
    lanes, k, p = factor.shape
    target = product.reshape(p, lanes, k).transpose(1, 2, 0)
    if scale is not None:
        target = target * scale[:, None, :]

    def one(args: tuple[jax.Array, jax.Array, jax.Array]) -> _Moved:
        old, pull, quadratic = args
        gradient = projected_gradient(old, quadratic @ old - pull)
        new = hals_update(old.T, pull.T, quadratic, n_sweeps=_N_SWEEPS).T
        return _Moved(new, new @ new.T, jnp.abs(gradient).sum(), jnp.abs(pull).sum())

    if jax.default_backend() == "cpu":
        # Sweeps of one sample after the other stay in the cache.
        return jax.lax.map(one, (factor, target, gram))
    return jax.vmap(lambda *args: one(args))(factor, target, gram)


@jax.jit
def _flat(factor: Any, scale: Any) -> jax.Array:
    """Factors side by side: (p, lanes k)."""
    if scale is not None:
        factor = factor * scale[:, None, :]
    lanes, k, p = factor.shape
    return factor.transpose(2, 0, 1).reshape(p, lanes * k)


@jax.jit
def _rest(product: Any, left: Any, right: Any, factor: Any) -> jax.Array:
    """What a product with the data has beyond that with the sketch."""
    return product - left @ (right.T @ factor)


@jax.jit
def _add(stale: Any, left: Any, right: Any, factor: Any) -> jax.Array:
    """A product with the sketch, and what another one lacked."""
    return stale + left @ (right.T @ factor)


@jax.jit
def _gram(factor: Any) -> jax.Array:
    return factor @ factor.swapaxes(-1, -2)


def _side_by_side(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def _cut(product: Any, n_groups: int) -> list[Any]:
    """The columns of every group."""
    width = product.shape[1] // n_groups
    return [product[:, i * width : (i + 1) * width] for i in range(n_groups)]


def _regroup(groups: list[Lanes]) -> tuple[Lanes, ...]:
    """Fewer groups, where so many samples are finished."""
    going = [(g, i) for g in groups for i in np.flatnonzero(g.sample != _NOBODY)]
    n_lanes = len(groups[0].sample)
    if -(-len(going) // n_lanes) == len(groups):
        return tuple(groups)
    new = []
    for first in range(0, len(going), n_lanes):
        members = going[first : first + n_lanes]
        n_missing = n_lanes - len(members)
        filled = members + [members[0]] * n_missing
        sample = [int(g.sample[i]) for g, i in members] + [_NOBODY] * n_missing
        factors = (_gather(filled, name) for name in ("W", "H", "alive", "reseeds"))
        stale = (_gather_columns(filled, name) for name in ("stale_w", "stale_h"))
        new.append(Lanes(np.array(sample), *factors, *stale))
    return tuple(new)


def _gather(members: list[tuple[Lanes, Any]], name: str) -> Any:
    # On the host, NumPy sees the same memory, and compiles nothing.
    small = name in {"alive", "reseeds"}
    xp: Any = np if small or jax.default_backend() == "cpu" else jnp
    return xp.stack([xp.asarray(getattr(group, name))[lane] for group, lane in members])


def _gather_columns(members: list[tuple[Lanes, Any]], name: str) -> Any:
    parts = []
    for group, lane in members:
        stale, k = getattr(group, name), group.H.shape[1]
        if stale is None:
            return None
        parts.append(stale[:, lane * k : (lane + 1) * k])
    return _side_by_side(parts)


def _diagonals(gram: Any) -> NDArray[Any]:
    return np.diagonal(np.asarray(gram), axis1=1, axis2=2)


def _ratio(violation: NDArray[Any], size: NDArray[Any]) -> NDArray[Any]:
    return np.divide(violation, size, out=np.zeros_like(violation), where=size > 0)
