"""Non-negative matrix factorization of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..._adata.given import name_or_array
from ..._adata.read import Read
from ..._adata.write import Write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ...models.factor.penalty import Penalty
from ...models.nmf.problem import Problem
from ...models.nmf.solver import nmf as fit_nmf
from ...models.nmf.weighted import scaled_penalty, unweighted
from ...operators.weighted import WeightedOperator
from .factorize import factorize

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.loop import Callback
    from ...models.nmf.problem import NMFResult, SolverName
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats


_SOLVERS = {"frobenius": ("hals", "mu", "anls"), "kullback-leibler": ("mu",)}


@checked
@shared_docs
def nmf(
    adata: AnnData | SpatialData,
    n_components: int = 20,
    *,
    layer: str | None = None,
    obsm: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    solver: Literal["hals", "mu", "anls"] | None = None,
    beta_loss: Literal["frobenius", "kullback-leibler"] = "frobenius",
    init: Literal["nndsvda", "nndsvd", "random"] = "nndsvda",
    alpha_W: float = 0.0,
    alpha_H: float | Literal["same"] = "same",
    l1_ratio: float = 0.0,
    var_weights: str | NDArray[np.floating[Any]] | None = None,
    n_init: int = 1,
    tol: float = 1e-4,
    max_iter: int = 200,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Factorize data into parts that add up: non-negative matrix factorization.

    Finds non-negative scores :math:`W` (observations x components) and loadings
    :math:`H` (components x variables) with :math:`X \approx W H`
    :cite:p:`Lee1999`. Nothing can be cancelled, so components become parts:
    tissue layers, cell types, programmes of genes. For counts or log-normalised
    expression; subset to informative genes first, e.g. with
    :func:`nonneg.pp.deviant_genes`.

    Minimises, with :math:`N` observations and :math:`J` variables,

    .. math::

        \mathrm{loss}(X, WH)
        + \alpha_W J \left( \rho \lVert W \rVert_1
        + \tfrac{1 - \rho}{2} \lVert W \rVert^2 \right)
        + \alpha_H N \left( \rho \lVert H \rVert_1
        + \tfrac{1 - \rho}{2} \lVert H \rVert^2 \right)

    where the loss is :math:`\tfrac12 \lVert X - WH \rVert^2` or the
    Kullback-Leibler divergence :math:`\sum x \log (x / wh) - x + wh`, the Poisson
    likelihood's. Penalties are scaled as in scikit-learn.

    The matrix may be in memory (dense or sparse), backed by a file (`backed="r"`:
    rows are streamed, one pass per iteration, memory does not grow with them), or
    a dask array (products run wherever dask runs them).

    Parameters
    ----------
    adata
        Annotated data, observations x variables, with non-negative entries.
    n_components
        Number of components. Too few merge parts, too many split them: look at several,
        e.g. 5 to 20 for a section. :func:`nonneg.tl.stability` says which come back.
    %(matrix)s
    solver
        `"hals"`, hierarchical alternating least squares :cite:p:`Cichocki2009` with
        extrapolation :cite:p:`Ang2019`, the default for the Frobenius loss: an
        iteration that would raise the objective is undone; `"anls"`, exact alternating
        non-negative least squares :cite:p:`Kim2011`, slower per iteration;
        `"mu"`, multiplicative updates :cite:p:`Lee2000`, the one for the
        Kullback-Leibler divergence.
    beta_loss
        `"frobenius"` or `"kullback-leibler"`.
    init
        Starting values: `"nndsvda"`, non-negative parts of the singular vectors
        :cite:p:`Boutsidis2008` with zeros replaced by a small value; `"nndsvd"`,
        with zeros kept; `"random"`.
    alpha_W, alpha_H
        Weights of the penalties on scores and loadings; `"same"`: `alpha_W`. One
        alone is refused: the other factor would grow and undo it. 0 is a good start;
        higher values with `l1_ratio=1` make factors sparser.
    l1_ratio
        Share :math:`\rho` of the L1 penalty; the rest is L2.
    var_weights
        Weights :math:`\omega \geq 0` of the variables, a column of `adata.var` or an array:
        the loss becomes :math:`\tfrac12 \sum_j \omega_j \lVert x_j - W h_j \rVert^2`.
        Where a gene was measured r times, weights of 1 / r make it count as one
        :cite:p:`Wu2016`: the same as scaling its data by 1 / sqrt(r), except that
        loadings are of the data as they are. Variables of weight 0 do not influence the
        scores, and get the loadings that explain them best. For the Frobenius loss.
    n_init
        Number of starts with `init="random"` (e.g. 10), of which the best is kept. The
        other starting values are the same each time.
    tol
        HALS and ANLS stop when the sum of absolute projected gradients is at most
        `tol` times that of the products with the data (mean of both factors);
        multiplicative updates when the objective falls by at most `tol` times its
        first value in ten iterations.
    %(max_iter)s
    %(chunk_size)s
    %(rng)s
    %(key_added)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.obsm['X_nmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Scores. They carry the scale.
    `.varm['nmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Loadings, every column of unit 2-norm, NaN outside `mask_var`.
    `.uns['nmf' | key_added]` : :class:`dict`
        `params`, the `objective` after the iterations in `iteration`, `n_iter`,
        `converged`, `interrupted`, `mass`, the sum of each component's part of the product, by
        which components are sorted, and `scale`, the norm that its loadings had
        before they were given unit norm.
    `.var['nmf_weight' | key_added + '_weight']` : :class:`float`
        `var_weights`, where some were given. NaN outside `mask_var`.

    Raises
    ------
    ValueError
        If the data are empty, contain NaN, infinite or negative entries, or if
        `n_components` exceeds the smaller side, or arguments clash.
    %(matrix_errors)s

    See Also
    --------
    nonneg.tl.seminmf : for data of any sign
    nonneg.tl.project : scores of new observations
    nonneg.get.top_genes : the genes of a component

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks()
    >>> nng.tl.nmf(adata, 4)
    >>> adata.obsm["X_nmf"].shape, adata.varm["nmf"].shape
    ((1296, 4), (200, 4))
    """
    check_one_of(beta_loss, _SOLVERS, "beta_loss")
    chosen: SolverName = _choose_solver(solver, beta_loss)
    check_one_of(init, ("nndsvda", "nndsvd", "random"), "init")
    _check_init(init, chosen, n_init)
    alphas = _check_penalties(alpha_W, alpha_H, l1_ratio)
    if var_weights is not None:
        _check_weighable(beta_loss, chosen, alphas[1])

    def fit(
        op: MatrixOperator, stats: MatrixStats, seed: int, callback: Callback
    ) -> NMFResult:
        n_obs, n_vars = op.shape
        weights = (alphas[0] * n_vars, alphas[1] * n_obs)
        penalties = [Penalty(a * l1_ratio, a * (1 - l1_ratio)) for a in weights]
        of_w, of_h = penalties
        if isinstance(op, WeightedOperator):
            of_h = scaled_penalty(of_h, op.scale, n_components)
        result = fit_nmf(
            Problem(op, stats, beta_loss, (of_w, of_h)),
            n_components,
            solver=chosen,
            init=init,
            n_init=n_init,
            tol=tol,
            max_iter=max_iter,
            seed=seed,
            callback=callback,
        )
        if isinstance(op, WeightedOperator):
            return unweighted(result, op, penalties[1])
        return result

    return factorize(
        adata,
        n_components,
        fit,
        method="nmf",
        read=Read(layer, obsm, mask_var, chunk_size),
        write=Write(key_added, copy, table_key),
        tol=tol,
        max_iter=max_iter,
        rng=rng,
        params={
            "solver": chosen,
            "beta_loss": beta_loss,
            "init": init,
            "alpha_W": alphas[0],
            "alpha_H": alphas[1],
            "l1_ratio": float(l1_ratio),
            "n_init": int(n_init),
            "var_weights": name_or_array(var_weights),
        },
        var_weights=var_weights,
    )


