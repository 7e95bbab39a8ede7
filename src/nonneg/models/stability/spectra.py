"""Singular vectors of every sample."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats
from ..factor.start import gram_product, leading_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...operators.protocol import MatrixOperator
    from .draws import Draws

# Variables up to which XᵀX is held: 256 MB in single precision.
_MAX_GRAM = 8192

# Purpose of random numbers.
_BASIS = 1


class Spectrum(NamedTuple):
    """Leading right singular vectors of a sample."""

    V: Floats
    """(n_vars, rank)"""
    singular: Floats


class Spectra:
    """Spectra of samples, one after the other, from products XᵀX b.

    Where there are no more variables than observations and these are not resampled,
    XᵀX is computed once: a sample then costs no pass over the data.
    """

    def __init__(self, op: MatrixOperator, draws: Draws) -> None:
        self._op, self._draws = op, draws

    @cached_property
    def _gram(self) -> jax.Array | None:
        n_obs, n_vars = self._op.shape
        if self._draws.resample == "obs" or n_vars > min(n_obs, _MAX_GRAM):
            return None
        return gram_matrix(self._op)

    def __call__(self, sample: int, rank: int, *, centered: bool = False) -> Spectrum:
        """The spectrum of a sample, of its data or of what is left of them centred.

        Centred is what was drawn: every observation over the variables of the sample, or
        every variable over its observations.
        """
        view = self._draws.view(self._op, sample)
        n_obs, n_vars = self._op.shape
        product = self._product(sample)
        if centered:
            product = self._centered(sample, product)
        v, singular = leading_vectors(
            product,
            n_vars,
            rank,
            self._draws.rng(sample, _BASIS),
            most=n_obs,
            dtype=view.dtype,
        )
        return Spectrum(np.asarray(v, view.dtype), singular)

    def _product(self, sample: int) -> Callable[[Floats], Floats]:
        view = self._draws.view(self._op, sample)
        if self._gram is None:
            return lambda basis: gram_product(view, basis)
        gram, scale = self._gram, view.scale[:, None]
        return lambda basis: scale * np.asarray(_dot(gram, scale * basis))

    def _centered(
        self, sample: int, product: Callable[[Floats], Floats]
    ) -> Callable[[Floats], Floats]:
        rows, columns = self._draws.scales(sample)
        dtype = self._op.dtype
        if self._draws.resample != "obs":
            # X - x̄ 1ᵀ, weighted, is the weighted matrix times a projector.
            unit = (columns / np.linalg.norm(columns)).astype(dtype)[:, None]

            def project(basis: Floats) -> Floats:
                return basis - unit @ (unit.T @ basis)

            return lambda basis: project(product(project(basis)))
        assert rows is not None
        mean = self._op.rmatmul((rows**2 / (rows**2).sum()).astype(dtype)[:, None])
        weighted = np.asarray(mean) * columns.astype(dtype)[:, None]
        total = float((rows**2).sum())
        return lambda basis: product(basis) - total * weighted @ (weighted.T @ basis)


def gram_matrix(op: MatrixOperator) -> jax.Array:
    """XᵀX in one pass over the data."""
    total = np.zeros((op.shape[1], op.shape[1]), np.float64)
    for _, block in op.dense_blocks():
        x = jnp.asarray(block)
        total += np.asarray(_dot(x.T, x))
    return jnp.asarray(total, op.dtype)


@jax.jit
def _dot(a: Any, b: Any) -> jax.Array:
    return a @ b
