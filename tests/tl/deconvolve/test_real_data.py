"""Pancreatic cancer (Moncada et al. 2020): annotated regions, withheld from the fit."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import nonneg as nng
from testing.nonneg import real_data

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning"),
]
FEW = [
    "Acinar_cells",
    "Cancer_clone_A",
    "Endocrine_cells",
    "Fibroblasts",
    "Ductal_terminal_ductal_like",
]


@pytest.fixture(scope="module")
def reference():
    cells = ad.read_h5ad(real_data("pdac_a_scrna.h5ad"))
    cells.obs_names_make_unique()
    cells.var_names_make_unique()
    return cells


@pytest.fixture(scope="module")
def section():
    spots = ad.read_h5ad(real_data("pdac_a_spatial.h5ad"))
    spots.var_names_make_unique()
    return spots


def test_regions(section, reference):
    adata = section.copy()
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    shares = nng.get.factor_df(adata, "deconv")
    region = pd.read_csv(real_data("pdac_a_regions.csv"), index_col=0)["region"]
    known = shares.index.isin(region.index)
    region, shares = region.reindex(shares.index)[known], shares[known]

    def auc(name, where):
        columns = [c for c in shares if name in c]
        return roc_auc_score(region == where, shares[columns].sum(axis=1))

    assert auc("Cancer", "Cancer") > 0.94
    assert auc("Cancer_clone_A", "Cancer") > 0.93
    assert auc("Ductal", "Duct Epithelium") > 0.925
    assert auc("Acinar", "Pancreatic") > 0.84


def test_named_types_of_few_cells_are_kept(reference):
    with pytest.warns(UserWarning, match="'Endocrine_cells': 3"):
        types = nng.pp.signatures(
            reference[reference.obs["cell_type"].isin(FEW)].copy(), "cell_type"
        )
    assert set(types.obs_names) == set(FEW)


@pytest.mark.parametrize("likelihood", ["poisson", "gaussian"])
def test_maps_without_noise(section, reference, likelihood):
    """Pooled signatures leave (almost) no error."""
    types = nng.pp.signatures(
        reference[reference.obs["cell_type"].isin(FEW)].copy(), "cell_type"
    )
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(5, 0.6), section.n_obs)
    profiles = types.X / types.X.sum(1, keepdims=True)
    adata = ad.AnnData(np.rint(1e5 * truth @ profiles).astype(np.float32))
    adata.var_names = types.var_names
    adata.obsm["spatial"] = section.obsm["spatial"]
    nng.tl.deconvolve(
        adata, types, likelihood=likelihood, graph_weight=0, group_weight=0
    )
    error = nng.metrics.composition_rmse(adata.obsm["X_deconv_rna"], truth)
    assert error < (0.004 if likelihood == "poisson" else 0.001)