def _choose_solver(solver: SolverName | None, beta_loss: str) -> SolverName:
    options = _SOLVERS[beta_loss]
    if solver is None:
        return options[0]  # type: ignore[return-value]
    check_one_of(solver, _SOLVERS["frobenius"], "solver")
    if solver not in options:
        msg = (
            f"solver={solver!r} minimises the Frobenius loss only; "
            f"beta_loss={beta_loss!r} needs solver='mu' (or None)."
        )
        raise ValueError(msg)
    return solver


def _check_init(init: str, solver: str, n_init: int) -> None:
    if check_positive_int(n_init, "n_init") > 1 and init != "random":
        msg = f"n_init={n_init} starts differ only with init='random', not {init!r}."
        raise ValueError(msg)
    if solver == "mu" and init == "nndsvd":
        msg = (
            "init='nndsvd' starts with zeros, which multiplicative updates cannot "
            "leave. Use init='nndsvda'."
        )
        raise ValueError(msg)


def _check_weighable(beta_loss: str, solver: str, alpha_h: float) -> None:
    if beta_loss != "frobenius":
        msg = (
            f"var_weights are weights of squared errors, which beta_loss={beta_loss!r} "
            "does not have. Leave them out, or use beta_loss='frobenius'."
        )
        raise ValueError(msg)
    if solver == "anls" and alpha_h > 0:
        msg = (
            "With var_weights, penalties weigh differently on the variables, which "
            "solver='anls' cannot solve. Use 'hals' or 'mu', or no penalty."
        )
        raise ValueError(msg)


def _check_penalties(
    alpha_w: float, alpha_h: float | Literal["same"], l1_ratio: float
) -> tuple[float, float]:
    if alpha_h == "same":
        alpha_h = alpha_w
    for name, value in (("alpha_W", alpha_w), ("alpha_H", alpha_h)):
        check_at_least(value, 0, name)
    check_at_least(l1_ratio, 0, "l1_ratio")
    if l1_ratio > 1:
        msg = f"l1_ratio={l1_ratio} must be between 0 and 1."
        raise ValueError(msg)
    if (alpha_w > 0) != (alpha_h > 0):
        msg = (
            f"alpha_W={alpha_w} and alpha_H={alpha_h}: a penalty on one factor alone "
            "has no effect, since the other one can grow instead. Penalise both, or "
            "neither."
        )
        raise ValueError(msg)
    if l1_ratio > 0 and alpha_w == 0:
        msg = f"l1_ratio={l1_ratio} has no effect while alpha_W and alpha_H are both 0."
        raise ValueError(msg)
    return float(alpha_w), float(alpha_h)
