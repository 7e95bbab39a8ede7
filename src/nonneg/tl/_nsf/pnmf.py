"""Patterns of counts without space: probabilistic NMF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

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
    from .front import LikelihoodName


@checked
@shared_docs
def pnmf(
    adata: AnnData | SpatialData,
    n_components: int = 20,
    *,
    layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    likelihood: LikelihoodName = "poisson",
    estimator: Literal["deterministic", "monte_carlo"] = "deterministic",
    size_factors: str | NDArray[np.floating[Any]] | None = "total",
    learning_rate: float = 1.0,
    tol: float = 5e-3,
    max_iter: int = 200,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Patterns of counts without space: probabilistic NMF.

    The model of :func:`nonneg.tl.nsf` with factors that are independent between
    observations, :math:`h_{il} \sim N(m_l, s_l^2)` :cite:p:`Townes2023`: what
    remains of it when coordinates are not used. The baseline to compare spatial models
    with, and the model for cells that have no coordinates. Factors are those of NMF
    with the Kullback-Leibler divergence, with uncertainty and a prior that is learned.

    Parameters
    ----------
    adata
        Annotated data, observations x variables, with counts.
    n_components
        Number of factors. Try 5 to 15; :func:`nonneg.tl.compare` predicts held-out
        locations with several.
    %(counts)s
    %(likelihood)s
    %(size_factors)s
    %(fit)s
    %(max_iter)s
    %(chunk_size)s
    %(rng)s
    key_added
        Key under which to store the result instead of `pnmf`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.obsm['X_pnmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Posterior mean of the factors. With the loadings and size factors, the
        fitted mean is `size * X @ W.T`.
    `.obsm['X_pnmf_std' | key_added + '_std']` : :class:`numpy.ndarray`
        Posterior standard deviation of the factors.
    `.varm['pnmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Loadings, NaN outside `mask_var`.
    `.var['pnmf_dispersion']`
        The dispersion of every gene, whose variance is `mean + dispersion * mean²`: part of
        the negative binomial likelihood; with Poisson's, how the counts of the fit scatter.
        Named after `key_added` where that is given.
    `.uns['pnmf' | key_added]` : :class:`dict`
        `params`, `elbo` (also as `objective`): the bound, not divided by `temperature`, by which the
        divergence from the prior is multiplied instead,
        `n_iter`, `converged`, `interrupted`, `is_spatial`, `sparsity` (share of zero loadings),
        `temperature`, which is 1.

    Raises
    ------
    %(spatial_errors)s

    See Also
    --------
    nonneg.tl.nsf : with coordinates
    nonneg.tl.nmf : without uncertainty, faster

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.pnmf(adata, 4)
    >>> adata.obsm["X_pnmf_std"].shape
    (144, 4)
    """
    return fit_factors(
        adata,
        "pnmf",
        Choices(
            n_components=n_components,
            n_spatial=0,
            options=Options(
                learning_rate=learning_rate,
                tol=tol,
                max_iter=max_iter,
            ),
            likelihood=likelihood,
            estimator=estimator,
            size_factors=size_factors,
        ),
        read=Read(layer, mask_var=mask_var, chunk_size=chunk_size),
        write=Write(key_added, copy, table_key),
        rng=rng,
    )
