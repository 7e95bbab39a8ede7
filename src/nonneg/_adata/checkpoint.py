"""A fit that survives being killed: its state in a file."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.warnings import warn
from ..models.inmf.online import OnlineState
from ..models.inmf.problem import Loadings, SufficientStatistics
from ..operators.validate import refused
from .files import locked, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from .files import AnyPath


# Part of the time that may go into saving.
_SHARE = 0.05


class Checkpoint:
    """Where the state of an online fit is kept.

    Parameters
    ----------
    path
        The file; it is replaced as a whole, so that it is never half written.
    made_by
        What determines the fit, as far as it is known before data are read. A file that
        something else has made is refused.
    """

    def __init__(self, path: AnyPath, made_by: Mapping[str, Any]) -> None:
        # Links are followed, and the working directory may change.
        self._path = Path(path).resolve()
        self._made_by = as_stored(made_by)
        self._there: Mapping[str, Any] | None = None
        self._saved = perf_counter()
        self._cost = 0.0
        self._label = f"checkpoint={str(path)!r}"
        self._tried = Tried(self._label)
        if not self._path.parent.exists():
            msg = f"The folder of {self._label} does not exist."
            raise ValueError(msg)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other fits from it."""
        with locked(self._path, self._label):
            yield

    def load(self) -> OnlineState | None:
        """The state that was saved last, if there is one."""
        if not self._path.exists():
            return None
        with refused(f"{self._label} is not a checkpoint"):
            with self._path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = dict(file)
            self._there = json.loads(str(arrays["made_by"]))
            state = _state(arrays)
        self._compare(self._made_by)
        return state

    def confirm(self, made_by: Mapping[str, Any]) -> None:
        """What else determines the fit, once data have been read."""
        made_by = as_stored(made_by)
        self._compare(made_by)
        self._made_by |= made_by

    def _compare(self, made_by: Mapping[str, Any]) -> None:
        """Refuse a file of something else."""
        if self._there is None:
            return
        differing = differences(self._there, made_by)
        if differing:
            msg = (
                f"{self._label} belongs to another fit. Differences, as (there, here): "
                f"{differing}. Give another path, or remove the file."
            )
            raise ValueError(msg)

    def save(self, state: OnlineState, *, now: bool = False) -> None:
        """Save the state, unless that has taken too much time already."""
        began = perf_counter()
        if not now and self._cost > _SHARE * (began - self._saved):
            return
        with (
            self._tried.saving(f"mini-batch {state.step}"),
            replacing(self._path) as unfinished,
            unfinished.open("wb") as file,
        ):
            np.savez(
                file,
                made_by=json.dumps(self._made_by),
                W=state.loadings.W,
                V=state.loadings.V,
                gram=state.running.gram,
                product=state.running.product,
                n_effective=state.n_effective,
                step=state.step,
                objective=state.objective,
                seconds=state.seconds,
                change=state.change,
                ahead_W=state.ahead.W,
                ahead_V=state.ahead.V,
                value=state.value,
                validation=state.validation,
            )
        self._saved = perf_counter()
        self._cost = self._saved - began

    @property
    def safe(self) -> str:
        """What to say of it where something else fails."""
        return self._tried.safe


def _state(arrays: Mapping[str, NDArray[Any]]) -> OnlineState:
    loadings = Loadings(arrays["W"], arrays["V"])
    return OnlineState(
        loadings=loadings,
        running=SufficientStatistics(arrays["gram"], arrays["product"]),
        n_effective=arrays["n_effective"],
        step=int(arrays["step"]),
        objective=arrays["objective"],
        seconds=arrays["seconds"],
        change=arrays["change"],
        # Those of version 0.1 have none.
        ahead=Loadings(
            arrays.get("ahead_W", loadings.W), arrays.get("ahead_V", loadings.V)
        ),
        value=float(arrays.get("value", np.inf)),
        validation=arrays.get("validation", np.empty((0, 4))),
    )


class Tried:
    """How saving goes: a fit does not end because it cannot be saved."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._last: str | None = None
        self._failed = False

    @contextmanager
    def saving(self, what: str) -> Iterator[None]:
        """Warn if it fails, but not each time."""
        try:
            yield
        except OSError as error:
            if not self._failed:
                warn(
                    f"{self._label} could not be written after {what}: "
                    f"{error.strerror or error}. The fit goes on, and saving is tried "
                    f"again. {self._holds}"
                )
            self._failed = True
        else:
            self._last, self._failed = what, False

    @property
    def safe(self) -> str:
        """What to say of it where something else fails."""
        if self._last is None or self._failed:
            return self._holds
        return f"The fit is in {self._label}: the same call goes on from there."

    @property
    def _holds(self) -> str:
        if self._last is None:
            return f"{self._label} is as it was before the call."
        return f"{self._label} holds what was saved after {self._last}."


def as_stored(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as they come back from a file."""
    stored: dict[str, Any] = json.loads(json.dumps(made_by))
    return stored


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """What differs between the arguments of a checkpoint and those of a call."""
    return {
        name: (there.get(name), value)
        for name, value in here.items()
        if not _same(there.get(name), value)
    }


def _same(one: Any, other: Any) -> bool:
    """Whether values are equal; last digits depend on the number of threads."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)
