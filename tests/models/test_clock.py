from __future__ import annotations

from time import perf_counter

import jax
import jax.numpy as jnp
import pytest
from jax import monitoring

from nonneg.models import clock as of_clock
from nonneg.models.clock import clock


def test_it_stands_still_while_jax_compiles():
    @jax.jit
    def inner(x):
        return jnp.linalg.inv(x @ x.T + 17)

    @jax.jit
    def outer(x):
        return inner(x) @ inner(2 * x)

    x = jnp.ones((5, 5))
    begun, ours = perf_counter(), clock()
    outer(x).block_until_ready()
    compiling = perf_counter() - begun
    assert 0 <= clock() - ours < 0.5 * compiling


def test_it_goes_on_otherwise():
    begun, ours = perf_counter(), clock()
    while perf_counter() - begun < 0.02:
        pass
    assert clock() - ours == pytest.approx(perf_counter() - begun, abs=0.01)


def test_parts_within_a_part_are_counted_once(monkeypatch):
    now = 100.0
    monkeypatch.setattr(of_clock, "perf_counter", lambda: now)
    monkeypatch.setattr(of_clock, "_compiled", of_clock._Compiled())
    before = clock()
    event = "/jax/core/compile/jaxpr_trace_duration"
    for ends, duration in ((101, 0.5), (102, 0.25), (103, 3.0), (105, 1.0)):
        now = float(ends)
        monitoring.record_event_duration_secs(event, duration)
        monitoring.record_event_duration_secs("/somewhere/else", 40.0)
    assert clock() - before == pytest.approx(5 - 3 - 1)
