"""Whether fields were left empty, so that nothing can be said of what is spatial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.warnings import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the expected counts. With shuffled places, where nothing is spatial, fields carry .4 to .5.
_LITTLE = 0.01


def warn_of_empty_fields(
    mass: NDArray[np.floating[Any]], is_spatial: NDArray[np.bool_]
) -> None:
    """One warning, with what to try, from what every factor carries."""
    share = mass[is_spatial].sum() / mass.sum()
    if share >= _LITTLE:
        return
    warn(
        f"Spatial factors carry {share:.2%} of the expected counts: factors without space, "
        "which follow every observation, have taken the rest. That importances are near "
        "zero does not say that genes are not spatial. Try temperature=10 or less, or a "
        "larger n_spatial; `nonneg.tl.nsf` has spatial factors only."
    )
