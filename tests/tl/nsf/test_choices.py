"""Likelihoods, kernels and size factors."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng

from .conftest import COUNTS, EACH, EACH_OF_COUNTS, close, fit, mean_of, size_factors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("likelihood", ["negative_binomial", "gaussian"])
@EACH_OF_COUNTS
def test_likelihoods(adata, method, likelihood):
    fit(adata, method, likelihood=likelihood)
    size = np.ones(144) if likelihood == "gaussian" else None
    truth = adata.obsm["truth"] @ adata.varm["truth"].T
    mean = mean_of(adata, method, size)
    assert np.corrcoef(mean.ravel(), truth.ravel())[0, 1] > 0.85
    assert adata.uns[method]["params"]["likelihood"] == likelihood
    if likelihood == "negative_binomial":
        dispersion = adata.var[f"{method}_dispersion"]
        assert dispersion.dtype == np.float32
        assert dispersion.min() > 0
        # That of the simulation is 0.1.
        assert 0.02 < dispersion.median() < 0.4


@EACH_OF_COUNTS
def test_estimators(fits, adata, method):
    fit(adata, method, estimator="monte_carlo")
    difference = mean_of(adata, method) - mean_of(fits[method], method)
    assert 0 < np.abs(difference).mean() < 0.2 * mean_of(adata, method).mean()
    again = nng.datasets.ggblocks(12, 40)
    fit(again, method, estimator="monte_carlo")
    np.testing.assert_array_equal(again.obsm[f"X_{method}"], adata.obsm[f"X_{method}"])


@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
def test_kernels(adata, kernel):
    fit(adata, "nsf", kernel=kernel)
    found = nng.tl.predict(adata, adata.obsm["spatial"])
    close(found.X, adata.obsm["X_nsf"], 1e-5)
    assert adata.uns["nsf"]["params"]["kernel"] == kernel


@EACH
def test_size_factors(fits, adata, method):
    adata.obs["size"] = size_factors(adata)
    for given in ("size", adata.obs["size"].to_numpy()):
        fit(adata, method, size_factors=given)
        close(adata.obsm[f"X_{method}"], fits[method].obsm[f"X_{method}"], 1e-3)
    fit(adata, method, size_factors=None)
    if method in COUNTS:
        assert mean_of(adata, method, np.ones(144)).sum() == pytest.approx(
            adata.X.sum(), rel=0.05
        )


def test_log_normalized(fits, adata):
    adata.layers["log"] = np.log1p(adata.X.toarray() / size_factors(adata)[:, None])
    for method in ("rsf", "fa"):
        fit(adata, method, layer="log", log_normalized=True, size_factors=None)
        close(
            adata.obsm[f"X_{method}"] @ adata.varm[method].T,
            fits[method].obsm[f"X_{method}"] @ fits[method].varm[method].T,
            1e-2,
        )
