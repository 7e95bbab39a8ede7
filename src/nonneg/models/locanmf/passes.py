"""One pass over all pixels: new footprints, and the sums that time courses need.

Pixels are independent given the time courses. On the host, tiles of pixels that stay in
the cache are multiplied by BLAS and swept by a compiled loop, on threads; on a device,
all pixels are swept by the kernel that NMF uses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ...kernels.hals import hals_update
from ...operators.device import selected_devices
from ...operators.threads import available_cpus, run_parts
from ._compiled import FORBIDDEN, sweep_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .problem import Movie

# Pixels whose products stay in the second-level cache.
_TILE = 1024


class Sums(NamedTuple):
    """What a pass leaves behind, by component."""

    peak: NDArray[np.float64]
    """(K,): largest value of each footprint."""
    inside: NDArray[np.float64]
    """(K,): sum of squares in its own region."""
    square: NDArray[np.float64]
    """(K, K): AᵀA."""
    product: NDArray[np.float64]
    """(K, R): AᵀM."""

    def divided(self, scale: NDArray[np.float64]) -> Sums:
        """Of footprints that are divided by ``scale``."""
        return Sums(
            self.peak / scale,
            self.inside / scale**2,
            self.square / np.outer(scale, scale),
            self.product / scale[:, None],
        )


class Penalties(NamedTuple):
    """What holds footprints near their regions."""

    weight: NDArray[np.float64]
    """(K,): slope per unit of distance."""
    ridge: NDArray[np.float64] | None = None
    """(K,): curvature outside of the region."""
    closed: bool = False
    """What is zero stays so."""


class Footprints(Protocol):
    """Footprints of a number of components, and the passes over them."""

    def sweep(
        self,
        traces: NDArray[np.float64],
        gram: NDArray[np.float64],
        penalties: Penalties,
        *,
        n_sweeps: int,
        everywhere: bool,
    ) -> Sums:
        """Update in place."""
        ...

    def divide(self, scale: NDArray[np.float64]) -> None:
        """Divide each footprint by a number."""
        ...

    def on_host(self) -> NDArray[np.float32]:
        """(n_pixels, K)."""
        ...


def place_footprints(
    movie: Movie, region: NDArray[np.intp], a: NDArray[np.float32], width: int
) -> Footprints:
    """Footprints where they will be computed.

    ``width``: the largest number of components that a search may come to. On a device,
    arrays have it from the start, so that one program serves all.
    """
    if selected_devices()[0].platform == "cpu":
        return HostFootprints(movie, region, a)
    return DeviceFootprints(movie, region, a, width)


def steps(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of the diagonal; zero for components without a time course."""
    diagonal = np.diagonal(gram)
    alive = diagonal > np.finfo(np.float32).eps ** 2 * diagonal.max(initial=0)
    return np.divide(1, diagonal, where=alive, out=np.zeros(len(gram)))


