"""Locations as combinations of a few inducing points each: products with the weights.

The matrix A carries values at inducing points to locations. It has up to
``n_neighbors`` entries in a row, which are the same for all factors or differ with
their length scales. On the host its products are loops over the entries; on a device,
gathers and sums over chunks of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .neighbors import add_gram, add_transposed, quadratic_forms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..._core.typing import Floats


# Locations that a device works on at once: with 12 neighbours and 20 factors, pairs of
# neighbours take 100 MB.
_ROWS = 4096


class Interpolation(Protocol):
    """A, of one length scale or of one for each of k factors."""

    @property
    def weights(self) -> Any:
        """(n_locations, n_neighbors), or with a first axis of factors."""
        ...

    @property
    def stacked(self) -> bool:
        """Whether factors have weights of their own."""
        ...

    def stack(self, others: Sequence[Interpolation]) -> Interpolation:
        """Those of several factors."""
        ...

    def pick(self, factor: int) -> Interpolation:
        """That of one of several factors."""
        ...

    def matmul(self, values: Any) -> Any:
        """``A u`` of values (k, n_inducing), (n_locations, k)."""
        ...

    def sums(self, basis: Any, lam: Any, h: Any) -> Any:
        """``Aᵀ (Λ B, h)`` of columns of lam and h (n_locations, k), (k, m, c + 1)."""
        ...

    def gram(self, values: Any) -> Any:
        """``Aᵀ diag(v) A`` of columns of values (n_locations, k), (k, m, m)."""
        ...

    def variances(self, cov: Any) -> Any:
        """``diag(A S Aᵀ)`` of covariances (k, m, m), (n_locations, k)."""
        ...

    def dense_rows(self, index: Any) -> Any:
        """Some rows of A as columns, (m, n) or (k, m, n)."""
        ...


@dataclass(frozen=True)
class HostInterpolation:
    """In memory of the host."""

    neighbors: NDArray[np.intp]
    """(n_locations, n_neighbors); -1 pads."""
    weights: Floats
    """(n_locations, n_neighbors), or with a first axis of factors."""
    n_inducing: int

    @property
    def stacked(self) -> bool:
        return self.weights.ndim == 3

    def stack(self, others: Sequence[Interpolation]) -> HostInterpolation:
        return replace(self, weights=np.stack([other.weights for other in others]))

    def pick(self, factor: int) -> HostInterpolation:
        return replace(self, weights=self.weights[factor])

    def _each(self, k: int) -> Sequence[Floats]:
        return list(self.weights) if self.stacked else [self.weights] * k

    def matmul(self, values: Floats) -> Floats:
        used = self.neighbors >= 0
        columns = [
            np.einsum("ip,ip->i", w, np.where(used, v[self.neighbors], 0))
            for w, v in zip(self._each(len(values)), values, strict=True)
        ]
        return np.stack(columns, axis=1)

    def sums(self, basis: Floats, lam: Floats, h: Floats) -> Floats:
        k = lam.shape[1]
        out = np.zeros((k, self.n_inducing, basis.shape[1] + 1))
        for j, weights in enumerate(self._each(k)):
            columns = np.column_stack([lam[:, j, None] * basis, h[:, j]])
            add_transposed(self.neighbors, weights, columns, out[j])
        return out

    def gram(self, values: Floats) -> Floats:
        columns = np.ascontiguousarray(values.T)
        out = np.zeros((len(columns), self.n_inducing, self.n_inducing))
        for sums, w, v in zip(out, self._each(len(columns)), columns, strict=True):
            add_gram(self.neighbors, w, v, sums)
        return out

    def variances(self, cov: Any) -> Floats:
        out = np.empty((len(cov), len(self.neighbors)))
        for row, w, s in zip(out, self._each(len(cov)), np.asarray(cov), strict=True):
            quadratic_forms(self.neighbors, w, s, row)
        return out.T

    def dense_rows(self, index: NDArray[np.intp]) -> Floats:
        out = np.zeros((*self.weights.shape[:-2], self.n_inducing, index.size))
        neighbors = self.neighbors[index]
        rows, used = np.nonzero(neighbors >= 0)
        weights = self.weights[..., index, :][..., rows, used]
        out[..., neighbors[rows, used], rows] = weights
        return out


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["neighbors", "weights"],
    meta_fields=["n_inducing"],
)
@dataclass(frozen=True)
class DeviceInterpolation:
    """In memory of a device; a weight of zero pads."""

    neighbors: Any
    weights: Any
    n_inducing: int

    @classmethod
    def of_layout(
        cls, neighbors: jax.Array, weights: jax.Array, n_inducing: int
    ) -> DeviceInterpolation:
        """From neighbours that -1 pads."""
        used = neighbors >= 0
        return cls(
            jnp.where(used, neighbors, 0), jnp.where(used, weights, 0), n_inducing
        )

    @property
    def stacked(self) -> bool:
        return self.weights.ndim == 3

    def stack(self, others: Sequence[Interpolation]) -> DeviceInterpolation:
        return replace(self, weights=jnp.stack([other.weights for other in others]))

    def pick(self, factor: int) -> DeviceInterpolation:
        return replace(self, weights=self.weights[factor])

    @jax.jit
    def matmul(self, values: Any) -> jax.Array:
        def one(weights: jax.Array, u: jax.Array) -> jax.Array:
            return (weights * u[self.neighbors]).sum(1)

        return self._map(one, values).T

    @jax.jit
    def sums(self, basis: Any, lam: Any, h: Any) -> jax.Array:
        def one(weights: jax.Array, lam: jax.Array, h: jax.Array) -> jax.Array:
            def add(total: jax.Array, chunk: tuple[Any, ...]) -> tuple[Any, None]:
                neighbors, w, rows, scale, last = chunk
                columns = jnp.column_stack([scale[:, None] * rows, last])
                return total.at[neighbors].add(w[:, :, None] * columns[:, None]), None

            start = jnp.zeros((self.n_inducing, basis.shape[1] + 1), h.dtype)
            # Wider sums, as of many sections, over fewer rows at once.
            width = max((basis.shape[1] + 1) // self.neighbors.shape[1], 1)
            chunks = self._chunks(weights, basis, lam, h, n_rows=_ROWS // width)
            return jax.lax.scan(add, start, chunks)[0]

        return self._map(one, lam.T, h.T)

    @jax.jit
    def gram(self, values: Any) -> jax.Array:
        def one(weights: jax.Array, v: jax.Array) -> jax.Array:
            def add(total: jax.Array, chunk: tuple[Any, ...]) -> tuple[Any, None]:
                neighbors, w, scale = chunk
                pairs = scale[:, None, None] * w[:, :, None] * w[:, None]
                index = neighbors[:, :, None], neighbors[:, None]
                return total.at[index].add(pairs), None

            start = jnp.zeros((self.n_inducing, self.n_inducing), v.dtype)
            return jax.lax.scan(add, start, self._chunks(weights, v))[0]

        return self._map(one, values.T)

    @jax.jit
    def variances(self, cov: Any) -> jax.Array:
        def one(weights: jax.Array, s: jax.Array) -> jax.Array:
            def form(chunk: tuple[jax.Array, jax.Array]) -> jax.Array:
                neighbors, w = chunk
                pairs = s[neighbors[:, :, None], neighbors[:, None]]
                return jnp.einsum("ip,ipq,iq->i", w, pairs, w)

            rows = jax.lax.map(form, self._chunks(weights))
            return rows.reshape(-1)[: len(self.neighbors)]

        return self._map(one, cov).T

    @jax.jit
    def dense_rows(self, index: Any) -> jax.Array:
        neighbors = self.neighbors[index]

        def one(weights: jax.Array) -> jax.Array:
            columns = jnp.arange(len(neighbors))[:, None]
            out = jnp.zeros((self.n_inducing, len(neighbors)), weights.dtype)
            return out.at[neighbors, columns].add(weights[index])

        return jax.vmap(one)(self.weights) if self.stacked else one(self.weights)

    def _map(self, one: Callable[..., jax.Array], *values: Any) -> jax.Array:
        """Each factor's weights with its values."""
        axes = (0 if self.stacked else None, *(0 for _ in values))
        return jax.vmap(one, in_axes=axes)(self.weights, *values)

    def _chunks(
        self, *by_row: jax.Array, n_rows: int | None = None
    ) -> tuple[jax.Array, ...]:
        """Neighbours and other arrays in chunks of rows; zeros fill the last."""
        size = max(min(n_rows or _ROWS, len(self.neighbors)), 1)
        n_rows = len(self.neighbors)
        n_chunks = -(-n_rows // size)

        def split(x: jax.Array) -> jax.Array:
            padding = ((0, n_chunks * size - n_rows), *((0, 0),) * (x.ndim - 1))
            return jnp.pad(x, padding).reshape(n_chunks, size, *x.shape[1:])

        return tuple(map(split, (self.neighbors, *by_row)))
