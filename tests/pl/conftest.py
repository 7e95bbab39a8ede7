from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import nonneg as nng


@pytest.fixture(autouse=True)
def figures():
    """No window, and every figure closed after the test."""
    with mpl.rc_context({"figure.max_open_warning": 0}):
        plt.switch_backend("agg")
        yield
    plt.close("all")


@pytest.fixture
def adata():
    return nng.datasets.quilt(24, 40, background=1)
