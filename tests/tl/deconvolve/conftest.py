from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

import nonneg as nng

if TYPE_CHECKING:
    from anndata import AnnData


class Tissue(NamedTuple):
    adata: AnnData
    reference: AnnData


@pytest.fixture(scope="session")
def _tissue():
    return nng.datasets.spots(12, 150, rng=1)


@pytest.fixture
def tissue(_tissue):
    return Tissue(*(each.copy() for each in _tissue))


@pytest.fixture
def quick():
    """Nothing is tried."""
    return dict(
        cell_type_key="cell_type", graph_weight=10, group_weight=0, effects=False
    )


@pytest.fixture
def rmse():
    return lambda a, b: float(np.sqrt(np.nanmean((np.asarray(a) - np.asarray(b)) ** 2)))
