"""Compositions of cell types, as a deconvolution stored them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._core.validators import check_one_of
from .schema import DeconvolutionEntry, is_entry
from .views import read_factors, read_side, select_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..operators.stats import MatrixStats
    from .views import Factors

_HINT = "`nonneg.tl.deconvolve` writes it."

type Share = Literal["cells", "rna"]

type TypeSelection = int | str | Sequence[int | str]


@dataclass(frozen=True)
class Compositions:
    """Shares of cell types in locations."""

    names: list[str]
    shares: NDArray[np.floating]
    """(n_obs, k): of cells or of RNA; NaN for locations without counts."""
    factors: Factors
    entry: DeconvolutionEntry

    @property
    def known(self) -> NDArray[np.bool_]:
        """Locations that have a composition."""
        return np.isfinite(self.shares).all(axis=1)

    def unit(self, share: Share) -> str:
        """What shares are of: without a reference, that is RNA in any case."""
        by_cells = share == "cells" and self.entry.params.get("n_types") is None
        return "cells" if by_cells else "RNA"

    def std(self, adata: AnnData) -> NDArray[np.floating[Any]]:
        """(n_obs, k): standard errors of the shares."""
        return read_side(
            adata, self.factors, "obsm", "std", len(self.names), hint=_HINT
        )

    def missing(self, adata: AnnData) -> NDArray[np.floating[Any]]:
        """(n_obs,): scores of a type that the reference lacks."""
        return read_side(adata, self.factors, "obs", "missing", hint=_HINT)


def read_compositions(adata: AnnData, key: str, share: Share = "cells") -> Compositions:
    """The compositions stored under a key."""
    check_one_of(share, ("cells", "rna"), "share")
    if key not in adata.uns or not is_entry(adata.uns[key]):
        fitted = [str(name) for name, stored in adata.uns.items() if is_entry(stored)]
        msg = (
            f"No deconvolution is stored under key={key!r}; there are {fitted}. Call "
            "`nonneg.tl.deconvolve` first."
        )
        raise KeyError(msg)
    factors = read_factors(adata, key)
    entry = factors.entry
    if not isinstance(entry, DeconvolutionEntry):
        msg = (
            f"adata.uns[{key!r}] is of the method {entry.method!r}, which has no cell "
            "types. Name the key of a `nonneg.tl.deconvolve`."
        )
        raise ValueError(msg)
    shares = factors.scores
    if share == "rna":
        shares = read_side(adata, factors, "obsm", "rna", len(factors.names))
    return Compositions(factors.names, shares, factors, entry)


def check_counts(stats: MatrixStats, where: str, entry: DeconvolutionEntry) -> None:
    """Raise where counts have become something else since the deconvolution."""
    if stats.integer or entry.params.get("likelihood") == "gaussian":
        return
    msg = (
        f"{where} does not hold counts any more, as after normalisation or a logarithm. "
        "Name the layer that has them, `layer`."
    )
    raise ValueError(msg)


def select_types(names: Sequence[str], selection: TypeSelection | None) -> list[int]:
    """Positions of cell types given by name or number; `None`: all."""
    return select_named(names, selection, "cell type")
