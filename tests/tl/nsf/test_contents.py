"""NSF, NSFH, PNMF, RSF and FA on annotated data, and their predictions."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import nonneg as nng
from testing.nonneg import assert_same, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# No search of the kernel, which takes longer than the fit; in units of the grid.
KERNEL = dict(length_scale=5.0, amplitude=1.0, dispersion=1.0)
KERNEL_OF = {
    "nsf": KERNEL,
    "nsfh": KERNEL,
    "rsf": dict(length_scale=5.0, dispersion=1.0),
    "pnmf": {},
    "fa": {},
}
SPATIAL = ("nsf", "nsfh", "rsf")
COUNTS = ("nsf", "nsfh", "pnmf")
EACH = pytest.mark.parametrize("method", KERNEL_OF)
EACH_SPATIAL = pytest.mark.parametrize("method", SPATIAL)
EACH_OF_COUNTS = pytest.mark.parametrize("method", COUNTS)


def fit(adata, method, n_components=4, **kwargs):
    kwargs = KERNEL_OF[method] | {"max_iter": 40} | kwargs
    return getattr(nng.tl, method)(adata, n_components, **kwargs)


@pytest.fixture
def adata():
    result = nng.datasets.ggblocks(12, 40)
    result.obs["section"] = np.repeat(["a", "b"], 72)
    result.var["used"] = np.arange(40) % 4 > 0
    return result


@pytest.fixture(scope="module")
def fits():
    """Every model once; not to be changed."""
    found = {}
    for method in KERNEL_OF:
        found[method] = nng.datasets.ggblocks(12, 40)
        fit(found[method], method)
    return found


def size_factors(adata):
    totals = np.asarray(adata.X.sum(1)).ravel()
    return totals / np.median(totals)


def mean_of(adata, key="nsf", size=None):
    """Fitted means."""
    size = size_factors(adata) if size is None else size
    w = np.nan_to_num(adata.varm[key])
    return size[:, None] * (adata.obsm[adata.uns[key]["obsm_key"]] @ w.T)


def close(a, b, rtol=1e-4):
    a, b = np.asarray(a), np.asarray(b)
    assert np.isfinite(b).all()
    assert np.abs(a - b).max() <= rtol * np.abs(b).max()


# --- what is stored ---------------------------------------------------------


@EACH
def test_keys(fits, method):
    adata = fits[method]
    for name in (f"X_{method}", f"X_{method}_std"):
        assert adata.obsm[name].shape == (144, 4)
        assert adata.obsm[name].dtype == np.float32
        assert np.isfinite(adata.obsm[name]).all()
    assert adata.obsm[f"X_{method}_std"].min() > 0
    assert adata.varm[method].shape == (40, 4)
    assert adata.varm[method].dtype == np.float32
    info = adata.uns[method]
    assert info["method"] == method
    n_spatial = {"nsf": 4, "rsf": 4, "nsfh": 2}.get(method, 0)
    assert info["is_spatial"].tolist() == [True] * n_spatial + [False] * (4 - n_spatial)
    assert ("field" in info) == (method in SPATIAL)
    np.testing.assert_array_equal(info["elbo"], info["objective"])
    assert len(info["elbo"]) == info["n_iter"]
    zeros = (np.abs(adata.varm[method]) < 1e-6).mean()
    assert info["sparsity"] == pytest.approx(zeros)


@EACH
def test_added_key(adata, method):
    fit(adata, method, key_added="foo", max_iter=5)
    assert {"foo", "foo_std"} <= set(adata.obsm)
    assert "foo" in adata.varm
    assert f"X_{method}" not in adata.obsm
    assert nng.get.factor_df(adata, "foo").shape == (144, 4)


@EACH_OF_COUNTS
def test_nonnegative_and_near_the_counts(fits, method):
    adata = fits[method]
    assert adata.obsm[f"X_{method}"].min() >= 0
    assert adata.varm[method].min() >= 0
    truth = adata.obsm["truth"] @ adata.varm["truth"].T
    mean, counts = mean_of(adata, method), adata.X.toarray()
    assert np.corrcoef(mean.ravel(), truth.ravel())[0, 1] > 0.9
    assert mean.sum() == pytest.approx(counts.sum(), rel=0.05)
    assert nng.metrics.poisson_deviance(counts, mean) < 0.7 * (
        nng.metrics.poisson_deviance(counts, np.broadcast_to(counts.mean(0), (144, 40)))
    )


@pytest.mark.parametrize("method", ["rsf", "fa"])
def test_real_valued_models_fit_log_counts(fits, method):
    adata = fits[method]
    normal = np.log1p(adata.X.toarray() / size_factors(adata)[:, None])
    center = adata.var[f"{method}_center"].to_numpy()
    np.testing.assert_allclose(center, normal.mean(0), rtol=1e-4)
    rest = normal - center - adata.obsm[f"X_{method}"] @ adata.varm[method].T
    assert np.square(rest).sum() < 0.6 * np.square(normal - center).sum()
    assert adata.varm[method].min() < 0


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
@EACH
def test_round_trip(fits, method, form, tmp_path):
    path = tmp_path / f"fitted.{form}"
    adata = fits[method]
    getattr(adata, f"write_{form}")(path)
    read = getattr(ad, f"read_{form}")(path)
    np.testing.assert_array_equal(read.obsm[f"X_{method}"], adata.obsm[f"X_{method}"])
    assert set(read.uns[method]) == set(adata.uns[method])
    if method not in SPATIAL:
        return
    new = adata.obsm["spatial"][:7] + 0.3
    expected = nng.tl.predict(adata, new, key=method)
    model = tmp_path / f"model.{form}"
    getattr(read[:0].copy(), f"write_{form}")(model)
    ours = nng.tl.predict(getattr(ad, f"read_{form}")(model), new, key=method)
    close(ours.X, expected.X, 1e-6)
    close(ours.layers["std"], expected.layers["std"], 1e-6)


@EACH
def test_types_are_safe(fits, method):
    def check(value, where):
        if isinstance(value, dict):
            for key, entry in value.items():
                check(entry, f"{where}/{key}")
        else:
            assert not isinstance(value, np.generic), where
            assert value is None or not isinstance(value, list | tuple), where

    check(dict(fits[method].uns[method]), method)


# --- prediction -------------------------------------------------------------


@pytest.mark.parametrize("n_inducing", [None, 40, 1000])
@EACH_SPATIAL
def test_prediction_where_observed_is_the_fit(adata, method, n_inducing):
    fit(adata, method, n_inducing=n_inducing)
    found = nng.tl.predict(adata[:0].copy(), adata.obsm["spatial"], key=method)
    spatial = adata.uns[method]["is_spatial"]
    fitted = adata.obsm[f"X_{method}"], adata.obsm[f"X_{method}_std"]
    close(found.X[:, spatial], fitted[0][:, spatial], 1e-5)
    close(found.layers["std"][:, spatial], fitted[1][:, spatial], 1e-5)
    assert adata.uns[method]["params"]["n_inducing"] == min(n_inducing or 144, 144)
    assert list(found.var["is_spatial"]) == spatial.tolist()
    # The rest is its prior, the same everywhere.
    assert (np.ptp(found.X[:, ~spatial], axis=0) == 0).all()


def test_prediction_after_a_search(adata):
    nng.tl.nsf(adata, 4)
    found = nng.tl.predict(adata[:0].copy(), adata.obsm["spatial"])
    close(found.X, adata.obsm["X_nsf"], 1e-4)
    # The grid has gaps of one: halfway, between its neighbours' values, roughly.
    assert found.X.max() < 1e4


def test_expected_counts(fits):
    adata = fits["nsf"]
    found = nng.tl.predict(adata, adata.obsm["spatial"], expression=True)
    assert found.shape == adata.shape
    assert list(found.var_names) == list(adata.var_names)
    close(found.X, mean_of(adata, size=np.ones(144)))
    variance = adata.obsm["X_nsf_std"] ** 2 @ (adata.varm["nsf"] ** 2).T
    close(found.layers["std"], np.sqrt(variance))
    close(found.obsm["X_nsf"], adata.obsm["X_nsf"])


def test_expected_counts_of_log_normalised_data(fits):
    adata = fits["rsf"]
    found = nng.tl.predict(adata, adata.obsm["spatial"], key="rsf", expression=True)
    log = adata.obsm["X_rsf"] @ adata.varm["rsf"].T + adata.var["rsf_center"].to_numpy()
    close(found.X, np.maximum(np.expm1(log), 0))


def test_held_out_locations(adata):
    """Better than the rates of genes."""
    held = np.random.default_rng(0).random(144) < 0.2
    train = adata[~held].copy()
    fit(train, "nsf", dispersion=5.0)
    found = nng.tl.predict(train, adata[held].obsm["spatial"], expression=True)
    counts = adata[held].X.toarray()
    size = counts.sum(1) / np.median(train.X.toarray().sum(1))
    rate = train.X.toarray().mean(0)
    ours, theirs = (
        nng.metrics.poisson_deviance(counts, size[:, None] * np.maximum(m, 0.01 * rate))
        for m in (np.asarray(found.X), np.broadcast_to(rate, counts.shape))
    )
    assert ours < 0.9 * theirs


def test_uncertainty_grows_with_distance(fits):
    adata = fits["nsf"]
    x = np.array([[5.0, 5.0], [20.0, 5.0], [60.0, 5.0]])
    found = nng.tl.predict(adata, x)
    spread = np.log1p((found.layers["std"] / found.X) ** 2)
    assert (np.diff(spread, axis=0) > 0).all()


@pytest.mark.parametrize(
    ("coords", "match"),
    [
        (np.zeros((3, 3)), r"shape \(n, 2\)"),
        (np.zeros(2), r"shape \(n, 2\)"),
        (np.zeros((0, 2)), r"shape \(n, 2\)"),
        (np.full((3, 2), np.nan), "NaN or infinite"),
    ],
)
def test_coordinates_that_do_not_suit(fits, coords, match):
    with pytest.raises(ValueError, match=match):
        nng.tl.predict(fits["nsf"], coords)


def test_models_without_space_do_not_predict(fits):
    with pytest.raises(ValueError, match="'pnmf', which is not a spatial model"):
        nng.tl.predict(fits["pnmf"], np.zeros((3, 2)), key="pnmf")
    with pytest.raises(KeyError, match="key='nsf'; there are"):
        nng.tl.predict(fits["pnmf"], np.zeros((3, 2)))


# --- sections ---------------------------------------------------------------


def test_sections_are_their_own_fields(adata):
    """In one place of the plane, with different contents."""
    adata.obsm["spatial"][72:, 1] -= 6
    np.testing.assert_array_equal(
        adata.obsm["spatial"][72:], adata.obsm["spatial"][:72]
    )
    fit(adata, "nsf", library_key="section")
    place = adata.obsm["spatial"][:72]
    found = {s: nng.tl.predict(adata, place, section=s) for s in "ab"}
    close(found["a"].X, adata.obsm["X_nsf"][:72], 1e-5)
    close(found["b"].X, adata.obsm["X_nsf"][72:], 1e-5)
    assert np.abs(found["a"].X - found["b"].X).max() > 0.1 * found["a"].X.max()
    assert list(found["a"].obs["section"].unique()) == ["a"]
    both = nng.tl.predict(adata, place[:2], section=np.array(["b", "a"]))
    close(both.X[0], found["b"].X[0], 1e-6)
    close(both.X[1], found["a"].X[1], 1e-6)


def test_section_must_be_named(adata):
    fit(adata, "nsf", library_key="section", max_iter=5)
    with pytest.raises(ValueError, match=r"Name the section.*\['a', 'b'\]"):
        nng.tl.predict(adata, adata.obsm["spatial"])
    with pytest.raises(KeyError, match="no section 'c'"):
        nng.tl.predict(adata, adata.obsm["spatial"], section="c")
    fit(adata, "nsf", max_iter=5)
    with pytest.raises(ValueError, match="without library_key"):
        nng.tl.predict(adata, adata.obsm["spatial"], section="a")


def test_sections_far_apart_are_as_close_together(adata):
    """Each section is centred: how they are laid out beside each other is no matter."""
    fit(adata, "nsf", library_key="section")
    moved = nng.datasets.ggblocks(12, 40)
    moved.obs["section"] = adata.obs["section"].to_numpy()
    moved.obsm["spatial"][72:] += [1000, -300]
    fit(moved, "nsf", library_key="section")
    close(moved.obsm["X_nsf"], adata.obsm["X_nsf"], 1e-3)


@pytest.mark.parametrize("n_small", [1, 2, 3, 7])
@EACH_SPATIAL
def test_a_section_of_few_spots(adata, method, n_small):
    adata.obs["section"] = ["large"] * (144 - n_small) + ["small"] * n_small
    fit(adata, method, library_key="section", max_iter=3)
    assert np.isfinite(adata.obsm[f"X_{method}"]).all()
    coords = adata.obsm["spatial"][-1:]
    found = nng.tl.predict(adata, coords, key=method, section="small")
    # Of the hybrid, others are predicted by their prior.
    n = found[:, found.var["is_spatial"]].n_vars
    close(found.X[:, :n], adata.obsm[f"X_{method}"][-1:, :n])


@EACH_SPATIAL
def test_sections_of_one_spot_each(adata, method):
    few = adata[:24].copy()
    few.obs["section"] = np.arange(24).astype(str)
    with pytest.raises(ValueError, match="location"):
        fit(few, method, library_key="section", max_iter=3)


@EACH_SPATIAL
def test_a_section_at_one_location(adata, method):
    adata.obs["section"] = ["large"] * 138 + ["small"] * 6
    adata.obsm["spatial"][138:] = adata.obsm["spatial"][138]
    fit(adata, method, library_key="section", max_iter=3)
    fields = adata.obsm[f"X_{method}"][138:, : 2 if method == "nsfh" else 4]
    np.testing.assert_array_equal(fields, np.repeat(fields[:1], 6, axis=0))


# --- layouts ----------------------------------------------------------------


@EACH_SPATIAL
@pytest.mark.parametrize(("factor", "shift"), [(1e5, 0), (1e-3, 0), (1.0, 3e4)])
def test_units_and_origin_are_no_matter(fits, adata, method, factor, shift):
    adata.obsm["spatial"] = factor * adata.obsm["spatial"] + shift
    fit(adata, method, length_scale=5.0 * factor)
    close(mean_of(adata, method), mean_of(fits[method], method), 1e-3)
    length = adata.uns[method]["kernel"]["length_scale"]
    np.testing.assert_allclose(length, 5.0 * factor, rtol=1e-6)


def test_third_axis(adata):
    rng = np.random.default_rng(0)
    adata.obsm["xyz"] = np.column_stack([adata.obsm["spatial"], rng.random(144)])
    fit(adata, "nsf", spatial_key="xyz")
    found = nng.tl.predict(adata, adata.obsm["xyz"])
    close(found.X, adata.obsm["X_nsf"], 1e-5)
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        nng.tl.predict(adata, adata.obsm["spatial"])


@EACH_SPATIAL
def test_a_constant_axis_is_ignored(fits, adata, method):
    adata.obsm["flat"] = np.column_stack([adata.obsm["spatial"], np.full(144, 7.0)])
    fit(adata, method, spatial_key="flat")
    close(mean_of(adata, method), mean_of(fits[method], method), 1e-5)


@pytest.mark.parametrize("noise", [0, 1e-12])
def test_a_line(adata, noise):
    adata.obsm["spatial"] = np.column_stack([np.arange(144.0), np.full(144, 3.0)])
    adata.obsm["spatial"][:, 1] += noise * np.random.default_rng(0).random(144)
    fit(adata, "nsf")
    found = nng.tl.predict(adata, adata.obsm["spatial"])
    close(found.X, adata.obsm["X_nsf"], 1e-5)
    assert adata.uns["nsf"]["transform"]["axes"].tolist() == [True, False]


@EACH_SPATIAL
def test_duplicates(adata, method):
    adata.obsm["spatial"] = np.repeat(adata.obsm["spatial"][::2], 2, axis=0)
    fit(adata, method)
    spatial = adata.uns[method]["is_spatial"]
    x = adata.obsm[f"X_{method}"][:, spatial]
    np.testing.assert_array_equal(x[::2], x[1::2])
    assert np.isfinite(x).all()
    assert adata.uns[method]["field"]["sites"].shape == (72, 2)


def test_two_locations(adata):
    adata.obsm["spatial"] = np.repeat([[0.0, 1.0], [5.0, 2.0]], 72, axis=0)
    nng.tl.nsf(adata, 2)
    assert np.isfinite(adata.obsm["X_nsf"]).all()


# --- contents ---------------------------------------------------------------


@EACH
def test_constant_and_empty_genes(adata, method):
    x = adata.X.toarray()
    x[:, 3], x[:, 5] = 0, 7
    adata.X = sp.csr_matrix(x)
    with pytest.warns(UserWarning, match="0 observations and 1 variables"):
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
    with pytest.warns(UserWarning, match="2 observations and 0 variables"):
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


@EACH
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.float64])
def test_types_of_entries(fits, adata, method, dtype):
    adata.X = adata.X.toarray().astype(dtype)
    fit(adata, method)
    close(adata.obsm[f"X_{method}"], fits[method].obsm[f"X_{method}"], 1e-2)


@EACH_OF_COUNTS
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix])
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


@pytest.mark.parametrize("likelihood", ["negative_binomial", "gaussian"])
@EACH_OF_COUNTS
def test_likelihoods(adata, method, likelihood):
    fit(adata, method, likelihood=likelihood)
    size = np.ones(144) if likelihood == "gaussian" else None
    truth = adata.obsm["truth"] @ adata.varm["truth"].T
    mean = mean_of(adata, method, size)
    assert np.corrcoef(mean.ravel(), truth.ravel())[0, 1] > 0.85
    assert adata.uns[method]["params"]["likelihood"] == likelihood
    if likelihood == "negative_binomial":
        dispersion = adata.var[f"{method}_dispersion"]
        assert dispersion.dtype == np.float32
        assert dispersion.min() > 0
        # That of the simulation is 0.1.
        assert 0.02 < dispersion.median() < 0.4


@EACH_OF_COUNTS
def test_estimators(fits, adata, method):
    fit(adata, method, estimator="monte_carlo")
    difference = mean_of(adata, method) - mean_of(fits[method], method)
    assert 0 < np.abs(difference).mean() < 0.2 * mean_of(adata, method).mean()
    again = nng.datasets.ggblocks(12, 40)
    fit(again, method, estimator="monte_carlo")
    np.testing.assert_array_equal(again.obsm[f"X_{method}"], adata.obsm[f"X_{method}"])


@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
def test_kernels(adata, kernel):
    fit(adata, "nsf", kernel=kernel)
    found = nng.tl.predict(adata, adata.obsm["spatial"])
    close(found.X, adata.obsm["X_nsf"], 1e-5)
    assert adata.uns["nsf"]["params"]["kernel"] == kernel


@EACH
def test_size_factors(fits, adata, method):
    adata.obs["size"] = size_factors(adata)
    for given in ("size", adata.obs["size"].to_numpy()):
        fit(adata, method, size_factors=given)
        close(adata.obsm[f"X_{method}"], fits[method].obsm[f"X_{method}"], 1e-3)
    fit(adata, method, size_factors=None)
    if method in COUNTS:
        assert mean_of(adata, method, np.ones(144)).sum() == pytest.approx(
            adata.X.sum(), rel=0.05
        )


def test_log_normalized(fits, adata):
    adata.layers["log"] = np.log1p(adata.X.toarray() / size_factors(adata)[:, None])
    for method in ("rsf", "fa"):
        fit(adata, method, layer="log", log_normalized=True, size_factors=None)
        close(
            adata.obsm[f"X_{method}"] @ adata.varm[method].T,
            fits[method].obsm[f"X_{method}"] @ fits[method].varm[method].T,
            1e-2,
        )


# --- spatial importance -----------------------------------------------------


def test_spatial_importance(fits):
    adata = fits["nsfh"]
    x, w = (
        np.asarray(a, np.float64) for a in (adata.obsm["X_nsfh"], adata.varm["nsfh"])
    )
    gene = (x.sum(0) * w)[:, :2].sum(1) / (x.sum(0) * w).sum(1)
    spot = (x * w.sum(0))[:, :2].sum(1) / (x * w.sum(0)).sum(1)
    for frame, expected in ((adata.var, gene), (adata.obs, spot)):
        ours = frame["nsfh_spatial_importance"]
        np.testing.assert_allclose(ours, expected, rtol=1e-5)
        assert ours.between(0, 1).all()
        assert (frame["nsfh_spatial_importance_std"] >= 0).all()


def test_importance_is_that_of_the_simulation():
    adata = nng.datasets.ggblocks(18, 80, n_nonspatial=3, mixing=0.55)
    nng.tl.nsfh(adata, 7, n_spatial=4, **KERNEL)
    truth = adata.var["spatial_share"]
    error = np.abs(adata.var["nsfh_spatial_importance"] - truth).mean()
    # 0.02 on the 36 x 36 locations and 500 genes of the paper.
    assert error < 0.06


@pytest.mark.parametrize("n_spatial", [0, 4])
def test_hybrid_of_one_kind(adata, n_spatial):
    fit(adata, "nsfh", n_spatial=n_spatial)
    np.testing.assert_allclose(adata.var["nsfh_spatial_importance"], n_spatial / 4)
    other = nng.datasets.ggblocks(12, 40)
    fit(other, "nsf" if n_spatial else "pnmf")
    key = "nsf" if n_spatial else "pnmf"
    close(mean_of(adata, "nsfh"), mean_of(other, key), 1e-2)


# --- refusals ---------------------------------------------------------------


def refused(error, match, call, adata):
    before = snapshot(adata)
    with pytest.raises(error, match=match):
        call()
    assert_same(snapshot(adata), before)


REFUSALS = {
    "kernel": (dict(kernel="matern12"), ValueError, "kernel='matern12'"),
    "likelihood": (dict(likelihood="nb"), ValueError, "likelihood='nb'"),
    "estimator": (dict(estimator="exact"), ValueError, "estimator='exact'"),
    "trend": (dict(trend="none"), ValueError, "trend='none'"),
    "draws": (
        dict(estimator="monte_carlo", likelihood="gaussian"),
        ValueError,
        "is for likelihood='poisson'",
    ),
    "components": (dict(n_components=0), ValueError, "n_components=0"),
    "many components": (dict(n_components=41), ValueError, "exceeds the smaller side"),
    "spatial key": (dict(spatial_key="xy"), KeyError, r"'xy' is not in adata.obsm"),
    "library key": (
        dict(library_key="slide"),
        KeyError,
        r"'slide' is not in adata.obs",
    ),
    "layer": (dict(layer="raw"), KeyError, "'raw' is not in adata.layers"),
    "length scale": (dict(length_scale=0.0), ValueError, "length_scale=0.0"),
    "infinite scale": (dict(length_scale=np.inf), ValueError, "length_scale=inf"),
    "amplitude": (dict(amplitude=-1.0), ValueError, "amplitude=-1.0"),
    "dispersion": (dict(dispersion=0.5), ValueError, "dispersion=0.5"),
    "learning rate": (dict(learning_rate=1.5), ValueError, "learning_rate=1.5"),
    "no learning": (dict(learning_rate=0.0), ValueError, "learning_rate=0.0"),
    "batch size": (dict(batch_size=0), ValueError, "batch_size=0"),
    "inducing": (dict(n_inducing=0), ValueError, "n_inducing=0"),
    "half an inducing point": (dict(n_inducing=2.5), TypeError, "n_inducing=2.5"),
    "size factors": (dict(size_factors="n"), KeyError, "'n' is not in adata.obs"),
    "short size factors": (
        dict(size_factors=np.ones(3)),
        ValueError,
        "must hold 144 numbers",
    ),
    "zero size factors": (
        dict(size_factors=np.zeros(144)),
        ValueError,
        "but 144 are not",
    ),
    "max_iter": (dict(max_iter=0), ValueError, "max_iter=0"),
    "tol": (dict(tol=-1.0), ValueError, "tol=-1.0"),
    "rng": (dict(rng="a"), TypeError, "rng='a'"),
    "mask": (dict(mask_var="unused"), KeyError, "'unused' is not in adata.var"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_arguments(adata, case):
    kwargs, error, match = REFUSALS[case]
    kwargs = {"n_components": 4} | kwargs
    refused(error, match, lambda: nng.tl.nsf(adata, **kwargs), adata)


def test_more_spatial_factors_than_factors(adata):
    too_many = lambda: nng.tl.rsf(adata, 41)  # noqa: E731
    refused(ValueError, "exceeds the smaller side", too_many, adata)
    for n_spatial in (5, -1):
        refused(
            ValueError,
            f"n_spatial={n_spatial} must be between 0 and n_components=4",
            lambda n=n_spatial: nng.tl.nsfh(adata, 4, n_spatial=n),
            adata,
        )


@EACH_SPATIAL
def test_a_single_location(adata, method):
    adata.obsm["spatial"] = np.ones((144, 2))
    refused(ValueError, "single location", lambda: fit(adata, method), adata)


@EACH_SPATIAL
def test_missing_coordinates(adata, method):
    adata.obsm["spatial"][5, 1] = np.nan
    match = "1 observations without finite coordinates"
    refused(ValueError, match, lambda: fit(adata, method), adata)
    del adata.obsm["spatial"]
    refused(KeyError, "need coordinates", lambda: fit(adata, method), adata)


@EACH
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_entries(adata, method, value):
    x = adata.X.toarray().astype(np.float32)
    x[2, 3] = value
    adata.X = sp.csr_matrix(x)
    match = {-1.0: "negative", np.inf: "infinite"}.get(value, "NaN")
    refused(ValueError, match, lambda: fit(adata, method), adata)


@EACH
def test_all_zero(adata, method):
    adata.X = sp.csr_matrix(adata.shape, dtype=np.float32)
    refused(ValueError, "all zero", lambda: fit(adata, method), adata)


@EACH_OF_COUNTS
def test_counts_that_are_not_whole(adata, method):
    adata.X = adata.X * 0.7
    with pytest.warns(UserWarning, match="not integers.*likelihood='gaussian'"):
        fit(adata, method, max_iter=5)
    assert np.isfinite(adata.obsm[f"X_{method}"]).all()


@pytest.mark.filterwarnings("error")
def test_real_values_are_fine_for_a_gaussian(adata):
    adata.X = adata.X * 0.7
    nng.tl.pnmf(adata, 4, likelihood="gaussian", max_iter=300, tol=1e-3)
    nng.tl.fa(adata, 4, max_iter=300, tol=1e-3)
    assert adata.uns["fa"]["converged"] is True


def test_missing_sections(adata):
    adata.obs["section"] = adata.obs["section"].where(np.arange(144) > 2)
    match = "is missing for 3 observations"
    refused(ValueError, match, lambda: fit(adata, "nsf", library_key="section"), adata)


# --- interruption, convergence ----------------------------------------------


@EACH
def test_not_converged(adata, method):
    with pytest.warns(ConvergenceWarning, match=r"after 3 iterations.*max_iter=3"):
        fit(adata, method, max_iter=3, tol=0)
    assert adata.uns[method]["converged"] is False
    assert adata.uns[method]["n_iter"] == 3


def interrupting(after):
    class Bar:
        n = 0

        def __init__(self, **_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def set_postfix(self, **_):
            pass

        def reset(self):
            self.n = 0

        def update(self, n):
            self.n += n
            if self.n == after:
                raise KeyboardInterrupt

    return Bar


@EACH
def test_interruption_keeps_the_last_state(adata, method, monkeypatch):
    from nonneg._core import progress as _progress

    expected = nng.datasets.ggblocks(12, 40)
    fit(expected, method, tol=0, max_iter=7)
    monkeypatch.setattr(_progress, "tqdm", interrupting(7))
    with pytest.warns(UserWarning, match="Interrupted after 7 iterations"):
        fit(adata, method, tol=0, max_iter=40)
    assert adata.uns[method]["n_iter"] == 7
    assert adata.uns[method]["converged"] is False
    np.testing.assert_array_equal(
        adata.obsm[f"X_{method}"], expected.obsm[f"X_{method}"]
    )


def test_interruption_of_the_search_leaves_nothing(adata, monkeypatch):
    from nonneg._core import progress as _progress

    monkeypatch.setattr(_progress, "tqdm", interrupting(2))
    before = snapshot(adata)
    with pytest.raises(KeyboardInterrupt):
        nng.tl.nsf(adata, 4)
    assert_same(snapshot(adata), before)


def test_copy(adata):
    before = snapshot(adata)
    copy = fit(adata, "nsf", copy=True, max_iter=5)
    assert_same(snapshot(adata), before)
    assert "X_nsf" in copy.obsm


@pytest.mark.parametrize("method", ["nsf", "nsfh", "pnmf"])
def test_parts_of_observations_are_for_counts(adata, method):
    with pytest.raises(ValueError, match="batch_size=20 is for likelihoods of counts"):
        getattr(nng.tl, method)(adata, 2, likelihood="gaussian", batch_size=20)
