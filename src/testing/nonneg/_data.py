"""Small data with known structure, and where real data are found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

if TYPE_CHECKING:
    from numpy.typing import NDArray


def low_rank(
    n_obs: int = 60,
    n_vars: int = 40,
    rank: int = 4,
    *,
    noise: float = 0.1,
    seed: int = 0,
) -> NDArray[np.float64]:
    """A positive matrix of low rank with noise, all its entries different."""
    rng = np.random.default_rng(seed)
    w, h = rng.gamma(0.5, 1, (n_obs, rank)), rng.gamma(0.5, 1, (rank, n_vars))
    return w @ h + noise * rng.random((n_obs, n_vars))


def counts(
    n_obs: int = 120, n_vars: int = 40, rank: int = 4, *, seed: int = 0
) -> AnnData:
    """Poisson counts around a low-rank mean, none of the sides empty."""
    rng = np.random.default_rng(seed)
    mean = 3 * low_rank(n_obs, n_vars, rank, seed=seed)
    x = rng.poisson(mean)
    x[np.arange(n_obs), np.arange(n_obs) % n_vars] += 1
    return AnnData(
        x.astype(np.float32),
        obs=pd.DataFrame(
            {"batch": pd.Categorical(rng.choice(["a", "b"], n_obs))},
            index=[f"cell_{i}" for i in range(n_obs)],
        ),
        var=pd.DataFrame(
            {"used": rng.random(n_vars) < 0.7},
            index=[f"gene_{j}" for j in range(n_vars)],
        ),
    )


def real_data(name: str) -> Path:
    """A real data set, or a skip with the reason that it is not at hand.

    In the folder of the environment variable `NONNEG_DATA`, by default
    `../shared/data` beside the project.
    """
    import pytest

    project: Any = Path(__file__).parents[3]
    folder = os.environ.get("NONNEG_DATA", project.parent / "shared" / "data")
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"{path} is not there; set NONNEG_DATA")
    return path
