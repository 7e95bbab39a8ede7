"""Whether fields were left empty, so that nothing can be said of what is spatial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._core.text import counted
from ..._core.warnings import warn
from ...models.nsf.start import TEMPERATURE_BESIDE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of the expected values. With shuffled places, where nothing is spatial, fields of simulations
# carry .4 to .5 together.
_LITTLE = 0.001


def warn_of_empty_fields(
    mass: NDArray[np.floating[Any]], is_spatial: NDArray[np.bool_], temperature: float
) -> None:
    """One warning, with what to try, from what every factor carries."""
    fields = mass[is_spatial]
    n_empty = int((fields < _LITTLE * mass.sum()).sum())
    if not n_empty:
        return
    lower = (
        f"temperature={TEMPERATURE_BESIDE:g} or less, or "
        if temperature > TEMPERATURE_BESIDE
        else ""
    )
    warn(
        f"{counted(n_empty, 'spatial factor', 'has', of=len(fields))} less than {_LITTLE:.1%} "
        "of the expected values: factors without space, which follow every "
        "observation, have taken the rest. That importances are near zero does not say that "
        f"genes are not spatial. Try {lower}fewer of either kind; `nonneg.tl.nsf` has spatial "
        "factors only."
    )
