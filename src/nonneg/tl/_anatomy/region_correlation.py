"""The regions that patterns fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from ..._adata.anatomy import TOGETHER, RegionCorrelation, correlation_key
from ..._adata.coordinates import point_spacing, read_coordinates
from ..._adata.read import resolve_adata
from ..._adata.regions import read_patterns
from ..._adata.write import write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ...models.anatomy.correlate import correlate, null_scores, p_values
from ...models.anatomy.surrogates import Smoother
from ...operators.threads import computing
from .front import plan

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.regions import Annotation
    from ..._core.random import RNGLike
    from ...models.anatomy.correlate import Correlation


@checked
@shared_docs
def region_correlation(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    region_key: str = "region",
    max_regions: int = 3,
    metric: Literal["pearson", "dice"] = "pearson",
    threshold: float | None = None,
    null: Literal["variogram"] | None = "variogram",
    n_surrogates: int = 199,
    min_gain: float = 0.01,
    beam_width: int = 50,
    connectivity_key: str = "spatial_connectivities",
    spatial_key: str = "spatial",
    rng: RNGLike = 0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Find the region, or the set of adjacent regions, that each pattern fits best.

    Every pattern is compared with all regions, all pairs that touch, and all triples of
    which one touches both others :cite:p:`Cahill2024`; larger sets are grown from the
    best ones. In an ontology, regions of all levels take part, and sets are of regions
    that have no observation in common. Scores are over *annotated observations only*:
    outside of the tissue everything is zero, and any pattern would fit its outline.

    Smooth maps fit some region by chance, all the more if millions of sets are tried. So
    the whole search is repeated on random maps that have the values of the pattern and
    its correlation over distance, and `p_value` is the share of them that fit some set
    as well. :doc:`/anatomy` describes how they are made.

    Parameters
    ----------
    adata
        Annotated data with patterns and regions.
    key
        Of what is compared: a factorization, an element of `obsm` (`"X_pca"`), or a
        column of `obs` with clusters, each of which is a pattern.
    region_key
        Column of `obs` with regions; observations without one are left out. Where
        `atlas.annotate` wrote it, the regions above those in the column take part.
    max_regions
        Largest number of regions in a set.
    metric
        `"pearson"`: correlation with the indicator of the set. `"dice"`:
        :math:`2|P \cap R| / (|P| + |R|)`, with `P` where the pattern is above a
        threshold. It ignores values, and favours large sets if much is above.
    threshold
        Of `"dice"`, in units of the scores. `None`: Otsu's threshold of each pattern.
    null
        `"variogram"`: random maps that are as smooth as each pattern. `None`: no test.
    n_surrogates
        Number of random maps; the smallest p-value is `1 / (1 + n_surrogates)`. Take
        999 for p-values of .001.
    min_gain
        What every further region must add to the score: the best set is the one with
        the highest score less so much for each region after the first. In a noisy
        pattern there is always some sliver that adds a thousandth. 0: the highest
        score, as published.
    beam_width
        Sets of each size that are grown, if `max_regions` is above 3.
    connectivity_key
        Graph in `obsp` that says which observations are neighbours. Without it,
        coordinates must be a regular grid, in two or three dimensions, where those are
        neighbours that share a side.
    spatial_key
        Coordinates in `obsm`.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['nmf_region_correlation' | key + '_region_correlation']` : :class:`dict`
        `sets`, a data frame with the best set of every number of regions for every
        pattern, which :func:`nonneg.get.region_sets` reads; `regions`, their paths and
        sizes; `scores` of single regions (n_regions, k); `matrix` (k, k), scores of
        patterns on the best sets of all; `null` (n_surrogates, k), scores of random
        maps; `params`, with the number of observations compared.

    Raises
    ------
    KeyError
        If there are no such patterns, regions or coordinates.
    ValueError
        If there are fewer than two regions, or numbers in their place; if it is not known which observations are
        neighbours, if the ontology does not hold all regions, or an argument does not
        suit.

    See Also
    --------
    nonneg.get.region_sets : the result as a table
    nonneg.pl.region_correlation : scores of patterns and regions
    nonneg.tl.region_prediction : a region from several patterns

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, y = adata.obsm["spatial"].T
    >>> adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    >>> nng.tl.region_correlation(adata, key="truth", n_surrogates=19)
    >>> adata.uns["truth_region_correlation"]["matrix"].shape
    (4, 4)
    """
    most = check_positive_int(max_regions, "max_regions")
    width = check_positive_int(beam_width, "beam_width")
    check_at_least(min_gain, 0, "min_gain")
    check_one_of(metric, ("pearson", "dice"), "metric")
    check_one_of(null, ("variogram", None), "null")
    if threshold is not None:
        if metric != "dice":
            msg = f"threshold={threshold!r} is of metric='dice' only."
            raise ValueError(msg)
        check_at_least(threshold, -np.inf, "threshold")
    n_random = check_positive_int(n_surrogates, "n_surrogates") if null else 0
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    patterns = read_patterns(target, key)
    made = plan(
        target,
        np.isfinite(patterns.maps).all(axis=1),
        region_key=region_key,
        max_regions=most,
        beam_width=width,
        metric=metric,
        min_gain=min_gain,
        connectivity_key=connectivity_key,
        spatial_key=spatial_key,
    )
    used, search = made.used, made.search
    values = patterns.maps[used]
    signed = (values < 0).any(axis=0) & (metric == "pearson")
    if metric == "dice":
        limits = np.array(
            [_otsu(x) if threshold is None else threshold for x in values.T]
        )
        values = (values > limits).astype(np.float64)
    found = correlate(values, signed, search)
    random = np.empty((most, n_random, values.shape[1]))
    if n_random:
        coords = read_coordinates(target, spatial_key)[used]
        generator = np.random.default_rng(seed)
        with computing(), progress("region_correlation", n_random) as callback:
            smoother = Smoother(made.graph, coords, point_spacing(coords), generator)
            random = null_scores(
                values, signed, search, smoother,
                n_surrogates=n_random, rng=generator, callback=callback,
            )  # fmt: skip
    top = search.penalised(random).max(axis=0, initial=-np.inf)
    entry = RegionCorrelation(
        params={
            "key": key,
            "region_key": region_key,
            "max_regions": most,
            "metric": metric,
            "threshold": threshold,
            "null": null,
            "n_surrogates": n_random,
            "min_gain": float(min_gain),
            "beam_width": width,
            "n_obs": int(used.sum()),
            "seed": seed,
        },
        factors=np.array(patterns.names, object),
        regions=pd.DataFrame(
            {
                "region": made.annotation.names,
                "path": made.annotation.paths,
                "n_obs": made.regions.size,
            }
        ).rename(index=str),
        scores=found.of_regions,
        sets=_table(
            found,
            p_values(search.penalised(found.score).max(axis=0), top),
            [p_values(*of_size) for of_size in zip(found.score, random, strict=True)],
            annotation=made.annotation,
            size=made.regions.size,
            factors=patterns.names,
            signed=signed,
        ),
        members=_rows(found.members),
        matrix=found.matrix,
        null=top,
    )
    write_values(target, {("uns", correlation_key(key)): entry.to_uns()})
    return target if copy else None


