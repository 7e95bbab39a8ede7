"""Predictions of spatial models, at locations of the fit and elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng

from .conftest import EACH_SPATIAL, close, fit, mean_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("n_inducing", [None, 40, 1000])
@EACH_SPATIAL
def test_prediction_where_observed_is_the_fit(adata, method, n_inducing):
    fit(adata, method, n_inducing=n_inducing)
    found = nng.tl.predict(adata[:0].copy(), adata.obsm["spatial"], key=method)
    spatial = adata.uns[method]["is_spatial"]
    fitted = adata.obsm[f"X_{method}"], adata.obsm[f"X_{method}_std"]
    close(found.X[:, spatial], fitted[0][:, spatial], 1e-5)
    close(found.layers["std"][:, spatial], fitted[1][:, spatial], 1e-5)
    assert adata.uns[method]["params"]["n_inducing"] == min(n_inducing or 144, 144)
    assert list(found.var["is_spatial"]) == spatial.tolist()
    # The rest is its prior, the same everywhere.
    assert (np.ptp(found.X[:, ~spatial], axis=0) == 0).all()


def test_prediction_after_a_search(adata):
    nng.tl.nsf(adata, 4)
    found = nng.tl.predict(adata[:0].copy(), adata.obsm["spatial"])
    close(found.X, adata.obsm["X_nsf"], 1e-4)
    # The grid has gaps of one: halfway, between its neighbours' values, roughly.
    assert found.X.max() < 1e4


def test_expected_counts(fits):
    adata = fits["nsf"]
    found = nng.tl.predict(adata, adata.obsm["spatial"], expression=True)
    assert found.shape == adata.shape
    assert list(found.var_names) == list(adata.var_names)
    close(found.X, mean_of(adata, size=np.ones(144)))
    variance = adata.obsm["X_nsf_std"] ** 2 @ (adata.varm["nsf"] ** 2).T
    close(found.layers["std"], np.sqrt(variance))
    close(found.obsm["X_nsf"], adata.obsm["X_nsf"])


def test_expected_counts_of_log_normalised_data(fits):
    adata = fits["rsf"]
    found = nng.tl.predict(adata, adata.obsm["spatial"], key="rsf", expression=True)
    log = adata.obsm["X_rsf"] @ adata.varm["rsf"].T + adata.var["rsf_center"].to_numpy()
    close(found.X, np.maximum(np.expm1(log), 0))


def test_held_out_locations(adata):
    """Better than the rates of genes."""
    held = np.random.default_rng(0).random(144) < 0.2
    train = adata[~held].copy()
    fit(train, "nsf", temperature=5.0)
    found = nng.tl.predict(train, adata[held].obsm["spatial"], expression=True)
    counts = adata[held].X.toarray()
    size = counts.sum(1) / np.median(train.X.toarray().sum(1))
    rate = train.X.toarray().mean(0)
    ours, theirs = (
        nng.metrics.poisson_deviance(counts, size[:, None] * np.maximum(m, 0.01 * rate))
        for m in (np.asarray(found.X), np.broadcast_to(rate, counts.shape))
    )
    assert ours < 0.9 * theirs


def test_uncertainty_grows_with_distance(fits):
    adata = fits["nsf"]
    x = np.array([[5.0, 5.0], [20.0, 5.0], [60.0, 5.0]])
    found = nng.tl.predict(adata, x)
    spread = np.log1p((found.layers["std"] / found.X) ** 2)
    assert (np.diff(spread, axis=0) > 0).all()


@pytest.mark.parametrize(
    ("coords", "match"),
    [
        (np.zeros((3, 3)), r"shape \(n, 2\)"),
        (np.zeros(2), r"shape \(n, 2\)"),
        (np.zeros((0, 2)), r"shape \(n, 2\)"),
        (np.full((3, 2), np.nan), "NaN or infinite"),
    ],
)
def test_coordinates_that_do_not_suit(fits, coords, match):
    with pytest.raises(ValueError, match=match):
        nng.tl.predict(fits["nsf"], coords)


def test_models_without_space_do_not_predict(fits):
    with pytest.raises(ValueError, match="'pnmf', which is not a spatial model"):
        nng.tl.predict(fits["pnmf"], np.zeros((3, 2)), key="pnmf")
    with pytest.raises(KeyError, match="key='nsf'; there are"):
        nng.tl.predict(fits["pnmf"], np.zeros((3, 2)))


@pytest.mark.parametrize("simulation", ["ggblocks", "quilt"])
def test_hybrid_expects_the_counts_that_there_are(simulation):
    """Factors without space enter by their mean over the observations."""
    adata = getattr(nng.datasets, simulation)(18, 100, n_nonspatial=3, mixing=0.55)
    held = np.random.default_rng(0).random(adata.n_obs) < 0.2
    train, test = adata[~held].copy(), adata[held]
    fit(train, "nsfh", 7, n_spatial=4)
    found = nng.tl.predict(train, test.obsm["spatial"], key="nsfh", expression=True)
    size = test.X.toarray().sum(1) / np.median(train.X.toarray().sum(1))
    total = (size[:, None] * found.X).sum()
    assert total / test.X.sum() == pytest.approx(1, abs=0.15)
    others = ~train.uns["nsfh"]["is_spatial"]
    close(
        found.obsm["X_nsfh"][0, others], train.obsm["X_nsfh"][:, others].mean(0), 1e-3
    )


def test_after_a_projection(fits):
    """Scores of new observations have no fields: the hint is another one."""
    new = nng.datasets.ggblocks(12, 40, rng=1)
    nng.tl.project(new, fits["nsf"], key="nsf")
    with pytest.raises(ValueError, match="Predict with the reference"):
        nng.tl.predict(new, np.ones((1, 2)))


def test_nugget_is_not_shared_with_neighbours(adata):
    """Next to a location of the fit, its own part is unknown."""
    fit(adata, "nsf", nugget=0.5)
    assert adata.uns["nsf"]["kernel"]["nugget"] == 0.5
    at, beside = (
        nng.tl.predict(adata, adata.obsm["spatial"] + shift, key="nsf")
        for shift in (0.0, 1e-3)
    )
    spread = [np.log1p((x.layers["std"] / x.X) ** 2) for x in (at, beside)]
    # With an amplitude of 1.
    assert (spread[1] > 0.5 * 0.99).all()
    assert np.median(spread[0]) < 0.6 * np.median(spread[1])


def test_a_nugget_follows_what_neighbours_do_not_share():
    """Without one, borders are rounded off by fields this smooth."""
    adata = nng.datasets.ggblocks(18, 60)
    similarity = []
    for nugget in (0.0, 0.1):
        fit(adata, "nsf", length_scale=8.0, size_factors=None, nugget=nugget)
        match = nng.metrics.match_factors(
            adata.obsm["truth"], adata.obsm["X_nsf"], metric="pearson"
        )
        similarity.append(match.similarity.mean())
    assert similarity[1] > max(similarity[0], 0.985)
