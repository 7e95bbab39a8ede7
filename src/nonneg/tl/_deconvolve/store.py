"""What a deconvolution stores."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.write import write_factors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.keys import FactorKeys
    from ..._adata.signatures import Signatures
    from ...models.deconvolution.deconvolve import Result

# Genes of a missing type that are listed.
_LISTED = 50


def write_result(
    adata: AnnData,
    keys: FactorKeys,
    result: Result,
    found: Signatures,
    *,
    kept: NDArray[np.intp],
    shared: NDArray[np.intp],
    depth: NDArray[np.float64],
    per_cell: NDArray[np.float64],
    params: Mapping[str, Any],
    fdr: float,
    converged: bool,
    interrupted: bool,
    marker_scores: pd.DataFrame | None = None,
) -> None:
    """Shares of all locations, NaN for those that were left out, and the rest."""
    n_obs, n_vars = adata.shape

    def spread(values: NDArray[Any]) -> NDArray[np.float32]:
        full = np.full((n_obs, *values.shape[1:]), np.nan, np.float32)
        full[kept] = values
        return full

    loadings = np.full((n_vars, found.types.size), np.nan, np.float32)
    loadings[shared] = result.fit.signatures.T
    used = np.zeros(n_vars, bool)
    used[shared] = True
    trace, chosen = result.fit.trace, result.chosen
    write_factors(
        adata,
        keys,
        method="deconvolve",
        scores=spread(result.cells),
        loadings=loadings,
        params=params,
        info={
            "cell_types": found.types.astype(object),
            "library_size": found.library_size,
            "counts_per_cell": per_cell,
            "objective": np.asarray(trace.objective),
            "iteration": np.asarray(trace.iteration),
            "n_iter": trace.n_iter,
            "converged": converged,
            "interrupted": interrupted,
            "mass": (depth[kept, None] * result.fit.amounts).sum(0),
            "tuning": asdict(chosen.tuning),
            "trials": pd.DataFrame(
                [{**asdict(tuning), "gain": gain} for tuning, gain in chosen.table]
            ),
            "presence": {"threshold": result.threshold, "fdr": float(fdr)},
            "missing_threshold": result.missing.threshold,
            "missing_genes": _missing_genes(adata, result, shared),
            "marker_scores": marker_scores,
        },
        side={
            "obsm": {"std": spread(result.std), "rna": spread(result.rna)},
            "var": {"used": used},
            "obs": {
                "depth": depth,
                "residual": spread(result.residual),
                "missing": spread(result.missing.score),
            },
        },
    )


def _missing_genes(
    adata: AnnData, result: Result, shared: NDArray[np.intp]
) -> pd.DataFrame:
    """Genes of a type beyond the reference, by what they add to locations that have it."""
    gain = result.missing.gain
    known = np.flatnonzero(np.isfinite(gain))
    order = known[np.argsort(-gain[known], kind="stable")][:_LISTED]
    return pd.DataFrame(
        {
            "gene": adata.var_names[shared[order]].to_numpy(object),
            "gain": gain[order],
            "log2_fold_change": result.missing.fold[order] / np.log(2),
        }
    )
