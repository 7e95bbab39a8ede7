"""Small online fits, and what is expected of them."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.optimize import nnls

import nonneg as nng

from ._snapshot import assert_same, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

K = 4
NAMES = ["batch_0", "batch_1", "batch_2"]
SIMULATED = nng.datasets.batches((60, 40, 50), 30, K, specific=1.0)
N_STEPS = 3  # per epoch


def parts() -> dict[str, AnnData]:
    """The data sets, with cells of different names, in a mapping."""
    of = SIMULATED.obs["batch"].astype(str).to_numpy()
    return {name: SIMULATED[of == name].copy() for name in NAMES}


# Of names of data sets to files and objects, made from a folder of files.
MAPPINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "h5ad": lambda folder: {name: folder / f"{name}.h5ad" for name in NAMES},
    "zarr": lambda folder: {name: str(folder / f"{name}.zarr") for name in NAMES},
    "memory": lambda _: parts(),
    "mixed": lambda folder: {
        "batch_0": folder / "batch_0.zarr",
        "batch_1": parts()["batch_1"],
        "batch_2": ad.read_h5ad(folder / "batch_2.h5ad", backed="r"),
    },
}


def write(adata: AnnData, path: Path) -> Path:
    getattr(adata, f"write_{path.suffix[1:]}")(path)
    return path


def read(path: str | Path) -> AnnData:
    adata: AnnData = getattr(ad, f"read_{Path(path).suffix[1:]}")(path)
    return adata


def in_memory(data: AnnData | str | Path) -> AnnData:
    """A copy of an AnnData, wherever it is."""
    if not isinstance(data, AnnData):
        return read(data)
    return data.to_memory() if data.isbacked else data.copy()


def fit(data: Any, n_components: int = K, **kwargs: Any) -> Any:
    arguments: dict[str, Any] = {
        "size_factors": "total",
        "minibatch_size": 50,
        "n_epochs": 2,
    }
    if not isinstance(data, dict):
        arguments["batch_key"] = "batch"
    return nng.tl.online_inmf(data, n_components, **(arguments | kwargs))


def dense(adata: AnnData) -> NDArray[np.float64]:
    return np.asarray(sp.csr_matrix(cast("Any", adata.X)).toarray(), np.float64)


@contextmanager
def warns(message: str) -> Iterator[None]:
    """As `pytest.warns`, which lets out what others warn of and is ignored."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message, UserWarning)
        yield
    assert caught


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file in a folder."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def assert_same_model(
    first: AnnData, second: AnnData, key: str = "inmf", *, exact: bool = False
) -> None:
    """The same loadings and traces; to the digits that another order of sums leaves."""
    for name in ("", "_specific", "_stats", "_scale"):
        one, other = (np.asarray(x.varm[f"{key}{name}"]) for x in (first, second))
        if exact:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, atol=1e-4 * np.nanmax(other))
    one, other = first.uns[key], second.uns[key]
    assert list(one["batches"]) == list(other["batches"])
    for name in ("gram", "objective", "change", "lam", "n_cells", "sq_norm"):
        if exact:
            np.testing.assert_array_equal(one[name], other[name])
        else:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-3)


def assert_close(scores: NDArray[Any], expected: NDArray[Any]) -> None:
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-3 * expected.max())


def expected_scores(
    adata: AnnData, codes: NDArray[Any], known: AnnData | None = None
) -> NDArray[np.float64]:
    """Scores of minimal objective, by SciPy, on data that are scaled explicitly."""
    x = dense(adata)
    x /= x.sum(1, keepdims=True)
    model = adata if known is None else known
    w = np.asarray(model.varm["inmf"], np.float64)
    v = np.asarray(model.varm["inmf_specific"], np.float64)
    lam = model.uns["inmf"]["lam"]
    scores = np.empty((len(x), w.shape[1]))
    for i, d in enumerate(codes):
        own = np.vstack([w + v[:, d], np.sqrt(lam[d]) * v[:, d]])
        row = x[i] * model.varm["inmf_scale"][:, d]
        scores[i] = nnls(own, np.concatenate([row, np.zeros_like(row)]))[0]
    return scores


def refused(
    error: type[Exception],
    match: str,
    data: Any,
    folder: Path | None = None,
    **kwargs: Any,
) -> None:
    """The call raises; objects and files are as they were, and there are no new ones."""
    files = None if folder is None else contents(folder)
    values = list(data.values()) if isinstance(data, dict) else [data]
    objects = [one for one in values if isinstance(one, AnnData)]
    before = [snapshot(one) for one in objects]
    with pytest.raises(error, match=match):
        fit(data, **kwargs)
    for one, old in zip(objects, before, strict=True):
        assert_same(snapshot(one), old)
    if folder is not None:
        assert contents(folder) == files
