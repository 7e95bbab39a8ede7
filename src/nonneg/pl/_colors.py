"""Colours of categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import is_color_like, rgb_to_hsv, to_rgba

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from .._adata.compositions import Compositions

type Palette = Mapping[str, Any] | Sequence[Any]

# Of what is not known: seen on white and on black.
NO_DATA = "0.7"


def intensity_map(given: str | Colormap | None, figure: Figure) -> Colormap:
    """The caller's colours, or some that begin near those of the paper."""
    color = to_rgba(figure.get_facecolor())
    # Transparent figures are put on white.
    dark = color[3] > 0.5 and rgb_to_hsv(color[:3])[2] < 0.5
    return plt.get_cmap(given or ("magma" if dark else "magma_r"))


def default_palette(n: int) -> list[str]:
    """The colours that scanpy would take for so many categories."""
    from scanpy.plotting import palettes

    palette = next(
        (some for some in (palettes.default_20, palettes.default_28) if len(some) >= n),
        palettes.default_102,
    )
    return [str(palette[i % len(palette)]) for i in range(n)]


def type_colors(
    adata: AnnData, key: str, found: Compositions, palette: Palette | None
) -> dict[str, Any]:
    """The caller's colours of cell types, those that scanpy stored, or scanpy's."""
    names = found.names
    default = dict(zip(names, default_palette(len(names)), strict=True))
    if isinstance(palette, Mapping):
        unknown = [name for name in palette if name not in names]
        if unknown:
            msg = f"palette names the types {unknown}, but there are {names}."
            raise KeyError(msg)
        return _checked(default | dict(palette))
    if palette is not None:
        if len(palette) < len(names):
            msg = f"palette has {len(palette)} colours for {len(names)} cell types."
            raise ValueError(msg)
        return _checked(dict(zip(names, palette, strict=False)))
    # Of the fit, or of the column of the reference.
    for name in (key, found.entry.params.get("cell_type_key")):
        stored = adata.uns.get(f"{name}_colors", ())
        if len(stored) == len(names):
            return dict(zip(names, map(str, stored), strict=True))
    return default | _column_colors(adata, names)


def _column_colors(adata: AnnData, names: Sequence[str]) -> dict[str, str]:
    """Of a column whose categories are cell types, such as the leading ones."""
    for column in adata.obs:
        values = adata.obs[column]
        stored = adata.uns.get(f"{column}_colors", ())
        if not len(stored) or not isinstance(values.dtype, pd.CategoricalDtype):
            continue
        categories = values.cat.categories.astype(str)
        if len(stored) == len(categories) and set(categories) <= set(names):
            return dict(zip(categories, map(str, stored), strict=True))
    return {}


def _checked(colors: dict[str, Any]) -> dict[str, Any]:
    wrong = {name: c for name, c in colors.items() if not is_color_like(c)}
    if wrong:
        msg = f"palette has entries that are no colours: {wrong}."
        raise ValueError(msg)
    return colors
