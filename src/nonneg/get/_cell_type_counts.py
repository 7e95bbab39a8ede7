"""Counts of the cells of one type."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from .._adata.compositions import check_counts
from .._adata.coordinates import read_coordinates
from .._adata.read import Read, read_matrix
from .._adata.schema import DeconvolutionEntry
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..operators.gather import to_csr
from ..operators.threads import computing

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData

# Rows for which the mean of all genes is in memory.
_ROWS = 512


@checked
@shared_docs
def cell_type_counts(
    adata: AnnData | SpatialData,
    cell_type: str,
    *,
    key: str = "deconv",
    layer: str | None = None,
    table_key: str | None = None,
) -> AnnData:
    r"""Counts of each location that are expected to come from cells of one type.

    Also known as cell-type-specific expression. Every count is shared out among the
    types in proportion to what each of them is expected to have of the gene,

    .. math:: y_{ig} \frac{v_{ik} b_{kg}}{\sum_l v_{il} b_{lg}},

    with amounts :math:`v` and signatures :math:`b` of the fit. What a type does
    differently in a part of the tissue shows as far as other types do not express the
    gene.

    Parameters
    ----------
    adata
        Annotated data with a deconvolution.
    cell_type
        Name of the type.
    key
        Key of the deconvolution.
    layer
        Layer with counts. `None`: the one that was deconvolved.
    %(table_key)s

    Returns
    -------
    AnnData of locations x genes used, with the counts as CSR in `X`, and `obs`, `var`
    and coordinates of `adata`. Locations without a composition have no counts.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or no such type or layer.
    ValueError
        If the key holds something else than a deconvolution, or the layer no counts.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(10, 60)
    >>> nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    >>> nng.get.cell_type_counts(adata, "type_0").shape
    (100, 60)
    """
    adata = read_table(adata, table_key)
    stored = read_factors(adata, key)
    if not isinstance(stored.entry, DeconvolutionEntry):
        msg = (
            f"key={key!r} holds {stored.entry.method!r}, which is no deconvolution. "
            "Call `nonneg.tl.deconvolve` first."
        )
        raise ValueError(msg)
    if cell_type not in stored.names:
        msg = f"There is no type {cell_type!r}; there are {stored.names}."
        raise KeyError(msg)
    position = stored.names.index(cell_type)
    used = ~np.isnan(stored.loadings).any(axis=1)
    given = stored.entry.params.get("layer") if layer is None else layer
    with computing():
        source = read_matrix(adata, Read(given, mask_var=used), on_cluster=False)
        check_counts(source.op.stats(), source.where, stored.entry)
        counts = to_csr(source.op)
    signatures = stored.loadings[used].T.astype(np.float64)
    rna = np.nan_to_num(stored.scores, nan=0.0).astype(np.float64)
    if stored.entry.counts_per_cell is not None:
        # Signatures are of unit sum over the genes used, so that shares of cells become
        # shares of their counts. Simulated ones are counts of a cell already.
        rna = rna * np.asarray(stored.entry.counts_per_cell)
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    data = np.zeros(counts.nnz, np.float32)
    for start in range(0, counts.shape[0], _ROWS):
        block = slice(*counts.indptr[[start, min(start + _ROWS, counts.shape[0])]])
        i, j = rows[block], counts.indices[block]
        mean = (rna[start : start + _ROWS] @ signatures)[i - start, j]
        own = rna[i, position] * signatures[position, j]
        part = np.divide(own, mean, out=np.zeros_like(own), where=mean > 0)
        data[block] = counts.data[block] * part
    result = AnnData(
        sp.csr_matrix((data, counts.indices, counts.indptr), shape=counts.shape),
        obs=cast("pd.DataFrame", adata.obs).copy(),
        var=cast("pd.DataFrame", adata.var)[used].copy(),
    )
    spatial_key = stored.entry.params.get("spatial_key")
    if isinstance(spatial_key, str) and spatial_key in adata.obsm:
        result.obsm[spatial_key] = read_coordinates(adata, spatial_key)
    return result
