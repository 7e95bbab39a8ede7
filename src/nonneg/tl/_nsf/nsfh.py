"""Spatial and other patterns of counts: the hybrid model."""

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


# Of places: what is reported is a mean over all genes and as many of these.
_N_PERMUTATIONS = 4


@checked
@shared_docs
def nsfh(
    adata: AnnData | SpatialData,
    n_components: int = 20,
    *,
    n_spatial: int | None = None,
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
    r"""Split counts into spatial and other patterns: the hybrid model.

    As :func:`nonneg.tl.nsf`, with :math:`L - T` factors whose logarithm is independent
    normal between observations, :math:`h_{il} \sim N(m_l, s_l^2)`, beside :math:`T`
    spatial ones :cite:p:`Townes2023`. The former take what does not vary smoothly:
    single cells, cell cycle, technical variation. So the model tells how much of a
    gene, or of an observation, is spatial.

    Starting factors are those of NMF; the `n_spatial` of largest Moran's I become
    spatial. During the fit, the field that its neighbours predict worst is exchanged with the
    factor that they would predict best, where that raises the bound.

    Factors without space trust counts fully. So the `temperature` of the fields is chosen
    from 1 to 10: with a higher one they lose their genes to the others. A warning tells of
    fields that are empty all the same; fewer factors leave them more.

    A field may follow what is not spatial: with shuffled places, half of a gene would
    still be in fields. So importance counts each by its *spatial share*, the part of its
    variance that the other locations predict. Beside it stands what it would be by
    chance, with the places permuted. Where the two are close, nothing is spatial. It is a
    part of expected counts and no test: a gene that is flat has the importance of the
    factors which carry it. Moran's I tells whether a gene varies in space at all, and a
    factor without space that neighbours foretell (`uns[key_added]["kriged"]["foretold"]`)
    asks for a larger `n_spatial`: from 100 locations on, a warning tells of a third of its
    variance and more.

    Parameters
    ----------
    adata
        Annotated data, observations x variables, with counts.
    n_components
        Number of factors. Try 5 to 15; :func:`nonneg.tl.compare` predicts held-out
        locations with several. Time is proportional to it.
    n_spatial
        How many of them are spatial. `None`: half, rounded up. More where single spots
        differ little from their neighbours; `n_spatial` of :func:`nonneg.tl.compare`
        compares numbers.
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
        Key under which to store the result instead of `nsfh`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.obsm['X_nsfh' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Posterior mean of the factors, spatial ones first. With the loadings and size factors, the
        fitted mean is `size * X @ W.T`.
    `.obsm['X_nsfh_std' | key_added + '_std']` : :class:`numpy.ndarray`
        Posterior standard deviation of the factors.
    `.varm['nsfh' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Loadings, NaN outside `mask_var`.
    `.var['nsfh_spatial_importance']`, `.obs['nsfh_spatial_importance']`
        Spatial share of the fitted mean of every gene and observation, 0 to 1: each
        field counts with its `spatial_share`, other factors with none. NaN for genes without counts.
        With `_std` appended, standard deviations, given loadings and spatial shares.
        Named after `key_added` where that is given.
    `.var['nsfh_spatial_importance_null']`, `.obs['nsfh_spatial_importance_null']`
        The same scores after permuting the places of what was found.
    `.var['nsfh_dispersion']`
        Of counts, the dispersion of every gene, whose variance is `mean + dispersion * mean²`:
        part of the negative binomial likelihood; with Poisson's, how counts scattered that
        were held out while the kernel was chosen (where it is given, those of the fit),
        for intervals. Named after `key_added` where that is given.
    `.uns['nsfh' | key_added]` : :class:`dict`
        `params`, `elbo` (also as `objective`): the bound, not divided by `temperature`, by which the
        divergence from the prior is multiplied instead,
        `n_iter`, `converged`, `interrupted`, `is_spatial`, `spatial_share` (the part of the variance of the logarithm of every field
        that the other locations predict) and `spatial_share_null`, `sparsity` (share of zero loadings),
        `temperature`, `kernel` (length scales in units of the coordinates,
        amplitudes), `search` (table of the kernels tried and the log predictive density of
        held-out locations), `transform` of the coordinates, and `field`: inducing
        points and all that :func:`nonneg.tl.predict` needs.

    Raises
    ------
    %(spatial_errors)s

    See Also
    --------
    nonneg.tl.nsf : with spatial factors only
    nonneg.pl.spatial_importance : draws the importance scores

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 60, n_nonspatial=3, mixing=0.55)
    >>> nng.tl.nsfh(adata, 7, n_spatial=4)
    >>> adata.uns["nsfh"]["is_spatial"].sum()
    np.int64(4)
    """
    return fit_factors(
        adata,
        "nsfh",
        Choices(
            n_components=n_components,
            n_spatial=-(-n_components // 2) if n_spatial is None else n_spatial,
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
                n_permutations=_N_PERMUTATIONS,
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
