"""Fits to random parts of the observations, visited in turn."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._core.typing import Floats
from .likelihood import ratio
from .model import FactorModel
from .problem import Kernels, NSFState


class Minibatches:
    """Random parts of the observations, visited in turn.

    Incremental: every part keeps what it last contributed to the loadings and to the
    sites, so that the fixed points are those of the whole.
    """

    def __init__(self, model: FactorModel, rng: np.random.Generator) -> None:
        likelihood = model.likelihood
        n_obs = likelihood.op.shape[0]
        assert model.options.batch_size is not None
        n_parts = -(-n_obs // model.options.batch_size)
        parts = np.array_split(rng.permutation(n_obs), n_parts)
        self.model = model
        self.parts = [
            (rows, likelihood.restrict(likelihood.op.rows(rows), rows))
            for rows in map(np.sort, parts)
        ]
        self.sums: list[tuple[Floats, Floats]] = []

    @property
    def learned(self) -> list[Any]:
        """What the likelihoods have learned of the noise."""
        return [likelihood.scatter for _, likelihood in self.parts]

    @learned.setter
    def learned(self, values: list[Any]) -> None:
        for (_, likelihood), value in zip(self.parts, values, strict=True):
            likelihood.scatter = value

    def step(
        self, state: NSFState, kernels: Kernels, limit: float, rate: float
    ) -> tuple[NSFState, float]:
        """One step for every part; the bound is a sum over the parts' own times."""
        total = -state.penalty
        first = not self.sums
        for i, (rows, likelihood) in enumerate(self.parts):
            mean, var = state.mean[rows], state.var[rows]
            w, value = likelihood.loadings(mean, var, state.w)
            total += value
            if first:
                self.sums.append(likelihood.parts)
            else:
                self.sums[i] = likelihood.parts
            if len(self.sums) == len(self.parts):
                numerators, denominators = zip(*self.sums, strict=True)
                w = ratio(sum(numerators), sum(denominators)).astype(w.dtype)
            else:
                w = state.w
            sites = likelihood.sites(mean, var, w, limit)
            precision, shift = state.precision.copy(), state.shift.copy()
            precision[rows] += rate * (sites.precision - precision[rows])
            shift[rows] += rate * (sites.shift - shift[rows])
            state = self.model.settle(state._replace(w=w), kernels, precision, shift)
        return state, total
