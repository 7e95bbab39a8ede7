"""Spatial patterns of counts: non-negative spatial factorization."""

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
def nsf(
    adata: AnnData | SpatialData,
    n_components: int = 20,
    *,
    layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    likelihood: LikelihoodName = "poisson",
    estimator: Literal["deterministic", "monte_carlo"] = "deterministic",
    size_factors: str | NDArray[np.floating[Any]] | None = "total",
    spatial_key: str = "spatial",
    library_key: str | None = None,
    kernel: Literal["matern32", "matern52", "rbf"] = "matern32",
    trend: Literal["linear", "constant"] = "linear",
    length_scale: float | None = None,
    amplitude: float | None = None,
    nugget: float = 0.1,
    temperature: float | None = None,
    n_inducing: int | None = None,
    shared_kernel: bool = True,
    anisotropic: bool = False,
    learning_rate: float = 1.0,
    tol: float = 5e-3,
    max_iter: int = 200,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Find spatial patterns in counts: non-negative spatial factorization.

    Every factor is the exponential of a Gaussian process over the tissue, every gene
    a non-negative combination of factors :cite:p:`Townes2023`:

    .. math::

        y_{ij} \sim \mathrm{Poisson}\Big(\nu_i \sum_l w_{jl} e^{f_l(x_i)}\Big),
        \qquad f_l \sim \mathrm{GP}(\beta_{l0} + \beta_l^\top x,\, k), \quad
        w_{jl} \ge 0

    Factors are parts of the tissue that vary smoothly, with uncertainty, and can be
    predicted where nothing was measured (:func:`nonneg.tl.predict`). Use it for raw
    counts on coordinates; :func:`nonneg.tl.nsfh` also has factors without a spatial
    pattern, :func:`nonneg.tl.nmf` is faster and knows no space. Subset to informative
    genes first, e.g. with :func:`nonneg.pp.deviant_genes`.

    Where `length_scale`, `amplitude` or `temperature` are not given, they are chosen on
    locations that are held out, a fifth at a time, while the model is fitted to the
    others; then all are fitted.

    Parameters
    ----------
    adata
        Annotated data, observations x variables, with counts.
    n_components
        Number of factors. Try 5 to 15; :func:`nonneg.tl.compare` predicts held-out
        locations with several. Time is proportional to it.
    %(counts)s
    %(likelihood)s
    %(size_factors)s
    %(space)s
    %(kernel)s
    %(length_scale)s
    %(amplitude)s
    %(nugget)s
    %(temperature)s
    shared_kernel
        One covariance for all factors. `False`: one for each, chosen in turn, where some
        are broad and others narrow.
    anisotropic
        A length scale of its own for each axis: for tissue that is layered along one of
        them.
    %(fit)s
    %(kernel_max_iter)s
    %(chunk_size)s
    %(rng)s
    key_added
        Key under which to store the result instead of `nsf`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.obsm['X_nsf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Posterior mean of the factors. With the loadings and size factors, the
        fitted mean is `size * X @ W.T`.
    `.obsm['X_nsf_std' | key_added + '_std']` : :class:`numpy.ndarray`
        Posterior standard deviation of the factors.
    `.varm['nsf' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Loadings, NaN outside `mask_var`.
    `.var['nsf_dispersion']`
        Of counts, the dispersion of every gene, whose variance is `mean + dispersion * mean²`:
        part of the negative binomial likelihood; with Poisson's, how counts scattered that
        were held out while the kernel was chosen (where it is given, those of the fit),
        for intervals. Named after `key_added` where that is given.
    `.uns['nsf' | key_added]` : :class:`dict`
        `params`, `elbo` (also as `objective`): the bound, not divided by `temperature`, by which the
        divergence from the prior is multiplied instead,
        `n_iter`, `converged`, `interrupted`, `is_spatial`, `spatial_share` (the part of the variance of every field (its logarithm) that
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
    nonneg.tl.nsfh : with factors that have no spatial pattern
    nonneg.tl.predict : factors and expected counts anywhere
    nonneg.pl.factor_maps : draws the factors

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.nsf(adata, 4)
    >>> adata.obsm["X_nsf"].shape, adata.varm["nsf"].shape
    ((144, 4), (40, 4))
    """
    return fit_factors(
        adata,
        "nsf",
        Choices(
            n_components=n_components,
            n_spatial=n_components,
            options=Options(
                kernel=kernel,
                trend=trend,
                length_scale=length_scale,
                amplitude=amplitude,
                shared_kernel=shared_kernel,
                nugget=nugget,
                temperature=temperature,
                anisotropic=anisotropic,
                learning_rate=learning_rate,
                tol=tol,
                max_iter=max_iter,
            ),
            likelihood=likelihood,
            estimator=estimator,
            size_factors=size_factors,
            spatial_key=spatial_key,
            library_key=library_key,
            n_inducing=n_inducing,
        ),
        read=Read(layer, mask_var=mask_var, chunk_size=chunk_size),
        write=Write(key_added, copy, table_key),
        rng=rng,
    )
