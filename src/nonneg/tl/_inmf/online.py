"""What online fits do around their solver."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from ..._adata.integration import Integration, write_integration
from ..._adata.read import resolve_adata
from ..._adata.scores import ScoreFile, check_target
from ..._adata.sources import read_file, read_one, read_several
from ..._core.progress import progress
from ..._core.warnings import warn
from ...models.inmf.loadings import add, objectives
from ...models.inmf.online import finish, fit
from ...models.loop import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.checkpoint import Checkpoint
    from ..._adata.keys import FactorKeys
    from ..._adata.sources import Batches, Choice
    from ..._adata.stored import AnyPath
    from ...models.inmf.online import Arrival, OnlineState, Scored
    from ...models.inmf.problem import Block

    type Sources = AnnData | SpatialData | AnyPath | Mapping[str, AnnData | AnyPath]


@dataclass(frozen=True)
class Destination:
    """Where data come from and scores go to."""

    data: Any
    target: AnnData | None
    """To be annotated; ``None``: a model is returned."""
    scores: AnyPath | None
    write_back: bool
    copy: bool

    @property
    def sources(self) -> dict[str, AnnData | AnyPath]:
        """By name, where there are no labels of cells."""
        return {str(name): one for name, one in self.data.items()}


def resolve(
    data: Sources,
    *,
    scores: AnyPath | None,
    write_back: bool,
    copy: bool,
    table_key: str | None,
) -> Destination:
    """Check that what is asked for goes together."""
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
        target = resolve_adata(data, table_key=table_key, copy=copy)
        return Destination(data, target, None, write_back=False, copy=copy)
    if copy or table_key is not None:
        msg = "copy and table_key are for an AnnData or SpatialData in memory."
        raise ValueError(msg)
    files: list[Any] = list(data.values()) if isinstance(data, Mapping) else [data]
    if not files:
        msg = "There are no data sets in the mapping."
        raise ValueError(msg)
    if isinstance(data, Mapping) and len({str(name) for name in data}) < len(data):
        msg = f"Names of data sets repeat when they are strings: {list(data)}."
        raise ValueError(msg)
    for one in files:
        if not isinstance(one, AnnData | str | PathLike):
            msg = f"Expected an AnnData or a path, not a {type(one).__name__}."
            raise TypeError(msg)
        if isinstance(one, AnnData) and one.isbacked and one.is_view:
            msg = (
                "A view of an AnnData that is backed by a file cannot be used here. Read "
                "it with `adata.to_memory()`."
            )
            raise ValueError(msg)
    if scores is not None and write_back:
        msg = "Give either scores or write_back, not both."
        raise ValueError(msg)
    if scores is not None:
        used = [one.filename if isinstance(one, AnnData) else one for one in files]
        check_target(scores, [path for path in used if path is not None])
    return Destination(data, None, scores, write_back, copy=False)


def read(destination: Destination, choice: Choice) -> Batches:
    """The data sets that are to be fitted together."""
    write, data = destination.write_back, destination.data
    if isinstance(data, Mapping):
        if choice.batch_key is not None:
            msg = (
                f"batch_key={choice.batch_key!r} does not apply to a mapping: each of "
                "its values is a data set."
            )
            raise ValueError(msg)
        return read_several(destination.sources, choice, write=write)
    if choice.batch_key is None:
        msg = "Name the column of obs that tells data sets apart with `batch_key`."
        raise ValueError(msg)
    if destination.target is None:
        return read_file(data, choice, write=write)
    return read_one(destination.target, choice)


@dataclass(frozen=True)
class Task:
    """An online fit, from what is read to what is stored."""

    destination: Destination
    batches: Batches
    arrival: Arrival
    keys: FactorKeys
    params: Mapping[str, Any]
    n_epochs: int
    checkpoint: Checkpoint | None = None
    before: Integration | None = None
    """What is known of cells that are not there any more."""
    history: Mapping[str, Any] = field(default_factory=dict)
    """Traces of earlier fits."""
    label: str = "all"
    """What arrives."""


def run(task: Task, state: OnlineState) -> AnnData | None:
    """Fit from a state on, score all cells, store everything."""
    data, rank = task.arrival.plan.data, len(state.model.W)
    n_steps = task.n_epochs * task.arrival.plan.n_steps
    save = None if task.checkpoint is None else task.checkpoint.save
    # The place first: that it cannot be had should not cost a fit.
    with _place(task, rank) as place:
        with progress("online_inmf", n_steps) as callback:
            state, interrupted = fit(
                task.arrival,
                state,
                n_epochs=task.n_epochs,
                callback=callback,
                save=save,
            )
        if task.checkpoint is not None:
            task.checkpoint.save(state, now=True)
        n_done = 0

        def keep(block: Block, scores: NDArray[Any]) -> None:
            nonlocal n_done
            place.scores[block.rows] = scores
            n_done += len(scores)
            show(n_done, Report(None))

        with progress("scores", data.shape[0]) as show:
            scored = finish(task.arrival, state, keep, sort=task.before is None)
        integration = _combine(task, scored, place)
        value = objectives(
            integration.sq_norm,
            integration.model,
            integration.sums,
            integration.penalties.lam,
        )
        exact = float(integration.penalties.weight @ value)
        result = task.destination.target
        if result is None:
            names = pd.DataFrame(index=task.batches.var_names)
            result = AnnData(np.empty((0, len(names)), np.float32), var=names)
        write_integration(
            result,
            task.keys,
            task.batches,
            integration,
            method="online_inmf",
            params=task.params,
            info=_traces(task, state, exact, interrupted=interrupted),
        )
        place.complete(result)
    if interrupted:
        warn(
            f"Interrupted after {state.step} of {n_steps} mini-batches; cells are scored "
            "with the factors found so far."
        )
    in_place = task.destination.target is not None and not task.destination.copy
    return None if in_place else result


def _combine(task: Task, scored: Scored, place: _Place) -> Integration:
    data, before = task.arrival.plan.data, task.before
    in_memory = task.destination.target is not None
    rank = len(scored.model.W)
    return Integration(
        model=scored.model,
        sums=add(scored.sums, scored.known),
        gene_scale=data.gene_scale,
        penalties=task.arrival.penalties,
        names=list(data.names),
        n_cells=data.n_cells + (0 if before is None else before.n_cells),
        sq_norm=data.sq_norm + (0 if before is None else before.sq_norm),
        scores=place.scores if in_memory else np.empty((0, rank), np.float32),
    )


def _traces(
    task: Task, state: OnlineState, exact: float, *, interrupted: bool
) -> dict[str, Any]:
    """Objectives of epochs and changes of W, after those of earlier fits."""
    took = max(perf_counter() - task.arrival.began, state.seconds.max(initial=0.0))
    # Those of epochs are of the cells that arrive, not of all.
    alone = task.before is not None
    new = {
        "objective": np.append([] if alone else state.objective, exact),
        "seconds": np.append([] if alone else state.seconds, took),
        "change": state.change,
        "change_batch": np.full(state.change.size, task.label, dtype=object),
    }
    joined = {
        name: np.concatenate([task.history[name], values])
        if name in task.history
        else values
        for name, values in new.items()
    }
    return {**joined, "n_iter": state.step, "interrupted": interrupted}


class _Place:
    """Scores in memory."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.scores: Any = np.zeros(shape, np.float32)

    def complete(self, result: AnnData) -> None:
        """All scores are there."""


