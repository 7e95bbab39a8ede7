"""How coherent patterns are, and how well they fit regions, next to other methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from fast_array_utils import types as fau
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA

from ..._adata.anatomy import TOGETHER
from ..._adata.read import resolve_adata, select_matrix
from ..._adata.regions import Patterns, read_neighbours, read_patterns
from ..._adata.write import write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ...models.anatomy.correlate import correlate
from .front import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike

type Baseline = Literal["pca", "kmeans", "ward"]

_BASELINES: tuple[Baseline, ...] = ("pca", "kmeans", "ward")
# Clusters are found in so many components, as is usual for expression data.
_N_PCS = 50


@checked
@shared_docs
def compare_patterns(
    adata: AnnData | SpatialData,
    key: str | Sequence[str] = "nmf",
    *,
    baselines: Sequence[Baseline] = _BASELINES,
    region_key: str | None = "region",
    max_regions: int = 3,
    threshold: float = 0.05,
    layer: str | None = None,
    connectivity_key: str = "spatial_connectivities",
    spatial_key: str = "spatial",
    rng: RNGLike = 0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Compare patterns with principal components and clusters of the same data.

    For every pattern of every method: Moran's I of its values, Moran's I of the map of
    where it leads, and the correlation with the set of regions that it fits best, which
    is what :func:`nonneg.tl.region_correlation` finds. Baselines have as many
    components or clusters as the first factorization, and are scikit-learn's.

    Parameters
    ----------
    adata
        Annotated data with patterns, and with the matrix that they are of.
    key
        Patterns, or several: factorizations, elements of `obsm`, clusters in `obs`.
    baselines
        `"pca"`: principal components; `"kmeans"` and `"ward"`: clusters in up to 50
        principal components. Ward's clusters are of observations that are connected,
        which makes them coherent by construction.
    region_key
        Column of `obs` with regions. `None`: Moran's I only.
    max_regions
        Largest number of regions in a set.
    threshold
        A pattern leads where it is the largest, after division by its own maximum, and
        above this. The absolute value counts for patterns of both signs.
    layer
        Layer to find the baselines in, instead of `adata.X`; log-normalised data suit.
    connectivity_key
        Graph in `obsp` that says which observations are neighbours. Without it,
        coordinates must be a regular grid.
    spatial_key
        Coordinates in `obsm`.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['pattern_comparison']` : :class:`pandas.DataFrame`
        One row per method and pattern: `method`, `pattern`, `morans_i` of its values,
        `morans_i_leading` of the map of where it leads (NaN if nowhere), `regions` and
        `region_score`.

    Raises
    ------
    KeyError
        If patterns, regions, a layer or coordinates do not exist.
    ValueError
        If it is not known which observations are neighbours, or an argument does not
        suit.

    See Also
    --------
    nonneg.pl.compare_patterns : as a figure
    scanpy.metrics.morans_i : what is computed

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, y = adata.obsm["spatial"].T
    >>> adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    >>> nng.tl.compare_patterns(adata, key="truth", baselines=["pca"])
    >>> adata.uns["pattern_comparison"].groupby("method").size().to_dict()
    {'pca': 4, 'truth': 4}
    """
    keys = [key] if isinstance(key, str) else list(key)
    if not keys:
        msg = "key names no patterns."
        raise ValueError(msg)
    for name in baselines:
        check_one_of(name, _BASELINES, "baselines")
        if name in keys:
            msg = f"{name!r} is both a key and a baseline. Leave one of them out."
            raise ValueError(msg)
    most = check_positive_int(max_regions, "max_regions")
    check_at_least(threshold, 0, "threshold")
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    maps = {name: read_patterns(target, name) for name in keys}
    known = np.logical_and.reduce(
        [np.isfinite(some.maps).all(axis=1) for some in maps.values()]
    )
    whole = read_neighbours(
        target, known, connectivity_key=connectivity_key, spatial_key=spatial_key
    )
    if baselines:
        x, _ = select_matrix(target, layer=layer)
        k = maps[keys[0]].maps.shape[1]
        maps |= _fit(x, known, whole, k=k, baselines=baselines, seed=seed)
    made = None
    if region_key is not None:
        made = plan(
            target,
            known,
            region_key=region_key,
            max_regions=most,
            beam_width=50,
            metric="pearson",
            min_gain=0.01,
            connectivity_key=connectivity_key,
            spatial_key=spatial_key,
        )
    tables = []
    for method, some in maps.items():
        values = some.maps[known]
        table = pd.DataFrame(
            {
                "method": method,
                "pattern": some.names,
                "morans_i": _morans_i(values, whole),
                "morans_i_leading": _morans_i(_leading(values, threshold), whole),
            }
        )
        if made is not None:
            inside = some.maps[made.used]
            found = correlate(inside, (inside < 0).any(axis=0), made.search)
            of_pattern = np.arange(len(some.names))
            chosen = found.members[found.overall, of_pattern]
            table["regions"] = [
                TOGETHER.join(made.annotation.names[r] for r in each[each >= 0])
                for each in chosen
            ]
            table["region_score"] = found.score[found.overall, of_pattern]
        tables.append(table)
    table = pd.concat(tables, ignore_index=True).rename(index=str)
    write_values(target, {("uns", "pattern_comparison"): table})
    return target if copy else None


