"""Where spots lie: units, axes, lines, duplicates."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng

from .conftest import EACH_SPATIAL, close, fit, mean_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@EACH_SPATIAL
@pytest.mark.parametrize(("factor", "shift"), [(1e5, 0), (1e-3, 0), (1.0, 3e4)])
def test_units_and_origin_are_no_matter(fits, adata, method, factor, shift):
    adata.obsm["spatial"] = factor * adata.obsm["spatial"] + shift
    fit(adata, method, length_scale=5.0 * factor)
    close(mean_of(adata, method), mean_of(fits[method], method), 1e-3)
    length = adata.uns[method]["kernel"]["length_scale"]
    np.testing.assert_allclose(length, 5.0 * factor, rtol=1e-6)


def test_third_axis(adata):
    rng = np.random.default_rng(0)
    adata.obsm["xyz"] = np.column_stack([adata.obsm["spatial"], rng.random(144)])
    fit(adata, "nsf", spatial_key="xyz")
    found = nng.tl.predict(adata, adata.obsm["xyz"])
    close(found.X, adata.obsm["X_nsf"], 1e-5)
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        nng.tl.predict(adata, adata.obsm["spatial"])


@EACH_SPATIAL
def test_a_constant_axis_is_ignored(fits, adata, method):
    adata.obsm["flat"] = np.column_stack([adata.obsm["spatial"], np.full(144, 7.0)])
    fit(adata, method, spatial_key="flat")
    close(mean_of(adata, method), mean_of(fits[method], method), 1e-5)


@pytest.mark.parametrize("noise", [0, 1e-12])
def test_a_line(adata, noise):
    adata.obsm["spatial"] = np.column_stack([np.arange(144.0), np.full(144, 3.0)])
    adata.obsm["spatial"][:, 1] += noise * np.random.default_rng(0).random(144)
    fit(adata, "nsf")
    found = nng.tl.predict(adata, adata.obsm["spatial"])
    close(found.X, adata.obsm["X_nsf"], 1e-5)
    assert adata.uns["nsf"]["transform"]["axes"].tolist() == [True, False]


@EACH_SPATIAL
def test_duplicates(adata, method):
    adata.obsm["spatial"] = np.repeat(adata.obsm["spatial"][::2], 2, axis=0)
    with pytest.warns(UserWarning, match="100% of the locations.*library_key"):
        fit(adata, method)
    spatial = adata.uns[method]["is_spatial"]
    x = adata.obsm[f"X_{method}"][:, spatial]
    np.testing.assert_array_equal(x[::2], x[1::2])
    assert np.isfinite(x).all()
    assert adata.uns[method]["field"]["sites"].shape == (72, 2)


def test_two_locations(adata):
    adata.obsm["spatial"] = np.repeat([[0.0, 1.0], [5.0, 2.0]], 72, axis=0)
    with pytest.warns(UserWarning, match="100% of the locations.*library_key"):
        nng.tl.nsf(adata, 2)
    assert np.isfinite(adata.obsm["X_nsf"]).all()
