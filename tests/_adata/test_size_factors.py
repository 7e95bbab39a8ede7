"""Size factors are read in one way by everything that takes them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from testing.nonneg import counts

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHORT = dict(max_iter=2)


@pytest.fixture
def adata():
    result = counts()
    size = np.asarray(result.X).sum(1).astype(np.float64)
    result.obs["size"] = size
    result.obs["nullable"] = pd.array(size, "Float64")
    result.obs["whole"] = size.astype(int)
    result.obs["text"] = "many"
    result.obs["gappy"] = pd.array([None, *size[1:]], "Float64")
    result.obs["negative"] = -size
    result.obs["infinite"] = np.inf
    return result


VERBS = {
    "pnmf": lambda adata, size: nng.tl.pnmf(adata, 2, size_factors=size, **SHORT),
    "fa": lambda adata, size: nng.tl.fa(adata, 2, size_factors=size, **SHORT),
    "inmf": lambda adata, size: nng.tl.inmf(
        adata, 2, batch_key="batch", size_factors=size, max_iter=2
    ),
    "online_inmf": lambda adata, size: nng.tl.online_inmf(
        adata,
        2,
        batch_key="batch",
        size_factors=size,
        n_epochs=1,
        key_added="online_inmf",
    ),
}
FORMS = {
    "array": lambda adata: adata.obs["size"].to_numpy(),
    "series": lambda adata: adata.obs["size"],
    "list": lambda adata: adata.obs["size"].tolist(),
    "nullable": lambda adata: "nullable",
    "integers": lambda adata: "whole",
}


@pytest.fixture(scope="module")
def expected():
    """Loadings of every verb for a column of floats."""
    adata = counts()
    adata.obs["size"] = np.asarray(adata.X).sum(1).astype(np.float64)
    for verb in VERBS.values():
        verb(adata, "size")
    return {name: adata.varm[name] for name in VERBS}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("verb", VERBS)
def test_forms(adata, expected, verb, form):
    given = FORMS[form](adata)
    VERBS[verb](adata, given)
    np.testing.assert_allclose(adata.varm[verb], expected[verb], rtol=1e-5, atol=1e-6)
    recorded = adata.uns[verb]["params"]["size_factors"]
    assert recorded == (given if isinstance(given, str) else "array")


@pytest.mark.parametrize("verb", ["inmf", "online_inmf"])
def test_totals_are_what_their_column_is(adata, expected, verb):
    VERBS[verb](adata, "total")
    np.testing.assert_allclose(adata.varm[verb], expected[verb], rtol=1e-5, atol=1e-6)


def test_totals_are_relative_to_their_median(adata):
    size = adata.obs["size"].to_numpy()
    VERBS["pnmf"](adata, size / np.median(size))
    relative = adata.varm["pnmf"]
    VERBS["pnmf"](adata, "total")
    np.testing.assert_allclose(adata.varm["pnmf"], relative, rtol=1e-5, atol=1e-6)
    assert adata.uns["pnmf"]["params"]["size_median"] == np.median(size)


BAD = {
    "unknown": ("nothing", KeyError, "'nothing' is not in adata.obs"),
    "text": ("text", ValueError, r"obs\['text'\] must hold numbers"),
    "missing": ("gappy", ValueError, r"obs\['gappy'\] must be finite"),
    "negative": ("negative", ValueError, r"obs\['negative'\] must be finite and"),
    "infinite": ("infinite", ValueError, r"obs\['infinite'\] must be finite"),
    "short": (np.ones(119), ValueError, r"size_factors must hold 120.*\(119,\)"),
    "booleans": (np.ones(120, bool), ValueError, "must hold 120 numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(adata, case):
    size, kind, match = BAD[case]
    for verb in VERBS.values():
        with pytest.raises(kind, match=match):
            verb(adata, size)


@pytest.mark.parametrize("verb", ["pnmf", "fa"])
def test_factors_that_means_are_multiplied_by_are_positive(adata, verb):
    adata.obs.loc[adata.obs_names[:3], "size"] = 0.0
    with pytest.raises(ValueError, match=r"obs\['size'\] must be positive, but 3 are"):
        VERBS[verb](adata, "size")


def test_a_series_in_another_order(adata):
    """It would be read by position, and be that of other cells."""
    size = pd.Series(np.linspace(1, 2, adata.n_obs), adata.obs_names)
    with pytest.raises(
        ValueError, match=r"size_factors is a Series.*loc\[adata\.obs_names"
    ):
        nng.tl.pnmf(adata, 2, size_factors=size[::-1], **SHORT)
    mask = pd.Series(np.arange(adata.n_vars) % 3 > 0, adata.var_names)
    with pytest.raises(
        ValueError, match=r"mask_var is a Series.*loc\[adata\.var_names"
    ):
        nng.tl.pnmf(adata, 2, mask_var=mask[::-1], **SHORT)
    found = []
    # In order, with an index that only counts, and without one.
    for change in (lambda x: x, lambda x: x.reset_index(drop=True), np.asarray):
        kwargs = {"size_factors": change(size), "mask_var": change(mask)}
        nng.tl.pnmf(adata, 2, **kwargs, **SHORT)
        found.append(adata.obsm["X_pnmf"])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