@dataclass
class HostFootprints:
    """On CPU threads.

    In a tile, components that are zero there are left out at most times; every so
    often, they may come back.
    """

    movie: Movie
    region: NDArray[np.intp]
    a: NDArray[np.float32]
    _present: dict[int, NDArray[np.intp]] = field(default_factory=dict)

    def sweep(
        self,
        traces: NDArray[np.float64],
        gram: NDArray[np.float64],
        penalties: Penalties,
        *,
        n_sweeps: int,
        everywhere: bool,
    ) -> Sums:
        """As the protocol says."""
        weight, ridge, closed = penalties
        if ridge is None:
            ridge = np.zeros_like(weight)
        small = (
            traces.astype(np.float32),
            gram.astype(np.float32),
            weight.astype(np.float32),
            ridge.astype(np.float32),
            steps(gram).astype(np.float32),
            closed,
        )
        n_tiles = -(-len(self.a) // _TILE)
        n_threads = min(available_cpus(), n_tiles)
        bounds = np.linspace(0, n_tiles, n_threads + 1).astype(np.int64)

        def part(_: int, start: int, stop: int) -> Sums:
            k, width = traces.shape
            total = Sums(
                np.zeros(k), np.zeros(k), np.zeros((k, k)), np.zeros((k, width))
            )
            for tile in range(start, stop):
                self._sweep_tile(tile, small, n_sweeps, everywhere, total)
            return total

        parts = run_parts(part, bounds)
        return Sums(
            np.max(np.array([each.peak for each in parts]), axis=0),
            *(sum(arrays) for arrays in list(zip(*parts, strict=True))[1:]),
        )

    def _sweep_tile(
        self,
        tile: int,
        small: tuple[Any, ...],
        n_sweeps: int,
        everywhere: bool,  # noqa: FBT001
        total: Sums,
    ) -> None:
        rows = slice(tile * _TILE, (tile + 1) * _TILE)
        traces, gram, weight, ridge, step, closed = small
        columns = None if everywhere else self._present.get(tile)
        if columns is None:
            columns = np.arange(len(traces))
        data = self.movie.data[rows]
        a = np.ascontiguousarray(self.a[rows, columns])
        k = columns.size
        sums = (
            np.zeros(k, np.float32),
            np.zeros(k),
            np.zeros((k, k)),
            np.zeros((k, data.shape[1]), np.float32),
        )
        sweep_pixels(
            data, a, data @ traces[columns].T, self.movie.distance[rows],
            self.region[columns], weight[columns], ridge[columns],
            np.ascontiguousarray(gram[np.ix_(columns, columns)]), step[columns],
            closed, n_sweeps, *sums,
        )  # fmt: skip
        self.a[rows, columns] = a
        peak, inside, square, product = sums
        total.peak[columns] = np.maximum(total.peak[columns], peak)
        total.inside[columns] += inside
        total.square[np.ix_(columns, columns)] += square
        total.product[columns] += product
        if everywhere:
            self._present[tile] = np.flatnonzero(peak)

    def divide(self, scale: NDArray[np.float64]) -> None:
        """In place."""
        self.a /= scale.astype(np.float32)

    def on_host(self) -> NDArray[np.float32]:
        """As they are."""
        return self.a


@jax.jit(static_argnames=("closed", "n_sweeps"), donate_argnums=0)
def _sweep(  # noqa: PLR0917
    a: jax.Array,
    data: jax.Array,
    away: jax.Array,
    traces: jax.Array,
    gram: jax.Array,
    weight: jax.Array,
    ridge: jax.Array | None,
    *,
    closed: bool,
    n_sweeps: int,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    target = data @ traces.T - weight * away
    if closed:
        target = jnp.where(a > 0, target, -FORBIDDEN)
    a = hals_update(
        a,
        target,
        gram,
        ridge=None if ridge is None else jnp.where(away > 0, ridge, 0),
        n_sweeps=n_sweeps,
    )
    inside = jnp.sum(jnp.where(away == 0, jnp.square(a), 0), axis=0)
    return a, (a.max(axis=0), inside, a.T @ a, a.T @ data)


class DeviceFootprints:
    """On an accelerator, in arrays of a fixed number of components."""

    def __init__(
        self,
        movie: Movie,
        region: NDArray[np.intp],
        a: NDArray[np.float32],
        width: int,
    ) -> None:
        self.n_components = a.shape[1]
        self.width = max(width, self.n_components)
        self.data = jnp.asarray(movie.data)
        padded = np.pad(region, (0, self.width - len(region)))
        self.away = jnp.asarray(movie.distance)[:, padded]
        self.a = jnp.asarray(self._padded(a, 1))

    def _padded(self, x: NDArray[Any], axis: int) -> NDArray[np.float32]:
        extra = [(0, 0)] * x.ndim
        extra[axis] = (0, self.width - x.shape[axis])
        return np.pad(np.asarray(x, np.float32), extra)

    def sweep(
        self,
        traces: NDArray[np.float64],
        gram: NDArray[np.float64],
        penalties: Penalties,
        *,
        n_sweeps: int,
        everywhere: bool,
    ) -> Sums:
        """As the protocol says; everywhere, in every pass."""
        weight, ridge, closed = penalties
        self.a, sums = _sweep(
            self.a,
            self.data,
            self.away,
            self._padded(traces, 0),
            self._padded(self._padded(gram, 0), 1),
            self._padded(weight, 0),
            None if ridge is None else self._padded(ridge, 0),
            closed=closed,
            n_sweeps=n_sweeps,
        )
        k = self.n_components
        peak, inside, square, product = (np.asarray(x, np.float64) for x in sums)
        return Sums(peak[:k], inside[:k], square[:k, :k], product[:k])

    def divide(self, scale: NDArray[np.float64]) -> None:
        """The padding stays zero."""
        extra = np.ones(self.width - self.n_components)
        self.a = self.a / jnp.asarray(np.append(scale, extra), jnp.float32)

    def on_host(self) -> NDArray[np.float32]:
        """Without the padding."""
        return np.asarray(self.a[:, : self.n_components])
