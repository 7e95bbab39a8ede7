"""Maps of factors."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from anndata import AnnData
from matplotlib.colors import to_rgba

from .._adata.read import Read, read_matrix
from .._adata.tables import read_table
from .._adata.views import fitted_sections, read_factors, read_predicted, select_factors
from .._core.arguments import checked, is_ours
from .._core.docs import shared_docs
from .._core.validators import check_one_of, check_positive_int
from ..get import factors as get_factors
from ..get import top_genes as get_top_genes
from ..operators.gather import to_csr
from ._colors import NO_DATA
from ._map_colors import add_colorbars, check_range, color_map, color_ranges, limits
from ._map_drawing import (
    draw_embedding,
    draw_picture,
    draw_points,
    fill_panels,
    make_panels,
    panel_titles,
)
from ._map_sections import embedded, tissue_sections
from ._panels import fit_titles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection, Normalize


@checked
@shared_docs
def factor_maps(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    normalize: Normalize | None = None,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    basis: str | None = None,
    ncols: int = 4,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | str = "p99.5",
    share_scale: bool = False,
    scale: Literal["linear", "sqrt"] = "linear",
    top_gene: Literal["loading", "specificity"] | None = None,
    size: float | None = None,
    colorbar: bool = True,
    ax: Axes | None = None,
    table_key: str | None = None,
    **kwargs: Any,
) -> list[Axes]:
    """Map every factor over the tissue.

    One panel per factor (and section), drawn by :func:`squidpy.pl.spatial_scatter`,
    or by :func:`scanpy.pl.embedding` on an embedding. Colours start at zero and end
    at a high percentile, so that a few extreme spots do not hide the rest; the colour
    bar shows with a tip that there are such. Panels with the same range share a bar: the
    sections of a factor, or all with `share_scale` (with `top_gene`, all of a row).
    Of hybrid models, titles say which factors are not spatial.
    Points are as large as the distance
    between them: squares on a perfect grid, discs elsewhere. Where
    `uns[spatial_key]` holds a picture of the tissue, spots are drawn on it in their
    true size. Observations without a score, such as empty spots after
    :func:`nonneg.tl.deconvolve`, are grey. What :func:`nonneg.tl.predict` gives can be drawn
    as well, under the key of the model.

    Parameters
    ----------
    %(key)s
    factors
        Factors to show, by name (`"nmf_3"`) or number; `None`: all.
    normalize
        As in :func:`nonneg.get.factors`, e.g. `"lda"` for compositions.
    spatial_key
        Coordinates in `adata.obsm`; of three axes, the first two are drawn. For volumes,
        see :func:`nonneg.pl.volume_maps`.
    library_key
        Column of `adata.obs` that names the section of every observation. Every section
        gets its own panel, with the same colour range for a factor in all of them.
        `None`: the one of the fit, if it had one.
    basis
        Embedding to draw on instead of the tissue, such as `"umap"`.
    ncols
        Panels per row. With several sections, each factor has rows of its own.
    cmap
        Colour map. `None`: `magma_r` (`magma` on a dark figure), or `RdBu_r` around
        zero where scores are negative.
    vmin, vmax
        Colour range, the same for all panels, or a percentile of each factor such as
        `"p99"` for `vmax`. `vmin=None`: 0, or `-vmax` where scores are negative.
    share_scale
        One colour range for all factors, so that maps can be compared, instead of one
        for each. Genes keep their own.
    scale
        `"sqrt"`: colours follow square roots of the scores, so that low values can be
        told apart beside a few high ones; the colour bar has the scores themselves.
    top_gene
        Beneath every factor, map the values of its leading gene, by
        `"loading"` or by `"specificity"` (see :func:`nonneg.get.top_genes`), from the
        matrix of the fit. `None`: factors only.
    size
        Area of a point in square points. `None`: from the distance between points.
        With a picture of the tissue: a factor for the true size.
    colorbar
        Whether panels have a colour bar.
    ax
        Axes to draw on, for a single panel.
    %(table_key)s
    kwargs
        Passed to :func:`squidpy.pl.spatial_scatter` or :func:`scanpy.pl.embedding`,
        e.g. `title`, `img=False`, `crop_coord`, `scalebar_dx`, `alpha`.

    Returns
    -------
    One Axes per panel: factor by factor, and within a factor section by section. With
    `top_gene`, in the order of the rows: factors, and then their genes.

    Raises
    ------
    KeyError
        If the factorization, a factor, the coordinates or the sections do not exist.
    TypeError
        If an argument of squidpy or scanpy has no meaning for several panels, or they do
        not take it.
    ValueError
        If `ax` is given for several panels, or arguments are not valid.

    See Also
    --------
    nonneg.get.image : the map as an array

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> axes = nng.pl.factor_maps(adata, "truth")
    >>> [ax.get_title() for ax in axes]
    ['truth_0', 'truth_1', 'truth_2', 'truth_3']
    >>> axes = nng.pl.factor_maps(
    ...     adata, "truth", factors=[0, 1], top_gene="loading", scale="sqrt"
    ... )
    >>> [ax.get_title() for ax in axes]
    ['truth_0', 'truth_1', 'gene_5', 'gene_3']
    """
    adata = read_table(adata, table_key)
    check_one_of(scale, ("linear", "sqrt"), "scale")
    check_one_of(top_gene, ("loading", "specificity", None), "top_gene")
    ncols = check_positive_int(ncols, "ncols")
    _check_passed(kwargs)
    maps = get_factors(adata, key, normalize=normalize)
    chosen = select_factors(list(maps.var_names), factors)
    genes: list[int] = []
    if top_gene is not None:
        maps, genes = _with_genes(adata, key, maps, chosen, top_gene)
    if basis is None:
        if library_key is None:
            library_key = _own_sections(adata, key)
        sections = tissue_sections(maps, spatial_key, library_key)
    else:
        sections = [embedded(maps, basis)]
    scores = np.asarray(maps.X)
    ranges = color_ranges(scores, chosen, genes, vmin, vmax, share_scale=share_scale)
    for i, (low, high) in ranges.items():
        check_range(maps.var_names[i], low, high, scale, given=vmin is not None)
    # Rows of panels: one value in all sections, or several factors and then their genes.
    at_a_time = ncols if len(sections) == 1 else 1
    places = [
        (i, section)
        for start in range(0, len(chosen), at_a_time)
        for shown in (chosen, genes)
        for i in shown[start : start + at_a_time]
        for section in sections
    ]
    titles = panel_titles(maps, places, kwargs.pop("title", None))
    to = "squidpy.pl.spatial_scatter" if basis is None else "scanpy.pl.embedding"
    panels = make_panels(len(chosen), sections, ncols, ax, paired=bool(genes))
    for panel, (i, section), title in zip(panels, places, titles, strict=True):
        low, high = ranges[i]
        style: dict[str, Any] = {
            "color": maps.var_names[i],
            "cmap": color_map(cmap, low, panel),
            **limits(low, high, scale),
            "size": size,
            "title": title,
            "frameon": False,
            "na_color": to_rgba(NO_DATA),
            "ax": panel,
            **kwargs,
        }
        with _passing(kwargs, to):
            if basis is not None:
                draw_embedding(section, basis, style)
            elif section.picture is not None and style.get("img", True) is not False:
                draw_picture(section, spatial_key, style)
            else:
                draw_points(section, spatial_key, style)
        panel.title.set_fontsize("medium")
    if colorbar:
        add_colorbars(panels, [i for i, _ in places], ranges, scores, genes)
    if ax is None:
        fit_titles(panels)
    if basis is None and size is None:
        fill_panels(panels, [section for _, section in places])
    return panels


def _own_sections(adata: AnnData, key: str) -> str | None:
    """Column with the sections of a fit, or of what it predicts, where it is still there."""
    known = read_predicted(adata, key)
    if known is None:
        return fitted_sections(adata, read_factors(adata, key).entry)
    name = known["library_key"]
    return name if name in adata.obs else None


# Letters of an argument that are shown.
_LONG = 60
# Of squidpy and scanpy, which would act on one panel of several.
_NOT_TAKEN = {
    "n_cols": "it is called `ncols`, as in scanpy",
    "color": "choose `factors` instead",
    "save": "use `axes[0].figure.savefig`",
    "show": "figures are never shown, but returned",
    "figsize": "use `axes[0].figure.set_size_inches`, or draw one factor on an `ax`",
    "return_ax": "Axes are always returned",
}


def _check_passed(kwargs: Mapping[str, Any]) -> None:
    for name, instead in _NOT_TAKEN.items():
        if name in kwargs:
            msg = f"pl.factor_maps does not take {name}={kwargs[name]!r}: {instead}."
            raise TypeError(msg)


@contextmanager
def _passing(kwargs: Mapping[str, Any], to: str) -> Iterator[None]:
    """Say which argument it may be that another function does not take.

    Not known before: what it does not know itself it passes on, to Matplotlib.
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError) as error:
        if not kwargs or is_ours(error):
            raise
        words = set(re.findall(r"\w+", str(error)))
        blamed = [name for name in kwargs if name in words] or list(kwargs)
        given = ", ".join(f"{name}={kwargs[name]!r}"[:_LONG] for name in blamed)
        msg = f"pl.factor_maps passes {given} to {to}, which refuses: {error}"
        raise TypeError(msg) from error


