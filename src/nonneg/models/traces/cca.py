"""Top canonical correlations of all pairs of regions, from products of K x K."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .blocks import contiguous_folds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Directions with less of a region's variance are noise of rounding (singular values
# relative to the largest below 1e-6).
_RANK_TOL = 1e-12
# Shifts whose products are in memory together.
_CHUNK = 16


@dataclass(frozen=True)
class Groups:
    """Components by region, in the columns of traces; regions of one size together."""

    columns: dict[int, tuple[NDArray[np.intp], NDArray[np.intp]]]
    """Number of components: regions, and (n_regions, number) their columns."""
    n_regions: int
    n_columns: int

    @classmethod
    def of(cls, codes: NDArray[np.intp], n_regions: int) -> Groups:
        """From the region of every column."""
        sizes = np.bincount(codes, minlength=n_regions)
        columns = {}
        for size in np.unique(sizes).tolist():
            regions = np.flatnonzero(sizes == size)
            members = [np.flatnonzero(codes == region) for region in regions]
            columns[size] = (regions, np.array(members))
        return cls(columns, n_regions, codes.size)

    def pairs(self) -> Iterator[tuple[Any, Any, Any]]:
        """Indices of pairs of regions, of their rows, and of their columns."""
        for rows, left in self.columns.values():
            for cols, right in self.columns.values():
                yield np.ix_(rows, cols), left, right


def whitening(
    covariance: NDArray[np.float64], groups: Groups
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """W, block diagonal, with W' C W = I within every region; and ranks of regions.

    Directions without variance are zero.
    """
    out = np.zeros_like(covariance)
    ranks = np.zeros(groups.n_regions, np.intp)
    for regions, columns in groups.columns.values():
        block = covariance[columns[:, :, None], columns[:, None, :]]
        values, vectors = np.linalg.eigh(block)
        kept = values > _RANK_TOL * np.maximum(values[:, -1:], np.finfo(float).tiny)
        root = np.where(kept, 1 / np.sqrt(np.where(kept, values, 1)), 0)
        out[columns[:, :, None], columns[:, None, :]] = vectors * root[:, None]
        ranks[regions] = kept.sum(axis=1)
    return out, ranks


def top_correlations(products: NDArray[Any], groups: Groups) -> NDArray[np.float64]:
    """(…, J, J) largest singular values of the blocks of whitened (…, K, K) products."""
    out = np.empty((*products.shape[:-2], groups.n_regions, groups.n_regions))
    for place, left, right in groups.pairs():
        block = products[..., left[:, None, :, None], right[None, :, None, :]]
        if block.shape[-2] > block.shape[-1]:
            block = block.swapaxes(-1, -2)
        # Only the largest one is needed: of the smaller of the two squares.
        square = block @ block.swapaxes(-1, -2)
        top = np.linalg.eigvalsh(square)[..., -1]
        out[..., *place] = np.sqrt(np.clip(top, 0, 1))
    return out


def held_out_correlations(
    x: NDArray[np.float64], groups: Groups, *, n_folds: int, gap: int
) -> NDArray[np.float64]:
    """(J, J) correlations of canonical variates in blocks that they were not fitted to.

    Variances and covariances are summed over blocks: variates have unit variance where
    they were fitted, so that blocks are comparable.
    """
    total = _Moments.of(x)
    shape = (groups.n_regions, groups.n_regions)
    across, one, other = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for fold in contiguous_folds(len(x), n_folds, gap):
        train = total.without(_Moments.of(x[fold.first : fold.last])).covariance()
        test = _Moments.of(x[fold.start : fold.stop])
        scatter = test.covariance() * test.n
        w, _ = whitening(train, groups)
        product = w.T @ train @ w
        for place, left, right in groups.pairs():
            block = product[left[:, None, :, None], right[None, :, None, :]]
            u, _, vt = np.linalg.svd(block, full_matrices=False)
            a = np.einsum("ipq,ijq->ijp", _within(w, left), u[..., 0])
            b = np.einsum("jpq,ijq->ijp", _within(w, right), vt[..., 0, :])
            between = scatter[left[:, None, :, None], right[None, :, None, :]]
            across[place] += np.einsum("ijp,ijpq,ijq->ij", a, between, b)
            one[place] += np.einsum("ijp,ipq,ijq->ij", a, _within(scatter, left), a)
            other[place] += np.einsum("ijp,jpq,ijq->ij", b, _within(scatter, right), b)
    size = np.sqrt(one * other)
    return np.divide(across, size, out=np.full(shape, np.nan), where=size > 0)


def _within(x: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """Blocks of regions on the diagonal."""
    return x[columns[:, :, None], columns[:, None, :]]


@dataclass(frozen=True)
class _Moments:
    """Sums over some frames."""

    n: int
    total: NDArray[np.float64]
    gram: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray[np.float64]) -> _Moments:
        return cls(len(x), x.sum(axis=0), x.T @ x)

    def without(self, other: _Moments) -> _Moments:
        return _Moments(
            self.n - other.n, self.total - other.total, self.gram - other.gram
        )

    def covariance(self) -> NDArray[np.float64]:
        mean = self.total / self.n
        return self.gram / self.n - np.outer(mean, mean)


@jax.jit
def _lagged_product(q: jax.Array, shift: jax.Array) -> jax.Array:
    """Products with a copy that begins ``shift`` frames later."""
    return q.T @ jnp.roll(q, -shift, axis=0)


def shifted_correlations(
    q: NDArray[np.float32], shifts: NDArray[np.intp], groups: Groups
) -> Iterator[NDArray[np.float64]]:
    """Top correlations of whitened traces, of which one region is shifted in a circle.

    A shift by s is one by -s of the other region, so that every product with all traces
    gives two draws for every pair: yields symmetric (2 n, J, J).
    """
    on_device = jnp.asarray(q)
    for start in range(0, shifts.size, _CHUNK):
        products = np.stack(
            [
                np.asarray(_lagged_product(on_device, jnp.asarray(s)))
                for s in shifts[start : start + _CHUNK]
            ]
        )
        both = top_correlations(products, groups)
        upper = np.triu(np.ones(both.shape[-2:], bool))
        there = np.where(upper, both, both.swapaxes(-1, -2))
        back = np.where(upper, both.swapaxes(-1, -2), both)
        yield np.concatenate([there, back])


def canonical_pair(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Top canonical correlation of two sets of traces, and variates of unit variance."""
    both = np.concatenate([x, y], axis=1)
    codes = np.repeat([0, 1], [x.shape[1], y.shape[1]])
    groups = Groups.of(codes, 2)
    both = both - both.mean(axis=0)
    covariance = both.T @ both / len(both)
    w, _ = whitening(covariance, groups)
    left, right = codes == 0, codes == 1
    u, s, vt = np.linalg.svd((w.T @ covariance @ w)[np.ix_(left, right)])
    white = both @ w
    return float(s[0]), white[:, left] @ u[:, 0], white[:, right] @ vt[0]
