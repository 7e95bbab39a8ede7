"""Bootstrap samples, as weights of what they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._core.random import as_seed, stream
from ...operators.weighted import WeightedOperator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator

type Resample = Literal["var", "obs"] | None


@dataclass(frozen=True)
class Draws:
    """Samples with replacement of variables or observations, or of neither.

    Sample b depends on the seed and b only: it is the same for all numbers of components
    and all methods. A sample is a vector of multiplicities ω: least squares on the
    sample is least squares on all data with weights ω, and needs no copy of them.
    """

    shape: tuple[int, int]
    n_samples: int
    resample: Resample
    seed: int
    var_weights: NDArray[Any] | None = None
    """Further weights of the squared errors of variables."""

    def rng(self, sample: int, purpose: int = 0) -> np.random.Generator:
        """Random numbers of a sample; each purpose has its own."""
        return stream(self.seed, "sample", sample, purpose)

    def fit_seed(self, sample: int) -> int:
        """Seed of the fit to a sample."""
        return as_seed(stream(self.seed, "fit", sample))

    def index(self, sample: int) -> NDArray[np.intp] | None:
        """Which variables or observations were drawn."""
        if self.resample is None:
            return None
        size = self.shape[0 if self.resample == "obs" else 1]
        return self.rng(sample).integers(size, size=size)

    def scales(self, sample: int) -> tuple[NDArray[np.float64] | None, NDArray[Any]]:
        """Square roots of the weights of observations (None: ones) and of variables."""
        columns = np.ones(self.shape[1])
        if self.var_weights is not None:
            columns = np.sqrt(self.var_weights)
        drawn = self.index(sample)
        if drawn is None:
            return None, columns
        if self.resample == "obs":
            return np.sqrt(np.bincount(drawn, minlength=self.shape[0])), columns
        return None, columns * np.sqrt(np.bincount(drawn, minlength=self.shape[1]))

    def view(self, op: MatrixOperator, sample: int) -> WeightedOperator:
        """The matrix whose least squares are those of the sample."""
        rows, columns = self.scales(sample)
        return WeightedOperator(
            op,
            columns.astype(op.dtype),
            None if rows is None else rows.astype(op.dtype),
        )
