"""Convergence of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from .._adata.schema import ProbabilisticEntry, recorded
from .._adata.tables import of_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._adata.schema import Entry


@of_table
@checked
@shared_docs
def objective(
    adata: AnnData,
    key: str = "nmf",
    *,
    against: Literal["iteration", "time"] = "iteration",
    ax: Axes | None = None,
) -> Axes:
    """Show the objective during the fit.

    Iterations are on a logarithmic scale: the first ones gain most, and a fit that has
    settled is flat over the last stretch, not only over the last few iterations. Time
    is on a linear scale: to compare fits, draw them on the same Axes.

    Parameters
    ----------
    %(key)s
    against
        `"iteration"`; or `"time"` in seconds, of fits that recorded it.
    ax
        Axes to draw on.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or its objective, or time, is not
        recorded.
    ValueError
        If `against` is neither.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.nmf(adata, 4)
    >>> nng.pl.objective(adata).get_ylabel()
    'objective'
    """
    check_one_of(against, ("iteration", "time"), "against")
    entry = read_factors(adata, key).entry
    if entry.objective is None:
        msg = f"adata.uns[{key!r}] records no objective: it holds {recorded(entry)}."
        raise KeyError(msg)
    values = np.asarray(entry.objective)
    x = (
        _iterations(entry, values.size)
        if against == "iteration"
        else _seconds(entry, key)
    )
    if ax is None:
        _, ax = plt.subplots(figsize=(3.2, 2.4), layout="constrained")
    (line,) = ax.plot(x, values, lw=1.2, label=key)
    ax.plot(x[-1:], values[-1:], "o", ms=4, color=line.get_color())
    if against == "iteration":
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:.0f}")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    # A bound from below, which rises.
    label = "ELBO" if isinstance(entry, ProbabilisticEntry) else "objective"
    ax.set(xlabel="iteration" if against == "iteration" else "seconds", ylabel=label)
    ending = {True: "converged ", False: "not converged ", None: ""}[
        None if entry.converged is None else bool(entry.converged)
    ]
    ax.set_title(f"{key}: {ending}after {entry.n_iter} iterations", fontsize="small")
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _iterations(entry: Entry, n: int) -> NDArray[np.int_]:
    """Iterations at which the objective was computed: all, unless others are recorded."""
    every = np.arange(1, n + 1)
    return every if entry.iteration is None else np.asarray(entry.iteration)


def _seconds(entry: Entry, key: str) -> NDArray[np.float64]:
    if entry.seconds is None:
        msg = (
            f"adata.uns[{key!r}] records no seconds: it holds {recorded(entry)}. Only "
            "`nonneg.tl.inmf` and `nonneg.tl.online_inmf` take the time; use "
            "against='iteration'."
        )
        raise KeyError(msg)
    return np.asarray(entry.seconds)
