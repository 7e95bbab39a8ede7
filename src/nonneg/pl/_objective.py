"""Course of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._adata import read_factors
from .._docs import shared_docs

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


@shared_docs
def objective(adata: AnnData, key: str = "nmf", *, ax: Axes | None = None) -> Axes:
    """Show the course of the objective during the fit.

    Iterations are on a logarithmic scale: the first ones gain most, and a fit that has
    settled is flat over the last stretch, not only over the last few iterations.

    Parameters
    ----------
    %(key)s
    ax
        Axes to draw on.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or its objective is not recorded.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.nmf(adata, 4)
    >>> nng.pl.objective(adata).get_ylabel()
    'objective'
    """
    info = read_factors(adata, key).info
    if "objective" not in info:
        msg = f"adata.uns[{key!r}] records no objective: it holds {list(info)}."
        raise KeyError(msg)
    iteration, values = np.asarray(info["iteration"]), np.asarray(info["objective"])
    if ax is None:
        _, ax = plt.subplots(figsize=(3.2, 2.4), layout="constrained")
    (line,) = ax.plot(iteration, values, lw=1.2)
    ax.plot(iteration[-1:], values[-1:], "o", ms=4, color=line.get_color())
    ax.set_xscale("log")
    # A bound from below, which rises.
    label = "ELBO" if "elbo" in info else "objective"
    ax.set(xlabel="iteration", ylabel=label)
    ending = "converged" if info["converged"] else "not converged"
    ax.set_title(f"{key}: {ending} after {info['n_iter']} iterations", fontsize="small")
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
