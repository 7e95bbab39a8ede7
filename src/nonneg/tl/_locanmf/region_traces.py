"""Means of regions and singular vectors, as components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..._adata.read import resolve_adata
from ..._adata.write import keys_to_write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.validators import check_one_of, check_positive_int
from ...models.locanmf.baselines import leading_components, region_means
from ...operators.threads import computing
from .front import build_movie, regions_to_fit, store_components

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def region_traces(
    adata: AnnData | SpatialData,
    key: str = "svd",
    *,
    method: Literal["mean", "svd"] = "mean",
    n_components: int | None = None,
    region_key: str = "region",
    hemisphere_key: str | None = "hemisphere",
    min_pixels: int = 1,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Summarise a movie without localised components: what to compare them with.

    Results have the form of :func:`nonneg.tl.locanmf`, so that all that can be done
    with its components can be done with these.

    Parameters
    ----------
    adata
        Annotated data, pixels x frames, with a movie as a product and regions.
    key
        Key of the movie, as in :func:`nonneg.tl.locanmf`.
    method
        `"mean"`: the mean over the pixels of each region, one component each. `"svd"`:
        the leading singular vectors of the whole movie, of any sign, each assigned to
        the region with most of its energy.
    n_components
        Number of singular vectors, e.g. that of the components of another fit.
    region_key
        Column of `adata.obs` with regions.
    hemisphere_key
        Column of `adata.obs` with hemispheres, which are different regions. `None`, or
        no column `hemisphere`: regions as they are.
    min_pixels
        Smaller regions are left out.
    key_added
        Key under which to store the result instead of `region_traces`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.obsm['X_region_traces' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Footprints: 1 in the region, or singular vectors with a largest value of 1.
    `.varm['region_traces' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Time courses, in units of the movie.
    `.uns['region_traces' | key_added]` : :class:`dict`
        `region` of each component, `localization`, and `regions` with `n_pixels`,
        `rank`, the lowest `localization`, and `r2`: what a regression of pixels on all
        time courses explains.

    Raises
    ------
    KeyError
        If there is no such movie, column or table.
    ValueError
        If the movie has NaN or infinite values, or an argument does not suit.

    See Also
    --------
    nonneg.tl.locanmf : components that follow the data over the border

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=200
    ... )
    >>> nng.tl.region_traces(adata)
    >>> adata.varm["region_traces"].shape
    (200, 4)
    """
    check_one_of(method, ("mean", "svd"), "method")
    if (n_components is None) == (method == "svd"):
        msg = (
            "method='svd' takes n_components, and method='mean' has one for each region, "
            f"but method={method!r} and n_components={n_components!r}."
        )
        raise ValueError(msg)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    keys = keys_to_write(target, "region_traces", key_added)
    parcels = regions_to_fit(
        target,
        region_key,
        hemisphere_key,
        min_pixels=min_pixels,
    )
    with computing():
        movie = build_movie(target, key, parcels)
        if n_components is None:
            found = region_means(movie)
        else:
            number = check_positive_int(n_components, "n_components")
            width = min(movie.data.shape)
            if number > width:
                msg = (
                    f"n_components={number} exceeds the {width} components of "
                    f"adata.uns[{key!r}]."
                )
                raise ValueError(msg)
            found = leading_components(movie, number)
    store_components(
        target,
        keys,
        parcels,
        method="region_traces",
        found=found,
        params={
            "key": key,
            "method": method,
            "region_key": region_key,
            "hemisphere_key": hemisphere_key,
            "min_pixels": min_pixels,
        },
        info={},
    )
    return target if copy else None
