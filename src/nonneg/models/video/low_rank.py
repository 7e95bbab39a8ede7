"""Products U Vᵀ in their normal form: orthonormal U, mean-free V, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Singular values below so much of the largest are rounding, in single precision.
_ROUNDING = 1e-6


class LowRank(NamedTuple):
    """A recording as a product, with the mean of every pixel apart."""

    u: NDArray[np.float32]
    """(n_pixels, r): orthonormal columns."""
    v: NDArray[np.float32]
    """(n_frames, r): orthogonal, mean-free columns that carry the singular values."""
    mean: NDArray[np.float32]
    """(n_pixels,)"""

    @property
    def singular_values(self) -> NDArray[np.float32]:
        """Norms of the columns of V, in falling order."""
        return np.linalg.norm(self.v, axis=0)


def normal_form(
    u: NDArray[np.floating[Any]],
    v: NDArray[np.floating[Any]],
    n_components: int | None = None,
) -> LowRank:
    """The normal form of any product U Vᵀ, through R x R matrices.

    With Gram matrices G = UᵀU = A Aᵀ and H of the mean-free V likewise, the singular
    values of U Vᵀ are those of Aᵀ B. Gram matrices are in double precision.
    """
    middle = v.mean(axis=0, dtype=np.float64)
    a, a_back = _factor(u)
    centred = v - middle.astype(v.dtype)
    b, b_back = _factor(centred)
    left, s, right = np.linalg.svd(a.T @ b)
    kept = s > s[0] * _ROUNDING if s.size and s[0] > 0 else np.zeros(s.size, bool)
    if n_components is not None:
        kept[n_components:] = False
    to_u = (a_back @ left[:, : s.size][:, kept]).astype(np.float32)
    to_v = (b_back @ right[: s.size].T[:, kept] * s[kept]).astype(np.float32)
    mean = (u @ middle.astype(u.dtype)).astype(np.float32)
    new_u = np.asarray(u, np.float32) @ to_u
    # Signs are free: the largest entry of a column of U is positive.
    largest = np.abs(new_u).argmax(axis=0)
    sign = np.where(new_u[largest, np.arange(largest.size)] < 0, -1, 1)
    sign = sign.astype(np.float32)
    return LowRank(new_u * sign, np.asarray(centred, np.float32) @ (to_v * sign), mean)


def _factor(
    x: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A with XᵀX = A Aᵀ, and T with X T orthonormal and A = XᵀX T.

    Directions that are rounding are left out.
    """
    values, vectors = np.linalg.eigh(gram(x))
    if not values.size:
        return vectors, vectors
    # Eigenvalues are squares.
    kept = values > max(values[-1], 0) * _ROUNDING**2 * 1e2
    root = np.sqrt(values[kept])
    return vectors[:, kept] * root, vectors[:, kept] / root


def gram(x: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """XᵀX in double precision, some rows at a time."""
    out = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, x.shape[0], 16384):
        block = x[start : start + 16384].astype(np.float64)
        out += block.T @ block
    return out
