"""What models say where nothing was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.schema import DeconvolutionEntry, ProbabilisticEntry
from ..._adata.tables import read_table
from ..._adata.views import read_factors
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from .._deconvolve.predict import predict_from_neighbours
from .._nsf.predict import predict_from_fields
from .targets import Wanted, not_spatial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.schema import Entry
    from ..._adata.views import Factors


@checked
@shared_docs
def predict(
    adata: AnnData | SpatialData,
    coords: NDArray[np.floating[Any]],
    *,
    key: str = "nsf",
    section: str | NDArray[np.str_] | None = None,
    expression: bool = False,
    genes: str | Sequence[str] | NDArray[np.bool_] | None = None,
    interval: float | None = None,
    size_factors: float | NDArray[np.floating[Any]] = 1.0,
    table_key: str | None = None,
) -> AnnData:
    """Factors, cell types, or expected counts, at any coordinates.

    From the posterior of a spatial model: what it expects where nothing was measured,
    and how sure it is. At locations of the fit, factors are as fitted. Elsewhere, a quarter
    of what is expected of the fields of counts is not from the field but the mean of the
    nearest locations, weighted by kriging: beside a sharp edge, which no field has, it is
    between both sides. No field is expected above the largest fitted value of its factor.
    Factors without space are elsewhere what the nearest locations foretell, as far as
    locations that were left out have shown that these do; otherwise they have the mean of
    the observations of the section, and their standard deviation.

    From cell types of :func:`nonneg.tl.deconvolve`: the composition whose square roots
    are the mean of those of the nearest locations, as in the coupling of that model.
    These locations are needed, and `.layers['std']` says how far they differ.

    Outside of the tissue, both extrapolate: factors towards the trend of their field, as
    it is at the border, and their mean, compositions from the nearest locations. A warning
    counts coordinates of a section that are farther from all locations of the fit than
    three times the usual distance between these, and `.obs['outside']` marks them; in
    volumes there is neither.

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
    genes
        Variables whose counts are wanted: a boolean column of `adata.var`, an array, or
        their names, in whose order they are returned. `None`: all. For many locations
        take few, since the result is dense.
    interval
        Also return intervals that hold counts with this probability, such as .9: what
        the model is unsure of in the factors, and how counts of the gene scatter.
    size_factors
        By what expected counts are multiplied, as in the fit: a number, or one for each
        of the coordinates. Intervals of counts that were observed need those of these
        observations, such as their total over `adata.uns[key]["params"]["size_median"]`.
        Where the fit had `size_factors="total"`, expected counts of all variables sum to
        that total: factors tell the shares.
    %(table_key)s

    Returns
    -------
    AnnData with the coordinates in `.obsm['spatial']`, and `.obs['outside']`. Factors are drawn by
    :func:`nonneg.pl.factor_maps` with `key`, and hold no loadings.

    By default observations x factors: posterior means in `X`, standard deviations in
    `.layers['std']`. With `expression=True` observations x variables: expected counts
    in `X`, their standard deviations in `.layers['std']` (of the mean, without the noise
    of counting), and factors in `.obsm[key]` and `.obsm[key + '_std']` under the keys of
    the fit, which :func:`nonneg.pl.factor_maps` draws. With `interval`, also
    `.layers['lower']` and `.layers['upper']`: the smallest and the largest count in the
    interval, with equal tails. Of small rates it is wider than was asked for, since counts
    are whole: at a rate of .01, [0, 0] holds 99 %.

    Raises
    ------
    KeyError
        If there is no model under the key, no such section, table or variables.
    ValueError
        If the model is not spatial, coordinates do not suit it, `interval` is asked of
        values that are no counts, or an argument has no meaning for factors.

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
    >>> axes = nng.pl.factor_maps(between, "nsf")
    >>> counts = nng.tl.predict(
    ...     adata, adata.obsm["spatial"][:5], expression=True, interval=0.9
    ... )
    >>> bool((counts.layers["lower"] <= counts.layers["upper"]).all())
    True
    """
    adata = read_table(adata, table_key)
    wanted = Wanted(key, coords, section, expression, genes, interval, size_factors)
    if not expression:
        _check_factors_only(wanted)
    if interval is not None and not (
        isinstance(interval, float | np.floating) and 0 < interval < 1
    ):
        msg = f"interval={interval!r} must be between 0 and 1, such as 0.9."
        raise ValueError(msg)
    stored = read_factors(adata, key)
    kind = type(stored.entry)
    if kind not in _PREDICTORS:
        raise ValueError(
            not_spatial(
                key, stored.entry.method, projected=stored.entry.projected is not None
            )
        )
    return _PREDICTORS[kind](adata, stored, wanted)


def _check_factors_only(wanted: Wanted) -> None:
    """Refuse what only counts have."""
    given = {
        "genes": wanted.genes is not None,
        "interval": wanted.interval is not None,
        "size_factors": not np.array_equal(wanted.size_factors, 1.0),
    }
    for name, is_given in given.items():
        if is_given:
            msg = f"{name} is of expected counts: pass expression=True as well."
            raise ValueError(msg)


_PREDICTORS: dict[type[Entry], Callable[[AnnData, Factors, Wanted], AnnData]] = {
    ProbabilisticEntry: predict_from_fields,
    DeconvolutionEntry: predict_from_neighbours,
}
