"""How much metagenes differ between data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.integration import integration_entry
from .._adata.keys import side_key
from .._adata.labels import as_text
from .._adata.tables import read_table
from .._adata.views import read_factors, read_side
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

from .._adata.views import Factors


@dataclass(frozen=True)
class Metagenes:
    """Shared metagenes and those of data sets."""

    factors: Factors
    batches: list[str]
    specific: NDArray[np.floating[Any]]
    """(n_vars, n_batches, k)"""
    measured: NDArray[np.bool_]
    """Variables that all of these data sets have."""

    @property
    def shared(self) -> NDArray[np.float32]:
        """What all data sets have: (n_vars, k)."""
        return self.factors.loadings

    @property
    def total(self) -> NDArray[np.floating[Any]]:
        """What data sets have of every metagene: (n_vars, n_batches, k)."""
        return self.shared[:, None] + self.specific

    @property
    def batch_key(self) -> str:
        """Column of obs that names the data set of every observation."""
        return str(self.factors.entry.params["batch_key"])

    def specificity(self) -> NDArray[np.float64]:
        """In per cent, (n_batches, k): negative where a data set has more."""
        both = self.total[self.measured].astype(np.float64)
        size = np.sqrt(np.nansum(both**2, axis=0))
        with np.errstate(divide="ignore", invalid="ignore"):
            others = (size.sum(axis=0) - size) / (len(size) - 1)
            return np.asarray(100 * (1 - size / others))


def read_metagenes(
    adata: AnnData, key: str, batches: Sequence[str] | None = None
) -> Metagenes:
    """The metagenes of an integration, of the data sets that are named."""
    factors = read_factors(adata, key)
    entry = integration_entry(factors)
    present = as_text(entry.batches).tolist()
    n_batches, k = len(present), len(factors.names)
    specific = read_side(adata, factors, "varm", "specific", n_batches, k)
    chosen = present if batches is None else _check_batches(batches, present)
    where = [present.index(name) for name in chosen]
    # Not known of simulated ones, which have all variables everywhere.
    measured = np.ones(len(specific), bool)
    if side_key(factors.keys, "varm", "scale") in adata.varm:
        scale = read_side(adata, factors, "varm", "scale", n_batches)
        measured = (scale[:, where] > 0).all(axis=1)
    return Metagenes(factors, chosen, specific[:, where], measured)


def _check_batches(batches: Sequence[str], present: list[str]) -> list[str]:
    chosen: list[Any] = [batches] if isinstance(batches, str) else list(batches)
    unknown = [name for name in chosen if name not in present]
    if unknown:
        msg = f"There are no data sets {unknown}; there are {present}."
        raise KeyError(msg)
    if len(set(chosen)) < max(len(chosen), 2):
        msg = f"batches={chosen} must name two or more different data sets."
        raise ValueError(msg)
    return chosen


@checked
@shared_docs
def dataset_specificity(
    adata: AnnData | SpatialData,
    key: str = "inmf",
    *,
    batches: Sequence[str] | None = None,
    table_key: str | None = None,
) -> pd.DataFrame:
    r"""How much the metagene of every factor differs between data sets.

    For two data sets, the number of :cite:t:`Welch2019`, in per cent:

    .. math::
        100 \left(1 - \frac{\|W_k + V_{1k}\|}{\|W_k + V_{2k}\|}\right)

    Zero means that a factor is equally strong in both; it is negative where the first
    data set has more of it, and positive where the second has. For more data sets,
    the norm of each is compared with the mean of the norms of the others, which for
    two is the same. Variables that one of them lacks do not take part.

    Parameters
    ----------
    %(key)s
    batches
        Data sets to compare, in this order; `None`: all, in the order in which
        they are stored.
    %(table_key)s

    Returns
    -------
    Data frame of factors. Two data sets have one column, named `"first / second"`;
    more have one column for each, `"name / others"`. A factor that is zero in all
    data sets has NaN; one that is zero in the others only has -inf.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or no such data set.
    ValueError
        If the factorization knows no data sets, or fewer than two different ones
        are named.

    See Also
    --------
    nonneg.tl.factor_markers : genes that differ between data sets

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches((60, 40), 50, 3)
    >>> nng.get.dataset_specificity(adata, key="truth").round(1)
             batch_0 / batch_1
    truth_0               -4.0
    truth_1                1.4
    truth_2               -4.4
    """
    adata = read_table(adata, table_key)
    metagenes = read_metagenes(adata, key, batches)
    names, values = metagenes.batches, metagenes.specificity()
    if len(names) < 2:
        msg = f"key={key!r} knows one data set only, {names}: nothing to compare."
        raise ValueError(msg)
    if len(names) == 2:
        columns, values = [f"{names[0]} / {names[1]}"], values[:1]
    else:
        columns = [f"{name} / others" for name in names]
    return pd.DataFrame(values.T, index=metagenes.factors.names, columns=columns)
