"""Checks of what the caller gave, with messages that say what to do."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def check_one_of(value: object, options: Collection[object], name: str) -> None:
    """Raise unless the value is one of the options."""
    # Arrays and tables are compared element by element.
    if not isinstance(value, str | int | float | tuple | None) or value not in options:
        msg = f"{name}={value!r} must be one of {sorted(options, key=str)}."
        raise ValueError(msg)


def check_at_least(value: float, minimum: float, name: str) -> None:
    """Raise unless the value is a number of at least ``minimum``."""
    # True is an int in Python, and hardly ever meant as a number.
    is_number = isinstance(value, int | float | np.number) and not isinstance(
        value, bool
    )
    if not is_number or not minimum <= value < np.inf:
        msg = f"{name}={value!r} must be a finite number of at least {minimum}."
        raise ValueError(msg)


def check_n_folds(value: object) -> int:
    """A number of folds, of which one is held out."""
    n_folds = check_positive_int(value, "n_folds")
    if n_folds < 2:
        msg = "n_folds=1 leaves nothing to fit to; it must be at least 2."
        raise ValueError(msg)
    return n_folds


def check_axis(axis: int | None) -> None:
    """Raise unless the axis is one of a matrix, or None."""
    if axis is not None and operator.index(axis) not in range(-2, 2):
        msg = f"axis={axis} must be 0, 1 or None."
        raise ValueError(msg)


def check_image_shape(shape: Sequence[object], name: str = "shape") -> tuple[int, int]:
    """Rows and columns as integers of at least 1."""
    if len(shape) != 2:
        msg = f"{name}={shape!r} must be rows and columns."
        raise ValueError(msg)
    return check_positive_int(shape[0], name), check_positive_int(shape[1], name)


def check_positive_int(value: object, name: str) -> int:
    """The value as an integer of at least 1."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        msg = f"{name}={value!r} must be an integer."
        raise TypeError(msg)
    if number < 1:
        msg = f"{name}={number} must be at least 1."
        raise ValueError(msg)
    return number
