"""Random maps as smooth as a given one, with its values.

A map is the quantile transform of a Gaussian field: its values are those of the given
map, in the order of the field. The field is a sum of white noise smoothed over the
neighbour graph by heat kernels of several widths. Their shares are those that, by
non-negative least squares, give random maps the correlogram of the given one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import nnls
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.special import ive, ndtri

from ...operators.csr import CSROperator
from .search import is_flat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Widths of the kernels, in steps of the graph: to the largest in factors of this.
_WIDTH_FACTOR = 1.5
# Of what is left out of a heat kernel.
_TAIL = 1e-4
# Fields from which the standard deviation at every location (to 9 %) and the
# correlogram of a width are known.
_N_PILOT = 64
# Fields at a time.
_BATCH = 16
_N_LAGS = 20
_PAIRS_PER_LAG = 5_000
# What is known of a field from one map differs from what random maps then have: by this
# many corrections, the difference is taken off.
_N_CORRECTIONS = 2
# Terms of the expansion that tells how correlation changes with the values.
_N_HERMITE = 40


class Pairs(NamedTuple):
    """Pairs of locations by the distance between them."""

    one: NDArray[np.intp]
    other: NDArray[np.intp]
    lag: NDArray[np.intp]
    """Class of the distance of each pair."""
    n_pairs: NDArray[np.int64]
    """In every class, all of which have some."""

    def covariances(self, maps: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Of maps (n_obs, n_maps) at every lag, (n_lags, n_maps)."""
        z = maps - maps.mean(axis=0)
        first = np.searchsorted(self.lag, np.arange(self.n_pairs.size))
        sums = np.add.reduceat(z[self.one] * z[self.other], first, axis=0)
        return np.asarray(sums / self.n_pairs[:, None], np.float64)

    def correlogram(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Correlation at every lag of one map."""
        return self.covariances(values[:, None])[:, 0] / float(values.var())


def sample_pairs(
    coords: NDArray[np.float64],
    section: NDArray[np.intp],
    spacing: float,
    rng: np.random.Generator,
) -> Pairs:
    """Random pairs within sections, from neighbours to half of the extent."""
    longest = max(largest_extent(coords, section) / 2, 2 * spacing)
    edges = np.geomspace(0.75 * spacing, longest, _N_LAGS + 1)
    tree = cKDTree(coords)
    n, n_axes = coords.shape
    found = []
    for low, high in pairwise(edges.tolist()):
        start = rng.integers(n, size=3 * _PAIRS_PER_LAG)
        direction = rng.normal(size=(start.size, n_axes))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        step = direction * rng.uniform(low, high, (start.size, 1))
        # What lies there, if anything.
        near = tree.query(coords[start] + step, distance_upper_bound=spacing)
        off, end = (np.asarray(each) for each in near)
        inside = np.flatnonzero(np.isfinite(off))
        found.append((start[inside], end[inside]))
    one, other = (np.concatenate(parts) for parts in zip(*found, strict=True))
    apart = np.linalg.norm(coords[one] - coords[other], axis=1)
    lag = np.searchsorted(edges, apart) - 1
    keep = (lag >= 0) & (lag < _N_LAGS) & (section[one] == section[other])
    one, other, lag = one[keep], other[keep], lag[keep]
    order = np.argsort(lag, kind="stable")
    _, lag, n_pairs = np.unique(lag[order], return_inverse=True, return_counts=True)
    return Pairs(one[order], other[order], lag, n_pairs)


def largest_extent(coords: NDArray[np.float64], section: NDArray[np.intp]) -> float:
    """Longest side of the boxes around sections."""
    shape = (int(section.max()) + 1, coords.shape[1])
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    np.minimum.at(low, section, coords)
    np.maximum.at(high, section, coords)
    return float((high - low).max())


class Smoother:
    """White noise, smoothed over a graph by heat kernels.

    Parameters
    ----------
    graph
        Symmetric weights of neighbours.
    coords
        Of the locations; distances between them are the lags of correlograms.
    spacing
        Distance of neighbours.
    rng
        Draws pairs and the pilot fields.
    """

    def __init__(
        self,
        graph: sp.csr_matrix,
        coords: NDArray[np.float64],
        spacing: float,
        rng: np.random.Generator,
    ) -> None:
        degree = np.asarray(graph.sum(axis=1)).ravel()
        root = np.sqrt(np.where(degree > 0, degree, np.inf))
        scaling = sp.diags_array(1 / root)
        # Twice the normalised adjacency, for the recurrence of Chebyshev polynomials.
        walk = sp.csr_matrix((scaling @ graph @ scaling) * 2).astype(np.float32)
        self._walk = CSROperator(walk)
        self.n_obs = graph.shape[0]
        section = connected_components(graph, directed=False)[1].astype(np.intp)
        self.pairs = sample_pairs(coords, section, spacing, rng)
        n_axes = int((np.ptp(coords, axis=0) > 0).sum()) or 1
        widest = max(largest_extent(coords, section) / spacing / 4, 1.0)
        n_widths = int(np.log(widest) / np.log(_WIDTH_FACTOR)) + 1
        # Of a random walk of one step per unit of time, per axis.
        self.times: NDArray[np.float64] = np.asarray(
            n_axes * _WIDTH_FACTOR ** (2.0 * np.arange(n_widths)), np.float64
        )
        self._measure(rng)

    def _measure(self, rng: np.random.Generator) -> None:
        """Standard deviations and correlograms of all widths."""
        squares = np.zeros((self.times.size, self.n_obs))
        batches = []
        for _ in range(_N_PILOT // _BATCH):
            noise = rng.standard_normal((self.n_obs, _BATCH), np.float32)
            smooth = heat(self._walk, noise, self.times)
            squares += np.square(smooth, dtype=np.float64).sum(axis=2)
            batches.append(smooth)
        self.std = np.sqrt(squares / _N_PILOT).astype(np.float32)
        covariances = np.empty((self.pairs.n_pairs.size, self.times.size))
        # A wide field hardly varies within the data: what is left about its mean.
        self.variances = np.empty(self.times.size)
        for m, std in enumerate(self.std):
            maps = np.hstack([batch[m] for batch in batches]) / std[:, None]
            covariances[:, m] = self.pairs.covariances(maps).mean(axis=1)
            self.variances[m] = maps.var(axis=0).mean()
        self.correlograms = covariances / self.variances
        noise = rng.standard_normal((1, self.n_obs, _BATCH), np.float32)
        some = batches[0] / self.std[:, :, None]
        self._pilot = np.concatenate([noise, some])

    def amplitudes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviations in the field behind a map: white noise, all widths."""
        if is_flat(values):
            return self._mixture(np.zeros(self.pairs.n_pairs.size))
        ordered = np.sort(values)
        seen = self.pairs.correlogram(values)
        behind = latent_correlation(values, seen)
        for _ in range(_N_CORRECTIONS):
            field = np.tensordot(self._mixture(behind), self._pilot, 1)
            maps = ordered[np.argsort(np.argsort(field, axis=0), axis=0)]
            made = self.pairs.covariances(maps).mean(axis=1) / values.var()
            behind = behind + seen - made
        return self._mixture(behind)

    def _mixture(self, correlogram: NDArray[np.float64]) -> NDArray[np.float64]:
        """Amplitudes of a field with this correlogram, by non-negative least squares."""
        shares = nnls(self.correlograms, correlogram)[0]
        shares /= max(shares.sum(), 1.0)
        noise = max(1 - shares.sum(), 0.0)
        return np.sqrt(np.append(noise, shares / self.variances))

    def fields(
        self, used: NDArray[np.bool_], n: int, rng: np.random.Generator
    ) -> Iterator[NDArray[np.float32]]:
        """Independent fields of unit variance: white noise, then the widths in use.

        ``n`` of each, some at a time: (1 + number in use, n_obs, some).
        """
        for start in range(0, n, _BATCH):
            batch = min(_BATCH, n - start)
            shape = (1 + int(used.sum()), self.n_obs, batch)
            out = rng.standard_normal(shape, np.float32)
            for i, m in enumerate(np.flatnonzero(used), start=1):
                smooth = heat(self._walk, out[i], self.times[m : m + 1])[0]
                out[i] = smooth / self.std[m][:, None]
            yield out


def heat(
    walk: CSROperator, x: NDArray[np.float32], times: NDArray[np.float64]
) -> NDArray[np.float32]:
    """``exp(-t (I - S)) x`` at every time, ``walk`` being 2 S with eigenvalues in ±2.

    In Chebyshev polynomials: exp(-t) exp(t S) = Σ c_k T_k(S), c_0 = e⁻ᵗ I₀(t) and
    c_k = 2 e⁻ᵗ I_k(t) with modified Bessel functions, which vanish beyond k ~ √t.
    """
    longest = times.max()
    order = np.arange(int(4 * np.sqrt(longest)) + 30)
    coefficients = 2 * ive(order[:, None], times)
    coefficients[0] /= 2
    tails = np.cumsum(coefficients[::-1], axis=0)[::-1]
    needed = tails > _TAIL
    last = int(needed.any(axis=1).sum())
    out = np.zeros((times.size, *x.shape), np.float32)
    before: NDArray[Any] | None = None
    now: NDArray[Any] = x
    for k in range(last):
        for m in np.flatnonzero(needed[k]):
            out[m] += np.float32(coefficients[k, m]) * now
        after = np.asarray(walk.matmul(now))
        after = after / 2 if before is None else after - before
        before, now = now, after
    return out


def latent_correlation(
    values: NDArray[np.floating[Any]], seen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlation of the Gaussian variables behind values with correlation ``seen``.

    With Hermite coefficients a_k of the quantile function of the values, Gaussian
    variables of correlation r become values of correlation Σ a_k² rᵏ / Σ a_k².
    """
    ordered = np.sort(values).astype(np.float64)
    z = ndtri((np.arange(ordered.size) + 0.5) / ordered.size)
    power = np.zeros(_N_HERMITE)
    before, now = np.zeros_like(z), np.ones_like(z)
    for k in range(_N_HERMITE):
        # Normalised: h_{k+1} = (z h_k - √k h_{k-1}) / √(k + 1).
        if k:
            power[k] = np.mean(ordered * now) ** 2
        before, now = now, (z * now - np.sqrt(k) * before) / np.sqrt(k + 1)
    r = np.linspace(-1, 1, 2001)
    curve = np.polynomial.polynomial.polyval(r, power / power.sum())
    rising = np.maximum.accumulate(curve)
    return np.interp(seen, rising, r)
