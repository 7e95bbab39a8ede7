"""What models say where nothing was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._adata.schema import DeconvolutionEntry, ProbabilisticEntry
from ..._adata.tables import of_table
from ..._adata.views import read_factors
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from .._deconvolve.predict import predict_from_neighbours
from .._nsf.predict import predict_from_fields
from .targets import Wanted, not_spatial

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.schema import Entry
    from ..._adata.views import Factors


@of_table
@checked
@shared_docs
def predict(
    adata: AnnData,
    coords: NDArray[np.floating[Any]],
    *,
    key: str = "nsf",
    section: str | NDArray[np.str_] | None = None,
    expression: bool = False,
) -> AnnData:
    """Factors, cell types, or expected counts, at any coordinates.

    From the posterior of a spatial model: what it expects where nothing was measured,
    and how sure it is. At locations of the fit, fields are as fitted. Factors without
    a spatial pattern have there the mean and standard deviation that they have over the
    observations of the fit.

    From cell types of :func:`nonneg.tl.deconvolve`: the composition whose square roots
    are the mean of those of the nearest locations, as in the coupling of that model.
    These locations are needed, and `.layers['std']` says how far they differ.

    Parameters
    ----------
    adata
        Annotated data with a spatial model. Fields of NSF do not need its
        observations: a model file written by `adata[:0].copy().write_h5ad(...)` will do.
    coords
        Coordinates (n, n_dims), in the units of those that were fitted.
    key
        Key of the model.
    section
        Section that the coordinates lie in, or one for each, where the model was
        fitted with a `library_key`.
    expression
        Return expected counts instead of factors. Not for cell types.

    Returns
    -------
    AnnData with the coordinates in `.obsm['spatial']`.

    By default observations x factors: posterior means in `X`, standard deviations in
    `.layers['std']`. With `expression=True` observations x variables: expected counts
    of an observation with size factor 1 in `X`, their standard deviations in
    `.layers['std']` (of the mean, without the noise of counting), and factors in
    `.obsm[key]` and `.obsm[key + '_std']` under the keys of the fit.

    Raises
    ------
    KeyError
        If there is no model under the key, or no such section.
    ValueError
        If the model is not spatial, or coordinates do not suit it.

    See Also
    --------
    nonneg.tl.project : scores of new observations from their counts

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.nsf(adata, 4)
    >>> between = nng.tl.predict(adata, adata.obsm["spatial"][:5] + 0.01)
    >>> between.shape, between.layers["std"].shape
    ((5, 4), (5, 4))
    """
    stored = read_factors(adata, key)
    kind = type(stored.entry)
    if kind not in _PREDICTORS:
        raise ValueError(
            not_spatial(
                key, stored.entry.method, projected=stored.entry.projected is not None
            )
        )
    return _PREDICTORS[kind](adata, stored, Wanted(key, coords, section, expression))


_PREDICTORS: dict[type[Entry], Callable[[AnnData, Factors, Wanted], AnnData]] = {
    ProbabilisticEntry: predict_from_fields,
    DeconvolutionEntry: predict_from_neighbours,
}