def _otsu(values: NDArray[np.float64]) -> float:
    from skimage.filters import threshold_otsu

    if not np.ptp(values):
        return float(values[0])
    return float(threshold_otsu(values))


def _rows(members: NDArray[np.int32]) -> NDArray[np.int32]:
    """(max_regions, k, …) as rows: factor by factor, from one region to most."""
    most, k, _ = members.shape
    return members.transpose(1, 0, 2).reshape(k * most, -1)


def _table(
    found: Correlation,
    overall: NDArray[np.float64],
    of_sizes: list[NDArray[np.float64]],
    *,
    annotation: Annotation,
    size: NDArray[np.int64],
    factors: list[str],
    signed: NDArray[np.bool_],
) -> pd.DataFrame:
    """One row per pattern and number of regions."""
    most, k = found.score.shape
    adjusted = overall if np.isnan(overall).any() else false_discovery_control(overall)
    fit = np.where(signed[:, None], np.abs(found.matrix), found.matrix)
    off_diagonal = np.where(np.eye(k, dtype=bool), -np.inf, fit)
    own = np.diag(fit)
    exclusivity = own - off_diagonal.max(axis=0) if k > 1 else np.full(k, np.nan)
    rows = []
    for i in range(k):
        for level in range(most):
            members = found.members[level, i]
            inside = members[members >= 0]
            score = found.score[level, i]
            is_best = level == found.overall[i]
            rows.append(
                {
                    "factor": factors[i],
                    "n_regions": level + 1,
                    "regions": TOGETHER.join(annotation.names[r] for r in inside),
                    "n_obs": int(size[inside].sum()),
                    "score": score if np.isfinite(score) else np.nan,
                    "sign": int(found.sign[level, i]),
                    "p_value": of_sizes[level][i] if np.isfinite(score) else np.nan,
                    "is_best": bool(is_best),
                    "p_search": overall[i] if is_best else np.nan,
                    "p_adjusted": adjusted[i] if is_best else np.nan,
                    "exclusivity": exclusivity[i] if is_best else np.nan,
                }
            )
    return pd.DataFrame(rows).rename(index=str)
