"""How much the errors of variables count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import as_numbers, check_key, check_order

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .read import MatrixInput

    type VarWeights = str | NDArray[np.floating[Any]] | None


def read_var_weights(
    adata: AnnData, given: VarWeights, source: MatrixInput
) -> NDArray[np.float64] | None:
    """Weights of the variables that are used, by a column of var or an array."""
    if given is None:
        return None
    if source.source["obsm"] is not None:
        msg = (
            "var_weights are of variables of X or a layer, not of columns of obsm. "
            "Scale the columns by the square roots of the weights instead."
        )
        raise ValueError(msg)
    values: Any = given
    where = "var_weights"
    if isinstance(given, str):
        check_key(adata, "var", given)
        values, where = adata.var[given], f"adata.var[{given!r}]"
    check_order(values, adata.var_names, where, "adata.var_names")
    weights = as_numbers(values, where)
    if weights.shape != (adata.n_vars,):
        msg = (
            f"{where} must be {adata.n_vars} numbers, one per variable, but has shape "
            f"{weights.shape}."
        )
        raise ValueError(msg)
    weights = weights if source.mask is None else weights[source.mask]
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        msg = (
            f"{where} must be finite and at least 0; {int(wrong.sum())} of the weights "
            f"are not, e.g. {weights[wrong][0]}. To leave variables out, use mask_var."
        )
        raise ValueError(msg)
    if not weights.any():
        msg = f"{where} is all zero: nothing would be fitted."
        raise ValueError(msg)
    return weights