def _morans_i(values: NDArray[np.float64], graph: sp.csr_matrix) -> NDArray[np.float64]:
    """Scanpy's, of every column; NaN for those that do not vary."""
    import scanpy as sc

    out = np.full(values.shape[1], np.nan)
    varies = np.ptp(values, axis=0) > 0
    if varies.any():
        columns = np.ascontiguousarray(values[:, varies].T)
        out[varies] = sc.metrics.morans_i(graph.astype(np.float64), columns)
    return out


def _leading(values: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Indicators of where each pattern is the largest, and above a threshold."""
    size = np.abs(values)
    top = size.max(axis=0)
    size = size / np.where(top > 0, top, 1)
    first = size.argmax(axis=1)[:, None] == np.arange(values.shape[1])
    return (first & (size > threshold)).astype(np.float64)


def _fit(
    x: Any,
    known: NDArray[np.bool_],
    graph: sp.csr_matrix,
    *,
    k: int,
    baselines: Sequence[Baseline],
    seed: int,
) -> dict[str, Patterns]:
    """Baselines as patterns of all observations, NaN outside those known."""
    inside = x[known]
    if isinstance(inside, fau.DaskArray):
        # Components are those of one matrix, as are those of rows of a file.
        inside = inside.compute()
    seed = seed % 2**32
    n = min(max(k, _N_PCS), min(inside.shape) - 1)
    if n < 1:
        msg = (
            f"baselines={list(baselines)} need two observations and two variables at "
            f"least, but there are {inside.shape[0]} and {inside.shape[1]}."
        )
        raise ValueError(msg)
    # Sparse matrices as well: scikit-learn centres within the products.
    scores = PCA(n, svd_solver="arpack", random_state=seed).fit_transform(inside)
    found: dict[str, Patterns] = {}
    for name in baselines:
        if name == "pca":
            values, names = scores[:, :k], [f"pca_{i}" for i in range(min(k, n))]
        else:
            if name == "kmeans":
                labels = KMeans(k, n_init=10, random_state=seed).fit_predict(scores)
            else:
                labels = AgglomerativeClustering(
                    k, linkage="ward", connectivity=graph
                ).fit_predict(scores)
            values = (labels[:, None] == np.arange(k)).astype(np.float64)
            names = [f"{name}_{i}" for i in range(k)]
        full = np.full((known.size, values.shape[1]), np.nan)
        full[known] = values
        found[name] = Patterns(full, names)
    return found
