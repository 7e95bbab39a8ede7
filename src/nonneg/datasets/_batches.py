"""Simulated counts of cells from several data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from .._adata.schema import SCHEMA
from .._core.arguments import checked
from .._core.random import as_seed
from .._core.validators import check_at_least, check_positive_int
from ._simulate import check_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .._core.random import RNGLike

# Probability of a loading to be zero.
_ZEROS = 0.7
# Of the Dirichlet distribution: most of a cell is one component.
_CONCENTRATION = 0.1


@checked
def batches(
    n_obs: Sequence[int] = (600, 400, 300),
    n_vars: int = 300,
    n_components: int = 6,
    *,
    specific: float = 0.3,
    depth: float = 2000.0,
    rng: RNGLike = 0,
) -> AnnData:
    r"""Simulate cells of several data sets that share metagenes.

    Counts of cell :math:`i` of data set :math:`d` are Poisson with means
    :math:`h_i^\top (W + V_d)`, the model of :func:`nonneg.tl.inmf`
    :cite:p:`Welch2019`. Shared metagenes :math:`W` and those of data sets,
    :math:`V_d`, are exponential variables of which most are zero; scores are Dirichlet
    variables in which one component prevails. A gene is specific to one data set per
    component, so that :math:`W` is all that data sets have in common. Every gene has a
    part in some shared metagene.

    Parameters
    ----------
    n_obs
        Numbers of cells, one for every data set.
    n_vars
        Number of genes.
    n_components
        Number of components.
    specific
        Sum of a data set's own metagene over that of the shared one; 0: data sets
        differ by chance only.
    depth
        Mean total count of a cell.
    rng
        Seed, or a generator to draw one from. Recorded.

    Returns
    -------
    Counts as CSR in `X`, one data set after the other, and:

    `.obs['batch']` : :class:`pandas.Series`
        The data set: `batch_0`, `batch_1`, ….
    `.obs['cell_type']` : :class:`pandas.Series`
        The component that prevails in the cell: `type_0`, `type_1`, ….
    `.obsm['truth']` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Scores, which carry the scale.
    `.varm['truth']` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Shared metagenes.
    `.varm['truth_specific']` : :class:`numpy.ndarray` (shape `(n_vars, n_batches, n_components)`)
        Metagenes of the data sets: the mean of data set `d` is
        `obsm["truth"] @ (varm["truth"] + varm["truth_specific"][:, d]).T`.
    `.uns['truth']` : :class:`dict`
        `params`, `batches` and `n_cells`. The entry has the form of a fitted
        factorization: functions that take a `key` take `"truth"`.

    Raises
    ------
    TypeError
        If a number is not an integer where it has to be.
    ValueError
        If there are fewer than two data sets, or numbers are out of range.

    See Also
    --------
    nonneg.get.dataset_specificity : how much metagenes differ between data sets

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches((60, 40), 50, 4)
    >>> adata.shape
    (100, 50)
    >>> adata.obs["batch"].value_counts().to_dict()
    {'batch_0': 60, 'batch_1': 40}
    """
    sizes = [check_positive_int(n, "n_obs") for n in n_obs]
    if len(sizes) < 2:
        msg = f"n_obs={n_obs} must be the sizes of at least two data sets."
        raise ValueError(msg)
    n_vars = check_positive_int(n_vars, "n_vars")
    k = check_positive_int(n_components, "n_components")
    check_at_least(specific, 0, "specific")
    check_at_least(depth, 0, "depth")
    seed = as_seed(rng)
    rng = np.random.default_rng(seed)

    n_batches = len(sizes)
    present = rng.random((n_vars, k)) >= _ZEROS
    present[np.arange(n_vars), rng.integers(k, size=n_vars)] = True
    # Specific to one data set: where the others have it too, it is shared.
    owner = rng.integers(n_batches, size=(n_vars, 1, k))
    own = (rng.random((n_vars, 1, k)) >= _ZEROS) & (
        owner == np.arange(n_batches)[:, None]
    )
    # A cell has as many counts whatever the part of the specific metagenes.
    W = _metagenes(present, rng) / (1 + specific)
    V = _metagenes(own, rng) * specific / (1 + specific)
    H = depth * rng.dirichlet(np.full(k, _CONCENTRATION), sum(sizes))

    check_means(H, "depth")
    code = np.repeat(np.arange(n_batches), sizes)
    counts = [
        sp.csr_matrix(rng.poisson(H[code == d] @ (W + V[:, d]).T), dtype=np.float32)
        for d in range(n_batches)
    ]
    # Sorted as strings and as numbers alike.
    width = len(str(n_batches - 1))
    names = np.array([f"batch_{d:0{width}d}" for d in range(n_batches)])
    adata = AnnData(
        X=sp.csr_matrix(sp.vstack(counts)),
        obs=pd.DataFrame(
            {
                "batch": pd.Categorical.from_codes(code, pd.Index(names)),
                "cell_type": pd.Categorical.from_codes(
                    H.argmax(axis=1), pd.Index([f"type_{i}" for i in range(k)])
                ),
            },
            index=[f"cell_{i}" for i in range(sum(sizes))],
        ),
        var=pd.DataFrame(index=[f"gene_{j}" for j in range(n_vars)]),
    )
    adata.obsm["truth"] = H.astype(np.float32)
    adata.varm["truth"] = W.astype(np.float32)
    adata.varm["truth_specific"] = V.astype(np.float32)
    adata.uns["truth"] = {
        "schema": SCHEMA,
        "method": "batches",
        "obsm_key": "truth",
        "varm_key": "truth",
        "batches": names,
        "n_cells": np.array(sizes),
        "params": {
            "batch_key": "batch",
            "n_components": k,
            "specific": float(specific),
            "depth": float(depth),
            "seed": seed,
        },
    }
    return adata


def _metagenes(
    present: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Columns of sum 1 over the genes that are present."""
    values = rng.exponential(size=present.shape) * present
    total = values.sum(axis=0)
    return values / np.where(total == 0, 1, total)
