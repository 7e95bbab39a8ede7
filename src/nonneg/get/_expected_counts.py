"""Counts of one cell type in every location."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from .._adata.compositions import read_compositions, select_types
from .._adata.read import select_matrix
from ..operators.choose import as_operator
from ..operators.gather import to_csr

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

# Entries whose mixtures are computed at a time.
_BLOCK = 1 << 22


def expected_counts(
    adata: AnnData,
    cell_type: str | int,
    *,
    key: str = "deconv",
    layer: str | None = None,
) -> AnnData:
    r"""Expected counts of one cell type: cell-type-specific expression of locations.

    Every count is divided among cell types by what each is expected to give to it,

    .. math::

        E[y_{igk} \mid y_{ig}] =
        y_{ig} \frac{u_{ik} b_{kg}}{\sum_l u_{il} b_{lg}} ,

    with amounts :math:`u` and signatures :math:`b` of the fit, so that the types' counts
    add up to the counts. Nothing is stored: it is computed when it is asked for.

    What a gene does *within* a type is seen only where the gene is the type's own. Of a
    gene that others share, counts are divided by the signatures, whatever the type
    does in this place.

    Parameters
    ----------
    adata
        Annotated data with a deconvolution.
    cell_type
        The type, by name or number.
    key
        Key of the deconvolution.
    layer
        Layer with counts. `None`: the one that was fitted.

    Returns
    -------
    AnnData of the locations x the genes used, with the expected counts as CSR in `X`,
    to normalise and compare as any counts. `obs`, `obsm`, `obsp` and `uns` are
    carried over. Locations without counts have none.

    Raises
    ------
    KeyError
        If there is no deconvolution under the key, or no such type or layer.
    ValueError
        If the key is that of another method.

    See Also
    --------
    nonneg.get.factor_df : shares of the types

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(10, 60)
    >>> nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    >>> own = nng.get.expected_counts(adata, "type_2")
    >>> own.shape
    (100, 60)
    """
    found = read_compositions(adata, key)
    if not isinstance(cell_type, str | int | np.integer):
        msg = f"cell_type={cell_type!r} must be one name or number."
        raise KeyError(msg)
    (k,) = select_types(found.names, cell_type)
    layer = layer if layer is not None else found.entry.params.get("layer")
    x, where = select_matrix(adata, layer=layer)
    signatures = np.asarray(found.factors.loadings, np.float64)
    used = np.flatnonzero(np.isfinite(signatures).all(axis=1))
    op = as_operator(x, where=where, columns=used, on_cluster=False)
    # A copy: its entries are changed.
    counts = sp.csr_matrix(to_csr(op), dtype=np.float32, copy=True)
    amounts = np.where(found.known[:, None], found.shares, 0.0)
    if found.entry.counts_per_cell is not None:
        # Signatures have unit sum: shares of cells become shares of the counts.
        amounts = amounts * np.asarray(found.entry.counts_per_cell)
    _divide(counts, amounts, signatures[used], k)
    result = AnnData(
        X=counts,
        obs=cast("pd.DataFrame", adata.obs).copy(),
        var=cast("pd.DataFrame", adata.var).iloc[used].copy(),
        uns=dict(adata.uns),
    )
    for target, source in ((result.obsm, adata.obsm), (result.obsp, adata.obsp)):
        target.update(source.copy() if adata.is_view else source)
    return result


def _divide(
    counts: sp.csr_matrix,
    amounts: NDArray[np.float64],
    signatures: NDArray[np.float64],
    k: int,
) -> None:
    """Leave in every stored entry the part of one type."""
    indptr, column, data = counts.indptr, counts.indices, counts.data
    row = np.repeat(np.arange(counts.shape[0]), np.diff(indptr))
    step = max(_BLOCK // max(signatures.shape[1], 1), 1)
    for start in range(0, data.size, step):
        part = slice(start, start + step)
        share = amounts[row[part]] * signatures[column[part]]
        total = share.sum(axis=1)
        data[part] *= np.where(
            total > 0, share[:, k] / np.where(total > 0, total, 1), 0
        )
    counts.eliminate_zeros()
