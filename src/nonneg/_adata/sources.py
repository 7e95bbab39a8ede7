"""Where cells come from: an AnnData in memory, or one in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .checks import check_key
from .read import select_matrix
from .stored import StoredAnnData

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Source:
    """An AnnData in memory or in a file."""

    data: AnnData | StoredAnnData
    label: str | None = None
    """Name in messages; ``None`` where there is one AnnData only."""

    @property
    def var_names(self) -> pd.Index[str]:
        """Names of the variables."""
        return self.data.var_names

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return int(self.data.n_obs)

    def matrix(self, layer: str | None) -> tuple[Any, str]:
        """X or a layer, and what to call it in messages."""
        if isinstance(self.data, StoredAnnData):
            return self.data.matrix(layer)
        x, where = select_matrix(self.data, layer=layer)
        return x, where if self.label is None else f"{where} of {self.label!r}"

    def column(
        self, of: Literal["obs", "var"], name: str, *, hint: str = ""
    ) -> tuple[pd.Series[Any], str]:
        """A column of obs or var, and what to call it in messages."""
        if self.label is None:
            where = f"adata.{of}[{name!r}]"
        else:
            where = f"{name!r} in {of} of {self.label!r}"
        if isinstance(self.data, StoredAnnData):
            return self.data.column(of, name), where
        frame: pd.DataFrame = getattr(self.data, of)
        if self.label is None:
            check_key(self.data, of, name, hint=hint)
        elif name not in frame:
            msg = (
                f"{name!r} is not in {of} of {self.label!r}, which holds {list(frame)}. "
                f"{hint}"
            )
            raise KeyError(msg.strip())
        return frame[name], where

    def obs_names(self) -> Iterator[NDArray[Any]]:
        """Names of the cells, some at a time."""
        if isinstance(self.data, StoredAnnData):
            yield from self.data.obs_names()
        else:
            yield self.data.obs_names.to_numpy(object)

    @property
    def place(self) -> str:
        """The file, or the name of the object in memory."""
        if isinstance(self.data, StoredAnnData):
            return str(self.data.path)
        return self.label or "adata"

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self.data, StoredAnnData):
            self.data.close()
