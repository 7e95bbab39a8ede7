"""What online fits share around their solver."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from ..._adata.integration import Integration, write_integration
from ..._adata.read import resolve_adata
from ..._adata.scores import check_target, open_scores
from ..._core.progress import progress
from ..._core.warnings import warn
from ...models.clock import clock
from ...models.inmf.loadings import add, objectives
from ...models.inmf.online import fit, spent
from ...models.loop import Report
from .validation import score_others, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.checkpoint import Checkpoint
    from ..._adata.data_sets import DataSets
    from ..._adata.files import AnyPath
    from ..._adata.keys import FactorKeys
    from ...models.inmf.online import OnlineResult, OnlineSolver, OnlineState
    from ...models.inmf.problem import Block
    from ...models.inmf.validation import Validation
    from .validation import Split

    type Readable = AnnData | SpatialData | AnyPath | Mapping[str, AnnData | AnyPath]


class HeldOut(NamedTuple):
    """Cells that are not fitted."""

    validation: Validation
    split: Split


def resolve_data(
    data: Readable,
    *,
    scores: AnyPath | None,
    write_back: bool,
    checkpoint: AnyPath | None = None,
    copy: bool,
    table_key: str | None,
) -> AnnData | AnyPath | Mapping[str, AnnData | AnyPath]:
    """The AnnData to annotate, a path, or a mapping; checks what goes together."""
    if not isinstance(data, Mapping | str | PathLike):
        if scores is not None or write_back:
            msg = (
                "scores and write_back are for files and mappings; those of an AnnData "
                "go to its obsm."
            )
            raise ValueError(msg)
        if isinstance(data, list | tuple | set):
            msg = (
                "Give several data sets as a mapping, of names to AnnData objects or "
                f"paths, not as a {type(data).__name__}."
            )
            raise TypeError(msg)
        return resolve_adata(data, table_key=table_key, copy=copy)
    if copy or table_key is not None:
        msg = "copy and table_key are for an AnnData or SpatialData in memory."
        raise ValueError(msg)
    if scores is not None and write_back:
        msg = "Give either scores or write_back, not both."
        raise ValueError(msg)
    files = _check_mapping(data) if isinstance(data, Mapping) else [data]
    if scores is not None:
        used = [one.filename if isinstance(one, AnnData) else one for one in files]
        check_target(scores, [path for path in used if path is not None], checkpoint)
    if write_back:
        _check_unique(files)
    return data


def _check_unique(files: Sequence[Any]) -> None:
    """Raise if scores of two data sets would go to the same file or object."""
    paths = [Path(one).resolve() for one in files if not isinstance(one, AnnData)]
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    objects = [id(one) for one in files if isinstance(one, AnnData)]
    if len(set(objects)) < len(objects):
        twice.append("an AnnData")
    if twice:
        msg = f"{twice} are given twice, and can take scores with write_back=True once."
        raise ValueError(msg)


def _check_mapping(data: Mapping[str, Any]) -> list[Any]:
    """Raise unless names are unique and the values can be read."""
    if not data:
        msg = "There are no data sets in the mapping."
        raise ValueError(msg)
    if len({str(name) for name in data}) < len(data):
        msg = f"Names of data sets repeat when they are strings: {list(data)}."
        raise ValueError(msg)
    for one in data.values():
        if not isinstance(one, AnnData | str | PathLike):
            msg = f"Expected an AnnData or a path, not a {type(one).__name__}."
            raise TypeError(msg)
        if isinstance(one, AnnData) and one.isbacked and one.is_view:
            msg = (
                "A view of an AnnData that is backed by a file cannot be used here. Read "
                "it with `adata.to_memory()`."
            )
            raise ValueError(msg)
    return list(data.values())


def fit_and_write(
    target: AnnData | None,
    data_sets: DataSets,
    solver: OnlineSolver,
    state: OnlineState,
    *,
    keys: FactorKeys,
    params: Mapping[str, Any],
    n_epochs: int,
    scores: AnyPath | None,
    write_back: bool,
    checkpoint: Checkpoint | None = None,
    before: Integration | None = None,
    history: Mapping[str, Any] | None = None,
    held_out: HeldOut | None = None,
) -> AnnData:
    """Go on from a state, score all cells, and write scores and model.

    Into ``target``, or else scores to files and the model into an AnnData without
    cells. ``before`` is what is known of cells that are not there any more,
    ``history`` the traces of its fit and the name of what arrives.
    """
    began, rank = clock() - spent(state), len(state.loadings.W)
    validation = None if held_out is None else held_out.validation
    n_steps = n_epochs * solver.sampler.n_steps
    # Open before the fit: a folder that cannot be written to must not cost a fit.
    with open_scores(
        data_sets,
        keys.obsm,
        rank,
        in_memory=target is not None,
        path=scores,
        write_back=write_back,
        # A model of cells that were projected without labels names no column.
        column=params["batch_key"] or "batch",
        safe=(lambda: "") if checkpoint is None else lambda: checkpoint.safe,
    ) as sink:
        with progress("online_inmf", n_steps) as callback:
            state, interrupted = fit(
                solver,
                state,
                n_epochs=n_epochs,
                began=began,
                callback=callback,
                save=None if checkpoint is None else checkpoint.save,
                validation=validation,
            )
        if checkpoint is not None:
            checkpoint.save(state, now=True)
        n_done = 0

        def write(rows: Any, new: NDArray[Any]) -> None:
            nonlocal n_done
            sink.write(rows, new)
            n_done += len(new)
            show(n_done, Report(None))

        def keep(block: Block, new: Any) -> None:
            write(block.rows, np.asarray(new))

        with progress("scores", data_sets.n_obs) as show:
            found = solver.finish(state, keep, sort=before is None)
            integration = _integration(solver, found, before, sink.scores)
            seconds = clock() - began
            seconds -= 0.0 if validation is None else validation.seconds
            validated = {}
            if held_out is not None:
                validated = _validated(
                    solver,
                    state,
                    integration,
                    held_out,
                    seconds=seconds,
                    write=write,
                )
        model = target
        if model is None:
            names = pd.DataFrame(index=data_sets.var_names)
            model = AnnData(np.empty((0, len(names)), np.float32), var=names)
        write_integration(
            model,
            keys,
            data_sets,
            integration,
            method="online_inmf",
            params=params,
            info={
                **_traces(solver, state, _objective(integration), seconds, history),
                **validated,
                "n_iter": state.step,
                "interrupted": interrupted,
            },
        )
        sink.complete(model)
    if interrupted:
        warn(
            f"Interrupted after {state.step} of {n_steps} mini-batches; cells are scored "
            "with the factors found so far."
        )
    return model


def _integration(
    solver: OnlineSolver,
    found: OnlineResult,
    before: Integration | None,
    scores: NDArray[np.float32],
) -> Integration:
    """The fit, and what was known before, of all data sets."""
    data = solver.sampler.data
    return Integration(
        loadings=found.loadings,
        statistics=add(found.statistics, found.known),
        gene_scale=np.asarray(data.gene_scale),
        penalties=solver.penalties,
        names=list(data.names),
        n_cells=data.n_cells + (0 if before is None else before.n_cells),
        sq_norm=np.asarray(data.sq_norm) + (0 if before is None else before.sq_norm),
        scores=scores,
        history=None
        if before is None or before.history is None
        else _history(before.history, found),
    )


def _history(before: NDArray[Any], found: OnlineResult) -> NDArray[Any]:
    """Shared metagenes of earlier fits, in the scale of the present ones, and these."""
    norm = np.where(found.norm > 0, found.norm, 1)[:, None]
    w = np.asarray(found.loadings.W)
    return np.concatenate([(before / norm).astype(w.dtype), w[None]])


def _objective(fitted: Integration) -> float:
    value = objectives(
        fitted.sq_norm, fitted.loadings, fitted.statistics, fitted.penalties.lam
    )
    return float(fitted.penalties.weight @ value)


def _validated(
    solver: OnlineSolver,
    state: OnlineState,
    fitted: Integration,
    held_out: HeldOut,
    *,
    seconds: float,
    write: Callable[[NDArray[np.intp], NDArray[Any]], None],
) -> dict[str, Any]:
    """Score cells that were left out; what was found of them during the fit."""
    validation, split = held_out
    last = score_others(validation, fitted.loadings, split.positions, write)
    sample = validation.objective_of_sample(fitted.loadings)
    rows = [*state.validation.tolist(), (state.step, seconds, sample, last)]
    n_cells, n_steps = int(split.fitted.n_cells.sum()), solver.sampler.n_steps
    return {
        "validation": table(rows, n_cells, n_steps),
        "n_held_out": split.others.n_cells,
    }


def _traces(
    solver: OnlineSolver,
    state: OnlineState,
    exact: float,
    seconds: float,
    history: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Objectives of epochs and changes of W, after those of earlier fits."""
    # Objectives of epochs are of the cells that arrive: not beside others.
    alone = history is None
    label = "all" if history is None else history["label"]
    n_steps = solver.sampler.n_steps
    n_epochs = state.objective.size if alone else 0
    steps = np.append(np.arange(1, n_epochs + 1) * n_steps, state.step)
    n_cells = int(solver.sampler.data.n_cells.sum())
    traces = {
        "objective": np.append(state.objective if alone else [], exact),
        "seconds": np.append(state.seconds if alone else [], seconds),
        "iteration": steps,
        "cells": np.rint(steps * n_cells / n_steps).astype(np.int64),
        "change": state.change,
        "change_batch": np.full(state.change.size, label, dtype=object),
    }
    for name, values in (history or {}).items():
        if name in ("change", "change_batch"):
            traces[name] = np.concatenate([values, traces[name]])
        elif name != "label":
            traces[name] = values
    return traces
