"""Progress bars for work that takes longer than a second."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from .quiet import collected
from .settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..models.loop import Callback, Report


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callback]:
    """A callback for :func:`~nonneg.models.loop.drive` that draws a bar.

    ``total=None``: it is not known how many there will be, as of iterations until a
    tolerance is met, and they are counted. Iterations of something else, such as a search
    before the fit, have its name in the bar.
    """
    task: str | None = None
    with tqdm(
        total=total,
        desc=description,
        unit="it",
        delay=1,
        leave=False,
        disable=not settings.progress or collected() is not None,
    ) as bar:

        def update(iteration: int, report: Report, /) -> None:
            nonlocal task
            if report.task != task:
                task = report.task
                bar.set_description(f"{description}, {task}" if task else description)
                bar.reset()
            if iteration < bar.n:  # another start
                bar.reset()
            if report.objective is not None:
                bar.set_postfix(objective=f"{report.objective:.5g}", refresh=False)
            bar.update(iteration - bar.n)

        yield update
