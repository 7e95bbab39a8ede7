"""Comparison of AnnData objects and of the factorizations in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_MAPPINGS = ("layers", "obsm", "varm", "obsp", "varp", "uns")


def held_objects(kwargs: Mapping[str, Any]) -> dict[str, AnnData]:
    """What is AnnData of the arguments of a call, also in a dictionary of several."""
    found: dict[str, AnnData] = {}
    for name, value in kwargs.items():
        if isinstance(value, AnnData):
            found[name] = value
        elif isinstance(value, dict):
            several = {f"{name}[{key!r}]": one for key, one in value.items()}
            found |= held_objects(several)
    return found


def snapshot(adata: AnnData) -> dict[str, Any]:
    """A deep copy of everything that an AnnData in memory or backed holds."""
    parts: dict[str, Any] = {
        "is_view": adata.is_view,
        "obs": adata.obs.copy(),
        "var": adata.var.copy(),
        "X": _frozen(adata.X),
    }
    for name in _MAPPINGS:
        parts[name] = {key: _frozen(value) for key, value in _items(adata, name)}
    return parts


def _items(adata: AnnData, name: str) -> list[tuple[str, Any]]:
    # `layers[None]` is X.
    return [(k, v) for k, v in getattr(adata, name).items() if k is not None]


def _frozen(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, AnnData):
        return snapshot(value)
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.copy()
    if hasattr(value, "items"):
        return {key: _frozen(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_frozen(entry) for entry in value]
    if _is_sparse(value):
        return value.copy()
    if hasattr(value, "to_memory"):
        return value.to_memory()
    if hasattr(value, "compute"):
        return _frozen(value.compute())
    if value is pd.NA:
        return str(value)
    # Of numbers, and of objects of any kind, which are the same if they are one.
    return np.array(value if np.shape(value) == () else value[:])


def _is_sparse(value: Any) -> bool:
    return sp.issparse(value)


def assert_same(first: Any, second: Any, where: str = "") -> None:
    """Raise unless two snapshots, or parts of them, are the same."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert set(first) == set(second), where
        for key, value in first.items():
            assert_same(value, second[key], f"{where}/{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for one, other in zip(first, second, strict=True):
            assert_same(one, other, where)
    elif isinstance(first, pd.DataFrame):
        pd.testing.assert_frame_equal(first, second, obj=where)
    elif isinstance(first, pd.Series):
        pd.testing.assert_series_equal(first, second, obj=where)
    elif _is_sparse(first):
        assert first.dtype == second.dtype, where
        if first.format not in {"csr", "csc"}:
            first, second = first.tocsr(), second.tocsr()
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(
                getattr(first, part), getattr(second, part), err_msg=where
            )
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype, where
        np.testing.assert_array_equal(first, second, err_msg=where)
    elif isinstance(first, float) and np.isnan(first):
        assert np.isnan(second), where
    else:
        assert first == second, where


def fitted_mean(adata: AnnData, key: str = "nmf") -> NDArray[np.floating[Any]]:
    """Scores times loadings of a stored factorization, zero outside its mask."""
    info = adata.uns[key]
    scores = np.asarray(adata.obsm[info["obsm_key"]])
    loadings = np.nan_to_num(np.asarray(adata.varm[info["varm_key"]]))
    return np.asarray(scores @ loadings.T)


def assert_same_fit(
    first: AnnData, second: AnnData, key: str = "nmf", *, rtol: float = 1e-5
) -> None:
    """Raise unless fitted means agree, relative to the largest, and objectives."""
    fits = fitted_mean(first, key), fitted_mean(second, key)
    assert np.abs(fits[0] - fits[1]).max() <= rtol * fits[1].max()
    if "objective" in second.uns[key]:
        np.testing.assert_allclose(
            first.uns[key]["objective"], second.uns[key]["objective"], rtol=rtol
        )
