"""Cells that are not fitted: which, and what is stored of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..._adata.genes import as_mask
from ..._adata.sources import Source
from ...models.inmf.problem import Part, Penalties, take
from ...models.inmf.summary import dataset_rng
from ...models.inmf.validation import Validation
from ...operators.blocks import BlockOperator
from .checks import check_data_sets, summarise_data

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.data_sets import DataSets, Scaling
    from ...models.inmf.problem import Loadings
    from ...models.inmf.summary import DataSummary

COLUMNS = ("iteration", "cells", "seconds", "objective", "held_out")


class Split(NamedTuple):
    """Cells that are fitted, and others, with their positions among all."""

    fitted: DataSets
    others: DataSets
    positions: NDArray[np.intp]


def check_validation(validation: object) -> None:
    """Raise unless it is a share of the cells, a column, or nothing."""
    if validation is None or isinstance(validation, str):
        return
    is_number = isinstance(validation, int | float | np.number)
    if is_number and not isinstance(validation, bool) and 0 < float(validation) < 1:  # type: ignore[arg-type]
        return
    msg = (
        f"validation={validation!r} must be a share of the cells, above 0 and below 1, or "
        "the name of a boolean column of obs."
    )
    raise ValueError(msg)


def as_param(validation: float | str | None) -> float | str | None:
    """As it is stored with a fit."""
    if validation is None or isinstance(validation, str):
        return validation
    return float(validation)


def split(
    data_sets: DataSets,
    validation: float | str,
    n_components: int,
    *,
    adata: AnnData | None,
    seed: int,
) -> Split:
    """Leave some cells out: a share of every data set, or those of a column of obs.

    ``adata`` holds the cells where they have no sources of their own.
    """
    if isinstance(validation, str):
        held = _column(data_sets, validation, adata)
    else:
        held = draw(data_sets, float(validation), seed)
    found = hold_out(data_sets, held)
    _check_every_data_set(data_sets, found.fitted, validation)
    try:
        check_data_sets(found.fitted, n_components)
    except ValueError as error:
        msg = f"Without the cells of validation={validation!r}: {error}"
        raise ValueError(msg) from None
    return found


def _check_every_data_set(
    data_sets: DataSets, fitted: DataSets, validation: float | str
) -> None:
    """Raise if a data set is left out as a whole: it has no part of its own then."""
    gone = [
        name
        for name, all_cells, left in zip(
            data_sets.names, data_sets.n_cells, fitted.n_cells, strict=True
        )
        if all_cells and not left
    ]
    if gone:
        msg = (
            f"validation={validation!r} leaves no cell of the data sets {gone} to fit. Keep "
            "some of each; or fit the other data sets alone, and score these with "
            "`nonneg.tl.project`."
        )
        raise ValueError(msg)


def draw(data_sets: DataSets, share: float, seed: int) -> NDArray[np.bool_]:
    """A share of the cells of every data set, at least one and not all of them."""
    codes = data_sets.codes
    held = np.zeros(codes.size, bool)
    for d, name in enumerate(data_sets.names):
        cells = np.flatnonzero(codes == d)
        n_held = min(max(round(share * cells.size), 1), cells.size - 1)
        held[dataset_rng(seed, name, 1).choice(cells, n_held, replace=False)] = True
    return held


def _column(data_sets: DataSets, name: str, adata: AnnData | None) -> NDArray[np.bool_]:
    sources = data_sets.sources
    if not sources:
        assert adata is not None
        sources = [Source(adata)]
    columns = []
    for source in sources:
        values, where = source.column("obs", name)
        columns.append(as_mask(values, source.n_obs, where, of="cells"))
    held = np.concatenate(columns)
    if not held.any() or held.all():
        which = "no cell" if not held.any() else "every cell"
        msg = f"validation={name!r}: {which} of this column of obs is True."
        raise ValueError(msg)
    return held


def hold_out(data_sets: DataSets, held: NDArray[np.bool_]) -> Split:
    """Leave cells out of what is fitted. They are read into memory.

    Those that are fitted keep their positions among all cells.
    """
    fitted: list[Part] = []
    others: list[Part] = []
    positions: list[NDArray[np.intp]] = []
    first = 0
    every = np.arange(held.size)
    for part in data_sets.parts:
        rows = every[part.rows]
        out = held[rows]
        fitted.append(_without(part, out))
        index = np.flatnonzero(out)
        if not index.size:
            continue
        op = part.op.rows(index)
        batch = np.broadcast_to(part.batch, out.size)[index]
        for d in np.unique(batch).tolist():
            here = np.flatnonzero(batch == d)
            stop = first + here.size
            whole = here.size == index.size
            others.append(Part(op if whole else op.rows(here), slice(first, stop), d))
            positions.append(rows[index[here]])
            first = stop
    where = np.concatenate([np.empty(0, np.intp), *positions])
    codes, n_sets = data_sets.codes, len(data_sets.names)
    totals = data_sets.totals
    return Split(
        replace(
            data_sets,
            parts=[part for part in fitted if part.op.shape[0]],
            n_cells=np.bincount(codes[~held], minlength=n_sets),
            n_rows=held.size,
            where=f"{data_sets.where} without the cells that are held out",
        ),
        replace(
            data_sets,
            parts=others,
            n_cells=np.bincount(codes[held], minlength=n_sets),
            where=f"{data_sets.where} of the cells that are held out",
            totals=None if totals is None else totals[where],
        ),
        where,
    )


def _without(part: Part, out: NDArray[np.bool_]) -> Part:
    if not out.any():
        return part
    if isinstance(part.op, BlockOperator):
        # Read with the others, and passed over.
        return replace(part, batch=np.where(out, -1, part.batch).astype(np.int32))
    kept = np.flatnonzero(~out)
    batch = part.batch if isinstance(part.batch, int) else part.batch[kept]
    return Part(part.op.rows(kept), take(part.rows, kept), batch)


def validate_on(
    split: Split,
    summary: DataSummary,
    scaling: Scaling,
    penalties: Penalties,
    seed: int,
) -> Validation:
    """The cells that are left out, scaled as those that are fitted."""
    gene_scale = np.asarray(summary.data.gene_scale)
    others = summarise_data(split.others, scaling, seed=seed, gene_scale=gene_scale)
    return Validation(others.data, summary.sample, penalties)


def score_others(
    validation: Validation,
    loadings: Loadings,
    positions: NDArray[np.intp],
    write: Callable[[NDArray[np.intp], NDArray[Any]], None],
) -> float:
    """Scores of cells that were left out, and their objective."""
    return validation.objective(
        loadings,
        lambda block, new: write(positions[block.rows], np.asarray(new)),
    )


def table(
    rows: Sequence[tuple[float, float, float, float]], n_cells: int, n_steps: int
) -> pd.DataFrame:
    """Step, seconds and both objectives, the last of what is stored.

    ``n_steps`` are those in which all of ``n_cells`` are visited.
    """
    step, seconds, objective, held_out = np.array(rows).T
    # Scores after the last step are those that are stored.
    last = [*np.flatnonzero(step < step[-1]).tolist(), step.size - 1]
    columns = (
        step.astype(np.int64),
        np.rint(step * n_cells / n_steps).astype(np.int64),
        seconds,
        objective,
        held_out,
    )
    return pd.DataFrame(
        {name: x[last] for name, x in zip(COLUMNS, columns, strict=True)}
    )
