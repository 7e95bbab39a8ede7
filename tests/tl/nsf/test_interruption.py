"""Fits that do not come to their end."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import nonneg as nng
from testing.nonneg import assert_same, snapshot

from .conftest import EACH, fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@EACH
def test_not_converged(adata, method):
    with pytest.warns(ConvergenceWarning, match=r"after 3 iterations.*max_iter=3"):
        fit(adata, method, max_iter=3, tol=0)
    assert adata.uns[method]["converged"] is False
    assert adata.uns[method]["n_iter"] == 3


def interrupting(after):
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

        def set_description(self, _):
            pass

        def reset(self):
            self.n = 0

        def update(self, n):
            self.n += n
            if self.n == after:
                raise KeyboardInterrupt

    return Bar


@EACH
def test_interruption_keeps_the_last_state(adata, method, monkeypatch):
    from nonneg._core import progress as _progress

    expected = nng.datasets.ggblocks(12, 40)
    fit(expected, method, tol=0, max_iter=7)
    monkeypatch.setattr(_progress, "tqdm", interrupting(7))
    with pytest.warns(UserWarning, match="Interrupted after 7 iterations"):
        fit(adata, method, tol=0, max_iter=40)
    assert adata.uns[method]["n_iter"] == 7
    assert adata.uns[method]["converged"] is False
    assert adata.uns[method]["interrupted"] is True
    assert expected.uns[method]["interrupted"] is False
    np.testing.assert_array_equal(
        adata.obsm[f"X_{method}"], expected.obsm[f"X_{method}"]
    )


@pytest.mark.parametrize("after", [2, 12])
@pytest.mark.parametrize("method", ["nsf", "rsf"])
def test_interruption_of_the_search_keeps_the_best_kernel(
    adata, method, after, monkeypatch
):
    from nonneg._core import progress as _progress

    monkeypatch.setattr(_progress, "tqdm", interrupting(after))
    with pytest.warns(UserWarning, match="Interrupted while the kernel was chosen"):
        getattr(nng.tl, method)(adata, 4)
    stored = adata.uns[method]
    assert stored["interrupted"] is True
    assert stored["converged"] is False
    assert stored["n_iter"] == 1
    assert np.isfinite(stored["objective"]).all()
    assert np.isfinite(adata.obsm[f"X_{method}"]).all()
    tried = stored["search"]
    if after < 8:
        assert tried.empty
    else:
        best = tried.loc[tried["score"].idxmax()]
        assert stored["temperature"] == pytest.approx(best["temperature"])
        assert stored["kernel"]["amplitude"][0] == pytest.approx(best["amplitude"])
    # What is stored is a fit like others.
    found = nng.tl.predict(adata, np.ones((1, 2)), key=method)
    assert np.isfinite(found.X).all()


def test_interruption_before_the_search_leaves_nothing(adata, monkeypatch):
    from nonneg.models.nsf.ascent import Ascent

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Ascent, "step", interrupted)
    before = snapshot(adata)
    with pytest.raises(KeyboardInterrupt):
        nng.tl.nsf(adata, 4)
    assert_same(snapshot(adata), before)


@pytest.mark.parametrize("kernel", [{}, dict(length_scale=2.0, amplitude=1.0)])
def test_interruption_of_the_start_leaves_nothing(adata, kernel, monkeypatch):
    """The factorization that a fit starts from keeps what it has; a fit does not."""
    from nonneg.models.nmf.kullback_leibler import KullbackLeiblerSolver

    step = KullbackLeiblerSolver.step

    def interrupted(self, state):
        if state.n_iter == 3:
            raise KeyboardInterrupt
        return step(self, state)

    monkeypatch.setattr(KullbackLeiblerSolver, "step", interrupted)
    before = snapshot(adata)
    with pytest.raises(KeyboardInterrupt):
        nng.tl.nsf(adata, 4, temperature=1.0, **kernel)
    assert_same(snapshot(adata), before)


def test_interruption_of_exchanges_keeps_what_the_search_found(adata, monkeypatch):
    from nonneg.models.nsf import solver

    def interrupted(ascent, fit):
        # In the folds of the search places are exchanged as well.
        if ascent.max_iter == 77:
            raise KeyboardInterrupt
        return fit

    monkeypatch.setattr(solver, "exchange", interrupted)
    before = snapshot(adata)
    given = dict(length_scale=2.0, amplitude=1.0, temperature=1.0)
    with pytest.raises(KeyboardInterrupt):
        nng.tl.nsfh(adata, 4, max_iter=77, **given)
    assert_same(snapshot(adata), before)
    with pytest.warns(UserWarning, match="nterrupted"):
        nng.tl.nsfh(adata, 4, max_iter=77)
    stored = adata.uns["nsfh"]
    assert stored["interrupted"] is True
    assert stored["n_iter"] == 1
    assert len(stored["search"]) > 1


@pytest.mark.parametrize(
    "where",
    [
        "predict",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("step", "scatter", "first_state")
        ),
    ],
)
def test_interruption_after_the_search_keeps_it(adata, where, monkeypatch):
    """Of what comes between the search and the first step on all data."""
    from nonneg.models.nsf import search, solver
    from nonneg.models.nsf.ascent import Ascent

    owner, name = {
        "scatter": (search, "_scatter"),
        "predict": (solver, "predict_factors"),
        "first_state": (solver, "first_state"),
        "step": (Ascent, "step"),
    }[where]
    original, n_calls = getattr(owner, name), 0

    def once(*args):
        nonlocal n_calls
        # The search takes steps as well.
        on_all = where in {"scatter", "predict"} or args[0].max_iter in {1, 77}
        n_calls += on_all
        if on_all and n_calls == 1:
            raise KeyboardInterrupt
        return original(*args)

    expected = adata.copy()
    nng.tl.nsf(expected, 4, amplitude=1.0, temperature=1.0, max_iter=1)
    monkeypatch.setattr(owner, name, once)
    with pytest.warns(UserWarning, match="nterrupted"):
        nng.tl.nsf(adata, 4, amplitude=1.0, temperature=1.0, max_iter=77)
    assert n_calls > 1
    stored = adata.uns["nsf"]
    assert stored["interrupted"] is True
    assert stored["converged"] is False
    assert stored["n_iter"] == 1
    assert len(stored["search"]) == len(expected.uns["nsf"]["search"])
    np.testing.assert_array_equal(adata.obsm["X_nsf"], expected.obsm["X_nsf"])


def test_interruption_of_permutations_keeps_the_fit(adata, monkeypatch):
    from nonneg.models.nsf import spatial_share

    expected = adata.copy()
    fit(expected, "nsfh")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(spatial_share, "share_of_sites", interrupted)
    with pytest.warns(UserWarning, match="Interrupted after"):
        fit(adata, "nsfh")
    assert adata.uns["nsfh"]["interrupted"] is True
    np.testing.assert_array_equal(adata.obsm["X_nsfh"], expected.obsm["X_nsfh"])
    importance = "nsfh_spatial_importance"
    np.testing.assert_array_equal(adata.var[importance], expected.var[importance])
    assert adata.var[f"{importance}_null"].isna().all()


def test_interruption_of_a_comparison_keeps_what_is_finished(adata, monkeypatch):
    from nonneg.tl._compare import models

    def fit(*args, **kwargs):
        fit.n += 1
        if fit.n == fit.interrupted:
            with monkeypatch.context() as patch:
                patch.setattr("nonneg._core.progress.tqdm", interrupting(2))
                return nng.tl.pnmf(*args, **kwargs, tol=0, max_iter=5)
        return nng.tl.pnmf(*args, **kwargs, max_iter=2)

    model = models.MODELS["pnmf"]._replace(fit=fit)
    monkeypatch.setitem(models.MODELS, "pnmf", model)
    fit.n, fit.interrupted = 0, 2
    with pytest.warns(UserWarning, match="Interrupted after 1 of 3 fits, which are"):
        nng.tl.compare(adata, "pnmf", [2, 3, 4], n_splits=1)
    assert adata.uns["comparison"]["n_components"].tolist() == [2]
    del adata.uns["comparison"]
    before = snapshot(adata)
    fit.n, fit.interrupted = 0, 1
    with pytest.raises(KeyboardInterrupt):
        nng.tl.compare(adata, "pnmf", [2, 3, 4], n_splits=1)
    assert_same(snapshot(adata), before)


@pytest.mark.parametrize("where", ["HoldOut", "scores"])
def test_interruption_between_the_fits_of_a_comparison(
    adata, monkeypatch, where, tmp_path
):
    from nonneg.tl._compare import compare

    original, n_calls = getattr(compare, where), 0

    def second(*args):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(compare, where, second)
    with pytest.warns(UserWarning, match="Interrupted after 1 of 2 fits, which are"):
        nng.tl.compare(adata, "intercept", n_splits=2)
    # Files keep it.
    adata.write_h5ad(tmp_path / "a.h5ad")
    table = ad.read_h5ad(tmp_path / "a.h5ad").uns["comparison"]
    assert table["interrupted"].tolist() == [True]
    assert len(nng.get.comparison(adata)) == 1
    monkeypatch.undo()
    nng.tl.compare(adata, "intercept", n_splits=2)
    assert adata.uns["comparison"]["interrupted"].tolist() == [False, False]
    # Tables of earlier versions do not have it.
    del adata.uns["comparison"]["interrupted"]
    assert len(nng.get.comparison(adata)) == 1
