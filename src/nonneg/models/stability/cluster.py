"""Samples shared out among the workers of a dask cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ...operators.csr import CSROperator
from ...operators.dense import DenseOperator
from ...operators.device import on_accelerator
from ...operators.threads import computing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...operators.protocol import MatrixOperator
    from .replicates import Patterns, Replicates
    from .spectra import Spectrum

    type Task = tuple[Sequence[int], Sequence[Spectrum] | None]


def can_be_sent(op: MatrixOperator) -> bool:
    """Whether workers can have a copy of the data: these are in the host's memory."""
    return isinstance(op, DenseOperator | CSROperator) and not on_accelerator()


def send(client: Any, replicates: Replicates) -> Any:
    """A copy on every worker."""
    return client.scatter(replicates, broadcast=True)


def fit_on(
    client: Any, sent: Any, rank: int, tasks: Sequence[Task]
) -> Iterator[Patterns]:
    """Patterns of batches of samples, as they are finished."""
    futures = [
        client.submit(_fit, sent, rank, samples, spectra, pure=False)
        for samples, spectra in tasks
    ]
    try:
        for future in sys.modules["distributed"].as_completed(futures):
            yield future.result()
    finally:
        client.cancel(futures)


def _fit(
    replicates: Replicates,
    rank: int,
    samples: Sequence[int],
    spectra: Sequence[Spectrum] | None,
) -> Patterns:
    with computing():
        return replicates.fit(rank, samples, spectra)
