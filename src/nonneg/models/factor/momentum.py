"""Moving a factor on along its last step."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..._core.namespace import namespace


class Momentum(NamedTuple):
    """How far a factor is moved on after its update."""

    last: Any
    """What it reached in the step before."""
    share: Any
    """Part of the way from there to the new one; 0: not at all."""


def move_on(new: Any, last: Any, share: Any) -> Any:
    """What lies beyond a new factor, and is not negative."""
    xp = namespace(new)
    return xp.maximum(new + xp.asarray(share, new.dtype) * (new - last), 0)
