"""How much of a footprint is in its region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers
from .._core.arguments import checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@checked
def localization(
    footprints: ArrayLike, regions: ArrayLike, component_regions: ArrayLike
) -> NDArray[np.float64]:
    r"""Share of each footprint's energy that is in its own region.

    .. math:: \sum_{n \in \pi_k} a_{nk}^2 \Big/ \sum_n a_{nk}^2

    Parameters
    ----------
    footprints
        Pixels x components.
    regions
        Region of every pixel, NaN or `None` for pixels without one.
    component_regions
        Region of every component, named as in `regions`.

    Returns
    -------
    One number per component, 0 to 1; NaN where a footprint is zero.

    Raises
    ------
    ValueError
        If lengths do not match, or a component's region has no pixel.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=100
    ... )
    >>> truth = adata.obsm["true_footprints"]
    >>> regions = adata.obs["region"], adata.uns["truth"]["region"]
    >>> bool((nng.metrics.localization(truth, *regions) > 0.8).all())
    True
    """
    a = as_numbers(footprints, "footprints")
    of_pixels = np.asarray(regions, object)
    of_components = np.asarray(component_regions, object)
    in_rows = of_pixels.ndim == of_components.ndim == 1
    if not in_rows or a.shape != (of_pixels.size, of_components.size):
        msg = (
            f"footprints {a.shape}, regions {of_pixels.shape} and component_regions "
            f"{of_components.shape} must have shapes (n_obs, k), (n_obs,) and (k,)."
        )
        raise ValueError(msg)
    known: set[Any] = set(of_pixels[~pd.isna(of_pixels)])
    unknown = [name for name in of_components if name not in known]
    if unknown:
        msg = f"No pixel is in the regions {sorted(set(map(str, unknown)))[:5]}."
        raise ValueError(msg)
    energy = np.square(a)
    inside = np.where(of_pixels[:, None] == of_components, energy, 0).sum(axis=0)
    total = energy.sum(axis=0)
    return np.divide(inside, total, where=total > 0, out=np.full(total.size, np.nan))
