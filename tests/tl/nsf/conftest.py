"""Models of the NSF family on a small grid, and what is expected of them."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import assert_same, snapshot

# No search of the kernel, which takes longer than the fit; in units of the grid.
KERNEL = dict(length_scale=5.0, amplitude=1.0, temperature=1.0)
KERNEL_OF = {
    "nsf": KERNEL,
    "nsfh": KERNEL,
    "rsf": dict(length_scale=5.0, temperature=1.0),
    "pnmf": {},
    "fa": {},
}
SPATIAL = ("nsf", "nsfh", "rsf")
COUNTS = ("nsf", "nsfh", "pnmf")
EACH = pytest.mark.parametrize("method", KERNEL_OF)
EACH_SPATIAL = pytest.mark.parametrize("method", SPATIAL)
EACH_OF_COUNTS = pytest.mark.parametrize("method", COUNTS)


def fit(adata, method, n_components=4, **kwargs):
    kwargs = KERNEL_OF[method] | {"max_iter": 40} | kwargs
    return getattr(nng.tl, method)(adata, n_components, **kwargs)


@pytest.fixture
def adata():
    result = nng.datasets.ggblocks(12, 40)
    result.obs["section"] = np.repeat(["a", "b"], 72)
    result.var["used"] = np.arange(40) % 4 > 0
    return result


class _Fits(dict):
    """Every model once, when it is asked for; not to be changed."""

    def __missing__(self, method):
        self[method] = nng.datasets.ggblocks(12, 40)
        fit(self[method], method)
        return self[method]


@pytest.fixture(scope="session")
def fits():
    return _Fits()


def size_factors(adata):
    totals = np.asarray(adata.X.sum(1)).ravel()
    return totals / np.median(totals)


def mean_of(adata, key="nsf", size=None):
    """Fitted means."""
    size = size_factors(adata) if size is None else size
    w = np.nan_to_num(adata.varm[key])
    return size[:, None] * (adata.obsm[adata.uns[key]["obsm_key"]] @ w.T)


def close(a, b, rtol=1e-4):
    a, b = np.asarray(a), np.asarray(b)
    assert np.isfinite(b).all()
    assert np.abs(a - b).max() <= rtol * np.abs(b).max()


def refused(error, match, call, adata):
    before = snapshot(adata)
    with pytest.raises(error, match=match):
        call()
    assert_same(snapshot(adata), before)
