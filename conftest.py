"""What examples in documentation share with tests."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def closed_figures():
    """Close the figures of a test or an example: matplotlib warns of many."""
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
