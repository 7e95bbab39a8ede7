"""Whether factors without space follow it all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.quiet import collected
from ..._core.warnings import warn

if TYPE_CHECKING:
    from ..._core.typing import Floats

# Of the variance of a factor. Of independent values at a hundred locations, and at more,
# neighbours never foretold as much in simulations; of fewer, chance does.
_MUCH, _FEWEST = 1 / 3, 100


def warn_of_foretold(
    foretold: Floats, n_locations: int, key: str, n_spatial: int
) -> None:
    """One warning, with what to try, from what is known of the factors that are not fields."""
    # Comparisons show themselves what more fields predict.
    if collected() is not None or n_locations < _FEWEST:
        return
    much = np.flatnonzero(foretold > _MUCH)
    if not much.size:
        return
    shares = ", ".join(f"{key}_{n_spatial + i} to {foretold[i]:.0%}" for i in much)
    n_factors, more = n_spatial + len(foretold), n_spatial + much.size
    instead = f"n_spatial={more}" + ", and more components" * (more == n_factors)
    warn(
        f"Neighbours foretell factors that have no space here: {shares} of the variance. "
        "These patterns seem to be spatial, but importances count them as not spatial, also of "
        f"their genes. Try {instead}."
    )
