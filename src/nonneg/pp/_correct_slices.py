"""Sections that were stained unequally."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.read import resolve_adata
from .._adata.volume import PLANES, read_incomplete, read_volume
from .._adata.write import matrix_place, write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_at_least, check_one_of
from ..models.volume.planes import plane_gains
from ..operators.threads import computing

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

# The shortest wave that planes can hold.
_SHORTEST = 2.0
# Its fourth power is a number, and there are no volumes with as many planes.
_LONGEST = 1e6


@checked
@shared_docs
def correct_slices(
    adata: AnnData | SpatialData,
    *,
    layer: str | None = None,
    plane: Literal["coronal", "sagittal", "horizontal"] = "coronal",
    period: float = 8.0,
    max_gain: float = 2.0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Bring the slices of every gene to one level.

    Sections of one experiment are stained and developed unequally, which shows as stripes
    (curtaining) across the cut. For each gene, the logarithm of the ratio of neighbouring
    planes, over the places that both have, is taken as a jump between levels. Levels are
    a smooth curve, which is anatomy, plus the logarithm of the planes' gains:

    .. math::

        \min_{m, g} \sum_s \big(\Delta_s - (m + g)_{s+1} + (m + g)_s\big)^2
        + \rho \Big(\lambda \sum_s (m_{s+1} - 2 m_s + m_{s-1})^2
        + \sum_s g_s^2\Big),

    with :math:`\lambda = (2\pi / \mathrm{period})^{-4}` and a small :math:`\rho`. Expression
    is divided by the gains.

    Parameters
    ----------
    adata
        Annotated voxels of a volume: dense and in memory, NaN where entries are missing.
    layer
        Layer to change instead of `adata.X`.
    plane
        How sections were cut.
    period
        In planes: what varies faster along the cut is attributed to gains, what varies
        more slowly to anatomy; at this period, a half to each. Of the logarithm of a
        single slice's gain, 1 - 2 / `period` is corrected. Higher values (e.g. 16)
        correct more, but structures of few planes fade; try 4 where planes are few.
    max_gain
        Gains are limited to between 1 / `max_gain` and `max_gain`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.X` or `.layers[layer]`
        Expression over gains.
    `.varm['slice_gain']` : :class:`numpy.ndarray` (shape `(n_vars, n_planes)`)
        Gains of the planes of the box, NaN where a plane has none.

    Raises
    ------
    KeyError
        If a layer or a table does not exist, or observations are not voxels of a volume.
    TypeError
        If the matrix is not a dense array in memory.
    ValueError
        If entries are negative, or numbers are out of range.

    See Also
    --------
    nonneg.pp.impute_knn : call it before, so that lost slices are filled

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.atlas_expression((12, 10, 8), 20, 3)
    >>> nng.pp.correct_slices(adata)
    >>> adata.varm["slice_gain"].shape
    (20, 12)
    """
    check_one_of(plane, PLANES, "plane")
    check_at_least(period, _SHORTEST, "period")
    if period > _LONGEST:
        msg = f"period={period:g} must be at most {_LONGEST:g} planes."
        raise ValueError(msg)
    check_at_least(max_gain, 1, "max_gain")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    volume = read_volume(target)
    x, where = read_incomplete(target, layer)
    if (x < 0).any():
        msg = f"{where} contains negative entries, of which no ratio can be taken."
        raise ValueError(msg)
    gains = np.full((target.n_vars, volume.n_planes(plane)), np.nan)
    with computing():
        found = plane_gains(x, volume.index, PLANES[plane], period)
    gains[:, : found.shape[1]] = np.clip(found, 1 / max_gain, max_gain)
    divisor = np.nan_to_num(gains, nan=1.0).T[volume.plane(plane)]
    write_values(
        target,
        {
            matrix_place(layer): (x / divisor).astype(x.dtype),
            ("varm", "slice_gain"): gains.astype(np.float32),
        },
    )
    return target if copy else None
