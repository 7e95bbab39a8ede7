"""What a comparison of models says of each setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._adata.checks import check_key
from .._adata.schema import stored_table
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

type Metric = Literal["deviance", "training_deviance", "rmse", "coverage", "sparsity"]

_METRICS = ("deviance", "training_deviance", "rmse", "coverage", "sparsity")

# Of these, lower is better; others do not choose between models.
_CHOOSING = ("deviance", "rmse")

_SETTING = ["model", "method", "n_components", "n_spatial"]


@checked
@shared_docs
def comparison(
    adata: AnnData | SpatialData,
    key: str = "comparison",
    *,
    metric: Metric = "deviance",
    models: str | Sequence[str] | None = None,
    table_key: str | None = None,
) -> pd.DataFrame:
    """Means over splits of a comparison, and the number of factors to take.

    Of every model, the setting is selected that no larger one beats by more than the
    standard error of their difference: the smallest number of factors from which on the
    deviance no longer falls by more than its standard error. Where it is the largest that
    was tried, try more. With two or three splits, standard errors are guesses themselves:
    take more before you settle for the smallest. Differences are taken within splits, because splits differ more
    than models do.

    Parameters
    ----------
    %(compared)s
    %(table_key)s

    Returns
    -------
    Data frame, a row for every model and setting, in the order of the comparison:

    - `model`, `method`, `n_components`, `n_spatial`: the setting;
    - `n_splits`: number of splits that all settings have;
    - `mean` of the metric over splits, and its standard error `se`;
    - `difference` of the mean from that of the best setting, and its standard error
      `difference_se`; NaN for metrics of which none is best;
    - `converged`: share of the fits that did; NaN where there is nothing to fit;
    - `is_best`: whether the mean is lowest of all;
    - `is_selected`: one setting of every model with factors, as above: of those with the
      fewest factors, the one with the fewest spatial factors.

    Standard errors are NaN, and no setting is selected, if there is only one split.

    Raises
    ------
    %(compared_errors)s

    See Also
    --------
    nonneg.tl.compare : makes the comparison
    nonneg.pl.comparison : draws these numbers

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.compare(adata, ["pnmf", "intercept"], [2, 4, 6], n_splits=3)
    >>> table = nng.get.comparison(adata)
    >>> table.loc[table["is_selected"], ["model", "n_components"]].values.tolist()
    [['pnmf', 4]]
    """
    adata = read_table(adata, table_key)
    table = _read(adata, key, metric, models)
    wide = table.pivot_table(index=_SETTING, columns="split", values=metric, sort=False)
    # Splits that an interruption left unfinished are no basis for comparing.
    wide = wide.dropna(axis=1)
    if wide.empty:
        msg = f"The models in adata.uns[{key!r}] have no split in common: choose `models`."
        raise ValueError(msg)
    values = wide.to_numpy(np.float64)
    mean, se = _mean(values)
    found = wide.index.to_frame(index=False).astype(
        {"n_components": np.int64, "n_spatial": np.int64}
    )
    found["n_splits"] = values.shape[1]
    found["mean"], found["se"] = mean, se
    chooses = metric in _CHOOSING
    best = int(mean.argmin())
    difference = values - values[best] if chooses else np.full_like(values, np.nan)
    found["difference"], found["difference_se"] = _mean(difference)
    compared = table[table["split"].isin(wide.columns)]
    converged = compared.groupby(_SETTING, sort=False)["converged"].mean()
    found["converged"] = converged[wide.index].to_numpy(np.float64, na_value=np.nan)
    found["is_best"] = chooses & (np.arange(len(found)) == best)
    found["is_selected"] = False
    if chooses and values.shape[1] > 1:
        sized = found[found["n_components"] > 0]
        for _, own in sized.groupby("model", sort=False):
            rows = own.sort_values(["n_components", "n_spatial"]).index.to_numpy()
            found.loc[rows[_first_enough(values[rows])], "is_selected"] = True
    return found


def _read(
    adata: AnnData, key: str, metric: str, models: str | Sequence[str] | None
) -> pd.DataFrame:
    """The rows that have the metric, of the models that are wanted."""
    check_key(adata, "uns", key, hint="Call `nonneg.tl.compare` first.")
    check_one_of(metric, _METRICS, "metric")
    table = adata.uns[key]
    columns = list(table) if isinstance(table, pd.DataFrame) else []
    for column in ("model", "n_components", "n_spatial", "split", metric):
        if column not in columns:
            msg = f"adata.uns[{key!r}] has no column {column!r}; it has {columns}."
            raise KeyError(msg)
    table = stored_table(table, f"adata.uns[{key!r}]", "Compare")
    # Tables of earlier versions have neither variants nor convergence.
    method = table["method" if "method" in table else "model"]
    converged = table.get("converged", np.nan)
    numbers = dict.fromkeys(("n_components", "n_spatial", "split", metric), "float64")
    try:
        table = table.assign(method=method, converged=converged).astype(
            {"model": str, "method": str, "converged": "Float64", **numbers}
        )
    except (TypeError, ValueError) as error:
        msg = (
            f"adata.uns[{key!r}] is not as `nonneg.tl.compare` left it ({error}). Compare "
            "again."
        )
        raise ValueError(msg) from error
    if models is not None:
        wanted = [models] if isinstance(models, str) else list(models)
        for name in wanted:
            check_one_of(name, tuple(table["model"].unique()), "models")
        table = table[table["model"].isin(wanted)]
    table = table.dropna(subset=metric)
    if table.empty:
        msg = f"No model in adata.uns[{key!r}] has {metric!r}."
        raise ValueError(msg)
    return table


def _mean(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over splits, the last axis, and its standard error: NaN of one split."""
    n = values.shape[-1]
    mean = values.mean(axis=-1)
    if n == 1:
        return mean, np.full_like(mean, np.nan)
    return mean, values.std(axis=-1, ddof=1) / np.sqrt(n)


def _first_enough(values: NDArray[np.float64]) -> int:
    """The first row that no later one is below by more than the standard error."""
    for i, own in enumerate(values):
        fall, se = _mean(own - values[i + 1 :])
        if (fall <= se).all():
            break
    return i
