"""What must work, and what is said about it."""

from __future__ import annotations

import hashlib

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import nonneg as nng
from nonneg.models.nmf import frobenius
from nonneg.models.nmf import kullback_leibler as divergence
from testing.nonneg import (
    assert_same,
    assert_same_fit,
    counts,
    fitted_mean,
    kullback_leibler,
    penalised,
    snapshot,
)

BOTH = pytest.mark.parametrize("fit", [nng.tl.nmf, nng.tl.seminmf])
LOSSES = pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])
NOT_CONVERGED = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture
def adata():
    return counts()


@NOT_CONVERGED
@LOSSES
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix])
def test_empty_observations_and_variables(adata, beta_loss, convert):
    x = np.array(adata.X)
    x[[3, 50]] = 0
    x[:, 7] = 0
    adata.X = convert(x)
    with pytest.warns(
        UserWarning, match="2 observations .* and 1 variable that is all"
    ):
        nng.tl.nmf(adata, 4, beta_loss=beta_loss)
    assert not adata.obsm["X_nmf"][[3, 50]].any()
    assert not adata.varm["nmf"][7].any()
    assert adata.obsm["X_nmf"].any(1).sum() == 118
    assert np.isfinite(adata.obsm["X_nmf"]).all()
    assert np.isfinite(adata.varm["nmf"]).all()


@NOT_CONVERGED
def test_signed_observations_that_sum_to_zero_are_not_empty():
    """Only zeros are nothing: with both signs a sum of zero says little."""
    rng = np.random.default_rng(0)
    half = rng.integers(-3, 4, (30, 6)).astype(np.float32)
    adata = ad.AnnData(np.concatenate([half, -half], axis=1))
    nng.tl.seminmf(adata, 3)
    new = adata.copy()
    nng.tl.project(new, adata)
    assert new.obsm["X_nmf"].any(1).mean() > 0.9


@NOT_CONVERGED
@BOTH
def test_a_view_becomes_actual(adata, fit):
    before = snapshot(adata)
    view = adata[10:90, 5:35]
    expected = view.copy()
    fit(view, 4)
    assert not view.is_view
    fit(expected, 4)
    assert_same(snapshot(view), snapshot(expected))
    assert_same(snapshot(adata), before)


@NOT_CONVERGED
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix])
def test_a_read_only_file(adata, convert, tmp_path):
    path = tmp_path / "backed.h5ad"
    adata.X = convert(adata.X)
    adata.write_h5ad(path)
    path.chmod(0o444)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    backed = ad.read_h5ad(path, backed="r")
    nng.tl.nmf(backed, 4)
    nng.pp.deviant_genes(backed, 10)
    nng.tl.project(backed, adata_with_fit(), key_added="projected")
    assert backed.obsm["X_nmf"].shape == backed.obsm["projected"].shape == (120, 4)
    assert backed.var["highly_variable"].sum() == 10
    assert backed.isbacked
    backed.file.close()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def adata_with_fit():
    return nng.tl.nmf(counts(seed=1), 4, copy=True)


@NOT_CONVERGED
@BOTH
def test_repeated_names_where_none_are_matched(adata, fit):
    expected = fit(adata, 4, copy=True)
    adata.var_names = ["gene"] * 40
    adata.obs_names = ["cell"] * 120
    fit(adata, 4)
    np.testing.assert_array_equal(adata.obsm["X_nmf"], expected.obsm["X_nmf"])


@NOT_CONVERGED
@LOSSES
def test_one_component(adata, beta_loss):
    """For KL its product is that of the margins."""
    nng.tl.nmf(adata, 1, beta_loss=beta_loss, tol=1e-7)
    x = np.asarray(adata.X, np.float64)
    if beta_loss == "frobenius":
        u, s, vt = np.linalg.svd(x)
        expected = s[0] * np.outer(u[:, 0], vt[0])
    else:
        expected = np.outer(x.sum(1), x.sum(0)) / x.sum()
    assert np.abs(fitted_mean(adata) - expected).max() < 1e-3 * expected.max()


@NOT_CONVERGED
def test_as_many_components_as_variables(adata):
    small = adata[:, :5].copy()
    small.X = small.X + 1
    nng.tl.nmf(small, 5, max_iter=2000, tol=1e-6)
    error = np.linalg.norm(small.X - fitted_mean(small)) / np.linalg.norm(small.X)
    assert error < 1e-3


