"""Demixed principal components."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


# Of the norm of the averages: what rounding leaves of a marginal that is not there.
_ZERO = 1e-8


class Demixed(NamedTuple):
    """Components of all marginals, those that explain most first."""

    decoder: NDArray[np.float64]
    """(K, n): what traces are multiplied by."""
    encoder: NDArray[np.float64]
    """(K, n): what components are multiplied by to give traces."""
    marginal: list[str]
    """(n,): the marginal of each component."""
    explained: NDArray[np.float64]
    """(n,): share of the variance of the averages that each explains."""
    of_marginals: NDArray[np.float64]
    """(n, n_marginals): shares of each component's own variance."""
    total: float
    """Share that all explain together."""


def marginals(
    x: NDArray[np.float64], factors: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Averages (K, n_times, levels of every factor) as parts that sum to them.

    Time alone, and every set of factors with its course in time; without the overall
    mean of each trace. The parts are orthogonal.
    """
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
    parts = {"time": np.broadcast_to(centred.mean(axes, keepdims=True), x.shape)}
    sets: dict[str, set[int]] = {"time": set()}
    for n in range(1, len(factors) + 1):
        for chosen in combinations(range(len(factors)), n):
            others = tuple(a for i, a in enumerate(axes) if i not in chosen)
            part = centred.mean(others, keepdims=True) if others else centred
            # Inclusion and exclusion: without what fewer factors explain.
            for name, lower in parts.items():
                if sets[name] < set(chosen):
                    part = part - lower
            joined = " x ".join(factors[i] for i in chosen)
            sets[joined] = set(chosen)
            parts[joined] = np.broadcast_to(part, x.shape)
    return parts


def demix(
    x: NDArray[np.float64], factors: Sequence[str], n_components: int, ridge: float
) -> Demixed:
    """Ridge regression of every marginal on the averages, then its singular vectors.

    ``ridge`` is relative to the mean variance of traces.
    """
    flat = _flat(x)
    flat = flat - flat.mean(axis=1, keepdims=True)
    parts = {name: _flat(part) for name, part in marginals(x, factors).items()}
    inverse = _inverse(flat, ridge)
    total = float((flat**2).sum())
    decoders, encoders, names, explained = [], [], [], []
    for name, part in parts.items():
        regression, u = _regress(part, flat, inverse)
        # A marginal has no more directions than conditions, or none.
        size = np.linalg.svd(part, compute_uv=False)
        n = min(n_components, int((size > _ZERO * np.sqrt(total)).sum()))
        # Signs are arbitrary: most traces go with a component.
        encoder = u[:, :n] * np.where(u[:, :n].sum(axis=0) < 0, -1, 1)
        decoder = regression.T @ encoder
        decoders.append(decoder)
        encoders.append(encoder)
        names += [name] * n
        for a, b in zip(encoder.T, decoder.T, strict=True):
            left = flat - np.outer(a, b @ flat)
            explained.append(1 - float((left**2).sum()) / total)
    decoder, encoder = np.concatenate(decoders, 1), np.concatenate(encoders, 1)
    own = np.stack(
        [((decoder.T @ part) ** 2).sum(axis=1) for part in parts.values()], 1
    )
    norm = own.sum(axis=1, keepdims=True)
    own = np.divide(own, norm, out=np.zeros_like(own), where=norm > 0)
    order = np.argsort(-np.array(explained), kind="stable")
    left = flat - encoder @ (decoder.T @ flat)
    return Demixed(
        decoder[:, order],
        encoder[:, order],
        [names[i] for i in order],
        np.array(explained)[order],
        own[order],
        1 - float((left**2).sum()) / total,
    )


def choose_ridge(
    trials: Mapping[tuple[int, ...], NDArray[np.float64]],
    shape: tuple[int, ...],
    factors: Sequence[str],
    n_components: int,
    *,
    candidates: NDArray[np.float64],
    n_splits: int,
    rng: np.random.Generator,
) -> tuple[float, NDArray[np.float64]]:
    """The ridge with which single trials predict the marginals of the others.

    In every split, one trial of each condition is held out. Errors are of all marginals
    together, relative to those of predicting nothing.
    """
    errors = np.zeros(candidates.size)
    for _ in range(n_splits):
        train, test = np.empty(shape), np.empty(shape)
        for place, some in trials.items():
            out = int(rng.integers(len(some)))
            at: tuple[Any, ...] = (slice(None), slice(None), *place)
            train[at] = np.delete(some, out, axis=0).mean(axis=0).T
            test[at] = some[out].T
        parts = [_flat(part) for part in marginals(train, factors).values()]
        flat, held = _flat(train), _flat(test)
        centre = flat.mean(axis=1, keepdims=True)
        flat, held = flat - centre, held - centre
        size = sum(float((part**2).sum()) for part in parts)
        for i, ridge in enumerate(candidates):
            inverse = _inverse(flat, float(ridge))
            for part in parts:
                regression, u = _regress(part, flat, inverse)
                u = u[:, :n_components]
                predicted = u @ (u.T @ (regression @ held))
                errors[i] += float(((part - predicted) ** 2).sum()) / size
    errors /= n_splits
    return float(candidates[errors.argmin()]), errors


def _inverse(flat: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    gram = flat @ flat.T
    size = np.trace(gram) / len(gram)
    # Without a penalty, directions without variance have no part.
    return np.linalg.pinv(gram + ridge * size * np.eye(len(gram)), hermitian=True)


def _regress(
    part: NDArray[np.float64], flat: NDArray[np.float64], inverse: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ridge regression of a part, and directions (K, K) of what it explains.

    With the penalty as further observations, [X, √λ I] and [X_φ, 0], it is least squares.
    Of lower rank, its solution is projected on the leading singular vectors of what it
    fits to all of them, the penalty among them: A (X Xᵀ + λ I) Aᵀ.
    """
    product = part @ flat.T
    regression = product @ inverse
    _, vectors = np.linalg.eigh(regression @ product.T)
    return regression, vectors[:, ::-1]


def _flat(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x.reshape(len(x), -1)
