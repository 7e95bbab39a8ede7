"""Simulated spots of several cells, and a reference of single cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from .._adata.schema import SCHEMA
from .._core.arguments import checked
from .._core.random import as_seed
from .._core.validators import check_at_least, check_positive_int
from ._simulate import check_means

if TYPE_CHECKING:
    from .._core.random import RNGLike

# Share of the genes that mark a type, and the logarithm of their fold change.
_MARKERS, _FOLD = 0.1, (1.5, 0.5)

# How firmly spots hold to the composition of their region.
_CONCENTRATION = 30.0


class Spots(NamedTuple):
    """What is simulated."""

    adata: AnnData
    """The spots, with the truth."""
    reference: AnnData
    """Single cells of the same types."""


@checked
def spots(
    size: int = 20,
    n_genes: int = 300,
    n_types: int = 5,
    *,
    n_regions: int = 3,
    cells_per_spot: tuple[int, int] = (5, 20),
    depth: float = 0.1,
    cells_per_type: int = 60,
    library_sizes: float = 0.5,
    platform: float = 0.0,
    rng: RNGLike = 0,
) -> Spots:
    r"""Simulate spots that hold several cells, with a reference of single cells.

    The design of :cite:t:`Andersson2020`, in regions: spots on a square lie in regions
    around random centres, each with a composition of its own. A spot draws the number
    of its cells, its composition, cells of each type, and a part of their transcripts:

    .. math::

        y_{ig} \sim \mathrm{Poisson}\Big(d \, e_g \sum_k n_{ik} \, s_k b_{kg}\Big)

    with profiles :math:`b_k`, mean library sizes :math:`s_k`, a factor :math:`e_g` of
    the platform, and the part :math:`d` of transcripts that are found.

    Parameters
    ----------
    size
        Spots along each side of the square.
    n_genes
        Number of genes.
    n_types
        Number of cell types.
    n_regions
        Number of regions.
    cells_per_spot
        Smallest and largest number of cells in a spot.
    depth
        Part of a cell's transcripts that a spot shows.
    cells_per_type
        Cells of each type in the reference.
    library_sizes
        Standard deviation of the logarithm of the types' mean library sizes.
    platform
        Standard deviation of the logarithm of the genes' factors between reference and
        spots.
    rng
        Seed, or a generator to draw one from. Recorded.

    Returns
    -------
    `adata`, the spots, with counts as CSR in `X` and:

    `.obsm['spatial']` : :class:`numpy.ndarray`
        Coordinates.
    `.obsm['truth']`, `.obsm['truth_rna']` : :class:`numpy.ndarray` (shape `(n_obs, n_types)`)
        Shares of cells, and of RNA.
    `.obs['region']`, `.obs['n_cells']`
        Region, and number of cells.
    `.varm['truth']` : :class:`numpy.ndarray` (shape `(n_vars, n_types)`)
        Mean counts of a cell in the reference.
    `.uns['truth']` : :class:`dict`
        `cell_types`, `library_size` and `params`. The entry has the form of a fitted
        one: functions that take a `key` take `"truth"`.

    and `reference`, the single cells, with their types in `.obs['cell_type']`.

    Raises
    ------
    TypeError
        If a number is not an integer where it has to be.
    ValueError
        If numbers are out of range.

    See Also
    --------
    nonneg.tl.deconvolve : finds the truth again

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(10, 60)
    >>> adata.shape, reference.shape
    ((100, 60), (300, 60))
    """
    size = check_positive_int(size, "size")
    n_genes = check_positive_int(n_genes, "n_genes")
    k = check_positive_int(n_types, "n_types")
    n_regions = check_positive_int(n_regions, "n_regions")
    per_type = check_positive_int(cells_per_type, "cells_per_type")
    fewest, most = (check_positive_int(n, "cells_per_spot") for n in cells_per_spot)
    if fewest > most:
        msg = f"cells_per_spot={cells_per_spot} must be in ascending order."
        raise ValueError(msg)
    for name, value in (
        ("depth", depth),
        ("library_sizes", library_sizes),
        ("platform", platform),
    ):
        check_at_least(value, 0, name)
    seed = as_seed(rng)
    rng = np.random.default_rng(seed)

    fold = np.ones((k, n_genes))
    marked = rng.random((k, n_genes)) < _MARKERS
    marked[np.arange(n_genes) % k, np.arange(n_genes)] |= rng.random(n_genes) < _MARKERS
    fold[marked] = rng.lognormal(*_FOLD, int(marked.sum()))
    profile = (rng.gamma(0.5, 1, n_genes) + 0.01) * fold
    profile /= profile.sum(1, keepdims=True)
    library = 2000 * np.exp(library_sizes * rng.standard_normal(k))
    means = profile * library[:, None]

    n_spots = size * size
    xy = np.stack(np.divmod(np.arange(n_spots), size)[::-1], 1).astype(float)
    centres = xy[rng.permutation(n_spots)[:n_regions]]
    region = np.argmin(((xy[:, None] - centres) ** 2).sum(-1), 1)
    typical = rng.dirichlet(np.full(k, 0.6), len(centres))
    shares = np.stack(
        [rng.dirichlet(_CONCENTRATION * typical[r] + 0.05) for r in region]
    )
    n_cells = rng.integers(fewest, most + 1, n_spots)
    cells = np.stack(
        [rng.multinomial(n, p) for n, p in zip(n_cells, shares, strict=True)]
    )
    factor = np.exp(platform * rng.standard_normal(n_genes))
    mean = depth * factor * (cells @ means)
    check_means(mean, "depth, library_sizes and platform")
    counts = rng.poisson(mean)

    types = np.array([f"type_{i}" for i in range(k)], object)
    code = np.repeat(np.arange(k), per_type)
    single = rng.poisson(rng.lognormal(0, 0.3, (code.size, 1)) * means[code])
    genes = pd.DataFrame(index=[f"gene_{j}" for j in range(n_genes)])
    adata = AnnData(
        sp.csr_matrix(counts, dtype=np.float32),
        obs=pd.DataFrame(
            {
                "region": pd.Categorical([f"region_{r}" for r in region]),
                "n_cells": n_cells,
            },
            index=[f"spot_{i}" for i in range(n_spots)],
        ),
        var=genes,
    )
    rna = cells * library
    adata.obsm["spatial"] = xy
    adata.obsm["truth"] = (cells / n_cells[:, None]).astype(np.float32)
    adata.obsm["truth_rna"] = (rna / rna.sum(1, keepdims=True)).astype(np.float32)
    adata.varm["truth"] = means.T.astype(np.float32)
    adata.uns["truth"] = {
        "schema": SCHEMA,
        "method": "spots",
        "obsm_key": "truth",
        "varm_key": "truth",
        "cell_types": types,
        "library_size": library,
        "params": {
            "n_types": k,
            "n_regions": n_regions,
            "depth": float(depth),
            "library_sizes": float(library_sizes),
            "platform": float(platform),
            "seed": seed,
        },
    }
    reference = AnnData(
        sp.csr_matrix(single, dtype=np.float32),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical.from_codes(code, pd.Index(types))},
            index=[f"cell_{i}" for i in range(code.size)],
        ),
        var=genes.copy(),
    )
    return Spots(adata, reference)
