"""What held-out genes decide, given what they score."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from nonneg.models.deconvolution.choose import Wishes, _Trial, _Trials, choose
from nonneg.models.deconvolution.problem import Mixture, Tuning

N, G, K = 6, 40, 2


@pytest.fixture
def mixture():
    return Mixture(
        sp.csr_matrix(np.ones((N, G), np.float32)),
        np.full((K, G), 1 / G),
        sp.csr_matrix(np.ones((N, N), np.float32)),
        np.zeros(N, np.intp),
    )


@pytest.fixture
def scored(monkeypatch, mixture):
    """Choose by scores that are given: a sum, and how they scatter over genes."""
    signs = np.tile([1.0, -1.0], G // 2)

    def decide(scores, wishes=Wishes(effects=False), *, settled=True):  # noqa: B008
        def trial(self, tuning, start):
            total, scatter = scores(tuning)
            # What is fitted again, from another one, is finished.
            done = settled or any(t.tuning == tuning for t in self.done)
            return _Trial(tuning, total / G + scatter * signs, [], done)

        monkeypatch.setattr(_Trials, "_trial", trial)
        monkeypatch.setattr(_Trials, "_dispersion", lambda *_: np.ones(G))
        return choose(mixture, None, "poisson", wishes, 0).tuning

    return decide


@pytest.mark.parametrize("settled", [True, False])
class TestCertainty:
    """The same, whether or not trials had to be finished first."""

    def test_mean_of_a_section(self, scored, settled):
        def scores(tuning, scatter):
            return {0.0: 0, 10.0: 5, 30.0: 1}[tuning.group_weight], scatter * (
                tuning.group_weight == 10
            )

        wishes = Wishes(graph_weight=0, effects=False)
        found = scored(lambda t: scores(t, 0.1), wishes, settled=settled)
        assert found.group_weight == 10
        found = scored(lambda t: scores(t, 10.0), wishes, settled=settled)
        assert found.group_weight == 0

    def test_mean_of_a_section_that_neighbours_do_not_beat(self, scored, settled):
        def scores(tuning):
            if tuning.graph_weight:
                return (4 if tuning.graph_weight == 10 else 0), 0
            return (5 if tuning.group_weight == 10 else 0), 10 * (
                tuning.group_weight == 10
            )

        assert scored(scores, settled=settled) == Tuning()

    def test_neighbours(self, scored, settled):
        def scores(tuning):
            graph = {0.0: 0, 10.0: 10, 30.0: 20, 100.0: 15}[tuning.graph_weight]
            return graph + (tuning.group_weight == 10), 0

        assert scored(scores, settled=settled) == Tuning(graph_weight=30)

    def test_effects_that_do_not_help(self, scored, settled):
        def scores(tuning):
            graph = {0.0: 0, 10.0: 10}.get(tuning.graph_weight, 5)
            return graph - bool(tuning.gene_effect), 0

        found = scored(scores, Wishes(group_weight=0), settled=settled)
        assert found == Tuning(graph_weight=10)
