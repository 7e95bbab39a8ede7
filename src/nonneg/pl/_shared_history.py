"""Shared metagenes after every data set that arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize as ColorRange

from .._adata.integration import integration_entry, read_history
from .._adata.labels import as_text
from .._adata.schema import recorded
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ._panels import figure_of, new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

# Inches.
_FACTOR, _LEAST_WIDTH, _HEIGHT, _LETTER = 0.06, 0.9, 2.0, 0.075

# Quantile of weights at which colours end: a few extreme genes do not hide the rest.
_EXTREME = 0.99


@checked
@shared_docs
def shared_history(
    adata: AnnData | SpatialData,
    key: str = "inmf",
    *,
    n_genes: int = 1000,
    cmap: str | Colormap = "magma_r",
    cmap_change: str | Colormap = "Blues",
    table_key: str | None = None,
) -> list[Axes]:
    r"""Show the shared metagenes after every data set that arrived, and what changed.

    Above, genes x components of the first model and after every update; below, by how
    much each weight was changed by what arrived, in colours that end where those of the
    weights do at a fifth :cite:p:`Gao2021`. Genes are in the order of their leading
    component at the end. A data set with cells of a new kind changes whole columns; where
    all kinds are known, little changes.

    Parameters
    ----------
    %(key)s
    n_genes
        Maximum number of genes, those with the largest weights.
    cmap
        Colour map of weights.
    cmap_change
        Colour map of changes.
    %(table_key)s

    Returns
    -------
    The Axes of weights, then those of changes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or it has no history. Update with
        `nonneg.tl.online_inmf_update(..., keep_history=True)`.
    ValueError
        If the factorization knows no data sets.

    See Also
    --------
    nonneg.pl.shared_change : one number for every mini-batch
    nonneg.tl.online_inmf_update : takes in what arrives

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches()
    >>> late = adata.obs["batch"] == "batch_2"
    >>> first, last = adata[~late].copy(), adata[late].copy()
    >>> nng.tl.online_inmf(first, 6, batch_key="batch", size_factors="total")
    >>> nng.tl.online_inmf_update(first, last, batch="batch_2", keep_history=True)
    >>> axes = nng.pl.shared_history(last)
    >>> [ax.get_title() for ax in axes]
    ['batch_0\n+ batch_1', '+ batch_2', '']
    """
    adata = read_table(adata, table_key)
    n_genes = check_positive_int(n_genes, "n_genes")
    factors = read_factors(adata, key)
    entry = integration_entry(factors)
    history = read_history(adata, factors)
    if history is None:
        msg = (
            f"adata.uns[{key!r}] has no history of its shared metagenes: it holds "
            f"{recorded(entry)}. Update it with "
            "`nonneg.tl.online_inmf_update(..., keep_history=True)`."
        )
        raise KeyError(msg)
    history = history[np.isfinite(history).all(axis=(1, 2))]
    if not len(history):
        msg = "adata has no variables: there is nothing to draw."
        raise ValueError(msg)
    last = history[:, -1]
    # By component, and within it the strongest first.
    chosen = np.sort(np.argsort(-last.max(axis=1), kind="stable")[:n_genes])
    last = last[chosen]
    leading = last.argmax(axis=1)
    order = chosen[np.lexsort((-last.max(axis=1), leading))]
    weights = history[order].transpose(1, 0, 2)
    changes = np.abs(np.diff(weights, axis=0))
    n_fits, _, rank = weights.shape
    names = [name.replace(" + ", "\n+ ") for name in as_text(entry.history_batch)]
    titles = [names[0], *(f"+ {name}" for name in names[1:])]
    most = float(np.quantile(weights.max(axis=2), _EXTREME)) or 1.0
    longest = max(len(line) for title in titles for line in title.split("\n"))
    width = max(_LEAST_WIDTH, _FACTOR * rank, _LETTER * longest)
    _, grid = new_figure(
        2,
        n_fits,
        figsize=(n_fits * width + 1.4, 2 * _HEIGHT),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    norms = ColorRange(0, most), ColorRange(0, most / 5)
    # Nothing had changed before the first.
    grid[1, 0].remove()
    upper, lower = list(grid[0]), list(grid[1, 1:])
    drawn = [
        *zip(upper, weights, [cmap] * n_fits, [norms[0]] * n_fits, strict=True),
        *zip(lower, changes, [cmap_change] * n_fits, [norms[1]] * n_fits, strict=False),
    ]
    for ax, values, colors, norm in drawn:
        ax.imshow(
            values, aspect="auto", interpolation="nearest", cmap=colors, norm=norm
        )
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color("0.7")
    for ax, title in zip(upper, titles, strict=True):
        ax.set_title(title, fontsize="small")
    upper[0].set_ylabel(f"{order.size} genes", fontsize="small")
    lower[0].set_ylabel("genes", fontsize="small")
    for ax in lower:
        ax.set_xlabel(f"{rank} components", fontsize="small")
    for axes, colors, norm, label in (
        (upper, cmap, norms[0], "shared weight"),
        (lower, cmap_change, norms[1], "change of it"),
    ):
        bar = figure_of(axes[0]).colorbar(
            ScalarMappable(norm, colors), ax=axes, extend="max", aspect=15, pad=0.02
        )
        bar.outline.set_visible(False)
        bar.set_label(label, fontsize="small")
        bar.ax.tick_params(labelsize="x-small")
    return [*upper, *lower]
