"""Factor analysis of log-normalised data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._adata.read import Read
from ..._adata.write import Write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ...models.nsf.problem import Options
from .front import Choices, fit_factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike


@checked
@shared_docs
def fa(
    adata: AnnData | SpatialData,
    n_components: int = 20,
    *,
    layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    size_factors: str | NDArray[np.floating[Any]] | None = "total",
    log_normalized: bool = False,
    tol: float = 5e-3,
    max_iter: int = 200,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Factor analysis of log-normalised data.

    Real-valued factors, independent standard normal between observations, on centred
    log-normalised expression, with a noise variance for every gene: the model of
    :func:`nonneg.tl.rsf` without space :cite:p:`Townes2023`.

    Parameters
    ----------
    adata
        Annotated data, observations x variables, with counts, or values that were log-normalised.
    n_components
        Number of factors. Try 5 to 15; :func:`nonneg.tl.compare` predicts held-out
        locations with several.
    %(counts)s
    %(size_factors)s
    log_normalized
        Whether the matrix already is normalised and logarithmic. Otherwise
        `log(1 + counts / size)` is used. Means are removed either way.
    tol
        Stop when factors would move by at most `tol` in a step, as the root of the mean
        square.
    %(max_iter)s
    %(rng)s
    key_added
        Key under which to store the result instead of `fa`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.obsm['X_fa' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Posterior mean of the factors. The fitted mean of normalised
        values is `center + X @ W.T`.
    `.obsm['X_fa_std' | key_added + '_std']` : :class:`numpy.ndarray`
        Posterior standard deviation of the factors.
    `.varm['fa' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Loadings, NaN outside `mask_var`.
    `.var['fa_center']`
        Mean of every gene after normalisation, which factors come on top of.
    `.uns['fa' | key_added]` : :class:`dict`
        `params`, `elbo` (also as `objective`): the bound, not divided by `temperature`, by which the
        divergence from the prior is multiplied instead,
        `n_iter`, `converged`, `interrupted`, `is_spatial`, `sparsity` (share of zero loadings),
        `temperature`, which is 1.

    Raises
    ------
    %(spatial_errors)s

    See Also
    --------
    nonneg.tl.rsf : with coordinates
    nonneg.tl.pnmf : non-negative, for counts

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.fa(adata, 4)
    >>> adata.obsm["X_fa"].shape
    (144, 4)
    """
    return fit_factors(
        adata,
        "fa",
        Choices(
            n_components=n_components,
            n_spatial=0,
            options=Options(
                tol=tol,
                max_iter=max_iter,
            ),
            size_factors=size_factors,
            log_normalized=log_normalized,
        ),
        read=Read(layer, mask_var=mask_var),
        write=Write(key_added, copy, table_key),
        rng=rng,
    )
