"""Shares of cell types against their markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from .._adata.compositions import check_counts, read_compositions, select_types
from .._adata.read import select_matrix
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ..metrics import marker_agreement as get_agreement
from ..operators.choose import as_operator
from ..operators.gather import to_csr
from ._colors import type_colors
from ._panels import figure_of, fit_titles, new_panels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import scipy.sparse as sp
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from .._adata.compositions import Share, TypeSelection
    from ._colors import Palette

# Counts to which locations are scaled.
_TARGET = 10_000
# Points beyond which they are stored as pixels in vector formats.
_MANY = 2000


@checked
@shared_docs
def marker_agreement(
    adata: AnnData | SpatialData,
    markers: Mapping[str, Sequence[str]],
    *,
    key: str = "deconv",
    share: Share = "cells",
    layer: str | None = None,
    cell_types: TypeSelection | None = None,
    ncols: int = 5,
    palette: Palette | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> list[Axes]:
    """Show the share of every type against its marker genes.

    A dot per location: counts of the markers together, per 10,000 counts of the
    location, and the share of the type. The number is Pearson's correlation, of
    :func:`nonneg.metrics.marker_agreement`. It is low for types that are everywhere, and for
    markers that are hardly seen: look at the range of the axes first.

    Parameters
    ----------
    adata
        Annotated data with a deconvolution.
    markers
        Marker genes of types, from names of types. Types without a marker in the
        data have no panel.
    key
        Key of the deconvolution.
    share
        Of `"cells"` or of `"rna"`.
    layer
        Layer with counts. `None`: the one that was fitted.
    cell_types
        Types to show, by name or number; `None`: all that have markers.
    ncols
        Panels per row.
    palette
        Colours of the types, as in :func:`nonneg.pl.deconvolution`.
    ax
        Axes to draw on, for a single type.
    %(table_key)s

    Returns
    -------
    One Axes per type.

    Raises
    ------
    KeyError
        If there is no deconvolution under the key, or no such type or layer.
    ValueError
        If the key is that of another method, no type has a marker, the layer has no
        counts, or `ax` is given for several types.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, _ = nng.datasets.spots(10, 60)
    >>> markers = {"type_1": ["gene_3", "gene_8"], "type_2": ["gene_5"]}
    >>> axes = nng.pl.marker_agreement(adata, markers, key="truth")
    >>> [ax.get_title() for ax in axes]
    ['type_1', 'type_2']
    """
    adata = read_table(adata, table_key)
    ncols = check_positive_int(ncols, "ncols")
    found = read_compositions(adata, key, share)
    unknown = [name for name in markers if name not in found.names]
    if len(unknown) == len(markers):
        msg = f"markers name the types {unknown}, but there are {found.names}."
        raise KeyError(msg)
    chosen = [found.names[k] for k in select_types(found.names, cell_types)]
    layer = layer if layer is not None else found.entry.params.get("layer")
    x, where = select_matrix(adata, layer=layer)
    op = as_operator(x, where=where, on_cluster=False)
    check_counts(op.stats(), where, found.entry)
    counts = to_csr(op)
    shares = pd.DataFrame(found.shares, index=adata.obs_names, columns=found.names)
    r = get_agreement(counts, shares[chosen], markers, genes=list(adata.var_names))
    panels = _make_panels(len(r), ncols, ax)
    depth = np.asarray(counts.sum(axis=1), np.float64).ravel()
    colors = type_colors(adata, key, found, palette)
    for panel, (name, value) in zip(panels, r.items(), strict=True):
        own = np.flatnonzero(adata.var_names.isin(list(markers[str(name)])))
        level = _level(counts, own, depth)
        panel.plot(
            level,
            shares[name],
            "o",
            ms=3,
            mew=0,
            alpha=0.6,
            color=colors[str(name)],
            rasterized=len(level) > _MANY,
        )
        panel.set_title(str(name), fontsize="medium")
        genes = "gene" if own.size == 1 else "genes"
        text = (
            f"r = {value:.2f}".replace("-", "\N{MINUS SIGN}")
            if np.isfinite(value)
            else "r not defined"
        )
        panel.text(
            0.04,
            0.98,
            f"{text}\n{own.size} {genes}",
            transform=panel.transAxes,
            ha="left",
            va="top",
            fontsize="small",
        )
        panel.set_xlim(left=0)
        # Room for the numbers.
        panel.set_ylim(0, 1.35 * max(float(np.nanmax(shares[name])), 1e-3))
        panel.xaxis.set_major_locator(MaxNLocator(3))
        panel.yaxis.set_major_locator(MaxNLocator(4))
        panel.tick_params(labelsize="x-small")
        panel.spines[["top", "right"]].set_visible(False)
    label = found.unit(share)
    if ax is None:
        figure = figure_of(panels[0])
        figure.supxlabel(f"markers, per {_TARGET:,} counts", fontsize="medium")
        figure.supylabel(f"share of {label}", fontsize="medium")
        fit_titles(panels)
    else:
        ax.set(xlabel=f"markers, per {_TARGET:,} counts", ylabel=f"share of {label}")
    return panels


def _level(counts: sp.csr_matrix, genes: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Of genes together; NaN for locations without counts."""
    total = np.asarray(counts[:, genes].sum(axis=1), np.float64).ravel()
    out = np.full(depth.size, np.nan)
    return np.divide(_TARGET * total, depth, out=out, where=depth > 0)


def _make_panels(n_panels: int, ncols: int, ax: Axes | None) -> list[Axes]:
    if ax is None:
        return new_panels(n_panels, ncols, (1.75, 1.6))
    if n_panels == 1:
        return [ax]
    msg = (
        f"ax is one Axes, but {n_panels} types have markers. Choose one with "
        "`cell_types`, or leave ax out."
    )
    raise ValueError(msg)
