from __future__ import annotations

import numpy as np
import pytest

from nonneg.models.nmf import solver as module
from nonneg.models.nmf.problem import Problem
from nonneg.operators.dense import DenseOperator


@pytest.fixture
def fit():
    """A fit of a dense matrix: scores, loadings and trace, in the precision of X."""

    def run(x, rank=4, *, loss="frobenius", penalties=None, **kwargs):
        op = DenseOperator(np.asarray(x))
        problem = Problem(op, op.stats(), loss)
        if penalties is not None:
            problem = Problem(op, op.stats(), loss, penalties)
        return module.nmf(problem, rank, **kwargs)

    return run
