"""What a matrix holds, and how it is held."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import assert_same, snapshot

from .conftest import (
    COUNTS,
    EACH,
    EACH_OF_COUNTS,
    KERNEL_OF,
    close,
    fit,
    mean_of,
    size_factors,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@EACH
def test_constant_and_empty_genes(adata, method):
    x = adata.X.toarray()
    x[:, 3], x[:, 5] = 0, 7
    adata.X = sp.csr_matrix(x)
    with pytest.warns(UserWarning, match="has 1 variable that is all zero"):
        fit(adata, method)
    np.testing.assert_allclose(adata.varm[method][3], 0, atol=1e-6)
    assert np.isfinite(adata.obsm[f"X_{method}"]).all()
    assert np.isfinite(adata.varm[method]).all()
    if method == "nsfh":
        importance = adata.var["nsfh_spatial_importance"]
        assert np.isnan(importance.iloc[3])
        assert importance.isna().sum() == 1
        assert adata.var["nsfh_spatial_importance_std"].isna().sum() == 1


@EACH_OF_COUNTS
def test_nearly_empty_spots(adata, method):
    x = adata.X.toarray()
    x[[4, 80]] = 0
    x[4, 2] = x[80, [3, 4]] = 1
    x[4, 2] = 2
    adata.X = sp.csr_matrix(x)
    fit(adata, method)
    assert np.isfinite(adata.obsm[f"X_{method}"]).all()
    assert np.isfinite(adata.obsm[f"X_{method}_std"]).all()
    # Their size factor is small, not their factors.
    assert (
        adata.obsm[f"X_{method}"][[4, 80]].max() < 10 * adata.obsm[f"X_{method}"].max()
    )
    assert mean_of(adata, method)[[4, 80]].sum(1).max() < 10


@EACH
def test_empty_spots(adata, method):
    x = adata.X.toarray()
    x[[4, 80]] = 0
    adata.X = sp.csr_matrix(x)
    told = r"has 2 observations that are all zero.* The first empty observation is in row 4\."
    with pytest.warns(UserWarning, match=told):
        fit(adata, method)
    assert np.isfinite(adata.obsm[f"X_{method}"]).all()
    assert np.isfinite(adata.obsm[f"X_{method}_std"]).all()


@EACH
@pytest.mark.parametrize("array", [True, False])
def test_mask(adata, method, array):
    mask = adata.var["used"].to_numpy()
    subset = adata[:, mask].copy()
    fit(subset, method)
    fit(adata, method, mask_var=mask if array else "used")
    close(adata.obsm[f"X_{method}"], subset.obsm[f"X_{method}"])
    close(adata.varm[method][mask], subset.varm[method])
    assert np.isnan(adata.varm[method][~mask]).all()


def test_masked_genes_are_not_expected(adata):
    fit(adata, "nsf", mask_var="used", max_iter=5)
    found = nng.tl.predict(adata, adata.obsm["spatial"][:3], expression=True)
    used = adata.var["used"].to_numpy()
    assert np.isfinite(found.X[:, used]).all()
    assert np.isnan(found.X[:, ~used]).all()


@EACH
def test_a_view_becomes_actual(adata, method):
    before = snapshot(adata)
    view = adata[10:130, 5:35]
    expected = view.copy()
    fit(view, method, max_iter=5)
    assert not view.is_view
    fit(expected, method, max_iter=5)
    close(view.obsm[f"X_{method}"], expected.obsm[f"X_{method}"], 1e-6)
    assert_same(snapshot(adata), before)


@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        *((method, np.int64) for method in KERNEL_OF),
        # As floating-point numbers they are the same to all of them.
        *(("nsf", dtype) for dtype in (np.uint8, np.float16, np.float64)),
    ],
)
def test_types_of_entries(fits, adata, method, dtype):
    adata.X = adata.X.toarray().astype(dtype)
    fit(adata, method)
    close(adata.obsm[f"X_{method}"], fits[method].obsm[f"X_{method}"], 1e-2)


@pytest.mark.parametrize(
    ("method", "convert"),
    [*((method, sp.csr_matrix) for method in COUNTS), ("nsf", np.asarray)],
)
def test_a_file(fits, adata, method, convert, tmp_path):
    adata.X = convert(adata.X.toarray())
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    fit(backed, method, chunk_size=50)
    close(backed.obsm[f"X_{method}"], fits[method].obsm[f"X_{method}"], 1e-2)
    assert backed.isbacked


@pytest.mark.parametrize("method", ["rsf", "fa"])
def test_a_file_must_be_normalised_for_real_valued_models(
    fits, adata, method, tmp_path
):
    adata.X = np.log1p(adata.X.toarray() / size_factors(adata)[:, None])
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"not in memory.*log_normalized=True"):
        fit(backed, method)
    assert method not in backed.uns
    fit(backed, method, log_normalized=True)
    expected = fits[method].obsm[f"X_{method}"] @ fits[method].varm[method].T
    close(backed.obsm[f"X_{method}"] @ backed.varm[method].T, expected, 1e-2)


@EACH_OF_COUNTS
def test_counts_that_are_not_whole(adata, method):
    adata.layers["counts"] = adata.X.copy()
    adata.uns["log1p"] = {"base": None}
    adata.X = adata.X * 0.7
    told = (
        r"not integers \(perhaps logarithms: there is adata.uns\['log1p'\]\).* there are "
        r"\['counts'\], "
        "or use likelihood='gaussian'"
    )
    with pytest.warns(UserWarning, match=told):
        fit(adata, method, max_iter=5)
    assert np.isfinite(adata.obsm[f"X_{method}"]).all()


@pytest.mark.filterwarnings("error")
def test_real_values_are_fine_for_a_gaussian(adata):
    adata.X = adata.X * 0.7
    nng.tl.pnmf(adata, 4, likelihood="gaussian", max_iter=300, tol=1e-3)
    nng.tl.fa(adata, 4, max_iter=300, tol=1e-3)
    assert adata.uns["fa"]["converged"] is True
