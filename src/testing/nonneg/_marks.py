"""Marks for what a test needs."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


class _Needs:
    """``@needs.leidenalg`` skips a test where the package is not installed."""

    def __getattr__(self, name: str) -> pytest.MarkDecorator:
        return pytest.mark.skipif(
            find_spec(name) is None, reason=f"{name} is not installed"
        )


needs = _Needs()
