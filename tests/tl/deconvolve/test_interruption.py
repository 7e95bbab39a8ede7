"""Ctrl-C keeps what a fit has found, and leaves nothing of its preparation."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng
from nonneg.models.deconvolution.effects import EffectLayer
from nonneg.models.deconvolution.free import FreeLayer
from nonneg.models.deconvolution.solver import DeconvolutionSolver
from testing.nonneg import assert_same, snapshot


def interrupted(monkeypatch, solver, *, where, after=0):
    """One step ends, after so many, of solvers that ``where`` says."""
    step, seen = solver.step, []

    def stop(self, state):
        if where(self):
            seen.append(self)
            if len(seen) == after + 1:
                raise KeyboardInterrupt
        return step(self, state)

    monkeypatch.setattr(solver, "step", stop)


def whole(solver):
    """Not a trial."""
    return solver.max_iter == 77


@pytest.mark.parametrize("after", [0, 2])
def test_effects(tissue, quick, monkeypatch, after):
    """Before the first step of effects, amounts alone are there to be kept."""
    interrupted(
        monkeypatch,
        DeconvolutionSolver,
        where=lambda s: isinstance(s.layer, EffectLayer) and s.max_iter > 6,
        after=after,
    )
    with pytest.warns(UserWarning, match="Interrupted after"):
        nng.tl.deconvolve(*tissue, **quick | {"effects": True})
    assert np.isfinite(tissue.adata.obsm["X_deconv"]).all()
    assert not tissue.adata.uns["deconv"]["converged"]
    assert tissue.adata.uns["deconv"]["interrupted"]


@pytest.mark.parametrize("after", [0, 2])
def test_few_types(tissue, quick, monkeypatch, after):
    """While the largest types are fitted again."""
    interrupted(
        monkeypatch,
        DeconvolutionSolver,
        where=lambda s: s.layer.support is not None,
        after=after,
    )
    with pytest.warns(UserWarning, match="Interrupted after"):
        nng.tl.deconvolve(*tissue, **quick, max_types=2)
    assert ((tissue.adata.obsm["X_deconv"] > 0).sum(1) <= 2).all()


def test_few_types_of_a_fit_that_was_interrupted(tissue, quick, monkeypatch):
    interrupted(
        monkeypatch,
        DeconvolutionSolver,
        where=lambda s: whole(s) and s.layer.support is None,
        after=2,
    )
    with pytest.warns(UserWarning, match="Interrupted after"):
        nng.tl.deconvolve(*tissue, **quick, max_types=2, max_iter=77)
    assert not tissue.adata.uns["deconv"]["converged"]


@pytest.mark.parametrize("reference", [True, False])
def test_preparation(tissue, quick, monkeypatch, reference):
    """A trial, or a start of signatures."""
    interrupted(monkeypatch, DeconvolutionSolver, where=lambda s: not whole(s), after=2)
    adata = tissue.adata
    before = snapshot(adata)
    given = dict(reference=tissue.reference, **quick) if reference else dict(n_types=3)
    with pytest.raises(KeyboardInterrupt):
        nng.tl.deconvolve(adata, **given, max_iter=77)
    assert_same(snapshot(adata), before)


def test_signatures_of_the_section(tissue, monkeypatch):
    """What was learned is used, and the warning says that it is not finished."""
    interrupted(
        monkeypatch,
        DeconvolutionSolver,
        where=lambda s: whole(s) and isinstance(s.layer, FreeLayer),
        after=3,
    )
    with pytest.warns(UserWarning, match="Interrupted after 3 iterations"):
        nng.tl.deconvolve(tissue.adata, n_types=3, graph_weight=30, max_iter=77)
    assert not tissue.adata.uns["deconv"]["converged"]
