"""Moving a factor on along its last step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from ..._core.namespace import namespace


class Momentum(NamedTuple):
    """How far a factor is moved on after its update."""

    last: Any
    """What it reached in the step before."""
    share: Any
    """Part of the way from there to the new one; 0: not at all."""


def move_on(new: Any, last: Any, share: Any) -> Any:
    """What lies beyond a new factor, and is not negative."""
    beyond = _beyond if namespace(new) is np else _compiled_beyond
    return beyond(new, last, share)


def _beyond(new: Any, last: Any, share: Any) -> Any:
    xp = namespace(new)
    return xp.maximum(new + xp.asarray(share, new.dtype) * (new - last), 0)


_compiled_beyond = jax.jit(_beyond)
