from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import nonneg as nng


@pytest.fixture(autouse=True)
def no_window():
    """Figures are drawn in memory."""
    with mpl.rc_context({"figure.max_open_warning": 0}):
        plt.switch_backend("agg")
        yield


@pytest.fixture
def adata():
    return nng.datasets.quilt(24, 40, background=1)
