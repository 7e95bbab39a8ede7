"""Scores of new observations on the loadings of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import check_unique_names, count_empty
from ..._adata.keys import side_key
from ..._adata.read import Read, read_matrix, resolve_adata
from ..._adata.schema import IntegrationEntry, LocaNMFEntry
from ..._adata.views import read_factors, read_side
from ..._adata.write import keys_to_write, write_factors
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.text import conjugated, counted
from ..._core.warnings import warn
from ...operators.threads import computing
from .integration import project_integration
from .methods import METHODS, NewObservations
from .movies import project_movie

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.views import Factors


@checked
@shared_docs
def project(
    adata: AnnData | SpatialData,
    reference: AnnData,
    *,
    key: str = "nmf",
    batch_key: str | None = None,
    layer: str | None = None,
    chunk_size: int | None = None,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Scores of new observations on the loadings of an existing factorization.

    The loadings stay as they are, so that the components mean the same in
    `adata` as in `reference`. Variables are matched by name; the loss, the
    constraint and the penalty on the scores are those of the reference. A
    reference without observations, `reference[:0].copy()`, is enough: that is
    what a model file holds. Of the models with coordinates, the loadings are used and
    not the space: scores follow from the counts of each observation alone, for size
    factors of the same kind. For places without counts, see :func:`nonneg.tl.predict`.

    Of :func:`nonneg.tl.locanmf`, footprints stay and time courses are found: `adata` is
    another recording of pixels of the same image, matched by name, with a movie under
    the key that the reference was fitted to, such as `hemo`.

    Parameters
    ----------
    adata
        Annotated data to score.
    reference
        Annotated data with a factorization.
    key
        Key of the factorization in `reference.uns`.
    batch_key
        Of an integration: column of `adata.obs` that names the data set of every cell.
        Cells of data sets that the model knows are scored on shared and specific
        metagenes, others on the shared ones alone, as are all without `batch_key`.
    layer
        Layer of `adata` to use; by default the one of the same name as the
        reference was fitted on, or `adata.X` where there is none.
    %(chunk_size)s
    key_added
        Key under which to store the result instead of that of the reference.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields, for
    `key="nmf"`:

    `.obsm['X_nmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Scores.
    `.varm['nmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        The reference's loadings, NaN for variables that it does not have.
    `.uns['nmf' | key_added]` : :class:`dict`
        The parameters of the reference, and `projected`, the share of the
        squared norm of its loadings that variables of `adata` hold. Of an integration,
        also `projected_objective`, the objective of these cells.

    Raises
    ------
    KeyError
        If `reference` holds no such factorization.
    ValueError
        If names repeat, no variable is shared, or the data do not suit the model.

    See Also
    --------
    nonneg.tl.nmf : fits a factorization

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks()
    >>> train, test = adata[:1000].copy(), adata[1000:].copy()
    >>> nng.tl.nmf(train, 4)
    >>> nng.tl.project(test, train)
    >>> test.obsm["X_nmf"].shape
    (296, 4)
    """
    factors = read_factors(reference, key)
    fitted: Mapping[str, Any] = factors.entry.params
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    keys = factors.keys if key_added is None else keys_to_write(target, "", key_added)
    if isinstance(factors.entry, LocaNMFEntry):
        if batch_key is not None or layer is not None or chunk_size is not None:
            msg = (
                "Components of a movie are projected on the movie of adata of the same "
                "key: batch_key, layer and chunk_size do not apply."
            )
            raise ValueError(msg)
        project_movie(target, reference, factors, keys)
        return target if copy else None
    layer = choose_layer(target, fitted.get("layer"), layer)
    if isinstance(factors.entry, IntegrationEntry):
        project_integration(
            target,
            reference,
            keys,
            key=key,
            batch_key=batch_key,
            layer=layer,
            chunk_size=chunk_size,
        )
        return target if copy else None
    if batch_key is not None:
        msg = (
            f"batch_key={batch_key!r} only applies to an integration, but "
            f"reference.uns[{key!r}] was made by {factors.entry.method!r}."
        )
        raise ValueError(msg)
    if factors.entry.method not in METHODS:
        msg = (
            f"reference.uns[{key!r}] was made by {factors.entry.method!r}, on which "
            f"nothing can be projected; there are {list(METHODS)}, and integrations."
        )
        raise ValueError(msg)
    projection = METHODS[factors.entry.method]
    if missing := sorted(set(projection.needs) - set(fitted)):
        msg = (
            f"reference.uns[{key!r}] was changed after the fit: its params lack "
            f"{missing}. Fit again."
        )
        raise ValueError(msg)
    obsm = fitted.get("obsm")
    loadings = factors.loadings
    if obsm is None:
        loadings = _match(target, reference, loadings)
    used = np.isfinite(loadings).all(1)
    center = _of_variables(target, reference, factors, "center")
    weights = _of_variables(target, reference, factors, "weight")
    with computing():
        mask_var = None if used.all() else used
        source = read_matrix(target, Read(layer, obsm, mask_var, chunk_size))
        _check_columns(source.columns, factors.entry.columns, source.where)
        _check_width(source.op.shape[1], int(used.sum()), source.where)
        stats = source.op.stats()
        projection.check(stats, source.where)
        scores = projection.score(
            NewObservations(
                adata=target,
                matrix=source,
                stats=stats,
                loadings=loadings[used],
                center=None if center is None else center[used],
                weights=None if weights is None else weights[used],
                entry=factors.entry,
                n_fitted=int(np.isfinite(factors.loadings).all(1).sum()),
            )
        )
    share = np.nansum(np.square(loadings)) / np.nansum(np.square(factors.loadings))
    write_factors(
        target,
        keys,
        method=factors.entry.method,
        scores=scores,
        loadings=loadings,
        params={**fitted, "layer": layer},
        info={"projected": float(share), "scale": factors.entry.scale},
        columns=source.columns,
        side={
            "var": {
                kind: values
                for kind, values in (("center", center), ("weight", weights))
                if values is not None
            }
        },
    )
    n_empty, _ = count_empty(stats)
    if n_empty:
        warn(
            f"{source.where} has {counted(n_empty, 'observation')} that "
            f"{conjugated(n_empty, 'is')} all zero; {'its' if n_empty == 1 else 'their'} "
            "scores are zero."
        )
    return target if copy else None


