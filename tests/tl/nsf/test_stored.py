"""What a fit of the NSF family stores, and that it survives."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import assert_same, snapshot

from .conftest import EACH, EACH_OF_COUNTS, SPATIAL, close, fit, mean_of, size_factors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@EACH
def test_keys(fits, method):
    adata = fits[method]
    for name in (f"X_{method}", f"X_{method}_std"):
        assert adata.obsm[name].shape == (144, 4)
        assert adata.obsm[name].dtype == np.float32
        assert np.isfinite(adata.obsm[name]).all()
    assert adata.obsm[f"X_{method}_std"].min() > 0
    assert adata.varm[method].shape == (40, 4)
    assert adata.varm[method].dtype == np.float32
    info = adata.uns[method]
    assert info["method"] == method
    n_spatial = {"nsf": 4, "rsf": 4, "nsfh": 2}.get(method, 0)
    assert info["is_spatial"].tolist() == [True] * n_spatial + [False] * (4 - n_spatial)
    assert ("field" in info) == (method in SPATIAL)
    np.testing.assert_array_equal(info["elbo"], info["objective"])
    assert len(info["elbo"]) == info["n_iter"]
    zeros = (np.abs(adata.varm[method]) < 1e-6).mean()
    assert info["sparsity"] == pytest.approx(zeros)


@EACH
def test_added_key(adata, method):
    fit(adata, method, key_added="foo", max_iter=5)
    assert {"foo", "foo_std"} <= set(adata.obsm)
    assert "foo" in adata.varm
    assert f"X_{method}" not in adata.obsm
    assert nng.get.factor_df(adata, "foo").shape == (144, 4)


@EACH_OF_COUNTS
def test_nonnegative_and_near_the_counts(fits, method):
    adata = fits[method]
    assert adata.obsm[f"X_{method}"].min() >= 0
    assert adata.varm[method].min() >= 0
    truth = adata.obsm["truth"] @ adata.varm["truth"].T
    mean, counts = mean_of(adata, method), adata.X.toarray()
    assert np.corrcoef(mean.ravel(), truth.ravel())[0, 1] > 0.9
    assert mean.sum() == pytest.approx(counts.sum(), rel=0.05)
    assert nng.metrics.poisson_deviance(counts, mean) < 0.7 * (
        nng.metrics.poisson_deviance(counts, np.broadcast_to(counts.mean(0), (144, 40)))
    )


@pytest.mark.parametrize("method", ["rsf", "fa"])
def test_real_valued_models_fit_log_counts(fits, method):
    adata = fits[method]
    normal = np.log1p(adata.X.toarray() / size_factors(adata)[:, None])
    center = adata.var[f"{method}_center"].to_numpy()
    np.testing.assert_allclose(center, normal.mean(0), rtol=1e-4)
    rest = normal - center - adata.obsm[f"X_{method}"] @ adata.varm[method].T
    assert np.square(rest).sum() < 0.6 * np.square(normal - center).sum()
    assert adata.varm[method].min() < 0


@pytest.mark.parametrize("form", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow)])
@EACH
def test_round_trip(fits, method, form, tmp_path):
    path = tmp_path / f"fitted.{form}"
    adata = fits[method]
    getattr(adata, f"write_{form}")(path)
    read = getattr(ad, f"read_{form}")(path)
    np.testing.assert_array_equal(read.obsm[f"X_{method}"], adata.obsm[f"X_{method}"])
    assert set(read.uns[method]) == set(adata.uns[method])
    if method not in SPATIAL:
        return
    new = adata.obsm["spatial"][:7] + 0.3
    expected = nng.tl.predict(adata, new, key=method)
    model = tmp_path / f"model.{form}"
    getattr(read[:0].copy(), f"write_{form}")(model)
    ours = nng.tl.predict(getattr(ad, f"read_{form}")(model), new, key=method)
    close(ours.X, expected.X, 1e-6)
    close(ours.layers["std"], expected.layers["std"], 1e-6)


@EACH
def test_types_are_safe(fits, method):
    def check(value, where):
        if isinstance(value, dict):
            for key, entry in value.items():
                check(entry, f"{where}/{key}")
        else:
            assert not isinstance(value, np.generic), where
            assert value is None or not isinstance(value, list | tuple), where

    check(dict(fits[method].uns[method]), method)


def test_copy(adata):
    before = snapshot(adata)
    copy = fit(adata, "nsf", copy=True, max_iter=5)
    assert_same(snapshot(adata), before)
    assert "X_nsf" in copy.obsm
