"""Components of two sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..._adata.common_grid import cell_means, common_cells
from ..._adata.labels import as_text
from ..._adata.views import read_factors
from ..._core.arguments import checked
from ...models.traces.match import cosines, match_within

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class ComponentMatches(NamedTuple):
    """Which components of two sessions are the same."""

    table: pd.DataFrame
    """A row for every component of the first session: `region`, `component`, `other`
    and `cosine`; those that have no partner have `other` -1 and `cosine` NaN."""
    mean_cosine: float
    """Mean over the pairs."""


@checked
def match_components(
    adata: AnnData,
    other: AnnData,
    *,
    key: str = "locanmf",
    other_key: str | None = None,
    spatial_key: str = "spatial",
) -> ComponentMatches:
    """Match components of two sessions by their footprints, region by region.

    Within each region, pairs are chosen so that the sum of the cosines of their
    footprints is the largest there is (the Hungarian method), instead of one by one
    :cite:p:`Saxena2020`. The mean cosine says how reproducible footprints are: compare
    two halves of a session, sessions of an animal, and animals, once with
    components and once with an SVD.

    Parameters
    ----------
    adata
        Annotated pixels with components.
    other
        The other session, in the same coordinates (e.g. of an atlas).
    key
        Key of the components. Without regions, as of an SVD, all components are
        candidates for each other, and signs do not matter.
    other_key
        Key of those of the other session. `None`: the same.
    spatial_key
        Coordinates in `obsm`. They are not used where both sessions have pixels of the
        same box (`.uns['volume']`, `.obs['voxel']`): pixels of one voxel are compared
        then. Otherwise, footprints are averaged on a grid of the coarser spacing.

    Returns
    -------
    :class:`~nonneg.tl.ComponentMatches`: `table` and `mean_cosine`.

    Raises
    ------
    KeyError
        If there are no such components or coordinates.
    ValueError
        If the sessions have no pixel or no region in common.

    See Also
    --------
    nonneg.tl.map_distances : sessions compared by how their regions correlate

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 40)
    >>> matches = nng.tl.match_components(adata, adata[::-1], key="truth")
    >>> round(matches.mean_cosine, 3)
    1.0
    """
    one, two = read_factors(adata, key), read_factors(other, other_key or key)
    left, right, n_cells = common_cells(adata, other, spatial_key)
    if not n_cells:
        msg = (
            "The sessions have no pixel in common. Bring both into the coordinates of "
            "an atlas first (`nonneg.atlas.align`)."
        )
        raise ValueError(msg)
    a = cell_means(one.scores.astype(np.float64), left, n_cells)
    b = cell_means(two.scores.astype(np.float64), right, n_cells)
    similarity = np.nan_to_num(cosines(a, b))
    names: list[NDArray[Any]] = [
        np.full(x.scores.shape[1], "")
        if (stored := one_of.uns[x.keys.uns].get("region")) is None
        else as_text(stored)
        for x, one_of in ((one, adata), (two, other))
    ]
    if not np.intersect1d(names[0], names[1]).size:
        msg = (
            f"No region has components in both sessions: {_listed(names[0])} against "
            f"{_listed(names[1])}. Name the keys of two factorizations with the same "
            "regions, or two without."
        )
        raise ValueError(msg)
    found = match_within(similarity, *names)
    matched = found >= 0
    cosine = np.where(matched, similarity[np.arange(found.size), found], np.nan)
    table = pd.DataFrame(
        {
            "region": names[0].astype(object),
            "component": np.arange(found.size),
            "other": found,
            "cosine": cosine,
        }
    )
    return ComponentMatches(table, float(cosine[matched].mean()))


def _listed(names: NDArray[Any]) -> str:
    """Names of regions, for a message."""
    return str(sorted(set(names.tolist()))[:5]) if names.any() else "no regions"
