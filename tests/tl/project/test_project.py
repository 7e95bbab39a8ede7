"""Scores of new observations."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import nnls

import nonneg as nng
from nonneg._adata.schema import (
    ENTRIES,
    DeconvolutionEntry,
    IntegrationEntry,
    LocaNMFEntry,
    SVDEntry,
    WidefieldEntry,
)
from nonneg.tl._project.methods import METHODS
from testing.nonneg import counts

LOSSES = pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def train():
    return counts()


@pytest.fixture
def test():
    return counts(50, seed=3)


def test_is_that_of_scipy(train, test):
    nng.tl.nmf(train, 4)
    nng.tl.project(test, train)
    loadings = train.varm["nmf"].astype(np.float64)
    expected = np.array([nnls(loadings, row)[0] for row in np.asarray(test.X, float)])
    np.testing.assert_allclose(test.obsm["X_nmf"], expected, atol=1e-5 * expected.max())
    np.testing.assert_array_equal(test.varm["nmf"], train.varm["nmf"])
    assert test.uns["nmf"]["projected"] == pytest.approx(1)
    assert test.uns["nmf"]["params"]["seed"] == train.uns["nmf"]["params"]["seed"]


@LOSSES
def test_training_data_keep_their_scores(train, beta_loss):
    nng.tl.nmf(train, 4, beta_loss=beta_loss, tol=1e-8, max_iter=1000)
    nng.tl.project(train, train, key_added="again")
    scale = train.obsm["X_nmf"].max()
    difference = np.abs(train.obsm["again"] - train.obsm["X_nmf"]).max()
    assert difference < (1e-3 if beta_loss == "frobenius" else 2e-2) * scale


@pytest.mark.parametrize("nonnegative", ["scores", "loadings"])
def test_semi_nmf_keeps_its_constraint(train, test, nonnegative):
    for each in (train, test):
        each.X = each.X - np.asarray(train.X).mean(0)
    nng.tl.seminmf(train, 4, nonnegative=nonnegative)
    nng.tl.project(test, train)
    loadings = train.varm["nmf"].astype(np.float64)
    x = np.asarray(test.X, float)
    expected = np.linalg.lstsq(loadings, x.T)[0].T
    if nonnegative == "scores":
        assert (expected < -0.1).any()
        expected = np.array([nnls(loadings, row)[0] for row in x])
    # Free loadings may be nearly collinear: in single precision the residual is
    # determined better than the scores.
    ours, best = (
        np.square(x - scores @ loadings.T).sum()
        for scores in (test.obsm["X_nmf"].astype(float), expected)
    )
    assert ours <= best * (1 + 1e-4)
    assert (test.obsm["X_nmf"].min() >= 0) == (nonnegative == "scores")
    assert test.uns["nmf"]["method"] == "seminmf"


def test_variables_are_matched_by_name(train, test):
    nng.tl.nmf(train, 4, mask_var="used")
    expected = nng.tl.project(test, train, copy=True)
    order = np.random.default_rng(0).permutation(40)
    shuffled = test[:, order].copy()
    nng.tl.project(shuffled, train)
    np.testing.assert_allclose(
        shuffled.obsm["X_nmf"], expected.obsm["X_nmf"], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(shuffled.varm["nmf"], expected.varm["nmf"][order])


def test_missing_and_additional_variables(train, test):
    nng.tl.nmf(train, 4)
    part = test[:, 5:].copy()
    part.var_names = [*part.var_names[:-2], "new_0", "new_1"]
    with pytest.warns(UserWarning, match="7 of the 40 variables with loadings are not"):
        nng.tl.project(part, train)
    known = slice(5, 38)
    loadings = train.varm["nmf"][known].astype(float)
    x = np.asarray(test.X, float)[:, known]
    expected = np.array([nnls(loadings, row)[0] for row in x])
    np.testing.assert_allclose(part.obsm["X_nmf"], expected, atol=1e-5 * expected.max())
    assert np.isnan(part.varm["nmf"][-2:]).all()
    share = np.square(loadings).sum() / np.square(train.varm["nmf"]).sum()
    assert part.uns["nmf"]["projected"] == pytest.approx(share, rel=1e-5)


def test_the_same_layer_unless_told(train, test):
    train.layers["counts"], train.X = train.X, None
    nng.tl.nmf(train, 4, layer="counts")
    other = test.copy()
    test.layers["counts"], test.X = test.X.copy(), np.zeros_like(test.X)
    nng.tl.project(test, train)
    other.layers["raw"], other.X = other.X, None
    nng.tl.project(other, train, layer="raw")
    np.testing.assert_array_equal(test.obsm["X_nmf"], other.obsm["X_nmf"])
    assert other.uns["nmf"]["params"]["layer"] == "raw"
    assert train.uns["nmf"]["params"]["layer"] == "counts"


def test_of_obsm(train, test):
    for each in (train, test):
        each.obsm["X_part"] = np.asarray(each.X)[:, :10]
    nng.tl.nmf(train, 3, obsm="X_part")
    nng.tl.project(test, train)
    loadings = train.uns["nmf"]["loadings"].astype(float)
    expected = np.array([nnls(loadings, row)[0] for row in test.obsm["X_part"]])
    np.testing.assert_allclose(test.obsm["X_nmf"], expected, atol=1e-5 * expected.max())
    np.testing.assert_array_equal(test.uns["nmf"]["loadings"], loadings)


def test_a_layer_that_is_not_there(train, test):
    """X is taken in its place, and said so."""
    train.layers["counts"] = train.X
    nng.tl.nmf(train, 4, layer="counts")
    with pytest.warns(UserWarning, match="'counts', which adata does not have"):
        nng.tl.project(test, train)
    assert test.uns["nmf"]["params"]["layer"] is None
    expected = nng.tl.project(test, nng.tl.nmf(counts(), 4, copy=True), copy=True)
    np.testing.assert_allclose(test.obsm["X_nmf"], expected.obsm["X_nmf"], rtol=1e-5)


@LOSSES
def test_empty_observations(train, test, beta_loss):
    nng.tl.nmf(train, 4, beta_loss=beta_loss)
    test.X[[2, 30]] = 0
    with pytest.warns(UserWarning, match="2 observations that are all zero"):
        nng.tl.project(test, train)
    assert not test.obsm["X_nmf"][[2, 30]].any()
    assert test.obsm["X_nmf"].any(1).sum() == 48


@LOSSES
def test_rows_do_not_depend_on_each_other(train, test, beta_loss):
    """What a row is next to changes nothing but when updates end."""
    nng.tl.nmf(train, 4, beta_loss=beta_loss)
    nng.tl.project(test, train)
    alone = test[7:8].copy()
    nng.tl.project(alone, train)
    np.testing.assert_allclose(
        alone.obsm["X_nmf"][0],
        test.obsm["X_nmf"][7],
        atol=1e-3 * test.obsm["X_nmf"].max(),
    )


def test_penalty_of_the_reference(train):
    """The scores of a penalised fit are its own projection."""
    nng.tl.nmf(
        train, 4, alpha_W=0.05, alpha_H=0.05, l1_ratio=0.5, tol=1e-8, max_iter=500
    )
    nng.tl.project(train, train, key_added="again")
    scale = train.obsm["X_nmf"].max()
    difference = np.abs(train.obsm["again"] - train.obsm["X_nmf"]).max()
    assert difference < 1e-2 * scale


# --- by method --------------------------------------------------------------

QUICK = dict(max_iter=3, key_added="fit")
SPATIAL = dict(length_scale=3.0, temperature=1.0)
MODELS = {
    "nmf": {},
    "stability": {"n_bootstraps": 3},
    "seminmf": {},
    "fa": {},
    "pnmf": {"likelihood": "negative_binomial"},
    "rsf": SPATIAL,
    "nsf": SPATIAL | {"amplitude": 1.0},
    "nsfh": SPATIAL | {"amplitude": 1.0},
}


@pytest.fixture(scope="module")
def references():
    """A fit of every method that takes one matrix."""
    results = {}
    for name, kwargs in MODELS.items():
        results[name] = nng.datasets.ggblocks(8, 20)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            n_components = [3] if name == "stability" else 3
            getattr(nng.tl, name)(results[name], n_components, **QUICK, **kwargs)
    return results


def test_every_method_that_is_stored_can_be_projected_or_is_simulated():
    simulated = {"quilt", "ggblocks", "atlas_expression"}
    others = {
        name
        for name, kind in ENTRIES.items()
        if kind
        in {
            IntegrationEntry,
            DeconvolutionEntry,
            LocaNMFEntry,
            SVDEntry,
            WidefieldEntry,
        }
    }
    assert set(METHODS) == set(MODELS) == set(ENTRIES) - simulated - others


@pytest.mark.filterwarnings("ignore:adata.X has 1 observation ")
@pytest.mark.parametrize("method", MODELS)
def test_what_was_projected_is_a_reference(references, method):
    """Nothing is lost on the way: means of genes, size factors, penalties."""
    new = nng.datasets.ggblocks(8, 20, rng=1)
    nng.tl.project(new, references[method], key="fit")
    once = new.obsm["fit"].copy()
    nng.tl.project(new, new[:0].copy(), key="fit", key_added="again")
    np.testing.assert_allclose(new.obsm["again"], once, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["rsf", "fa"])
def test_means_that_were_removed(references, method):
    reference = references[method].copy()
    del reference.var["fit_center"]
    with pytest.raises(KeyError, match=r"'fit_center' is not in adata.var.*removed"):
        nng.tl.project(nng.datasets.ggblocks(8, 20), reference, key="fit")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: nng.datasets.quilt(12, 20), "made by 'quilt', on which nothing can"),
        (lambda: nng.datasets.batches((40, 30), 20, 3), "no sums over cells"),
    ],
)
def test_simulated_factors_are_no_reference(make, match):
    adata = make()
    with pytest.raises(ValueError, match=match):
        nng.tl.project(adata, adata, key="truth")
