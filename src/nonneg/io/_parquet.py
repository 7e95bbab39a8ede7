"""Tables in parquet files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ..operators.validate import reading

if TYPE_CHECKING:
    from pathlib import Path


def read_parquet(path: Path) -> pd.DataFrame:
    """A table, with an error that names the file if it is damaged."""
    with reading(str(path)):
        table = pd.read_parquet(path)
        # Texts that are held by Arrow are not decoded, and found damaged, before they are used.
        table.select_dtypes(exclude="number").to_numpy(object)
        return table
