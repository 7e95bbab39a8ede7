"""Warnings that point at the user's own line."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from sklearn.exceptions import ConvergenceWarning

from .quiet import collected

if TYPE_CHECKING:
    from ..models.loop import Trace
    from .quiet import Told


_PACKAGE = str(Path(__file__).parents[1])


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn from the first frame outside this package."""
    told = collected()
    if told is not None:
        told.append((message, category))
        return
    warnings.warn(message, category, skip_file_prefixes=(_PACKAGE,))  # noqa: TID251


def warn_unfinished(trace: Trace, *, max_iter: int, tol: float) -> None:
    """Warn if a fit was interrupted or did not converge."""
    if trace.interrupted:
        warn(
            f"Interrupted after {trace.n_iter} iterations; the factors found so far "
            "are stored."
        )
    elif not trace.converged:
        warn(
            f"Not converged after {trace.n_iter} iterations. Increase "
            f"max_iter={max_iter} or tol={tol:g}.",
            ConvergenceWarning,
        )


def warn_of_many(told: Told) -> None:
    """Warn of what many fits have told, each kind once.

    Not of those that did not converge, of which the caller knows more.
    """
    kinds = {
        # One and several are of one kind.
        re.sub(r"[\d.]+|\b(is|are|its|their|has|have)\b|s\b", "", message): (
            message,
            category,
        )
        for message, category in told
        if category is not ConvergenceWarning
    }
    for message, category in kinds.values():
        warn(f"Of one or more fits: {message}", category)
