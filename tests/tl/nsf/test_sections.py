"""Several sections in one fit: each is a field of its own."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng

from .conftest import EACH_SPATIAL, close, fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_sections_are_their_own_fields(adata):
    """In one place of the plane, with different contents."""
    adata.obsm["spatial"][72:, 1] -= 6
    np.testing.assert_array_equal(
        adata.obsm["spatial"][72:], adata.obsm["spatial"][:72]
    )
    fit(adata, "nsf", library_key="section")
    place = adata.obsm["spatial"][:72]
    found = {s: nng.tl.predict(adata, place, section=s) for s in "ab"}
    close(found["a"].X, adata.obsm["X_nsf"][:72], 1e-5)
    close(found["b"].X, adata.obsm["X_nsf"][72:], 1e-5)
    assert np.abs(found["a"].X - found["b"].X).max() > 0.1 * found["a"].X.max()
    assert list(found["a"].obs["section"].unique()) == ["a"]
    both = nng.tl.predict(adata, place[:2], section=np.array(["b", "a"]))
    close(both.X[0], found["b"].X[0], 1e-6)
    close(both.X[1], found["a"].X[1], 1e-6)


def test_section_must_be_named(adata):
    fit(adata, "nsf", library_key="section", max_iter=5)
    with pytest.raises(ValueError, match=r"Name the section.*\['a', 'b'\]"):
        nng.tl.predict(adata, adata.obsm["spatial"])
    with pytest.raises(KeyError, match="no section 'c'"):
        nng.tl.predict(adata, adata.obsm["spatial"], section="c")
    with pytest.raises(ValueError, match=r"section has shape \(3,\).*each of the 144"):
        nng.tl.predict(adata, adata.obsm["spatial"], section=["a", "b", "a"])
    fit(adata, "nsf", max_iter=5)
    with pytest.raises(ValueError, match="without library_key"):
        nng.tl.predict(adata, adata.obsm["spatial"], section="a")


def test_sections_far_apart_are_as_close_together(adata):
    """Each section is centred: how they are laid out beside each other is no matter."""
    fit(adata, "nsf", library_key="section")
    moved = nng.datasets.ggblocks(12, 40)
    moved.obs["section"] = adata.obs["section"].to_numpy()
    moved.obsm["spatial"][72:] += [1000, -300]
    fit(moved, "nsf", library_key="section")
    close(moved.obsm["X_nsf"], adata.obsm["X_nsf"], 1e-3)


@pytest.mark.parametrize("n_small", [1, pytest.param(2, marks=pytest.mark.slow), 3, 7])
@EACH_SPATIAL
def test_a_section_of_few_spots(adata, method, n_small):
    adata.obs["section"] = ["large"] * (144 - n_small) + ["small"] * n_small
    fit(adata, method, library_key="section", max_iter=3)
    assert np.isfinite(adata.obsm[f"X_{method}"]).all()
    coords = adata.obsm["spatial"][-1:]
    found = nng.tl.predict(adata, coords, key=method, section="small")
    # Of the hybrid, others are predicted by their prior.
    n = found[:, found.var["is_spatial"]].n_vars
    close(found.X[:, :n], adata.obsm[f"X_{method}"][-1:, :n])


@EACH_SPATIAL
def test_sections_of_one_spot_each(adata, method):
    few = adata[:24].copy()
    few.obs["section"] = np.arange(24).astype(str)
    with pytest.raises(ValueError, match="location"):
        fit(few, method, library_key="section", max_iter=3)


@EACH_SPATIAL
def test_a_section_at_one_location(adata, method):
    adata.obs["section"] = ["large"] * 138 + ["small"] * 6
    adata.obsm["spatial"][138:] = adata.obsm["spatial"][138]
    fit(adata, method, library_key="section", max_iter=3)
    fields = adata.obsm[f"X_{method}"][138:, : 2 if method == "nsfh" else 4]
    np.testing.assert_array_equal(fields, np.repeat(fields[:1], 6, axis=0))
