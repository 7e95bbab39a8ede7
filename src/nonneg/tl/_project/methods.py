"""How scores of new observations are found, by the method of the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..._adata.checks import check_finite, check_nonnegative
from ..._adata.given import was_array
from ..._adata.size_factors import read_size
from ...models.factor.penalty import Penalty
from ...models.nmf.project import project as fit_scores
from ...operators.normalised import log_normalised
from ...operators.weighted import WeightedOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.read import MatrixInput
    from ..._adata.schema import Entry
    from ...models.nmf.problem import Loss
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats


@dataclass(frozen=True)
class NewObservations:
    """What their scores depend on."""

    adata: AnnData
    matrix: MatrixInput
    stats: MatrixStats
    loadings: NDArray[np.float32]
    """(variables used, k)"""
    center: NDArray[np.float32] | None
    """Means of the variables used, where the model has some."""
    weights: NDArray[np.float32] | None
    """Weights of the squared errors of the variables used, where the model has some."""
    entry: Entry
    """Of the reference."""
    n_fitted: int
    """Number of variables that the reference was fitted to."""

    @property
    def size(self) -> NDArray[np.float64]:
        """Size factors, of the kind that the reference was fitted with."""
        params = self.entry.params
        if was_array(params["size_factors"]):
            msg = (
                "The reference was fitted with an array of size factors, which nobody "
                "has of other observations. Fit it with a column of `adata.obs`, and "
                "give the new data one of the same name."
            )
            raise ValueError(msg)
        median = float(params["size_median"])
        size, _ = read_size(self.adata, params["size_factors"], self.stats, median)
        return size


class Projection(NamedTuple):
    """What a method asks of new observations, and how it scores them."""

    check: Callable[[MatrixStats, str], None]
    score: Callable[[NewObservations], NDArray[Any]]
    needs: tuple[str, ...]
    """Parameters of the fit."""


def _score_nmf(new: NewObservations) -> NDArray[Any]:
    op, loadings = _weighted(new)
    return fit_scores(
        op,
        loadings.T,
        loss=new.entry.params["beta_loss"],
        penalty=_penalty(new.entry, new.n_fitted),
    )


def _weighted(new: NewObservations) -> tuple[MatrixOperator, NDArray[np.float32]]:
    """The data and the loadings as the fit weighed them."""
    if new.weights is None:
        return new.matrix.op, new.loadings
    scale = np.sqrt(new.weights)
    return WeightedOperator(new.matrix.op, scale), new.loadings * scale[:, None]


def _score_stability(new: NewObservations) -> NDArray[Any]:
    op, loadings = _weighted(new)
    return fit_scores(op, loadings.T, nonnegative=bool(new.entry.params["nonnegative"]))


def _penalty(entry: Entry, n_vars: int) -> Penalty:
    """The fit's penalty on scores, for scores on loadings of unit norm."""
    weight = entry.params["alpha_W"] * n_vars
    if weight == 0:
        return Penalty()
    scale = np.asarray(entry.scale)
    inverse = np.divide(1, scale, where=scale > 0, out=np.zeros_like(scale))
    l1_ratio = entry.params["l1_ratio"]
    return Penalty(
        (weight * l1_ratio * inverse).astype(np.float32),
        (weight * (1 - l1_ratio) * inverse**2).astype(np.float32),
    )


def _score_seminmf(new: NewObservations) -> NDArray[Any]:
    nonnegative = new.entry.params["nonnegative"] == "scores"
    return fit_scores(new.matrix.op, new.loadings.T, nonnegative=nonnegative)


_LOSSES: dict[str, Loss] = {
    "poisson": "kullback-leibler",
    "negative_binomial": "kullback-leibler",
    "gaussian": "frobenius",
}


def _score_counts(new: NewObservations) -> NDArray[Any]:
    """Means are size factors times scores times loadings."""
    size = new.size
    scores = fit_scores(
        new.matrix.op,
        new.loadings.T,
        loss=_LOSSES[new.entry.params["likelihood"]],
    )
    return np.asarray(scores / np.where(size > 0, size, 1)[:, None])


def _score_linear(new: NewObservations) -> NDArray[Any]:
    """Real-valued scores of centred, log-normalised data."""
    op = new.matrix.op
    if not new.entry.params["log_normalized"]:
        op = log_normalised(op, new.size, new.matrix.where)
    scores = fit_scores(op, new.loadings.T, nonnegative=False)
    assert new.center is not None
    # Scores of the data less those of the means are those of centred data.
    of_means, *_ = np.linalg.lstsq(new.loadings, new.center, rcond=None)
    return np.asarray(scores - of_means)


_COUNTS = Projection(
    check_nonnegative, _score_counts, ("size_factors", "size_median", "likelihood")
)
_LINEAR = Projection(
    check_nonnegative, _score_linear, ("size_factors", "size_median", "log_normalized")
)

METHODS = {
    "nmf": Projection(
        check_nonnegative, _score_nmf, ("beta_loss", "alpha_W", "l1_ratio")
    ),
    "stability": Projection(check_finite, _score_stability, ("nonnegative",)),
    "seminmf": Projection(check_finite, _score_seminmf, ("nonnegative",)),
    "nsf": _COUNTS,
    "nsfh": _COUNTS,
    "pnmf": _COUNTS,
    "rsf": _LINEAR,
    "fa": _LINEAR,
}
