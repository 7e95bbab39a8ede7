"""Semi-NMF of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..._adata.read import Read
from ..._adata.write import Write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.validators import check_one_of
from ...models.nmf.seminmf import seminmf as fit_seminmf
from .factorize import factorize

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.loop import Callback
    from ...models.nmf.problem import NMFResult
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats


@checked
@shared_docs
def seminmf(
    adata: AnnData | SpatialData,
    n_components: int = 20,
    *,
    nonnegative: Literal["scores", "loadings"] = "scores",
    layer: str | None = None,
    obsm: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    tol: float = 1e-4,
    max_iter: int = 200,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Non-negative parts of data that have both signs.

    Finds :math:`X \approx W H` with either the scores :math:`W` or the loadings
    :math:`H` non-negative and the other side free :cite:p:`Ding2010`: with
    `"scores"`, a soft clustering of observations around signed profiles; with
    `"loadings"`, non-negative footprints of variables with signed activities.
    For centred or scaled expression, contrasts, ΔF/F. Minimises
    :math:`\tfrac12 \lVert X - WH \rVert^2`.

    Takes matrices in memory, backed by a file or lazy, as
    :func:`nonneg.tl.nmf` does.

    Parameters
    ----------
    adata
        Annotated data, observations x variables, of any sign.
    n_components
        Number of components. Try several, as for :func:`nonneg.tl.nmf`.
    nonnegative
        The side that is non-negative, `"scores"` or `"loadings"`.
    %(matrix)s
    tol
        Stop when the sum of absolute projected gradients is at most `tol` times that
        of the products with the data (mean of both factors).
    %(max_iter)s
    %(chunk_size)s
    %(rng)s
    %(key_added)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the same fields as
    :func:`nonneg.tl.nmf`:

    `.obsm['X_nmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Scores.
    `.varm['nmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Loadings of unit 2-norm.
    `.uns['nmf' | key_added]` : :class:`dict`
        Parameters and convergence of the fit; `method` is `"seminmf"`.

    Raises
    ------
    ValueError
        If the data are empty or contain NaN or infinite entries, or if
        `n_components` exceeds the smaller side.
    %(matrix_errors)s

    See Also
    --------
    nonneg.tl.nmf : for non-negative data

    Examples
    --------
    >>> import nonneg as nng
    >>> import scanpy as sc
    >>> adata = nng.datasets.ggblocks()
    >>> adata.X = adata.X.toarray()
    >>> sc.pp.log1p(adata)
    >>> sc.pp.scale(adata)
    >>> nng.tl.seminmf(adata, 4)
    >>> bool((adata.obsm["X_nmf"] >= 0).all())
    True
    """
    check_one_of(nonnegative, ("scores", "loadings"), "nonnegative")

    def fit(
        op: MatrixOperator, stats: MatrixStats, seed: int, callback: Callback
    ) -> NMFResult:
        return fit_seminmf(
            op,
            stats,
            n_components,
            nonnegative=nonnegative,
            tol=tol,
            max_iter=max_iter,
            seed=seed,
            callback=callback,
        )

    return factorize(
        adata,
        n_components,
        fit,
        method="seminmf",
        read=Read(layer, obsm, mask_var, chunk_size),
        write=Write(key_added, copy, table_key),
        tol=tol,
        max_iter=max_iter,
        rng=rng,
        params={"nonnegative": nonnegative},
        signed=True,
    )
