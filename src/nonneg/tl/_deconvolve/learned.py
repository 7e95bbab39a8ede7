"""What training finds, as it is stored and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

    from ...models.deconvolution.network import Unrolled

# Increased when an older version could not read what is stored.
_SCHEMA = 1

# Of tl.deconvolve and tl.learn_deconvolution.
N_NEIGHBORS = 6


@dataclass(frozen=True)
class Learned:
    """A few numbers that hold for sections of the same kind."""

    likelihood: Unrolled
    n_layers: int
    n_neighbors: int
    graph_weight: float
    group_weight: float
    width: float
    """Of affinities, in distances of the last neighbour."""
    label_width: float
    gene_weights: bool
    has_regions: bool

    def to_uns(self) -> dict[str, Any]:
        """As a dictionary that files can store."""
        return {"schema": _SCHEMA, "method": "learn_deconvolution", **asdict(self)}


def read_learned(adata: AnnData, learned: str | Mapping[str, Any]) -> Learned:
    """The numbers under a key of uns, or in what another object has there."""
    where = "learned"
    if isinstance(learned, str):
        where = f"adata.uns[{learned!r}]"
        if learned not in adata.uns:
            msg = (
                f"{where} does not exist. Run `nonneg.tl.learn_deconvolution` first, or "
                "pass what another object has in `uns['deconv_learned']`."
            )
            raise KeyError(msg)
        learned = adata.uns[learned]
    if not isinstance(learned, Mapping) or (
        learned.get("method") != "learn_deconvolution"
    ):
        msg = f"{where} is not the result of `nonneg.tl.learn_deconvolution`."
        raise ValueError(msg)
    schema = learned.get("schema")
    if not isinstance(schema, int | np.integer) or not 1 <= schema <= _SCHEMA:
        msg = (
            f"{where} has schema={schema!r}, which this nonneg cannot read (it reads "
            f"{_SCHEMA}). Update nonneg, or train again."
        )
        raise ValueError(msg)
    names = [field.name for field in fields(Learned)]
    if missing := sorted(set(names) - set(learned)):
        msg = f"{where} is incomplete: {missing} are missing. Train again."
        raise ValueError(msg)
    found = Learned(
        likelihood=str(learned["likelihood"]),  # type: ignore[arg-type]
        gene_weights=bool(learned["gene_weights"]),
        has_regions=bool(learned["has_regions"]),
        n_layers=int(learned["n_layers"]),
        n_neighbors=int(learned["n_neighbors"]),
        graph_weight=float(learned["graph_weight"]),
        group_weight=float(learned["group_weight"]),
        width=float(learned["width"]),
        label_width=float(learned["label_width"]),
    )
    values = asdict(found)
    wrong = [name for name in _WEIGHTS if not 0 <= values[name] < np.inf]
    wrong += [name for name in _WIDTHS if not 0 < values[name] < np.inf]
    wrong += [name for name in ("n_layers", "n_neighbors") if values[name] < 1]
    if wrong:
        msg = f"{where} was changed: {wrong} are out of range. Train again."
        raise ValueError(msg)
    return found


_WEIGHTS = ("graph_weight", "group_weight")

_WIDTHS = ("width", "label_width")
