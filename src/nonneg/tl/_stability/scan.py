"""Numbers of components one after the other: fits, judgements, what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...models.loop import Report
from ...models.stability.replicates import Patterns
from .judge import local_minima, priority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._adata.scan_checkpoint import ScanCheckpoint
    from ...models.loop import Callback
    from .fits import ComponentFits, Fits
    from .judge import Judge, Judged


@dataclass(frozen=True)
class Scan:
    """Numbers of components, one after the other."""

    fits: Fits
    components: ComponentFits | None
    judge: Judge
    n_samples: int
    checkpoint: ScanCheckpoint | None

    def run(self, ranks: Sequence[int], callback: Callback) -> tuple[ScanResult, bool]:
        """What was found, and whether an interruption ended it.

        An interruption keeps the numbers of components that are finished.
        """
        found = ScanResult()
        try:
            for i, rank in enumerate(ranks):
                patterns = self._patterns(rank, i * self.n_samples, callback)
                judged = self.judge(rank, patterns)
                # Those of components are as large.
                del patterns
                others = {}
                if self.components is not None:
                    of_pca = _Gathered(self.n_samples)
                    for part in self.components.fit(rank, of_pca.missing):
                        of_pca.add(part)
                    others = self.judge.baseline(rank, of_pca.all)
                found.add(judged, others)
        except KeyboardInterrupt:
            if not found.rows:
                raise
            return found, True
        return found, False

    def _patterns(self, rank: int, n_before: int, callback: Callback) -> Patterns:
        gathered = _Gathered(self.n_samples)
        if self.checkpoint is not None:
            for part in self.checkpoint.load(rank):
                gathered.add(part)
        callback(n_before + gathered.n_done, Report(None))
        if missing := gathered.missing:
            for part in self.fits.fit(rank, missing):
                if self.checkpoint is not None:
                    self.checkpoint.save(rank, part)
                gathered.add(part)
                callback(n_before + gathered.n_done, Report(None))
        return gathered.all


class _Gathered:
    """Patterns of all samples, in one array from the beginning: it may be large."""

    def __init__(self, n_samples: int) -> None:
        self._done = np.zeros(n_samples, bool)
        self._arrays: Patterns | None = None

    def add(self, part: Patterns) -> None:
        n = self._done.size
        if self._arrays is None:
            self._arrays = Patterns(
                np.arange(n), *(np.empty((n, *x.shape[1:]), x.dtype) for x in part[1:])
            )
        for whole, some in zip(self._arrays[1:], part[1:], strict=True):
            whole[part.sample] = some
        self._done[part.sample] = True

    @property
    def missing(self) -> list[int]:
        """Samples that are not there yet."""
        return np.flatnonzero(~self._done).tolist()

    @property
    def n_done(self) -> int:
        return int(self._done.sum())

    @property
    def all(self) -> Patterns:
        """Of all samples."""
        assert self._arrays is not None
        assert self._done.all()
        return self._arrays


class ScanResult:
    """Rows of the tables, and the factors of the most stable number of components."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.patterns: list[pd.DataFrame] = []
        self.best: Judged | None = None

    def add(self, judged: Judged, others: Mapping[str, float]) -> None:
        self.rows.append({**judged.row, **others})
        self.patterns.append(judged.patterns)
        if self.best is None or priority(judged.row) < priority(self.best.row):
            self.best = judged

    @property
    def table(self) -> pd.DataFrame:
        table = pd.DataFrame(self.rows).sort_values("n_components")
        table["is_minimum"] = local_minima(table["instability"].to_numpy())
        return table