class _Nowhere(_Place):
    """Scores that nobody asked for."""

    class _Ignore:
        def __setitem__(self, rows: Any, values: Any) -> None:
            pass

    def __init__(self) -> None:
        self.scores = self._Ignore()


class _InFile(_Place):
    """Scores in a new file."""

    def __init__(self, task: Task, path: AnyPath, shape: tuple[int, int]) -> None:
        self._task = task
        self._file = ScoreFile(path, task.keys.obsm, shape)
        self.scores = self._file.scores

    def complete(self, result: AnnData) -> None:
        sources = self._task.batches.sources
        data = self._task.arrival.plan.data
        names = pd.Index(np.asarray(data.names, object))
        # A model of cells that were projected without labels names no column.
        column = self._task.params["batch_key"] or "batch"
        self._file.write_obs(
            chain.from_iterable(source.obs_names() for source in sources),
            {column: pd.Categorical.from_codes(self._task.batches.codes, names)},
        )
        self._file.write_model(result)
        self._file.close()

    def discard(self) -> None:
        """Not all scores are there."""
        self._file.discard()


class _InSources(_Place):
    """Scores on their way to the files and objects that the data come from."""

    def __init__(self, task: Task, folder: str, shape: tuple[int, int]) -> None:
        self._task = task
        path = Path(folder) / "scores"
        self.scores = np.memmap(path, np.float32, mode="w+", shape=shape)

    def complete(self, result: AnnData) -> None:
        first = 0
        for source in self._task.batches.sources:
            rows = slice(first, first + source.n_obs)
            source.write_scores(self.scores[rows], self._task.keys.obsm)
            first = rows.stop


@contextmanager
def _place(task: Task, rank: int) -> Iterator[_Place]:
    shape = (task.batches.n_obs, rank)
    destination = task.destination
    if destination.target is not None:
        yield _Place(shape)
    elif destination.write_back:
        with TemporaryDirectory(prefix="nonneg-") as folder:
            yield _InSources(task, folder, shape)
    elif destination.scores is not None:
        place = _InFile(task, destination.scores, shape)
        try:
            yield place
        except BaseException:
            place.discard()
            raise
    else:
        yield _Nowhere()
