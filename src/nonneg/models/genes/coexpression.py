"""Correlations between genes, from factors or from their own values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator

type Similarity = Literal["pearson", "osnmf"]


class Edges(NamedTuple):
    """Pairs of genes, and their correlation."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    weight: NDArray[np.float64]


def reconstructed_correlation(
    scores: NDArray[np.floating], loadings: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(g, g): Pearson correlation over observations of the genes' reconstructions."""
    centred = scores.astype(np.float64)
    centred = centred - centred.mean(0)
    return _normalised(loadings.astype(np.float64), centred.T @ centred)


def gene_centred_correlation(
    scores: NDArray[np.floating], loadings: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(g, g): the same as the osNMF program has it, which centres over the genes.

    Every observation has the mean of these genes taken from it, and no gene its own
    mean.
    """
    d, a = scores.astype(np.float64), loadings.astype(np.float64)
    return _normalised(a - a.mean(0), d.T @ d)


SIMILARITIES: Mapping[
    Similarity,
    Callable[
        [NDArray[np.floating], NDArray[np.floating]],
        NDArray[np.float64],
    ],
] = {"pearson": reconstructed_correlation, "osnmf": gene_centred_correlation}


def _normalised(
    a: NDArray[np.float64], gram: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosines of the rows of ``a`` in the metric of ``gram``."""
    products = a @ gram @ a.T
    norm = np.sqrt(np.maximum(np.diag(products), 0))
    scale = np.outer(norm, norm)
    out = np.zeros_like(products)
    np.divide(products, scale, out=out, where=scale > 0)
    return np.clip(out, -1, 1)


def leading_genes(
    share: NDArray[np.float64], factor: int, quantile: float
) -> NDArray[np.intp]:
    """Genes whose share of a factor is above a quantile of all genes, in order."""
    own = np.nan_to_num(share[:, factor])
    order = np.argsort(-own, kind="stable")
    known = int(np.isfinite(share[:, factor]).sum())
    n_genes = max(2, int(np.ceil((1 - quantile) * known)))
    return order[:n_genes][own[order[:n_genes]] > 0]


def strongest_edges(correlation: NDArray[np.float64], part: float) -> Edges:
    """The highest part of all pairs, of those that are positive."""
    first, second = np.triu_indices(len(correlation), 1)
    weight = correlation[first, second]
    n_edges = int(np.ceil(part * weight.size))
    order = np.argsort(-weight, kind="stable")[:n_edges]
    order = order[weight[order] > 0]
    return Edges(first[order], second[order], weight[order])


def measured_correlation(op: MatrixOperator) -> NDArray[np.float64]:
    """(g, g): Pearson correlation of the columns of a matrix of few columns."""
    n, g = op.shape
    mean = op.stats().col_sums / n
    gram = np.zeros((g, g))
    for _, block in op.dense_blocks():
        centred = np.asarray(block, np.float64) - mean
        gram += centred.T @ centred
    return _normalised(np.eye(g), gram)