@NOT_CONVERGED
@LOSSES
@pytest.mark.parametrize("array", [True, False])
def test_mask_is_a_fit_of_the_subset(adata, beta_loss, array):
    mask = adata.var["used"].to_numpy()
    subset = nng.tl.nmf(adata[:, mask].copy(), 4, beta_loss=beta_loss, copy=True)
    nng.tl.nmf(adata, 4, beta_loss=beta_loss, mask_var=mask if array else "used")
    np.testing.assert_allclose(
        adata.obsm["X_nmf"], subset.obsm["X_nmf"], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        adata.varm["nmf"][mask], subset.varm["nmf"], rtol=1e-5, atol=1e-6
    )
    assert np.isnan(adata.varm["nmf"][~mask]).all()
    np.testing.assert_array_equal(adata.var["used"], mask)


@NOT_CONVERGED
@BOTH
def test_obsm(adata, fit):
    of_x = fit(adata, 4, copy=True)
    adata.obsm["X_counts"] = np.asarray(adata.X)
    adata.X = None
    fit(adata, 4, obsm="X_counts")
    np.testing.assert_array_equal(adata.obsm["X_nmf"], of_x.obsm["X_nmf"])
    np.testing.assert_array_equal(adata.uns["nmf"]["loadings"], of_x.varm["nmf"])
    assert "nmf" not in adata.varm


@NOT_CONVERGED
def test_spatialdata(adata):
    sd = pytest.importorskip("spatialdata")
    sdata = sd.SpatialData(tables={"table": adata.copy(), "other": counts(seed=1)})
    untouched = snapshot(sdata.tables["other"])
    assert nng.tl.nmf(sdata, 4, table_key="table") is None
    nng.tl.nmf(adata, 4)
    assert_same_fit(sdata.tables["table"], adata)
    copy = nng.tl.seminmf(sdata, 4, table_key="other", copy=True)
    nng.pp.deviant_genes(sdata, 5, table_key="table")
    nng.tl.project(sdata, adata, table_key="table", key_added="again")
    assert sdata.tables["table"].var["highly_variable"].sum() == 5
    assert "again" in sdata.tables["table"].obsm
    assert "X_nmf" in copy.obsm
    assert_same(snapshot(sdata.tables["other"]), untouched)


