"""Variance of the components of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._adata.tables import of_table
from .._adata.views import read_factors
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes


@of_table
@shared_docs
def svd_variance_ratio(
    adata: AnnData, key: str | Sequence[str] = "svd", *, ax: Axes | None = None
) -> Axes:
    """Show how much of the variance over time each component holds.

    Components of noise alone lie on a slowly falling line; more than those above it are
    of no use. If the line is not reached, take more.

    Parameters
    ----------
    %(key)s
        Several are drawn together, such as `["svd", "svd_violet", "hemo"]`.
    ax
        Axes to draw on.

    Returns
    -------
    The Axes. The legend says how much of the variance all components hold, where that
    is known.

    Raises
    ------
    KeyError
        If there is no product under a key, or it has no singular values.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(shape=(40, 48), n_regions=2, n_frames=100)
    >>> nng.pp.delta_f(adata)
    >>> nng.pp.svd(adata, 20)
    >>> nng.pl.svd_variance_ratio(adata).get_xlabel()
    'component'
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(3.4, 2.4), layout="constrained")
    for name in [key] if isinstance(key, str) else key:
        entry = read_factors(adata, name).entry
        values = getattr(entry, "singular_values", None)
        if values is None:
            msg = f"adata.uns[{name!r}] has no singular values. Call `nonneg.pp.svd` first."
            raise KeyError(msg)
        variance = np.asarray(values, np.float64) ** 2 / adata.n_vars
        total = getattr(entry, "total_variance", None)
        whole = float(variance.sum() if total is None else total)
        label = name if total is None else f"{name}: {variance.sum() / whole:.1%}"
        ax.plot(np.arange(1, variance.size + 1), variance / whole, lw=1.2, label=label)
    ax.set(xscale="log", yscale="log", xlabel="component", ylabel="part of variance")
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.legend(fontsize="small", frameon=False)
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
