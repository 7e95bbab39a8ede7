"""Variance of the components of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from .._adata.checks import as_numbers, check_some
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData


@checked
@shared_docs
def svd_variance_ratio(
    adata: AnnData | SpatialData,
    key: str | Sequence[str] = "svd",
    *,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how much of the variance over time each component holds.

    Components of noise alone lie on a slowly falling line; more than those above it are
    of no use. If the line is not reached, take more.

    Several keys have one scale: parts of the variance of the recording where it is known
    for all of them, and otherwise, as with a corrected signal, the variance itself, as a
    mean over pixels in squared units of the signal.

    Parameters
    ----------
    %(key)s
        Several are drawn together, such as `["svd", "svd_violet", "hemo"]`.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes. The legend says how much of the variance all components hold, where that
    is known.

    Raises
    ------
    KeyError
        If there is no product under a key, or it has no singular values.
    ValueError
        If no key is given.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(shape=(40, 48), n_regions=2, n_frames=100)
    >>> nng.pp.delta_f(adata)
    >>> nng.pp.svd(adata, 20)
    >>> nng.pl.svd_variance_ratio(adata).get_xlabel()
    'component'
    """
    adata = read_table(adata, table_key)
    names = [key] if isinstance(key, str) else list(key)
    spectra = [read_spectrum(adata, name) for name in names]
    if not spectra:
        msg = "key names no product."
        raise ValueError(msg)
    if ax is None:
        _, ax = plt.subplots(figsize=(3.4, 2.4), layout="constrained")
    in_parts = all(spectrum.total is not None for spectrum in spectra)
    for name, spectrum in zip(names, spectra, strict=True):
        total, variance = spectrum.total, spectrum.variance
        label = name if total is None else f"{name}: {variance.sum() / total:.1%}"
        scale = total if in_parts and total is not None else adata.n_obs
        ax.plot(np.arange(1, variance.size + 1), variance / scale, lw=1.2, label=label)
    name = "part of variance" if in_parts else "variance per pixel"
    ax.set(xscale="log", yscale="log", xlabel="component", ylabel=name)
    ax.xaxis.set_major_formatter("{x:.0f}")
    # Curves fall.
    ax.legend(fontsize="small", frameon=False, loc="upper right")
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


class Spectrum(NamedTuple):
    """Variance over time, summed over pixels."""

    variance: NDArray[np.float64]
    """Of each component."""
    total: float | None
    """Of the recording, if it is known."""


def read_spectrum(adata: AnnData, key: str) -> Spectrum:
    """Variance of the components of a product, or an error if it is not known."""
    found = read_factors(adata, key)
    entry = found.entry
    values = getattr(entry, "singular_values", None)
    if values is None:
        msg = f"adata.uns[{key!r}] has no singular values. Call `nonneg.pp.svd` first."
        raise KeyError(msg)
    check_some(adata, "observations", "variables")
    where = f"adata.uns[{key!r}]['singular_values']"
    singular = as_numbers(values, where)
    total = as_numbers(getattr(entry, "total_variance", None), f"The total of {key!r}")
    if singular.shape != (len(found.names),) or not (singular > 0).any() or total.ndim:
        msg = (
            f"{where} must hold {len(found.names)} numbers, some of them above 0, but "
            f"holds {values!r}: it has changed. Call `nonneg.pp.svd` again."
        )
        raise ValueError(msg)
    return Spectrum(
        singular**2 / adata.n_vars, None if np.isnan(total) else float(total)
    )
