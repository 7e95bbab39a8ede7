"""Counts of the genes that tell types apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import check_nonnegative
from ..._adata.read import select_matrix
from ...models.deconvolution.problem import IS_COUNTS
from ...operators.choose import as_operator
from ...operators.gather import to_csr

if TYPE_CHECKING:
    import scipy.sparse as sp
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.read import Read
    from ...models.deconvolution.problem import LikelihoodName


def read_counts(
    adata: AnnData, read: Read, shared: NDArray[np.intp], likelihood: LikelihoodName
) -> sp.csr_matrix:
    """Counts of the shared genes, in memory."""
    x, where = select_matrix(adata, layer=read.layer)
    # A matrix of which all is used need not be copied.
    columns = shared if shared.size < x.shape[1] else None
    op = as_operator(
        x, where=where, columns=columns, chunk_size=read.chunk_size, on_cluster=False
    )
    stats = op.stats()
    check_nonnegative(stats, where, "Use counts, which were not centred or scaled.")
    if IS_COUNTS[likelihood] and not stats.integer:
        msg = (
            f"{where} does not hold counts: some entries are not whole numbers, as "
            "after normalisation or a logarithm. Name the layer with counts, or use "
            "likelihood='gaussian'."
        )
        raise ValueError(msg)
    return to_csr(op)


def informative(means: NDArray[np.float64], n_genes: int | None) -> NDArray[np.intp]:
    """Genes that some signature has; of many, the most telling.

    Those that no location has are evidence as well: against the types that have them.
    """
    used = np.flatnonzero(means.sum(0) > 0)
    if min(used.size, used.size if n_genes is None else n_genes) < 2:
        msg = (
            f"{used.size} shared genes have counts in reference, and n_genes={n_genes}: "
            "one gene does not tell types apart. Use two or more."
        )
        raise ValueError(msg)
    if n_genes is None or used.size <= n_genes:
        return used
    profiles = means[:, used] / np.maximum(means[:, used].sum(1, keepdims=True), 1e-300)
    middle = profiles.mean(0)
    # What a count of the gene says about types, by how many there are.
    worth = ((profiles - middle) ** 2).sum(0) / middle
    return np.sort(used[np.argsort(-worth, kind="stable")[:n_genes]])


def check_types(types: NDArray[Any], per_cell: NDArray[np.float64]) -> None:
    """Raise unless there are several types, each with counts."""
    if types.size < 2:
        msg = f"There is one cell type, {types[0]!r}; nothing is mixed."
        raise ValueError(msg)
    empty = types[~(per_cell > 0)]
    if empty.size:
        msg = (
            f"The signatures of {list(empty)} are zero in all genes used. Remove these "
            "types, or use more genes."
        )
        raise ValueError(msg)
