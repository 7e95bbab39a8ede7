"""What is refused, and leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng

from .conftest import EACH, EACH_SPATIAL, fit, refused

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


REFUSALS = {
    "kernel": (dict(kernel="matern12"), ValueError, "kernel='matern12'"),
    "likelihood": (dict(likelihood="nb"), ValueError, "likelihood='nb'"),
    "estimator": (dict(estimator="exact"), ValueError, "estimator='exact'"),
    "trend": (dict(trend="none"), ValueError, "trend='none'"),
    "draws": (
        dict(estimator="monte_carlo", likelihood="gaussian"),
        ValueError,
        "is for likelihood='poisson'",
    ),
    "components": (dict(n_components=0), ValueError, "n_components=0"),
    "many components": (dict(n_components=41), ValueError, "exceeds the smaller side"),
    "spatial key": (dict(spatial_key="xy"), KeyError, r"'xy' is not in adata.obsm"),
    "library key": (
        dict(library_key="slide"),
        KeyError,
        r"'slide' is not in adata.obs",
    ),
    "layer": (dict(layer="raw"), KeyError, "'raw' is not in adata.layers"),
    "length scale": (dict(length_scale=0.0), ValueError, "length_scale=0.0"),
    "infinite scale": (dict(length_scale=np.inf), ValueError, "length_scale=inf"),
    "amplitude": (dict(amplitude=-1.0), ValueError, "amplitude=-1.0"),
    "temperature": (dict(temperature=0.5), ValueError, "temperature=0.5"),
    "nugget": (dict(nugget=-0.1), ValueError, "nugget=-0.1"),
    "learning rate": (dict(learning_rate=1.5), ValueError, "learning_rate=1.5"),
    "no learning": (dict(learning_rate=0.0), ValueError, "learning_rate=0.0"),
    "inducing": (dict(n_inducing=0), ValueError, "n_inducing=0"),
    "half an inducing point": (dict(n_inducing=2.5), TypeError, "n_inducing=2.5"),
    "size factors": (
        dict(size_factors="n"),
        KeyError,
        "'n' is not in adata.obs.* may also be 'total', or None",
    ),
    "short size factors": (
        dict(size_factors=np.ones(3)),
        ValueError,
        "must hold 144 numbers",
    ),
    "zero size factors": (
        dict(size_factors=np.zeros(144)),
        ValueError,
        "but 144 are not",
    ),
    "max_iter": (dict(max_iter=0), ValueError, "max_iter=0"),
    "tol": (dict(tol=-1.0), ValueError, "tol=-1.0"),
    "rng": (dict(rng="a"), TypeError, "rng='a'"),
    "mask": (dict(mask_var="unused"), KeyError, "'unused' is not in adata.var"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_arguments(adata, case):
    kwargs, error, match = REFUSALS[case]
    kwargs = {"n_components": 4} | kwargs
    refused(error, match, lambda: nng.tl.nsf(adata, **kwargs), adata)


def test_more_spatial_factors_than_factors(adata):
    too_many = lambda: nng.tl.rsf(adata, 41)  # noqa: E731
    refused(ValueError, "exceeds the smaller side", too_many, adata)
    for n_spatial in (5, -1):
        refused(
            ValueError,
            f"n_spatial={n_spatial} must be between 0 and n_components=4",
            lambda n=n_spatial: nng.tl.nsfh(adata, 4, n_spatial=n),
            adata,
        )


@EACH_SPATIAL
def test_a_single_location(adata, method):
    adata.obsm["spatial"] = np.ones((144, 2))
    refused(ValueError, "single location", lambda: fit(adata, method), adata)


@EACH_SPATIAL
def test_missing_coordinates(adata, method):
    adata.obsm["spatial"][5, 1] = np.nan
    match = "1 observation without finite coordinates"
    refused(ValueError, match, lambda: fit(adata, method), adata)
    del adata.obsm["spatial"]
    refused(KeyError, "need coordinates", lambda: fit(adata, method), adata)


@EACH
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_entries(adata, method, value):
    x = adata.X.toarray().astype(np.float32)
    x[2, 3] = value
    adata.X = sp.csr_matrix(x)
    match = {-1.0: "negative", np.inf: "infinite"}.get(value, "NaN")
    refused(ValueError, match, lambda: fit(adata, method), adata)


@EACH
def test_all_zero(adata, method):
    adata.X = sp.csr_matrix(adata.shape, dtype=np.float32)
    refused(ValueError, "all zero", lambda: fit(adata, method), adata)


@pytest.mark.parametrize("amplitude", [1e300, 1e4, 1e-9])
@pytest.mark.parametrize("method", ["nsf", "nsfh"])
def test_amplitudes_out_of_proportion(adata, method, amplitude):
    refused(
        ValueError,
        r"amplitude=.* must be from 1e-06 to 1000: it is the standard deviation of log",
        lambda: fit(adata, method, amplitude=amplitude),
        adata,
    )


def test_missing_sections(adata):
    adata.obs["section"] = adata.obs["section"].where(np.arange(144) > 2)
    match = "is missing for 3 observations"
    refused(ValueError, match, lambda: fit(adata, "nsf", library_key="section"), adata)
