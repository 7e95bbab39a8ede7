"""What a scan stores, and what it warns of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.keys import factor_keys
from ..._adata.write import Write, write_factors
from ..._core.text import conjugated, counted
from ..._core.warnings import warn
from ...models.factor.normalise import normalise
from .fits import VERBS
from .judge import select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.read import MatrixInput
    from .scan import ScanResult


def store(
    adata: AnnData,
    source: MatrixInput,
    found: ScanResult,
    weights: NDArray[Any] | None,
    *,
    params: Mapping[str, Any],
    interrupted: bool,
    write: Write,
) -> None:
    """The consensus of the most stable number of components, and the tables."""
    best = found.best
    assert best is not None
    w, h, scale, mass = normalise(
        np.array(best.W, np.float32), np.asarray(best.H, np.float32)
    )
    table = _stored(found.table)
    patterns = pd.concat(found.patterns).sort_values(["n_components", "pattern"])
    write_factors(
        adata,
        factor_keys("stability", write.key_added),
        method="stability",
        scores=w,
        loadings=source.spread(h.T),
        params={
            **params,
            "n_components": int(best.row["n_components"]),
            "nonnegative": params["method"] in VERBS
            and VERBS[params["method"]].signed == "no",
        },
        info={
            "best": select(table),
            "table": table,
            "patterns": _stored(patterns),
            "interrupted": interrupted,
            "mass": mass,
            "scale": scale,
        },
        columns=source.columns,
        side=None if weights is None else {"var": {"weight": source.spread(weights)}},
    )


def _stored(table: pd.DataFrame) -> pd.DataFrame:
    """Files keep an index of strings."""
    return table.set_index(pd.RangeIndex(len(table)).astype(str))


def report(table: pd.DataFrame, ranks: Sequence[int], *, interrupted: bool) -> None:
    """Warn of what a reader of the table should know."""
    if interrupted:
        warn(
            f"Interrupted after {len(table)} of {len(ranks)} numbers of components, "
            "which are stored."
        )
    best = select(table)
    ends = table["n_components"].iloc[[0, -1]].tolist()
    if best is None:
        lowest = table["corrected"].min()
        warn(
            "No number of components is selected: patterns of different samples are "
            f"nearer to chance than to each other (corrected instability {lowest:.2f} "
            "at best; 1 is chance)."
        )
    elif best in ends and len(table) > 2:
        warn(
            f"Instability is lowest at an end of the range, n_components={best}: it may be "
            f"lower with {'fewer' if best == ends[0] else 'more'}. Few components are "
            "often stable; look at the curve with `nonneg.pl.stability`, and at local "
            "minima (`is_minimum` in the table)."
        )
    n_dead = int(table["n_dead"].sum())
    if n_dead:
        warn(
            f"{counted(n_dead, 'pattern')} of samples {conjugated(n_dead, 'is')} all zero, see `n_dead` in the table: "
            "samples need fewer components. They count as unlike all others."
        )
