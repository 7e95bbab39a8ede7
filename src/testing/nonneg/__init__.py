"""What tests and benchmarks share: array types, marks, data, formulas, comparisons."""

from __future__ import annotations

from ._arrays import ARRAY_TYPES, PLACES, ArrayType
from ._data import counts, low_rank, real_data
from ._dense import (
    frobenius,
    kkt_residual,
    kullback_leibler,
    loss_gradients,
    penalised,
    poisson_deviance,
)
from ._devices import on_four_devices
from ._interruptions import LONGER, interrupt
from ._marks import needs
from ._memory import PeakGrowth
from ._mistakes import Mistakes
from ._public import PublicFunction, public_functions
from ._snapshot import assert_same, assert_same_fit, fitted_mean, snapshot

__all__ = [
    "ARRAY_TYPES",
    "LONGER",
    "PLACES",
    "ArrayType",
    "Mistakes",
    "PeakGrowth",
    "PublicFunction",
    "assert_same",
    "assert_same_fit",
    "counts",
    "fitted_mean",
    "frobenius",
    "interrupt",
    "kkt_residual",
    "kullback_leibler",
    "loss_gradients",
    "low_rank",
    "needs",
    "on_four_devices",
    "penalised",
    "poisson_deviance",
    "public_functions",
    "real_data",
    "snapshot",
]
