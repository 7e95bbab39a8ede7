"""A deconvolution, once it is tuned: fit, and say what is known of the result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .choose import Wishes
from .coarse import coarse_fit
from .fit import Budget, fit_mixture
from .missing import Cells, Missing, missing_type
from .problem import IS_COUNTS, Fit, LikelihoodName, Mixture, Tuning
from .summary import (
    misfit,
    presence_threshold,
    standard_errors,
    weighted,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loop import Callback
    from .choose import Chosen


@dataclass(frozen=True)
class Options:
    """How to deconvolve."""

    likelihood: LikelihoodName = "poisson"
    wishes: Wishes = field(default_factory=Wishes)
    max_types: int | None = None
    fdr: float = 0.05
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    n_layers: int | None = None
    """So many steps from even shares, as in training; ``None``: by the budget."""


class Result(NamedTuple):
    """Compositions of locations, and what is known of them."""

    cells: NDArray[np.float64]
    """(n, k): share of cells."""
    rna: NDArray[np.float64]
    """(n, k): share of RNA."""
    std: NDArray[np.float32]
    """(n, k): standard errors of the share of cells; NaN where noise is unknown."""
    fit: Fit
    chosen: Chosen
    threshold: float
    """Share over error above which a type is present."""
    residual: NDArray[np.float64]
    missing: Missing


def deconvolve(
    mixture: Mixture,
    coords: NDArray[np.float64] | None,
    per_cell: NDArray[np.float64],
    rna_per_cell: NDArray[np.float64],
    *,
    chosen: Chosen,
    options: Options,
    n_cells: NDArray[np.integer[Any]] | None = None,
    callback: Callback | None = None,
) -> Result:
    """Shares of cells and of RNA.

    ``per_cell`` is how many counts of the genes used, and ``rna_per_cell`` how many of
    all genes, a cell of every type has; ``n_cells``, of how many cells of the type that
    is the mean.
    """
    likelihood = options.likelihood
    tuning, dispersion = chosen.tuning, chosen.dispersion
    budget, start = options.budget, None
    mixed, further = mixture, tuning
    if options.n_layers is not None:
        budget = Budget(-np.inf, options.n_layers, options.n_layers)
    elif coarse := coarse_fit(mixture, coords, tuning, dispersion):
        start = coarse.amounts
        mixed = replace(mixture, signatures=coarse.signatures)
        further = tuning.without_effects()
    fit = fit_mixture(
        mixed,
        further,
        likelihood,
        dispersion=dispersion,
        start=start,
        budget=budget,
        callback=callback,
    )
    if options.max_types is not None and options.max_types < len(per_cell):
        fit = _sparse(mixture, fit, tuning, dispersion, options)
    if not (np.isfinite(fit.amounts).all() and (fit.amounts.sum(1) > 0).all()):
        msg = "The fit left the finite numbers. Please report this, with the data."
        raise FloatingPointError(msg)
    conversion = 1 / per_cell
    cells = _shares(fit.amounts * conversion)
    if not IS_COUNTS[likelihood]:
        # Values of any unit: how they scatter is not known.
        n, n_vars = mixture.counts.shape
        unknown = np.full(n, np.nan)
        return Result(
            cells,
            _shares(cells * rna_per_cell),
            np.full(cells.shape, np.nan, np.float32),
            fit,
            chosen,
            np.inf,
            unknown,
            Missing(unknown, np.inf, np.full(n_vars, np.nan), np.full(n_vars, np.nan)),
        )
    terms = weighted(mixture, fit, tuning, dispersion)
    std = standard_errors(terms, tuning, conversion)
    return Result(
        cells,
        _shares(cells * rna_per_cell),
        std,
        fit,
        chosen,
        presence_threshold(cells, std, options.fdr),
        misfit(terms, mixture.counts.shape[1]),
        missing_type(
            mixture,
            fit,
            options.fdr,
            options.seed,
            None if n_cells is None else Cells(n_cells, per_cell),
        ),
    )


def _sparse(
    mixture: Mixture,
    fit: Fit,
    tuning: Tuning,
    dispersion: NDArray[np.float64],
    options: Options,
) -> Fit:
    """Keep the largest types of every location, and fit these again."""
    assert options.max_types is not None
    order = np.argsort(-fit.amounts, axis=1, kind="stable")
    support = np.zeros(fit.amounts.shape, np.float32)
    np.put_along_axis(support, order[:, : options.max_types], 1, axis=1)
    try:
        found = fit_mixture(
            replace(mixture, signatures=fit.signatures),
            tuning.without_effects(),
            options.likelihood,
            dispersion=dispersion,
            start=fit.amounts,
            support=support,
            budget=options.budget,
        )
    except KeyboardInterrupt:
        # Before the first step: the largest types are kept as they were.
        trace = fit.trace._replace(converged=False, interrupted=True)
        return fit._replace(amounts=fit.amounts * support, trace=trace)
    if fit.trace.interrupted:
        trace = found.trace._replace(converged=False, interrupted=True)
        return found._replace(trace=trace)
    return found


def _shares(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    return amounts / np.maximum(amounts.sum(1, keepdims=True), 1e-300)
