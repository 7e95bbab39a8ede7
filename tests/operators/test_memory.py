"""What was freed is given back."""

from __future__ import annotations

import numpy as np
import pytest

from nonneg.operators import memory
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.dense import DenseOperator


def blocks(n=40):
    x = np.ones((n, 3), np.float32)
    return BlockOperator(
        lambda: lambda chosen: x[np.r_[tuple(chosen)]],
        DenseOperator,
        np.arange(0, n + 1, 4),
        3,
        x.dtype,
    )


@pytest.fixture
def calls(monkeypatch):
    """Times of calls of the C library, by a clock that a block moves on."""
    calls, clock = [], [100.0]

    def tick():
        clock[0] += 0.05
        return clock[0]

    monkeypatch.setattr(memory, "monotonic", tick)
    monkeypatch.setattr(memory, "_last", 0.0)
    monkeypatch.setattr(memory, "_trim", lambda: lambda _: calls.append(clock[0]))
    return calls


def test_from_time_to_time(calls):
    assert len(list(blocks().row_blocks())) == 10
    assert 1 < len(calls) < 6
    assert (np.diff(calls) > 0.2).all()


def test_systems_without_it(monkeypatch):
    def missing(_):
        raise OSError

    memory._trim.cache_clear()
    monkeypatch.setattr(memory.ctypes, "CDLL", missing)
    assert memory._trim() is None
    memory.give_back()
    assert len(list(blocks().row_blocks())) == 10
    memory._trim.cache_clear()