def _with_genes(
    adata: AnnData,
    key: str,
    maps: AnnData,
    chosen: Sequence[int],
    by: Literal["loading", "specificity"],
) -> tuple[AnnData, list[int]]:
    """Maps with columns for the leading genes, and their positions."""
    if read_predicted(adata, key) is not None:
        msg = (
            "Predictions hold no loadings, and so no leading genes. Leave top_gene out."
        )
        raise ValueError(msg)
    params = read_factors(adata, key).entry.params
    if params.get("obsm") is not None:
        msg = (
            f"key={key!r} was fitted to adata.obsm[{params['obsm']!r}], whose columns are "
            "no genes. Leave top_gene out."
        )
        raise ValueError(msg)
    leading = get_top_genes(adata, 1, key=key, method=by).set_index("factor")["gene"]
    names = [str(maps.var_names[i]) for i in chosen]
    if empty := [name for name in names if name not in leading.index]:
        msg = f"{empty[0]!r} has no gene with a positive loading. Choose other factors."
        raise ValueError(msg)
    genes = list(dict.fromkeys(leading[names]))
    layer = params.get("layer")
    source = read_matrix(adata, Read(layer, mask_var=genes), on_cluster=False)
    assert source.mask is not None
    values = to_csr(source.op).toarray()
    columns = adata.var_names[source.mask].tolist()
    both = AnnData(
        np.hstack([np.asarray(maps.X), values]),
        obs=cast("pd.DataFrame", maps.obs),
        var=cast("pd.DataFrame", maps.var).reindex([*maps.var_names, *columns]),
        uns=dict(maps.uns),
    )
    both.obsm.update(maps.obsm)
    return both, [maps.n_vars + columns.index(leading[name]) for name in names]
