"""How many components the data support: stability under resampling."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._adata.checks import check_finite, check_n_components, check_nonnegative
from ..._adata.given import name_or_array
from ..._adata.read import Read, read_matrix, resolve_adata
from ..._adata.scan_checkpoint import ScanCheckpoint
from ..._adata.var_weights import read_var_weights
from ..._adata.write import Write, keys_to_write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ...models.stability.consensus import Moments
from ...models.stability.draws import Draws
from ...models.stability.spectra import Spectra
from ...operators.threads import computing
from .checks import check_draws, check_method, read_ranks
from .fits import VERBS, ComponentFits, fits_of
from .judge import Judge
from .scan import Scan
from .store import report, store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...operators.stats import MatrixStats


@checked
@shared_docs
def stability(
    adata: AnnData | SpatialData,
    n_components: int | Iterable[int] = range(5, 31),
    *,
    layer: str | None = None,
    obsm: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    method: Literal[
        "nmf", "pca", "seminmf", "inmf", "nsf", "nsfh", "pnmf", "rsf", "fa"
    ] = "nmf",
    method_kwargs: Mapping[str, Any] | None = None,
    n_bootstraps: int = 100,
    resample: Literal["var", "obs"] | None = "var",
    var_weights: str | NDArray[np.floating[Any]] | None = None,
    metric: Literal["hungarian", "amari"] = "hungarian",
    baseline: bool = True,
    tol: float = 1e-4,
    max_iter: int = 200,
    checkpoint: str | PathLike[str] | None = None,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Number of components whose patterns come back when the data are drawn again.

    For every number of components, variables (or observations) are drawn with
    replacement, the sample is factorized, and patterns of all pairs of samples are
    compared :cite:p:`Wu2016,Cahill2024`. With the right number, samples agree; with too
    many, the surplus ones are of noise, and differ. The result is a table, and a
    factorization of all data with the patterns that samples have in common.
    :func:`nonneg.pl.stability` draws the table; :doc:`/stability` says how to read it, and
    why it need not have a clear minimum.

    Samples are weights of what they are drawn from, so that the data are not copied, and
    NMF fits many of them side by side. Each starts from its own weighted data: a common
    start would make samples agree that do not.

    Parameters
    ----------
    adata
        Annotated data, observations x variables, with non-negative entries.
    n_components
        Numbers of components to compare, without gaps, e.g. `range(5, 16)`: a minimum
        is one against its neighbours.
    %(matrix)s
    method
        What factorizes: :func:`nonneg.tl.nmf` (fast; with `method_kwargs`, as the
        others), `"pca"`, or another function of :mod:`nonneg.tl`, called for a copy of
        every sample.
    method_kwargs
        Arguments of that function, e.g. `{"beta_loss": "kullback-leibler"}`.
    n_bootstraps
        Number of samples. 100 give a standard error of about a tenth of the spread of
        pairs; 20 do for a first look.
    resample
        `"var"`: draw variables; patterns are of observations, e.g. maps. `"obs"`: draw
        observations; patterns are of variables, e.g. gene programmes. `None`: the same
        data from random starts, which shows how much is due to these alone.
    var_weights
        Weights of the squared errors of variables, beside those of the draws: see
        :func:`nonneg.tl.nmf`. For `"nmf"`.
    metric
        Distance of two sets of patterns: `"hungarian"`, one less the mean cosine of the
        best matching; `"amari"`, where patterns may share a partner, which forgives two
        that were merged.
    baseline
        Also do it with the principal components of the same samples.
    tol, max_iter
        Tolerance and maximum number of iterations of NMF, as in :func:`nonneg.tl.nmf`.
    checkpoint
        Folder for what is finished. The same call resumes there, with more numbers of
        components too. It takes 2 bytes per entry of every pattern. One scan at a time
        may use it. If it cannot be written any more, there is a warning, and the scan
        goes on.
    %(chunk_size)s
    %(rng)s
    key_added
        Key under which to store the result instead of `stability`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields, which are a
    factorization as others are: `key="stability"` reads it.

    `.obsm['X_stability' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, k)`)
        Scores, for the number of components that is most stable: with `resample="var"`,
        the median patterns of the samples.
    `.varm['stability' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, k)`)
        Loadings of all variables, every column of unit 2-norm, NaN outside `mask_var`.
    `.uns['stability' | key_added]` : :class:`dict`
        `params`; `best`, the number of components that is selected, absent if patterns
        are nearer to chance than to each other throughout; `mass` and `scale`, as of
        :func:`nonneg.tl.nmf`; and two data frames. `table`, by `n_components`:
        `instability` by `metric` and its standard error `instability_se`; `hungarian`,
        `amari`, and `centered` (Hungarian, with correlations); `chance`, the instability
        of patterns whose entries are put in random order, and `corrected`, the quotient:
        1 is chance; `is_minimum`, below both neighbours; `pca`, `pca_se`,
        `pca_corrected`; `reconstruction`, the mean correlation of a variable with its
        fit, with `reconstruction_sd` over variables, and `pca_reconstruction`;
        `outliers`, the share of patterns far from those of other samples
        :cite:p:`Kotliar2019`; `n_dead`, patterns that became zero; the mean `n_iter` and
        the share of samples that `converged`. `patterns`, a row for each pattern of each
        consensus, in the order of columns: `stability`, the mean cosine with the matched
        patterns of the samples, `stability_sd`, and `outliers`. `interrupted`: whether
        Ctrl-C ended the scan; numbers that were finished are kept.
    `.var['stability_weight' | key_added + '_weight']` : :class:`float`
        `var_weights`, where some were given.

    Raises
    ------
    ValueError
        If a number of components is given twice or exceeds what a sample holds, there
        are fewer than two samples, a sample has no data, a checkpoint is of another
        scan or in use, or arguments clash.
    %(matrix_errors)s

    See Also
    --------
    nonneg.pl.stability : draws the table
    nonneg.metrics.instability : the number, from patterns of your own
    nonneg.tl.nmf : one fit

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 60)
    >>> nng.tl.stability(adata, range(2, 6), n_bootstraps=6)
    >>> adata.uns["stability"]["table"]["n_components"].tolist()
    [2, 3, 4, 5]
    """
    ranks = read_ranks(n_components)
    n_bootstraps = check_positive_int(n_bootstraps, "n_bootstraps")
    kwargs = {} if method_kwargs is None else dict(method_kwargs)
    check_method(
        method,
        kwargs,
        n_bootstraps,
        resample=resample,
        var_weights=var_weights,
        obsm=obsm,
    )
    check_one_of(metric, ("hungarian", "amari"), "metric")
    check_at_least(tol, 0, "tol")
    max_iter = check_positive_int(max_iter, "max_iter")
    seed = as_seed(rng)
    write = Write(key_added, copy, table_key)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    keys = keys_to_write(target, "stability", key_added)
    signed = "both" if method == "pca" else VERBS[method].signed
    has_baseline = baseline and method != "pca" and resample is not None
    with (
        computing(),
        progress("stability", len(ranks) * n_bootstraps) as callback,
        ExitStack() as held,
    ):
        source = read_matrix(target, Read(layer, obsm, mask_var, chunk_size))
        for rank in ranks:
            check_n_components(rank, source.op.shape)
        params = {
            **source.source,
            "method": method,
            "n_bootstraps": n_bootstraps,
            "resample": resample,
            "var_weights": name_or_array(var_weights),
            "tol": float(tol),
            "max_iter": max_iter,
            "seed": seed,
        }
        kept = None
        if checkpoint is not None:
            made_by = {
                **params,
                "method_kwargs": repr(sorted(kwargs.items())),
                "shape": [int(n) for n in source.op.shape],
            }
            # Before data are read: one that is in use, or of another scan, costs no pass.
            kept = ScanCheckpoint(checkpoint, made_by)
            held.enter_context(kept.held())
        stats = source.op.stats()
        check = check_nonnegative if signed == "no" else check_finite
        check(stats, source.where)
        weights = read_var_weights(target, var_weights, source)
        draws = Draws(source.op.shape, n_bootstraps, resample, seed, weights)
        check_draws(draws, stats, max(ranks))
        if kept is not None:
            kept.confirm(_fingerprint(stats, weights))
        # XᵀX of all samples, and of both methods, is one.
        spectra = Spectra(source.op, draws)
        scan = Scan(
            fits=fits_of(
                target,
                source,
                draws,
                method,
                kwargs,
                spectra=spectra,
                options={"tol": tol, "max_iter": max_iter},
                max_rank=max(ranks),
            ),
            components=ComponentFits(source.op, draws, spectra, max(ranks))
            if has_baseline
            else None,
            judge=Judge(
                source.op,
                draws,
                Moments.of(source.op, stats),
                metric,
                nonnegative=signed == "no",
                signed=signed != "no",
            ),
            n_samples=n_bootstraps,
            checkpoint=kept,
        )
        found, interrupted = scan.run(ranks, callback)
    store(
        target,
        source,
        found,
        weights,
        params={**params, "metric": metric},
        interrupted=interrupted,
        write=write,
    )
    report(target.uns[keys.uns]["table"], ranks, interrupted=interrupted)
    return target if copy else None


def _fingerprint(stats: MatrixStats, weights: NDArray[Any] | None) -> dict[str, Any]:
    """What tells the data from others, and from themselves in another order."""
    return {
        "sq_norm": float(stats.sq_norm),
        "sum": stats.total,
        "order": [_in_order(stats.row_sums), _in_order(stats.col_sums)],
        "weights": None if weights is None else _in_order(weights),
    }


def _in_order(values: NDArray[Any]) -> float:
    """A number that changes with the order of the values."""
    positions = np.random.default_rng(0).random(values.size)
    return float(np.asarray(values, np.float64) @ positions)
