"""Convergence of a fit."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from .._adata.labels import as_text
from .._adata.schema import IntegrationEntry, ProbabilisticEntry, recorded, stored_table
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of
from ._panels import new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.schema import Entry

# Columns of validation, and fields, by what is drawn against.
_COLUMNS = {"iteration": "iteration", "cells": "cells", "time": "seconds"}
_SECONDS = "seconds without compiling"


@checked
@shared_docs
def objective(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    against: Literal["iteration", "cells", "time"] = "iteration",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show the objective during the fit.

    Iterations and cells are on a logarithmic scale: the first ones gain most, and a fit
    that has settled is flat over the last stretch, not only over the last few iterations.
    Time is on a linear scale, from the first iteration, and does not count what JAX takes to
    compile: to compare fits, draw them on the same Axes. Where they have
    one key, as those of two AnnData can, the second is called `nmf (2)` in the legend.

    Objectives of integrations are divided by the squared norm of the data, so that those
    of other cells can stand beside them; of online fits, those before the last are
    estimates from mini-batches. With `validation`, there are two curves, of cells
    that are fitted and of others. The others are explained somewhat worse; where their
    curve rises while that of the fitted cells falls, the components follow noise.

    Parameters
    ----------
    %(key)s
    against
        `"iteration"`, of online fits mini-batches; `"cells"`, how many were visited,
        which compares fits in batch with online ones; or `"time"` in seconds without those of
        compiling, of fits that recorded it.
    ax
        Axes to draw on, with those of other fits if these are of the same kind.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or its objective, or what it is to
        be drawn against, is not recorded: of an update of online iNMF there is the last
        value alone.
    ValueError
        If `against` is none of these, or something else is drawn on `ax`.

    See Also
    --------
    nonneg.pl.shared_change : how far updates of online iNMF move the metagenes

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.nmf(adata, 4)
    >>> nng.pl.objective(adata).get_ylabel()
    'objective'

    Held-out cells during an integration:

    >>> cells = nng.datasets.batches()
    >>> given = dict(batch_key="batch", size_factors="total", validation=0.2)
    >>> nng.tl.online_inmf(cells, 6, minibatch_size=200, **given)
    >>> ax = nng.pl.objective(cells, "inmf", against="cells")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['inmf, fitted', 'inmf, held out']
    """
    adata = read_table(adata, table_key)
    check_one_of(against, ("iteration", "cells", "time"), "against")
    entry = read_factors(adata, key).entry
    if entry.objective is None:
        msg = f"adata.uns[{key!r}] records no objective: it holds {recorded(entry)}."
        raise KeyError(msg)
    x, curves, label = _read_curves(entry, key, against)
    unit = "mini-batch" if entry.method == "online_inmf" else "iteration"
    xlabel = {"iteration": unit, "cells": "cells visited", "time": _SECONDS}[against]
    beside_others = ax is not None and bool(ax.lines)
    if ax is not None and beside_others:
        _check_alike(ax, key, xlabel, label)
    if ax is None:
        width = 3.2 if len(curves) == 1 else 4.6
        _, ax = new_figure(figsize=(width, 2.4), layout="constrained")
    color, name = None, _new_name(ax, key)
    for (part, values), style in zip(curves.items(), ("-", "--"), strict=False):
        (line,) = ax.plot(x, values, style, lw=1.2, label=name + part, color=color)
        color = line.get_color()
        ax.plot(x[-1:], values[-1:], "o", ms=4, color=color)
    if len(curves) > 1 or beside_others:
        ax.legend(
            fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    if against != "time":
        ax.set_xscale("log")
        # Less than a decade still has a few labels, and no more.
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(_number)
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    ax.set(xlabel=xlabel, ylabel=label)
    ending = {True: "converged ", False: "not converged ", None: ""}[
        None if entry.converged is None else bool(entry.converged)
    ]
    units = {"mini-batch": "mini-batches", "iteration": "iterations"}[unit]
    units = unit if entry.n_iter == 1 else units
    title = f"{key}: {ending}after {entry.n_iter} {units}"
    if (
        isinstance(entry, ProbabilisticEntry)
        and entry.search is not None
        and len(entry.search)
    ):
        title += ",\nbegun by the search of the kernel"
    # Of several fits, the legend tells which is which.
    ax.set_title("" if beside_others else title, fontsize="small")
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _read_curves(
    entry: Entry, key: str, against: Literal["iteration", "cells", "time"]
) -> tuple[NDArray[Any], dict[str, NDArray[Any]], str]:
    """Where values are drawn, those of each curve by its part, and what they are."""
    values = np.asarray(entry.objective)
    # A bound from below, which rises.
    label = "ELBO" if isinstance(entry, ProbabilisticEntry) else "objective"
    if isinstance(entry, IntegrationEntry):
        _check_updated(entry, key)
        label = "objective / ‖X‖²"
        if entry.validation is not None:
            table = stored_table(
                entry.validation,
                f"adata.uns[{key!r}]['validation']",
                numbers=[_COLUMNS[against], "objective", "held_out"],
            )
            x = table[_COLUMNS[against]].to_numpy()
            curves = {
                ", fitted": table["objective"].to_numpy(),
                ", held out": table["held_out"].to_numpy(),
            }
            return x, curves, label
        values = values / _sq_norm(entry, key)
    return _recorded(entry, key, against, values.size), {"": values}, label


def _new_name(ax: Axes, key: str) -> str:
    """The key, with a number if what is drawn on the Axes already has that name."""
    # One that begins with an underscore is not in legends of matplotlib.
    key = f"'{key}'" if key.startswith("_") else key
    taken = {str(line.get_label()) for line in ax.lines}
    names = itertools.chain([key], (f"{key} ({n})" for n in itertools.count(2)))
    parts = ("", ", fitted", ", held out")
    return next(n for n in names if taken.isdisjoint(n + part for part in parts))


def _sq_norm(entry: IntegrationEntry, key: str) -> float:
    """Squared norm of the data, by weights of the data sets."""
    if entry.weight is None or entry.sq_norm is None:
        msg = (
            f"adata.uns[{key!r}] records no `weight` and `sq_norm` of data sets: it holds "
            f"{recorded(entry)}."
        )
        raise KeyError(msg)
    # Of data that are all zero, so is the objective.
    return float(np.asarray(entry.weight) @ np.asarray(entry.sq_norm)) or 1.0


def _check_updated(entry: IntegrationEntry, key: str) -> None:
    """Raise if the model was updated, of which one value is all that there is."""
    arrived = set() if entry.change_batch is None else set(as_text(entry.change_batch))
    if len(arrived) > 1:
        value = float(np.asarray(entry.objective)[-1])
        msg = (
            f"adata.uns[{key!r}] is of `nonneg.tl.online_inmf_update`, which records the "
            f"objective at its end alone: {value:g}, which is {value / _sq_norm(entry, key):.3f} of the "
            "squared norm of the data. Draw it of the model before the update; "
            "`nonneg.pl.shared_change` shows how far the update moved the metagenes."
        )
        raise KeyError(msg)


def _check_alike(ax: Axes, key: str, xlabel: str, ylabel: str) -> None:
    """Raise if what is drawn on the Axes already is something else."""
    there = ax.get_xlabel(), ax.get_ylabel()
    if there != (xlabel, ylabel):
        msg = (
            f"ax shows {there[1]!r} against {there[0]!r}, beside which {ylabel!r} against "
            f"{xlabel!r} of key={key!r} would mislead. Draw it on another Axes; fits in "
            "batch and online ones share against='cells' and 'time'."
        )
        raise ValueError(msg)


def _recorded(
    entry: Entry, key: str, against: Literal["iteration", "cells", "time"], n: int
) -> NDArray[Any]:
    """Where the values of the objective are drawn."""
    if against == "iteration":
        # All iterations, unless others are recorded.
        every = np.arange(1, n + 1)
        return every if entry.iteration is None else np.asarray(entry.iteration)
    x = entry.seconds if against == "time" else getattr(entry, "cells", None)
    if x is None:
        what = _COLUMNS[against]
        msg = (
            f"adata.uns[{key!r}] records no {what}: it holds {recorded(entry)}. Only "
            f"`nonneg.tl.inmf` and `nonneg.tl.online_inmf` record {what}; use "
            "against='iteration'."
        )
        raise KeyError(msg)
    return np.asarray(x)


def _number(x: float, _: object) -> str:
    """Thousands and millions in short."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if x >= size:
            return f"{x / size:g}{letter}"
    return f"{x:g}"
