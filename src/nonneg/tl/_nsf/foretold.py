"""Whether factors without space follow it all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.quiet import collected
from ..._core.warnings import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the variance of a factor. Of patterns without space in simulations, neighbours foretell
# less than .02.
_MUCH = 1 / 3


def warn_of_foretold(
    foretold: NDArray[np.floating[Any]], key: str, n_spatial: int
) -> None:
    """One warning, with what to try; ``foretold`` is of the factors that are not fields."""
    # Comparisons show themselves what more fields predict.
    if collected() is not None:
        return
    much = np.flatnonzero(foretold > _MUCH)
    if not much.size:
        return
    shares = ", ".join(f"{key}_{n_spatial + i} to {foretold[i]:.0%}" for i in much)
    n_factors, more = n_spatial + len(foretold), n_spatial + much.size
    instead = f"n_spatial={more}" + ", and more components" * (more == n_factors)
    warn(
        f"Neighbours foretell factors that have no space here: {shares} of the variance. "
        "These patterns are spatial, but importances count them as not spatial, also of "
        f"their genes. Try {instead}."
    )