@LOSSES
def test_interruption_keeps_the_last_state(adata, beta_loss, monkeypatch):
    from nonneg._core import progress as _progress

    class Bar:
        n = 0

        def __init__(self, **_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def set_postfix(self, **_):
            pass

        def update(self, n):
            self.n += n
            if self.n == 7:
                raise KeyboardInterrupt

    expected = counts()
    with pytest.warns(ConvergenceWarning, match="Not converged after 7 iterations"):
        nng.tl.nmf(expected, 4, beta_loss=beta_loss, tol=0, max_iter=7)
    monkeypatch.setattr(_progress, "tqdm", Bar)
    with pytest.warns(UserWarning, match="Interrupted after 7 iterations"):
        nng.tl.nmf(adata, 4, beta_loss=beta_loss, tol=0, max_iter=200)
    entry = adata.uns["nmf"]
    assert (entry["n_iter"], entry["converged"]) == (7, False)
    assert (entry["interrupted"], expected.uns["nmf"]["interrupted"]) == (True, False)
    np.testing.assert_array_equal(adata.obsm["X_nmf"], expected.obsm["X_nmf"])
    np.testing.assert_array_equal(adata.varm["nmf"], expected.varm["nmf"])


def test_interruption_before_there_is_anything(adata, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(frobenius, "alternate", interrupt)
    before = snapshot(adata)
    with pytest.raises(KeyboardInterrupt):
        nng.tl.nmf(adata, 4)
    assert_same(snapshot(adata), before)


@BOTH
def test_not_converged(adata, fit):
    with pytest.warns(ConvergenceWarning, match=r"Increase max_iter=3 or tol=0"):
        fit(adata, 4, tol=0, max_iter=3)
    assert adata.uns["nmf"]["converged"] is False
    assert adata.uns["nmf"]["n_iter"] == 3
    fit(adata, 4, tol=0.5)
    assert adata.uns["nmf"]["converged"] is True
    assert adata.uns["nmf"]["n_iter"] < 200


def test_warnings_point_at_the_call(adata):
    with pytest.warns(ConvergenceWarning) as caught:
        nng.tl.nmf(adata, 4, tol=0, max_iter=3)
    assert caught[0].filename == __file__


@NOT_CONVERGED
def test_fewer_parts_than_components(adata):
    """Two kinds of observations: the third component has nothing to explain."""
    adata.X = np.repeat([[1, 0], [0, 1]], 60, axis=0) @ np.repeat(
        np.eye(2, dtype=np.float32), 20, axis=1
    )
    with pytest.warns(UserWarning, match="1 of 3 components is empty"):
        nng.tl.nmf(adata, 3, init="nndsvd")
    assert np.isfinite(adata.obsm["X_nmf"]).all()
    np.testing.assert_allclose(fitted_mean(adata), adata.X, atol=1e-5)
    assert adata.uns["nmf"]["mass"][-1] == 0


@NOT_CONVERGED
@pytest.mark.parametrize("init", ["nndsvda", "random"])
@BOTH
def test_seeds(adata, fit, init):
    kwargs = dict(max_iter=10) | (dict(init=init) if fit is nng.tl.nmf else {})

    def run(rng):
        fitted = fit(adata, 4, rng=rng, copy=True, **kwargs)
        return fitted.obsm["X_nmf"], fitted.uns["nmf"]["params"]["seed"]

    scores, seed = run(3)
    assert seed == 3
    np.testing.assert_array_equal(run(3)[0], scores)
    np.testing.assert_array_equal(run(np.int64(3))[0], scores)
    if init == "random" and fit is nng.tl.nmf:
        assert not np.array_equal(run(4)[0], scores)
    # What is recorded reproduces.
    for rng in (np.random.default_rng(5), None):
        drawn, seed = run(rng)
        assert type(seed) is int
        np.testing.assert_array_equal(run(seed)[0], drawn)
    generator = np.random.default_rng(5)
    assert run(generator)[1] != run(generator)[1]


@NOT_CONVERGED
def test_several_starts_do_not_do_worse(adata):
    objectives = [
        nng.tl.nmf(adata, 6, init="random", n_init=n, max_iter=30, copy=True).uns[
            "nmf"
        ]["objective"][-1]
        for n in (1, 5)
    ]
    assert objectives[1] <= objectives[0]


@NOT_CONVERGED
@LOSSES
@pytest.mark.parametrize(
    "penalty",
    [
        dict(alpha_W=0.0, alpha_H=0.0, l1_ratio=0.0),
        dict(alpha_W=0.02, alpha_H=0.03, l1_ratio=0.0),
        dict(alpha_W=0.02, alpha_H=0.03, l1_ratio=0.7),
    ],
    ids=str,
)
def test_objective_is_the_documented_one(adata, beta_loss, penalty, monkeypatch):
    """Of the factors before they are rescaled, penalties included."""
    seen = []
    original = frobenius.normalise

    def normalise(w, h):
        seen.append((np.array(w), np.array(h)))
        return original(w, h)

    for module in (frobenius, divergence):
        monkeypatch.setattr(module, "normalise", normalise)
    nng.tl.nmf(adata, 4, beta_loss=beta_loss, max_iter=37, tol=0, **penalty)
    w, h = (factor.astype(np.float64) for factor in seen[-1])
    x = np.asarray(adata.X, np.float64)
    loss = np.square(x - w @ h).sum() / 2
    if beta_loss != "frobenius":
        loss = kullback_leibler(x, w, h)
    expected = penalised(loss, w, h, **penalty)
    assert adata.uns["nmf"]["objective"][-1] == pytest.approx(expected, rel=1e-5)
    # Stored is the same product.
    np.testing.assert_allclose(fitted_mean(adata), w @ h, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(adata.varm["nmf"], axis=0), 1, rtol=1e-5)
    parts = adata.obsm["X_nmf"].sum(0) * adata.varm["nmf"].sum(0)
    np.testing.assert_allclose(adata.uns["nmf"]["mass"], parts, rtol=1e-4)


@NOT_CONVERGED
def test_penalties_do_what_they_say(adata):
    plain = nng.tl.nmf(adata, 4, copy=True)
    sparse = nng.tl.nmf(adata, 4, alpha_W=0.3, alpha_H=0.3, l1_ratio=1, copy=True)
    small = nng.tl.nmf(adata, 4, alpha_W=0.3, alpha_H=0.3, copy=True)

    def zeros(fitted):
        return (fitted.obsm["X_nmf"] == 0).mean() + (fitted.varm["nmf"] == 0).mean()

    assert zeros(sparse) > zeros(plain) + 0.05
    assert np.linalg.norm(fitted_mean(small)) < np.linalg.norm(fitted_mean(plain))


def test_log(adata, caplog):
    import logging

    logger = logging.getLogger("nonneg")
    logger.addHandler(caplog.handler)
    try:
        with nng.settings.override(verbosity="info"):
            nng.tl.nmf(adata, 4, tol=0.1, key_added="foo")
        nng.tl.nmf(adata, 4, tol=0.1)
    finally:
        logger.removeHandler(caplog.handler)
    (record,) = caplog.records
    assert "adata.uns['foo']" in record.getMessage()


def test_silent_by_default(adata, capfd):
    nng.tl.nmf(adata, 4, tol=0.1)
    nng.pp.deviant_genes(adata)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "nmf" not in captured.err.replace("\r", "").replace(" ", "")
