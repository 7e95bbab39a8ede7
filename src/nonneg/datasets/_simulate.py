"""Counts that follow known spatial and non-spatial patterns."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from .._adata.schema import SCHEMA
from .._core.random import as_seed
from .._core.validators import check_at_least, check_positive_int

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .._core.random import RNGLike

# Share of the locations at which a non-spatial factor is present.
_NONSPATIAL_RATE = 0.2
# Dispersions beyond which NumPy draws no counts; far from any of real data.
_SMALLEST = 1e-6
_DEFAULT_MIXING = 0.55


_SHARED_DOC = r"""Parameters
    ----------
    size
        Side of the square grid of locations, or its numbers of rows and columns.
    n_genes
        Number of genes. Every gene follows one pattern, drawn at random.
    n_nonspatial
        Number of non-spatial factors, each present at a random fifth of the locations.
        Every gene follows one of them as well.
    mixing
        Spatial part of the height; the rest is non-spatial. `None`: 1 without
        non-spatial factors, else 0.55.
    background
        Mean of every gene where its patterns are absent.
    height
        What patterns add to the mean.
    dispersion
        Counts are negative binomial with variance
        :math:`\mu + \mathrm{dispersion} \cdot \mu^2`; 0: Poisson.
    rng
        Seed, or a generator to draw one from. Recorded.

    Returns
    -------
    Counts as CSR in `X`, locations in raster order, and:

    `.obs['array_row']`, `.obs['array_col']` : :class:`pandas.Series`
        Position on the grid.
    `.obsm['spatial']` : :class:`numpy.ndarray` (shape `(n_obs, 2)`)
        Column and row, as x and y.
    `.obsm['truth']` : :class:`numpy.ndarray` (shape `(n_obs, k)`)
        Where every factor is present, 0 or 1; spatial factors first.
    `.varm['truth']` : :class:`numpy.ndarray` (shape `(n_genes, k)`)
        Loadings: the mean is `background + obsm['truth'] @ varm['truth'].T`.
    `.var['pattern']` : :class:`pandas.Series`
        The spatial pattern that the gene follows.
    `.var['spatial_share']` : :class:`pandas.Series`
        Share of the spatial factors in the gene's summed mean, background left out.
    `.uns['truth']` : :class:`dict`
        `params`, and which factors are spatial (`is_spatial`). The entry has the form
        of a fitted factorization: functions that take a `key` take `"truth"`.

    Raises
    ------
    ValueError
        If the grid is smaller than the patterns, or numbers are out of range."""


def with_shared_doc[F: Callable[..., AnnData]](function: F) -> F:
    """Fill in what the docstrings of the simulations have in common."""
    # Python 3.13 strips the indentation of docstrings, earlier versions do not.
    doc, shared = (
        inspect.cleandoc(function.__doc__ or ""),
        inspect.cleandoc(_SHARED_DOC),
    )
    function.__doc__ = doc.replace("%(shared)s", shared)
    return function


@dataclass(frozen=True)
class Simulation:
    """What the simulations of :cite:t:`Townes2023` have in common."""

    size: int | tuple[int, int]
    n_genes: int
    n_nonspatial: int
    mixing: float | None
    background: float
    height: float
    dispersion: float
    rng: RNGLike

    def draw(self, name: str, patterns: Mapping[str, NDArray[np.bool_]]) -> AnnData:
        """Draw counts of genes that follow the patterns, given as small images."""
        shape = self._image_shape(next(iter(patterns.values())).shape)
        n_genes = check_positive_int(self.n_genes, "n_genes")
        mixing = self._mixing()
        for what in ("background", "height", "dispersion"):
            check_at_least(getattr(self, what), 0, what)
        seed = as_seed(self.rng)
        rng = np.random.default_rng(seed)

        row, col = (axis.ravel() for axis in np.indices(shape))
        spatial = np.stack(
            [
                cells[row * len(cells) // shape[0], col * cells.shape[1] // shape[1]]
                for cells in patterns.values()
            ],
            axis=1,
        )
        nonspatial = rng.random((row.size, self.n_nonspatial)) < _NONSPATIAL_RATE
        pattern = rng.integers(len(patterns), size=n_genes)
        loadings = [mixing * self.height * np.eye(len(patterns))[pattern]]
        if self.n_nonspatial:
            other = rng.integers(self.n_nonspatial, size=n_genes)
            loadings.append(
                (1 - mixing) * self.height * np.eye(self.n_nonspatial)[other]
            )
        F = np.concatenate([spatial, nonspatial], axis=1).astype(np.float32)
        W = np.concatenate(loadings, axis=1).astype(np.float32)

        adata = AnnData(
            X=sp.csr_matrix(self._counts(self.background + F @ W.T, rng)),
            obs=pd.DataFrame(
                {"array_row": row, "array_col": col},
                index=[f"spot_{i}" for i in range(row.size)],
            ),
            var=pd.DataFrame(
                {
                    "pattern": pd.Categorical.from_codes(
                        pattern, pd.Index(list(patterns))
                    ),
                    "spatial_share": _spatial_share(F, W, len(patterns)),
                },
                index=[f"gene_{j}" for j in range(n_genes)],
            ),
        )
        adata.obsm["spatial"] = np.stack([col, row], axis=1).astype(np.float64)
        adata.obsm["truth"] = F
        adata.varm["truth"] = W
        adata.uns["truth"] = {
            "schema": SCHEMA,
            "method": name,
            "obsm_key": "truth",
            "varm_key": "truth",
            "is_spatial": np.arange(W.shape[1]) < len(patterns),
            "params": {
                "n_components": W.shape[1],
                "n_nonspatial": self.n_nonspatial,
                "mixing": mixing,
                "background": float(self.background),
                "height": float(self.height),
                "dispersion": float(self.dispersion),
                "seed": seed,
            },
        }
        return adata

    def _image_shape(self, cells: tuple[int, ...]) -> tuple[int, int]:
        size = self.size
        n_rows, n_cols = size if isinstance(size, tuple) else (size, size)
        shape = check_positive_int(n_rows, "size"), check_positive_int(n_cols, "size")
        if shape[0] < cells[0] or shape[1] < cells[1]:
            msg = (
                f"size={size} is too small: the patterns are made of {cells[0]} x "
                f"{cells[1]} cells."
            )
            raise ValueError(msg)
        return shape

    def _mixing(self) -> float:
        if self.n_nonspatial:
            check_positive_int(self.n_nonspatial, "n_nonspatial")
        mixing = self.mixing
        if mixing is None:
            return _DEFAULT_MIXING if self.n_nonspatial else 1.0
        if not 0 <= mixing <= 1:
            msg = f"mixing={mixing} must be between 0 and 1."
            raise ValueError(msg)
        if mixing < 1 and not self.n_nonspatial:
            msg = (
                f"mixing={mixing} leaves {1 - mixing:.3g} of the height to non-spatial "
                "factors, of which there are none. Set n_nonspatial, e.g. to 3."
            )
            raise ValueError(msg)
        return float(mixing)

    def _counts(
        self, mean: NDArray[np.floating[Any]], rng: np.random.Generator
    ) -> NDArray[np.int32]:
        check_means(mean, "background and height")
        if self.dispersion == 0:
            return rng.poisson(mean).astype(np.int32)
        if not _SMALLEST <= self.dispersion <= 1 / _SMALLEST:
            msg = (
                f"dispersion={self.dispersion} must be 0, or from {_SMALLEST:g} to "
                f"{1 / _SMALLEST:g}."
            )
            raise ValueError(msg)
        size = 1 / self.dispersion
        return rng.negative_binomial(size, size / (size + mean)).astype(np.int32)


def check_means(mean: NDArray[np.floating[Any]], what: str) -> None:
    """Raise unless counts with these means can be drawn, and stored in 32 bits."""
    top = np.max(mean, initial=0)
    if not top < 2**30:
        msg = f"{what} make counts of {top:.3g} on average, which is too much. Lower them."
        raise ValueError(msg)


def _spatial_share(
    F: NDArray[np.float32], W: NDArray[np.float32], n_spatial: int
) -> NDArray[np.float64]:
    """Share of spatial factors in every gene's summed mean, background left out."""
    total = W * F.sum(axis=0, dtype=np.float64)
    share = np.full(len(W), np.nan)
    spatial, both = total[:, :n_spatial].sum(axis=1), total.sum(axis=1)
    return np.divide(spatial, both, out=share, where=both > 0)
