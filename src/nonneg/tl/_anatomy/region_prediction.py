"""A region from several patterns."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._adata.anatomy import prediction_key
from ..._adata.read import resolve_adata
from ..._adata.regions import read_annotation, read_patterns
from ..._adata.schema import SCHEMA
from ..._adata.views import select_factors
from ..._adata.write import write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.validators import check_positive_int
from ...metrics import region_auc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.views import FactorSelection
    from ..._core.random import RNGLike


@checked
@shared_docs
def region_prediction(
    adata: AnnData | SpatialData,
    region: str | Sequence[str],
    *,
    key: str = "nmf",
    region_key: str = "region",
    factors: FactorSelection | None = None,
    n_factors: int = 3,
    n_random: int = 1000,
    rng: RNGLike = 0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Predict a region from a few patterns, and from as many random ones.

    A logistic regression tells observations of the region from all others with a region
    :cite:p:`Cahill2024`. That an area under the curve is high says little by itself,
    since any three smooth patterns tell a large region to some extent: compare it with
    those of random combinations of the patterns.

    Parameters
    ----------
    adata
        Annotated data with patterns and regions.
    region
        Region, or several that are taken together; of any level of the ontology.
    key
        Key of the patterns, as in :func:`nonneg.tl.region_correlation`.
    region_key
        Column of `obs` with regions; observations without one are left out.
    factors
        Patterns to predict with, by name or number. `None`: those with the highest
        correlation with the region, in either direction.
    n_factors
        Number of patterns to predict with, where `factors` does not name them.
    n_random
        Number of random combinations of as many patterns, the chosen one left out; or
        all there are, if that is fewer.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['nmf_region_prediction' | key + '_region_prediction']` : :class:`dict`
        `auc`, the area under the curve of the patterns in `factors`; `random`, a data
        frame with `factors` and `auc` of the random combinations; `rank`, the share of
        them that are as good; `region`; `params`.

    Raises
    ------
    KeyError
        If there are no such patterns, factors or regions.
    ValueError
        If the region holds all observations or none, or there are fewer patterns than
        are asked for.

    See Also
    --------
    nonneg.pl.region_prediction : histogram
    nonneg.metrics.region_auc : for arrays

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, y = adata.obsm["spatial"].T
    >>> adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    >>> nng.tl.region_prediction(adata, "west", key="truth", n_factors=2)
    >>> len(adata.uns["truth_region_prediction"]["random"])
    5
    """
    n_random = check_positive_int(n_random, "n_random")
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    patterns = read_patterns(target, key)
    annotation = read_annotation(target, region_key)
    names = [region] if isinstance(region, str) else [str(name) for name in region]
    unknown = [name for name in names if name not in annotation.names]
    if unknown or not names:
        msg = (
            f"There is no region {unknown}; there are {annotation.names[:10]}"
            f"{' …' if len(annotation.names) > 10 else ''}."
        )
        raise KeyError(msg)
    used = (annotation.codes >= 0) & np.isfinite(patterns.maps).all(axis=1)
    values = patterns.maps[used]
    rows = [annotation.names.index(name) for name in names]
    inside = annotation.members[rows].any(axis=0)[annotation.codes[used]]
    if inside.all() or not inside.any():
        msg = (
            f"{names} hold {int(inside.sum())} of the {inside.size} observations with a "
            "region; there must be some on either side."
        )
        raise ValueError(msg)
    if factors is None:
        size = check_positive_int(n_factors, "n_factors")
        if size > values.shape[1]:
            msg = f"n_factors={size}, but there are {values.shape[1]} patterns."
            raise ValueError(msg)
        chosen = _closest(values, inside)[:size]
    else:
        chosen = sorted(set(select_factors(patterns.names, factors)))
    others = _random_sets(
        values.shape[1], chosen, n_random, np.random.default_rng(seed)
    )
    auc = region_auc(values[:, chosen], inside)
    random = [region_auc(values[:, list(some)], inside) for some in others]
    stored = {
        "schema": SCHEMA,
        "region": np.array(names, object),
        "factors": np.array([patterns.names[i] for i in chosen], object),
        "auc": auc,
        "random": pd.DataFrame(
            {
                "factors": [
                    ", ".join(patterns.names[i] for i in some) for some in others
                ],
                "auc": np.array(random, np.float64),
            }
        ).rename(index=str),
        "rank": float(np.mean(np.array(random) >= auc)) if random else np.nan,
        "params": {
            "key": key,
            "region_key": region_key,
            "n_random": n_random,
            "n_obs": int(used.sum()),
            "seed": seed,
        },
    }
    write_values(target, {("uns", prediction_key(key)): stored})
    return target if copy else None


def _closest(values: NDArray[np.float64], inside: NDArray[np.bool_]) -> list[int]:
    """Patterns by their correlation with a region, the highest first."""
    centred = values - values.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0))
    product = centred.T @ (inside - inside.mean())
    correlation = np.abs(product) / np.where(spread > 0, spread, np.inf)
    return [int(i) for i in np.argsort(-correlation, kind="stable")]


def _random_sets(
    k: int, chosen: list[int], n: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Different combinations of as many of k patterns as were chosen."""
    size, own = len(chosen), tuple(sorted(chosen))
    if comb(k, size) <= 2 * n:
        some = [each for each in combinations(range(k), size) if each != own]
        picked = rng.permutation(len(some))[:n]
        return [some[i] for i in sorted(picked)]
    found: dict[tuple[int, ...], None] = {}
    while len(found) < n:
        each = tuple(sorted(rng.choice(k, size, replace=False).tolist()))
        if each != own:
            found[each] = None
    return list(found)