def _of_variables(
    target: AnnData, reference: AnnData, factors: Factors, kind: str
) -> NDArray[np.float32] | None:
    """Means or weights of the target's variables, where the model has some."""
    name = side_key(factors.keys, "var", kind)
    if name not in np.ravel(factors.entry.side_keys.get("var", ())):
        return None
    values = read_side(reference, factors, "var", kind)
    return _by_name(target, reference, values[:, None])[:, 0]


def _match(
    target: AnnData, reference: AnnData, loadings: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Loadings of the target's variables, NaN where the reference has none."""
    check_unique_names(target.var_names, "Variables of adata")
    check_unique_names(reference.var_names, "Variables of the reference")
    fitted = np.isfinite(loadings).all(1)
    matched = _by_name(target, reference, loadings)
    n_fitted, n_found = int(fitted.sum()), int(np.isfinite(matched).all(1).sum())
    if n_found == 0:
        msg = (
            "adata and the reference share no variable with loadings: "
            f"{list(target.var_names[:3])} … against "
            f"{list(reference.var_names[fitted][:3])} …. Use the same names in both."
        )
        raise ValueError(msg)
    if n_found < n_fitted:
        warn(
            f"{n_fitted - n_found} of the {n_fitted} variables with loadings "
            f"{conjugated(n_fitted - n_found, 'is')} not in adata; scores are those that explain the others best."
        )
    return matched


def _by_name(
    target: AnnData, reference: AnnData, values: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Rows of the target's variables, NaN for those that the reference lacks."""
    positions = reference.var_names.get_indexer(target.var_names)
    matched = np.full((target.n_vars, values.shape[1]), np.nan, np.float32)
    matched[positions >= 0] = values[positions[positions >= 0]]
    return matched


def choose_layer(
    target: AnnData | None, fitted: str | None, layer: str | None
) -> str | None:
    """The layer that is asked for, or else the one that was fitted, if it is there."""
    if layer is not None or fitted is None or target is None or fitted in target.layers:
        return layer or fitted
    warn(
        f"The reference was fitted on layer {fitted!r}, which adata does not have; "
        "adata.X is used, which should hold the same kind of values."
    )
    return None


def _check_columns(columns: Any, fitted: Any, where: str) -> None:
    """Raise if named columns are not those that loadings belong to."""
    if columns is None or fitted is None or list(columns) == list(fitted):
        return
    msg = (
        f"The columns of {where}, {list(columns)[:3]} …, are not those of the "
        f"reference, {list(fitted)[:3]} …, in this order. Reorder them first."
    )
    raise ValueError(msg)


def _check_width(n_columns: int, n_loadings: int, where: str) -> None:
    if n_columns != n_loadings:
        msg = f"{where} has {n_columns} columns, but there are {n_loadings} loadings."
        raise ValueError(msg)
