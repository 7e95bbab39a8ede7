from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from nonneg._adata.keys import factor_keys
from nonneg._adata.write import write_factors

SCORES = np.array(
    [[1, 0, 0], [3, 2, 0], [0, 6, 0], [4, 0, 0]],
    np.float32,
)
# gene_2 is outside the mask, gene_3 in no factor, and factor 2 is empty.
LOADINGS = np.array(
    [[0.6, 0.0, 0.0], [0.8, 0.6, 0.0], [np.nan] * 3, [0, 0, 0], [0, 0.8, 0]],
    np.float32,
)


def store(adata, scores, loadings, key=None, **params):
    write_factors(
        adata,
        factor_keys("nmf", key),
        method="nmf",
        scores=scores,
        loadings=loadings,
        params={"n_components": scores.shape[1], **params},
        info={
            "objective": np.array([9.0, 4.0, 3.0]),
            "iteration": np.array([1, 5, 10]),
            "n_iter": 10,
            "converged": True,
        },
    )


@pytest.fixture
def adata():
    result = AnnData(
        X=sp.csr_matrix(np.arange(20, dtype=np.float32).reshape(4, 5)),
        obs=pd.DataFrame(
            {"layer": pd.Categorical(["a", "b", "a", "b"])},
            index=[f"spot_{i}" for i in range(4)],
        ),
        var=pd.DataFrame(index=[f"gene_{j}" for j in range(5)]),
    )
    result.obsm["spatial"] = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], float)
    result.obsp["spatial_connectivities"] = sp.csr_matrix(np.eye(4)[::-1])
    result.uns["layer_colors"] = ["#ff0000", "#0000ff"]
    store(result, SCORES, LOADINGS)
    return result
