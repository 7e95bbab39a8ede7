"""How many components, and how large a penalty."""

from __future__ import annotations

from itertools import product
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.data_sets import Scaling, read_data, read_params
from ..._adata.keys import factor_keys
from ..._adata.read import Read, resolve_adata
from ..._adata.write import check_replaced, write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_positive_int
from ..._core.warnings import warn
from ...metrics import alignment
from ...models.inmf.align import max_factor, quantile_align
from ...models.inmf.loadings import objectives
from ...models.inmf.problem import Penalties
from ...models.inmf.scores import exact_scores
from ...models.inmf.solver import inmf
from ...models.loop import Report
from ...operators.threads import computing
from .checks import check_data_sets, read_lam, read_weights, summarise_data
from .validation import draw, hold_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.inmf.solver import INMFResult
    from ...models.inmf.summary import DataSummary


@checked
@shared_docs
def inmf_search(
    adata: AnnData | SpatialData,
    n_components: Sequence[int] = (10, 20, 30, 40),
    lam: float | Sequence[float] = 5.0,
    *,
    batch_key: str,
    layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    unshared: Mapping[str, str | Sequence[str] | NDArray[np.bool_]] | None = None,
    size_factors: str | NDArray[np.floating[Any]] | None = None,
    scale: bool = True,
    held_out: float = 0.2,
    tol: float = 1e-4,
    max_iter: int = 100,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Compare numbers of components and penalties of an integration.

    Fits :func:`nonneg.tl.inmf` for every combination to a part of the cells and judges
    it by the others. No single number decides. Take the number of components from where
    `held_out` flattens (it is the share of the data that cells which were not fitted
    leave unexplained, penalty included, and may rise again), or from the elbow of
    `concentration`, LIGER's criterion: how far the scores of a cell are from being
    equal. Take the smallest penalty from which `alignment` hardly rises
    :cite:p:`Welch2019`. :func:`nonneg.pl.inmf_search` draws the table.

    Parameters
    ----------
    adata
        Annotated data with non-negative entries, cells x genes. Cells are read into
        memory.
    n_components
        Numbers of components to compare, far apart at first, e.g. `(10, 20, 40)`.
    lam
        Penalties to try with each of these, e.g. `(1, 5)`; the same for all data sets.
    batch_key
        Column of `adata.obs` that names the data set of every cell.
    %(integrated)s
    unshared
        By data set, variables that it has and others lack, as in
        :func:`nonneg.tl.inmf`. Data sets of a mapping or a MuData are to be joined
        first, by `anndata.concat(..., join="outer", fill_value=0)`.
    %(scaling)s
    held_out
        Share of the cells of every data set that are not fitted.
    tol
        Stop when an iteration lowers the objective by at most `tol` of its value.
    %(max_iter)s
    %(rng)s
    key_added
        Key under which to store the result instead of `inmf_search`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.uns['inmf_search' | key_added]` : :class:`dict`
        `params`, `interrupted` (Ctrl-C keeps the fits that are finished), and `table`, a data frame with a row for every fit: `n_components`,
        `lam`, `objective` of the fitted cells and `held_out` of the others, both
        divided by the squared norm of the data; `concentration`, the median over cells
        of the Kullback-Leibler divergence of their scores, as shares, from equal ones;
        `alignment` of the fitted cells after quantile alignment (see
        :func:`nonneg.metrics.alignment`); `specific`, the squared norm of specific
        metagenes over that of shared plus specific ones; whether the fit `converged`;
        and `seconds`, with those of compiling.

    Raises
    ------
    ValueError
        If there is one data set only, one has fewer cells than components when some are
        held out, or the data or an argument do not suit.
    %(matrix_errors)s

    See Also
    --------
    nonneg.tl.inmf : the fit
    nonneg.pl.inmf_search : draws the table

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches()
    >>> nng.tl.inmf_search(adata, (4, 6, 8), batch_key="batch", size_factors="total")
    >>> adata.uns["inmf_search"]["table"]["n_components"].tolist()
    [4, 6, 8]
    """
    ranks = [check_positive_int(k, "n_components") for k in np.atleast_1d(n_components)]
    if not ranks or not np.size(lam):
        msg = f"n_components={n_components!r} and lam={lam!r} must hold a number each."
        raise ValueError(msg)
    lams = [float(value) for value in np.atleast_1d(lam)]
    for value in lams:
        check_at_least(value, 0, "lam")
    if not 0 < held_out < 1:
        msg = f"held_out={held_out} must be above 0 and below 1."
        raise ValueError(msg)
    check_at_least(tol, 0, "tol")
    check_positive_int(max_iter, "max_iter")
    seed = as_seed(rng)
    keys = factor_keys("inmf_search", key_added)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    check_replaced(target, keys.uns, "table")
    read, scaling = Read(layer=layer, mask_var=mask_var), Scaling(size_factors, scale)
    rows = []
    with computing(), progress("inmf_search", len(ranks) * len(lams)) as callback:
        data_sets = read_data(target, batch_key, read, size_factors, unshared=unshared)
        check_data_sets(data_sets, 1)
        fitted, others, positions = hold_out(data_sets, draw(data_sets, held_out, seed))
        check_data_sets(fitted, max(ranks))
        used = np.delete(np.arange(data_sets.n_obs), positions)
        batch = data_sets.codes[used]
        summary = summarise_data(fitted, scaling, seed=seed)
        gene_scale = np.asarray(summary.data.gene_scale)
        unseen = summarise_data(others, scaling, seed=seed, gene_scale=gene_scale)
        try:
            for rank, value in product(ranks, lams):
                penalties = Penalties(
                    read_lam(value, fitted.names), read_weights("cells", fitted.n_cells)
                )
                start = perf_counter()
                result = inmf(
                    summary, rank, penalties, tol=tol, max_iter=max_iter, seed=seed
                )
                seconds = perf_counter() - start
                if result.trace.interrupted:
                    raise KeyboardInterrupt
                rows.append(
                    {
                        "n_components": rank,
                        "lam": value,
                        **_judge(
                            result,
                            summary,
                            unseen,
                            penalties,
                            used=used,
                            batch=batch,
                            seed=seed,
                        ),
                        "converged": result.trace.converged,
                        "seconds": seconds,
                    }
                )
                callback(len(rows), Report(None))
        except KeyboardInterrupt:
            if not rows:
                raise
    n_fits = len(ranks) * len(lams)
    found = {
        "params": {
            **read_params(batch_key, read, scaling),
            "held_out": float(held_out),
            "tol": float(tol),
            "max_iter": int(max_iter),
            "seed": seed,
        },
        "table": pd.DataFrame(rows),
        "interrupted": len(rows) < n_fits,
    }
    write_values(target, {("uns", keys.uns): found})
    if found["interrupted"]:
        warn(f"Interrupted after {len(rows)} of {n_fits} fits, which are stored.")
    return target if copy else None


def _judge(
    result: INMFResult,
    summary: DataSummary,
    unseen: DataSummary,
    penalties: Penalties,
    *,
    used: NDArray[np.intp],
    batch: NDArray[np.intp],
    seed: int,
) -> dict[str, float]:
    loadings, scores = result.loadings, result.scores[used]
    statistics = exact_scores(unseen.data, loadings, penalties.lam, lambda *_: None)
    value = objectives(unseen.data.sq_norm, loadings, statistics, penalties.lam).sum()
    clusters = max_factor(scores, batch)
    aligned = quantile_align(
        scores,
        batch,
        clusters,
        reference=int(np.bincount(batch).argmax()),
        n_quantiles=50,
        min_cells=20,
        max_sample=1000,
        seed=seed,
    ).scores
    own_part, both = (
        np.square(x, dtype=np.float64).sum()
        for x in (loadings.V, loadings.W + loadings.V)
    )
    return {
        "objective": result.trace.objective[-1] / summary.data.sq_norm.sum(),
        "held_out": float(value / unseen.data.sq_norm.sum()),
        "concentration": _concentration(scores),
        "alignment": alignment(aligned, batch, rng=seed),
        "specific": float(own_part / both) if both > 0 else 0.0,
    }


def _concentration(scores: NDArray[Any]) -> float:
    """Median divergence of scores, as shares, from equal ones."""
    sums = scores.sum(axis=1, dtype=np.float64)
    shares = scores[sums > 0] / sums[sums > 0, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log(shares * scores.shape[1]), 0.0)
    return float(np.median(terms.sum(axis=1)))
