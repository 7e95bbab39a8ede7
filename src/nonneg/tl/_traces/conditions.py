"""Events of the same labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._adata.labels import encode_labels

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def read_levels(
    events: pd.DataFrame, column: str
) -> tuple[NDArray[np.intp], NDArray[np.str_]]:
    """Labels of events, as positions among their sorted names."""
    if column not in events:
        msg = f"Events have no column {column!r}; they have {list(events)}."
        raise KeyError(msg)
    codes, names = encode_labels(events[column], f"column {column!r} of the events")
    return codes, np.asarray(names).astype(str)
