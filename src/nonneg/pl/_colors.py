"""Colours of categories."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import is_color_like, rgb_to_hsv, to_hex, to_rgb, to_rgba

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from .._adata.compositions import Compositions

type Palette = Mapping[str, Any] | Sequence[Any]

# Of what is not known: seen on white and on black.
NO_DATA = "0.7"
# Strong colours: levels of red, green and blue that are tried; least chroma; middle and
# half range of lightness, in CIELAB.
_LEVELS, _CHROMA, _LIGHTNESS = 16, 40.0, (55.0, 20.0)


def intensity_map(given: str | Colormap | None, figure: Figure) -> Colormap:
    """The caller's colours, or some that begin near those of the paper."""
    color = to_rgba(figure.get_facecolor())
    # Transparent figures are put on white.
    dark = color[3] > 0.5 and rgb_to_hsv(color[:3])[2] < 0.5
    return plt.get_cmap(given or ("magma" if dark else "magma_r"))


def check_color_range(low: float, high: float, of: str = "") -> None:
    """Raise unless colours go up, between finite numbers."""
    if not -np.inf < low <= high < np.inf:
        msg = (
            f"Colours{of} would go from vmin={low:g} to vmax={high:g}. Give a "
            "lower vmin, or a higher vmax."
        )
        raise ValueError(msg)


def default_palette(n: int) -> list[str]:
    """The colours that scanpy would take for so many categories."""
    from scanpy.plotting import palettes

    palette = next(
        (some for some in (palettes.default_20, palettes.default_28) if len(some) >= n),
        palettes.default_102,
    )
    return [str(palette[i % len(palette)]) for i in range(n)]


@cache
def strong_palette(n: int) -> list[str]:
    """Colours that are told apart when they are mixed with white.

    Up to ten are those of Matplotlib. Of more, each is the one farthest from all before
    it, of those that are neither pale nor dark nor grey.
    """
    from skimage.color import rgb2lab

    chosen = [to_hex(color) for color in plt.get_cmap("tab10").colors]  # type: ignore[attr-defined]
    # Grey is what is negative, or without a region.
    chosen.remove("#7f7f7f")
    if n > len(chosen):
        axis = np.linspace(0, 1, _LEVELS)
        rgb = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
        lab = rgb2lab(rgb)
        strong = (np.hypot(lab[:, 1], lab[:, 2]) > _CHROMA) & (
            np.abs(lab[:, 0] - _LIGHTNESS[0]) < _LIGHTNESS[1]
        )
        rgb, lab = rgb[strong], lab[strong]
        taken = rgb2lab(np.array([to_rgb(color) for color in chosen]))
        away = np.linalg.norm(lab[:, None] - taken, axis=-1).min(axis=1)
        for _ in range(n - len(chosen)):
            best = int(away.argmax())
            chosen.append(to_hex(rgb[best]))
            away = np.minimum(away, np.linalg.norm(lab - lab[best], axis=-1))
    return chosen[:n]


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
