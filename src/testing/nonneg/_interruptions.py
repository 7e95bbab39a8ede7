"""Ctrl-C at random moments of a call, and what must be left of it."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._snapshot import assert_same, held_objects, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


# Longer fits of several kinds: several starts, kernels that are searched, many fits.
LONGER: dict[str, dict[str, Any]] = {
    "tl.nmf": {"max_iter": 20, "n_init": 3, "tol": 0, "init": "random"},
    "tl.inmf": {"max_iter": 10, "n_init": 2},
    "tl.online_inmf": {"n_epochs": 3, "minibatch_size": 50},
    "tl.nsf": {"length_scale": None, "temperature": None, "max_iter": 20},
    "tl.pnmf": {"max_iter": 20, "estimator": "monte_carlo"},
    "tl.compare": {
        "models": ["pnmf", "nmf", "intercept"],
        "model_kwargs": {"pnmf": {"max_iter": 4}, "nmf": {"max_iter": 4}},
    },
    "tl.inmf_search": {"n_components": [2, 3]},
    "tl.stability": {"method": "pnmf", "method_kwargs": {"max_iter": 3}},
    "tl.deconvolve": {"graph_weight": None, "max_iter": 20},
}


class Interrupter:
    """Raises KeyboardInterrupt at the n-th call of a function of the package."""

    def __init__(self, after: int | None) -> None:
        import nonneg

        self.package = str(Path(nonneg.__file__).parent)
        self.after, self.n = after, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(self.package):
            return
        self.n += 1
        if self.n == self.after:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def run(self, call: Callable[[], Any]) -> tuple[bool, Any]:
        """Call, and tell whether KeyboardInterrupt came out, or what was returned."""
        sys.setprofile(self)
        try:
            returned = call()
        except KeyboardInterrupt:
            return True, None
        finally:
            sys.setprofile(None)
        return False, returned


def interrupt(
    call: Callable[[dict[str, Any]], Any],
    make: Callable[[], dict[str, Any]],
    rng: np.random.Generator,
    n_times: int,
) -> list[str]:
    """What was wrong after interruptions at random moments; nothing, one hopes.

    Either no data have changed, or there is a result that says it was interrupted, or the
    interruption came when all was stored and the result is that of an undisturbed call.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Compiles; then one that is counted.
        call(make())
        counter, kwargs = Interrupter(None), make()
        counter.run(lambda: call(kwargs))
        whole = {k: snapshot(v) for k, v in held_objects(kwargs).items()}
        faults = []
        for _ in range(n_times):
            after = int(rng.integers(1, counter.n + 1))
            kwargs = make()
            before = {k: snapshot(v) for k, v in held_objects(kwargs).items()}
            raised, returned = Interrupter(after).run(partial(call, kwargs))
            found = {k: snapshot(v) for k, v in held_objects(kwargs).items()}
            fault = _judge(before, found, whole, raised=raised or _is_marked(returned))
            if fault is not None:
                faults.append(f"after {after} of {counter.n} calls: {fault}")
    return faults


def _judge(
    before: dict[str, Any],
    found: dict[str, Any],
    whole: dict[str, Any],
    *,
    raised: bool,
) -> str | None:
    if _same(found, before):
        return None if raised else "nothing was stored, and nothing said"
    if _same(untimed(found), untimed(whole)):
        return None
    if raised:
        return "something was stored, and KeyboardInterrupt raised"
    partial = [
        entry
        for held in found.values()
        for key, entry in held["uns"].items()
        if _is_marked(entry)
    ]
    if not partial:
        return "a partial result that does not say so"
    return None if all(map(_is_finite, partial)) else "a partial result with NaN"


def _is_marked(entry: Any) -> bool:
    if isinstance(entry, pd.DataFrame):
        return "interrupted" in entry and bool(entry["interrupted"].all())
    return isinstance(entry, dict) and bool(entry.get("interrupted", False))


def _is_finite(entry: Any) -> bool:
    if isinstance(entry, pd.DataFrame):
        return len(entry) > 0
    objective = np.asarray(entry.get("objective", 0.0), np.float64)
    return bool(np.isfinite(objective).all())


def untimed(snapshots: dict[str, Any]) -> dict[str, Any]:
    """Without seconds, which differ from run to run."""

    def strip(value: Any) -> Any:
        if isinstance(value, pd.DataFrame):
            return value.drop(columns="seconds", errors="ignore")
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k != "seconds"}
        return value

    return {key: strip(value) for key, value in snapshots.items()}


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    try:
        assert_same(first, second)
    except AssertionError:
        return False
    return True
