"""Several sessions, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUBJECT = "subject"
"""In uns: name of the animal."""


def read_sessions(sessions: object) -> dict[str, AnnData]:
    """Sessions by name."""
    if not isinstance(sessions, Mapping) or not all(
        isinstance(one, AnnData) for one in sessions.values()
    ):
        msg = "sessions must be a mapping from names to AnnData objects."
        raise TypeError(msg)
    if len(sessions) < 2:
        msg = f"There must be at least two sessions, but there are {list(sessions)}."
        raise ValueError(msg)
    return {str(name): one for name, one in sessions.items()}


def read_subjects(
    sessions: Mapping[str, AnnData],
    subjects: Mapping[str, str] | Sequence[str] | None,
) -> NDArray[np.str_]:
    """(n_sessions,): animal of each session."""
    names = list(sessions)
    if subjects is None:
        missing = [name for name, one in sessions.items() if SUBJECT not in one.uns]
        if missing:
            msg = (
                f"The sessions {missing[:5]} have no uns[{SUBJECT!r}]. Set it, or pass "
                "`subjects`."
            )
            raise KeyError(msg)
        return np.array([str(sessions[name].uns[SUBJECT]) for name in names])
    if isinstance(subjects, Mapping):
        missing = [name for name in names if name not in subjects]
        if missing:
            msg = f"subjects does not name the sessions {missing[:5]}."
            raise KeyError(msg)
        return np.array([str(subjects[name]) for name in names])
    if isinstance(subjects, str) or len(subjects) != len(names):
        msg = f"subjects must name one animal for each of the {len(names)} sessions."
        raise ValueError(msg)
    return np.array([str(name) for name in subjects])
