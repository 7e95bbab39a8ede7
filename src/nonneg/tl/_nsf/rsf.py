"""Real-valued spatial factors of log-normalised data."""

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


@checked
@shared_docs
def rsf(
    adata: AnnData | SpatialData,
    n_components: int = 20,
    *,
    layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    size_factors: str | NDArray[np.floating[Any]] | None = "total",
    log_normalized: bool = False,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    kernel: Literal["matern32", "matern52", "rbf"] = "matern32",
    trend: Literal["linear", "constant"] = "linear",
    length_scale: float | None = None,
    temperature: float | None = None,
    n_inducing: int | None = None,
    shared_kernel: bool = True,
    anisotropic: bool = False,
    tol: float = 5e-3,
    max_iter: int = 200,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Real-valued spatial factors of log-normalised data.

    Gaussian processes, of any sign, on centred log-normalised expression, with
    loadings of any sign and a noise variance for every gene :cite:p:`Townes2023`.
    The spatial relative of PCA, and what :func:`nonneg.tl.nsf` is compared with:
    factors are not parts, but predict well where counts are large. The amplitude is 1:
    loadings tell how large a factor is.

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
    %(space)s
    %(kernel)s
    %(length_scale)s
    %(temperature)s
    shared_kernel
        One length scale for all factors. `False`: one for each, chosen in turn, where some
        are broad and others narrow.
    anisotropic
        A length scale of its own for each axis: for tissue that is layered along one of
        them.
    tol
        Stop when factors would move by at most `tol` in a step, as the root of the mean
        square.
    %(kernel_max_iter)s
    %(rng)s
    key_added
        Key under which to store the result instead of `rsf`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.obsm['X_rsf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Posterior mean of the factors. The fitted mean of normalised
        values is `center + X @ W.T`.
    `.obsm['X_rsf_std' | key_added + '_std']` : :class:`numpy.ndarray`
        Posterior standard deviation of the factors.
    `.varm['rsf' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Loadings, NaN outside `mask_var`.
    `.var['rsf_center']`
        Mean of every gene after normalisation, which factors come on top of.
    `.uns['rsf' | key_added]` : :class:`dict`
        `params`, `elbo` (also as `objective`): the bound, not divided by `temperature`, by which the
        divergence from the prior is multiplied instead,
        `n_iter`, `converged`, `interrupted`, `is_spatial`, `spatial_share` (the part of the variance of every field that
        the other locations predict), `sparsity` (share of zero loadings),
        `temperature`, `kernel` (length scales in units of the coordinates,
        amplitudes), `search` (table of the kernels tried and the log predictive density of
        held-out locations), `transform` of the coordinates, and `field`: inducing
        points and all that :func:`nonneg.tl.predict` needs.

    Raises
    ------
    %(spatial_errors)s

    See Also
    --------
    nonneg.tl.nsf : non-negative, for counts
    nonneg.tl.fa : without space

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.rsf(adata, 4)
    >>> adata.varm["rsf"].shape
    (40, 4)
    """
    return fit_factors(
        adata,
        "rsf",
        Choices(
            n_components=n_components,
            n_spatial=n_components,
            options=Options(
                kernel=kernel,
                trend=trend,
                length_scale=length_scale,
                amplitude=1.0,
                shared_kernel=shared_kernel,
                temperature=temperature,
                anisotropic=anisotropic,
                tol=tol,
                max_iter=max_iter,
            ),
            size_factors=size_factors,
            log_normalized=log_normalized,
            spatial_key=spatial_key,
            library_key=library_key,
            n_inducing=n_inducing,
        ),
        read=Read(layer, mask_var=mask_var),
        write=Write(key_added, copy, table_key),
        rng=rng,
    )
