"""Held-out deviance of models and settings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from ..._adata.read import resolve_adata
from ..._adata.write import check_replaced, write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.quiet import quietly
from ..._core.random import as_seed
from ..._core.settings import settings
from ..._core.validators import check_positive_int
from ..._core.warnings import warn, warn_of_many
from .data import ComparedData, HoldOut
from .models import run
from .scores import scores
from .variants import read_settings, read_variants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from spatialdata import SpatialData

    from ..._core.quiet import Told
    from ..._core.random import RNGLike


@checked
@shared_docs
def compare(
    adata: AnnData | SpatialData,
    models: str | Sequence[str] | Mapping[str, Mapping[str, Any]] = "nsf",
    n_components: int | Sequence[int] = 10,
    *,
    n_spatial: int | Sequence[int] | None = None,
    n_splits: int = 3,
    test_size: float = 0.1,
    layer: str | None = None,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    model_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
    rng: RNGLike = 0,
    key_added: str = "comparison",
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Choose a model, its settings and its number of factors by held-out deviance.

    Splits the locations of each section, fits every model with every number of factors to one part, and
    scores how well it predicts the counts of the other, as the benchmark of
    :cite:t:`Townes2023` does but with the Poisson deviance proper. All models are given
    the size factors of held-out observations (total over the median of the training
    part; those of the fit where it has others) and no mean below 1 % of a gene's rate in
    the training part.

    Variants of one model stand side by side where they have names: likelihoods, kernels,
    numbers of inducing points.

    There is a fit for every model, number of factors and split, and each takes as long as
    any: NSF with its search of the kernel minutes where there are thousands of locations.
    For a quick look, take `n_splits=1`, two numbers of factors, genes that vary
    (:func:`nonneg.pp.deviant_genes`), a small `n_inducing` and a coarse `tol`, as in
    `model_kwargs={"nsf": {"n_inducing": 300, "tol": 0.02}}`; given `length_scale`,
    `amplitude` and `temperature` (those of a first fit, in `adata.uns["nsf"]`), there is no
    search. The column `seconds` says how long each took, compiling included.

    Take the smallest number of factors from which on the deviance no longer falls by
    more than its standard error; for the number of spatial ones of NSFH, the same.
    :func:`nonneg.get.comparison` says which this is, and :func:`nonneg.pl.comparison`
    shows it.

    Parameters
    ----------
    adata
        Annotated data, observations x variables, with counts and coordinates.
    models
        Any of `"nsf"`, `"nsfh"`, `"rsf"`, predicted at held-out locations by
        :func:`nonneg.tl.predict`; `"pnmf"`, `"fa"`, `"nmf"` (with the
        Kullback-Leibler divergence), whose factors are averaged over the 4 nearest
        training observations; `"neighbors"`, the mean of these observations;
        `"intercept"`, the rate of each gene. Or a mapping of names to arguments, of which
        `model` is one of these: `{"NSF": {"model": "nsf"}, "NB": {"model": "nsf",
        "likelihood": "negative_binomial"}}`. Variants with other `size_factors` (`None`,
        or a column of `adata.obs`) are given other things about held-out observations
        than the rest, and are to be compared among themselves.
    n_components
        Numbers of factors to try, a few far apart, e.g. `[4, 8, 16]`.
    n_spatial
        Numbers of spatial factors to try in NSFH; those above `n_components` are left
        out. `None`: half.
    n_splits
        Number of random splits, the same for all models. More of them (e.g. 5) tell
        models apart that differ little.
    test_size
        Share of the locations of each section that is held out.
    layer
        Layer with counts instead of `adata.X`.
    %(space)s
    model_kwargs
        Further arguments of models, by their names (`"nsf"`), for all variants that do not
        have others.
    %(rng)s
    key_added
        Key of the result in `adata.uns`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns[key_added]` : :class:`pandas.DataFrame`
        One row for every model, setting and split. `model`: its name, and `method`: which
        one it is. `n_components` and `n_spatial`: 0 where there are none. `split`.
        `deviance`: mean Poisson deviance of held-out counts. `training_deviance`: of those
        that were fitted, at the factors of the fit. `rmse`: root of the mean squared error
        of held-out counts. `coverage`: share of held-out counts inside intervals of 90 %
        (see below). `sparsity`: share of zero loadings. `converged`: whether the fit did;
        missing where there is nothing to fit. `seconds`, with those of compiling: of fits
        of one shape, the first of a session takes longer. `interrupted`: whether Ctrl-C ended
        the comparison, which then holds the fits that were finished. NaN where a model does not
        have it.

    Raises
    ------
    KeyError
        If a layer, table, column or coordinates do not exist.
    ValueError
        If a model or an argument of it is unknown, or a number does not suit.

    Notes
    -----
    Intervals are those of :func:`nonneg.tl.predict`: what is unknown of the factors, and
    the scatter of counts, with a dispersion for every gene. Models that say nothing of what
    they do not know (all but `"nsf"` and `"nsfh"`) have the scatter only, of which `"pnmf"`
    knows that of its fit, and others that of Poisson's; `"rsf"`, `"fa"` and real values
    have no distribution of counts. Whole numbers cannot have exactly 10 % outside: of a count at
    the end of an interval, the part inside is counted, so that .9 is right whatever the
    size of the counts :cite:p:`Czado2009`.

    See Also
    --------
    nonneg.get.comparison : means over splits, and the number of factors to take
    nonneg.pl.comparison : draws the result
    nonneg.metrics.poisson_deviance : the score

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.compare(adata, ["pnmf", "intercept"], [2, 4], n_splits=1)
    >>> adata.uns["comparison"]["n_components"].tolist()
    [2, 4, 0]
    >>> variants = {"nmf": {}, "squares": {"model": "nmf", "beta_loss": "frobenius"}}
    >>> nng.tl.compare(adata, variants, 2, n_splits=1, key_added="variants")
    >>> adata.uns["variants"]["model"].tolist()
    ['nmf', 'squares']
    """
    settings_ = read_settings(
        read_variants(models, {} if model_kwargs is None else model_kwargs),
        n_components,
        n_spatial,
    )
    check_positive_int(n_splits, "n_splits")
    if not 0 < test_size < 1:
        msg = f"test_size={test_size!r} must be between 0 and 1."
        raise ValueError(msg)
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    check_replaced(target, key_added, "deviance")
    data = ComparedData.read(target, layer, spatial_key, library_key)
    data.check(max(one.n_components or 0 for one in settings_), test_size)
    rows: list[dict[str, Any]] = []
    told: Told = []
    interrupted = False
    with tqdm(
        total=n_splits * len(settings_), desc="compare", disable=not settings.progress
    ) as bar:
        try:
            for split, out in enumerate(data.splits(n_splits, test_size, seed)):
                part = HoldOut(data, out)
                for setting in settings_:
                    begin = time.perf_counter()
                    with quietly() as messages:
                        outcome = run(part, setting, seed)
                    told += messages
                    rows.append(
                        {
                            "model": setting.name,
                            "method": setting.method,
                            "n_components": setting.n_components or 0,
                            "n_spatial": setting.n_spatial or 0,
                            "split": split,
                            **scores(part, outcome),
                            "converged": outcome.converged,
                            "seconds": time.perf_counter() - begin,
                        }
                    )
                    bar.update()
        except KeyboardInterrupt:
            if not rows:
                raise
            interrupted = True
    # A column, because files keep no attributes of tables.
    table = pd.DataFrame(rows).assign(interrupted=interrupted)
    table = table.astype({"converged": "boolean"})
    table.index = table.index.astype(str)
    write_values(target, {("uns", key_added): table})
    _warn_unconverged(table)
    warn_of_many(told)
    if interrupted:
        n_fits = n_splits * len(settings_)
        warn(f"Interrupted after {len(rows)} of {n_fits} fits, which are stored.")
    return target if copy else None


def _warn_unconverged(table: pd.DataFrame) -> None:
    """Name the settings with fits that did not converge."""
    unfinished = table[~table["converged"].fillna(value=True)]
    if unfinished.empty:
        return
    named = []
    for (name, method), own in unfinished.groupby(["model", "method"], sort=False):
        sizes = [
            f"{size} ({n_spatial} spatial)" if method == "nsfh" else f"{size}"
            for size, n_spatial in own[["n_components", "n_spatial"]]
            .drop_duplicates()
            .to_numpy()
        ]
        named.append(f"{name!r} with {', '.join(sizes)} factors")
    method = unfinished["method"].iloc[0]
    warn(
        f"{len(unfinished)} of {len(table)} fits have not converged; they are compared as "
        f"they are (see `converged` in the table): {'; '.join(named)}. Increase max_iter, "
        f"e.g. with model_kwargs={{{method!r}: {{'max_iter': ...}}}}.",
        ConvergenceWarning,
    )
