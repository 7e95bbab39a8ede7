"""Depth that is a pattern of the tissue is noticed."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng
from nonneg.tl._nsf.depth import totals_explained, warn_of_depth

from .conftest import fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_share_of_totals():
    rng = np.random.default_rng(0)
    logs = rng.normal(size=(500, 3))
    noise = 0.2 * rng.normal(size=500)
    for clean in (logs @ [1.0, 0.5, 0.0], np.exp(logs) @ [0.3, 0.2, 0.0]):
        totals = np.exp(clean + noise)
        found = totals_explained(totals, logs)
        assert found == pytest.approx(1 - 0.04 / np.log(totals).var(), abs=0.03)
    # Factors of noise explain nothing, however many they are.
    assert abs(totals_explained(totals, rng.normal(size=(500, 50)))) < 0.1
    # Empty observations have no logarithm.
    assert totals_explained(np.append(totals, 0), np.vstack([logs, logs[:1]])) == found
    assert totals_explained(np.ones(500), logs) is None
    assert totals_explained(totals[:6], logs[:6]) is None


def test_when_depth_is_told_of():
    """Above .7, as the documentation says."""
    with pytest.warns(UserWarning, match=r"explain 71%.*nonneg\.tl\.nsfh\("):
        warn_of_depth(0.71, "nsfh")
    for little in (0.69, -0.1, None):
        warn_of_depth(little, "nsf")


def test_blocks_that_carry_depth(adata):
    with pytest.warns(UserWarning, match="of the variance of log totals") as seen:
        fit(adata, "nsf")
    told = [str(w.message) for w in seen if "log totals" in str(w.message)]
    share = adata.uns["nsf"]["totals_explained"]
    assert share > 0.5
    assert len(told) == 1
    assert f"{share:.0%}" in told[0]
    assert "size_factors=None" in told[0]
    fit(adata, "nsf", size_factors=None, key_added="none")
    assert "totals_explained" not in adata.uns["none"]


def test_depth_that_is_technical(adata, recwarn):
    """Random depth, and the same expected total everywhere."""
    rng = np.random.default_rng(0)
    mean = 0.2 + adata.obsm["truth"] @ adata.varm["truth"].T
    mean *= 200 * np.exp(0.5 * rng.normal(size=(adata.n_obs, 1))) / mean.sum(1)[:, None]
    adata.X = rng.poisson(mean).astype(np.float32)
    fit(adata, "nsf")
    assert adata.uns["nsf"]["totals_explained"] < 0.3
    assert not [w for w in recwarn if "log totals" in str(w.message)]


def test_models_without_space_do_not_warn(adata, recwarn):
    nng.tl.pnmf(adata, 4, max_iter=20)
    assert adata.uns["pnmf"]["totals_explained"] > 0.5
    assert not [w for w in recwarn if "log totals" in str(w.message)]
