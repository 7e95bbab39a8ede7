"""Package-wide settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from scverse_misc import Settings

from .logging import set_level

type Verbosity = Literal["error", "warning", "info", "debug"]


class NonnegSettings(Settings):
    """Settings of nonneg.

    Also read from environment variables: `NONNEG_VERBOSITY`, `NONNEG_PROGRESS`,
    `NONNEG_DEVICE`, `NONNEG_N_THREADS`.
    """

    verbosity: Verbosity = "warning"
    """How much is logged."""

    progress: bool = True
    """Whether work that takes longer than a second shows a progress bar."""

    device: str | None = None
    """Where fits run, e.g. `"cpu"`, `"gpu"` or `"gpu:1"`, or several devices that share
    the rows, `"gpu:0,1"` or `"gpu:*"`; `None`: JAX's default."""

    n_threads: Annotated[int, Field(ge=0)] = 0
    """Threads for sparse products on the CPU; 0: all that the process may use, or fewer
    where there is little to do."""

    def model_post_init(self, context: Any, /) -> None:
        set_level(self.verbosity)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "verbosity":
            set_level(self.verbosity)


settings = NonnegSettings()
