"""Random mistakes in calls of all public functions, and what must not come of them."""

from __future__ import annotations

import inspect
import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from nonneg._core.arguments import is_ours

from ._public import public_callables
from ._right_calls import calls
from ._small_data import files
from ._snapshot import assert_same, held_objects, snapshot
from ._wrong_values import COSTLY, VALUES, spoil, spoil_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the public functions may raise, as their conventions say.
DOCUMENTED = (TypeError, ValueError, KeyError, ImportError, OSError)


@dataclass
class Outcome:
    """What came of one call."""

    function: str
    mistake: str
    error: BaseException | None = None
    fault: str | None = None
    """Why that must not be; None: a result, or a message of ours."""

    def __str__(self) -> str:
        text = f"{self.function}({self.mistake})"
        if self.error is not None:
            text += f" -> {type(self.error).__name__}: {str(self.error)[:160]}"
        return text if self.fault is None else f"{text}\n    {self.fault}"


class TooLongError(Exception):
    """A call that does not end."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise in a call that takes longer, of computing time; only in the main thread.

    Also in one that waits, after ten times as long by the clock.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLongError

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, seconds),
        signal.SIGALRM: (signal.ITIMER_REAL, 10 * seconds),
    }
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, limit in timers.values():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


class Mistakes:
    """Random mistakes of a seed."""

    def __init__(self, *, only: str = "") -> None:
        import nonneg

        self.package = str(Path(nonneg.__file__).parent)
        self.calls = {k: v for k, v in calls().items() if k.startswith(only)}
        found = public_callables()
        self.functions = {name: found[name.split()[0]] for name in self.calls}

    def run(self, seed: int) -> Outcome:
        """One call with a mistake, or two."""
        rng = np.random.default_rng(seed)
        name = sorted(self.calls)[rng.integers(len(self.calls))]
        function, kwargs = self.functions[name], self.calls[name]()
        told: list[str] = []
        for _ in range(rng.integers(1, 3)):
            if rng.random() < 0.4 and self._spoil(kwargs, rng, told):
                continue
            self._replace(function, kwargs, rng, told)
        return self.call(name, function, kwargs, ", ".join(told))

    def _spoil(
        self, kwargs: dict[str, Any], rng: np.random.Generator, told: list[str]
    ) -> bool:
        held = [key for key, v in kwargs.items() if isinstance(v, AnnData | Path)]
        if not held:
            return False
        key = held[rng.integers(len(held))]
        is_file = isinstance(kwargs[key], Path)
        if is_file and not kwargs[key].is_relative_to(files()):
            # It has a mistake already.
            return False
        kwargs[key], what = (spoil_file if is_file else spoil)(kwargs[key], rng)
        told.append(f"{key}: {what}")
        return True

    @staticmethod
    def _replace(
        function: Callable[..., Any],
        kwargs: dict[str, Any],
        rng: np.random.Generator,
        told: list[str],
    ) -> None:
        names = [
            name
            for name, p in inspect.signature(function).parameters.items()
            if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL} and name != "self"
        ]
        name = names[rng.integers(len(names))]
        value = VALUES[rng.integers(len(VALUES))]
        if isinstance(value, int | float) and value in COSTLY and name != "lam":
            value = -value
        # Files are written where they were asked for.
        if name in {"checkpoint", "scores", "store", "tiff"}:
            value = [3, True, object(), 1.5][rng.integers(4)]
        kwargs[name] = value
        told.append(f"{name}={value!r}"[:60])

    def call(
        self, name: str, function: Callable[..., Any], kwargs: dict[str, Any], told: str
    ) -> Outcome:
        """What comes of a call with these arguments, ``told`` in words."""
        outcome = Outcome(name, told)
        objects = held_objects(kwargs)
        try:
            before = {k: snapshot(v) for k, v in objects.items()}
        except Exception:  # noqa: BLE001 - such data nobody has
            return outcome
        try:
            with limited(60), _brainglobe():
                function(**kwargs)
        except TooLongError as error:
            outcome.error, outcome.fault = error, "takes more than a minute"
        except Exception as error:  # noqa: BLE001
            outcome.error = error
            if not isinstance(error, DOCUMENTED):
                outcome.fault = f"raises a {type(error).__name__}"
            elif not is_ours(error):
                outcome.fault = "no message of ours: " + self._where(error)
            elif not str(error).strip():
                outcome.fault = "a message without words"
        if outcome.error is not None and outcome.fault is None:
            for key, value in objects.items():
                try:
                    assert_same(snapshot(value), before[key])
                except AssertionError as error:
                    outcome.fault = f"{key} has changed: {str(error)[:200]}"
        return outcome

    def _where(self, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if f.filename.startswith(self.package)]
        last = frames[-1]
        text = f"{last.filename[-50:]}:{last.lineno}"
        if ours:
            own = ours[-1]
            text += f" from {own.filename[len(self.package) :]}:{own.lineno} {own.line}"
        return text


@contextmanager
def _brainglobe() -> Iterator[None]:
    """BrainGlobe's atlases, of which there is one, without their package."""

    def opened(name: str, *, check_latest: bool) -> Any:
        if name != "example_mouse_100um":
            msg = f"{name} is not a valid atlas name!"
            raise ValueError(msg)
        assert not check_latest
        root = dict(id=1, acronym="root", name="root", rgb_triplet=[9, 9, 9])
        return SimpleNamespace(
            resolution=(100.0, 100.0, 100.0),
            structures_list=[root | {"structure_id_path": [1]}],
            annotation=np.ones((2, 3, 4), np.uint32),
            hemispheres=np.ones((2, 3, 4), np.uint8),
        )

    module: Any = ModuleType("brainglobe_atlasapi")
    module.BrainGlobeAtlas = opened
    before = sys.modules.get("brainglobe_atlasapi")
    sys.modules["brainglobe_atlasapi"] = module
    try:
        yield
    finally:
        del sys.modules["brainglobe_atlasapi"]
        if before is not None:
            sys.modules["brainglobe_atlasapi"] = before
