"""Held-out deviance of models: the table, baselines, splits, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.model_selection import ShuffleSplit

import nonneg as nng
from testing.nonneg import assert_same, snapshot

# Convergence is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
KERNEL = dict(length_scale=5.0, amplitude=1.0, temperature=1.0, max_iter=20)


@pytest.fixture
def adata():
    return nng.datasets.ggblocks(12, 40)


def splits(adata, n_splits, test_size=0.1, seed=0):
    """Held-out observations of every split; sites are in order of coordinates."""
    sites, site = np.unique(adata.obsm["spatial"], axis=0, return_inverse=True)
    shuffle = ShuffleSplit(n_splits, test_size=test_size, random_state=seed)
    for _, held in shuffle.split(sites):
        yield np.isin(site.ravel(), held)


def score(adata, held, mean):
    """Deviance of expected counts at size factor 1, with the floor."""
    x = adata.X.toarray().astype(np.float64)
    size = x.sum(1) / np.median(x[~held].sum(1))
    rate = x[~held].sum(0) / size[~held].sum()
    mean = np.maximum(mean, 0.01 * rate) * size[held][:, None]
    y = x[held]
    log = np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / mean), 0)
    return 2 * (log - y + mean).mean()


def test_table(adata):
    kwargs = {"nsf": KERNEL, "nsfh": KERNEL}
    before = snapshot(adata)
    models = ["nsf", "nsfh", "pnmf", "intercept", "neighbors"]
    assert (
        nng.tl.compare(adata, models, [2, 4], n_splits=2, model_kwargs=kwargs) is None
    )
    table = adata.uns["comparison"]
    assert list(table.columns) == [
        "model",
        "method",
        "n_components",
        "n_spatial",
        "split",
        "deviance",
        "rmse",
        "coverage",
        "training_deviance",
        "sparsity",
        "converged",
        "seconds",
        "interrupted",
    ]
    assert (table["model"] == table["method"]).all()
    fitted = table[table["n_components"] > 0]
    assert np.isfinite(
        fitted[["rmse", "coverage", "training_deviance", "sparsity"]]
    ).all(axis=None)
    assert fitted["coverage"].between(0.5, 1).all()
    # What was fitted is nearer than what was not.
    assert (fitted["training_deviance"] < fitted["deviance"]).mean() > 0.8
    first = table[table["split"] == 0]
    rows = list(
        first[["model", "n_components", "n_spatial"]].itertuples(index=False, name=None)
    )
    assert rows == [
        ("nsf", 2, 2),
        ("nsf", 4, 4),
        ("nsfh", 2, 1),
        ("nsfh", 4, 2),
        ("pnmf", 2, 0),
        ("pnmf", 4, 0),
        ("intercept", 0, 0),
        ("neighbors", 0, 0),
    ]
    assert len(table) == 2 * len(first)
    assert (table["deviance"] > 0).all()
    assert np.isfinite(table["deviance"]).all()
    assert (table["seconds"] > 0).all()
    # Nothing else is left behind.
    after = snapshot(adata)
    del after["uns"]["comparison"]
    assert_same(after, before)


def test_intercept(adata):
    nng.tl.compare(adata, "intercept", n_splits=3)
    ours = adata.uns["comparison"]["deviance"]
    x = adata.X.toarray().astype(np.float64)
    expected = []
    for held in splits(adata, 3):
        size = x.sum(1) / np.median(x[~held].sum(1))
        rate = x[~held].sum(0) / size[~held].sum()
        expected.append(score(adata, held, rate))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_neighbors(adata):
    # Off the grid: no ties between neighbours.
    rng = np.random.default_rng(0)
    adata.obsm["spatial"] += 0.2 * rng.random((144, 2))
    nng.tl.compare(adata, "neighbors", n_splits=3, test_size=0.2)
    ours = adata.uns["comparison"]["deviance"]
    x = adata.X.toarray().astype(np.float64)
    xy = adata.obsm["spatial"]
    expected = []
    for held in splits(adata, 3, 0.2):
        size = x.sum(1) / np.median(x[~held].sum(1))
        nearest = cdist(xy[held], xy[~held]).argsort(1)[:, :4]
        mean = (x / size[:, None])[~held][nearest].mean(1)
        expected.append(score(adata, held, mean))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_spatial_model(adata):
    """As by hand: fit to the training part, predict the other."""
    nng.tl.compare(adata, "nsf", 4, n_splits=1, model_kwargs={"nsf": KERNEL})
    (held,) = splits(adata, 1)
    train = adata[~held].copy()
    del train.uns["comparison"]
    nng.tl.nsf(train, 4, **KERNEL)
    found = nng.tl.predict(train, adata[held].obsm["spatial"], expression=True)
    expected = score(adata, held, np.asarray(found.X, np.float64))
    assert adata.uns["comparison"]["deviance"].item() == pytest.approx(expected, 1e-4)


def test_splits_are_the_same_for_all_models(adata):
    nng.tl.compare(adata, ["intercept", "neighbors"], n_splits=3, key_added="both")
    nng.tl.compare(adata, "neighbors", n_splits=3, key_added="one")
    both = adata.uns["both"]
    np.testing.assert_array_equal(
        both[both["model"] == "neighbors"]["deviance"], adata.uns["one"]["deviance"]
    )
    assert both.groupby("model")["deviance"].nunique().tolist() == [3, 3]


def test_seed(adata):
    for key, seed in (("a", 0), ("b", 0), ("c", 1)):
        nng.tl.compare(adata, "intercept", rng=seed, key_added=key)
    same, other = (adata.uns[key]["deviance"].to_numpy() for key in "bc")
    np.testing.assert_array_equal(adata.uns["a"]["deviance"], same)
    assert (same != other).all()


@pytest.mark.filterwarnings("ignore:100% of the locations")
def test_locations_are_held_out_as_a_whole(adata):
    """Duplicates of a location do not predict each other."""
    adata.obsm["spatial"] = np.repeat(adata.obsm["spatial"][::2], 2, axis=0)
    for held in splits(adata, 3):
        np.testing.assert_array_equal(held[::2], held[1::2])
    nng.tl.compare(adata, "intercept", n_splits=3)
    x = adata.X.toarray().astype(np.float64)
    expected = []
    for held in splits(adata, 3):
        size = x.sum(1) / np.median(x[~held].sum(1))
        expected.append(score(adata, held, x[~held].sum(0) / size[~held].sum()))
    np.testing.assert_allclose(adata.uns["comparison"]["deviance"], expected, rtol=1e-5)


def test_models_of_the_family(adata):
    models = ["nmf", "pnmf", "fa", "rsf", "intercept"]
    kwargs = {"rsf": dict(length_scale=5.0, temperature=1.0, max_iter=20)}
    nng.tl.compare(adata, models, 4, n_splits=2, test_size=0.2, model_kwargs=kwargs)
    mean = adata.uns["comparison"].groupby("model")["deviance"].mean()
    assert set(mean.index) == set(models)
    assert (mean.drop("intercept") < mean["intercept"]).all()


def test_sections(adata):
    """Neighbours are sought in the same section only."""
    adata.obs["section"] = np.repeat(["a", "b"], 72)
    adata.obsm["spatial"][72:, 1] -= 6
    nng.tl.compare(
        adata,
        ["nsf", "neighbors"],
        4,
        n_splits=1,
        library_key="section",
        model_kwargs={"nsf": KERNEL},
        key_added="apart",
    )
    with pytest.warns(UserWarning, match="such as library_key='section'") as told:
        nng.tl.compare(
            adata,
            ["nsf", "neighbors"],
            4,
            n_splits=1,
            model_kwargs={"nsf": KERNEL},
            key_added="mixed",
        )
    assert sum("library_key" in str(one.message) for one in told) == 1
    apart, mixed = (
        adata.uns[key].set_index("model")["deviance"] for key in ("apart", "mixed")
    )
    assert apart["neighbors"] < mixed["neighbors"]
    assert np.isfinite(apart["nsf"])


def test_spatial_numbers_of_the_hybrid(adata):
    nng.tl.compare(
        adata,
        ["nsfh", "pnmf"],
        [2, 3],
        n_spatial=[1, 3],
        n_splits=1,
        model_kwargs={"nsfh": KERNEL},
    )
    table = adata.uns["comparison"]
    assert table["n_components"].tolist() == [2, 3, 3, 2, 3]
    assert table["n_spatial"].tolist() == [1, 1, 3, 0, 0]


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_round_trip(adata, form, tmp_path):
    import anndata as ad

    given = {"pnmf": dict(max_iter=2), "nmf": dict(max_iter=1000)}
    models = ["intercept", "pnmf", "nmf", "neighbors"]
    nng.tl.compare(adata, models, 2, n_splits=1, model_kwargs=given)
    getattr(adata, f"write_{form}")(tmp_path / f"a.{form}")
    read = getattr(ad, f"read_{form}")(tmp_path / f"a.{form}")
    ours, theirs = adata.uns["comparison"], read.uns["comparison"]
    assert list(theirs["model"].astype(str)) == list(ours["model"])
    np.testing.assert_array_equal(theirs["deviance"], ours["deviance"])
    assert theirs["converged"].isna().tolist() == [True, False, False, True]
    assert theirs["converged"][1:3].tolist() == [False, True]
    assert theirs["converged"].dtype == ours["converged"].dtype == "boolean"


def test_scores_as_by_hand(adata):
    """Error, training deviance, sparsity and coverage of a spatial model."""
    variants = {"NB": dict(model="nsf", likelihood="negative_binomial"), "nsf": {}}
    nng.tl.compare(adata, variants, 3, n_splits=1, model_kwargs={"nsf": KERNEL})
    table = adata.uns["comparison"].set_index("model")
    assert table["method"].tolist() == ["nsf", "nsf"]
    (held,) = splits(adata, 1)
    train = adata[~held].copy()
    del train.uns["comparison"]
    x = adata.X.toarray().astype(np.float64)
    size = x.sum(1) / np.median(x[~held].sum(1))
    rate = 0.01 * x[~held].sum(0) / size[~held].sum()
    for name, likelihood in (("nsf", "poisson"), ("NB", "negative_binomial")):
        nng.tl.nsf(train, 3, likelihood=likelihood, **KERNEL)
        found = nng.tl.predict(
            train,
            adata.obsm["spatial"][held],
            expression=True,
            interval=0.9,
            size_factors=size[held],
        )
        row = table.loc[name]
        mean = np.maximum(found.X, rate * size[held, None])
        np.testing.assert_allclose(
            row["rmse"], np.sqrt(np.square(x[held] - mean).mean()), rtol=1e-4
        )
        share = train.obsm["X_nsf"] @ train.varm["nsf"].T
        share /= share.sum(1, keepdims=True)
        fitted = np.maximum(np.median(x[~held].sum(1)) * share, rate)
        expected = nng.metrics.poisson_deviance(x[~held], size[~held, None] * fitted)
        np.testing.assert_allclose(row["training_deviance"], expected, rtol=1e-4)
        assert row["sparsity"] == train.uns["nsf"]["sparsity"]
        lower, upper = found.layers["lower"], found.layers["upper"]
        # Counts at an end count in part.
        strictly = ((x[held] > lower) & (x[held] < upper)).mean()
        assert (
            strictly
            < row["coverage"]
            < ((x[held] >= lower) & (x[held] <= upper)).mean()
        )
    assert table.loc["NB", "coverage"] > table.loc["nsf", "coverage"]


def test_size_factors_of_a_variant(adata):
    """None: the fit and its predictions know nothing of depth."""
    adata.obs["depth"] = adata.X.sum(1)
    variants = {
        name: dict(model="pnmf", size_factors=size, max_iter=5)
        for name, size in (("none", None), ("total", "total"), ("depth", "depth"))
    }
    nng.tl.compare(adata, variants, 2, n_splits=1)
    found = adata.uns["comparison"].set_index("model")["deviance"]
    assert abs(found["none"] - found["total"]) > 1e-3
    # Other units of the same sizes.
    np.testing.assert_allclose(found["depth"], found["total"], rtol=1e-2)


@pytest.mark.filterwarnings("ignore:Of one or more fits")
@pytest.mark.filterwarnings("ignore:adata.X has 30 observations that are all zero")
def test_nothing_is_expected_of_empty_observations(adata):
    """They are fitted exactly: deviances are those of the others, as parts of all."""
    models = {"pnmf": {"max_iter": 20}, "nmf": {"max_iter": 20}, "intercept": {}}
    others = adata.copy()
    (held,) = splits(adata, 1)
    empty = np.flatnonzero(~held)[:30]
    adata.X = adata.X.multiply(~np.isin(np.arange(144), empty)[:, None]).tocsr()
    found = []
    for data in (adata, others):
        nng.tl.compare(data, models, 2, n_splits=1)
        found.append(data.uns["comparison"].set_index("model")["training_deviance"])
    # If each were expected to have as many counts as others, it would nearly double.
    assert (found[0] < 0.9 * found[1]).all()


def test_sections_of_few_spots(adata):
    """Two spots in a section: one predicts the other, and no section another."""
    adata.obs["section"] = np.where(np.arange(144) < 2, "small", "large")
    models = ["nsf", "neighbors"]
    nng.tl.compare(
        adata,
        models,
        2,
        n_splits=2,
        test_size=0.2,
        library_key="section",
        model_kwargs={"nsf": KERNEL},
    )
    table = adata.uns["comparison"]
    assert np.isfinite(table[["deviance", "rmse", "coverage"]]).all(axis=None)
    from nonneg.tl._compare.data import averages

    section = np.array([0, 0, 1])
    average = averages(np.eye(3), section, np.zeros((2, 3)), np.array([1, 0]))
    np.testing.assert_allclose(average.toarray(), [[0, 0, 1], [0.5, 0.5, 0]])


REFUSALS = {
    "variant": (
        dict(models={"a": {"model": "nsg"}}),
        ValueError,
        r"models\['a'\]='nsg'",
    ),
    "argument of a variant": (
        dict(models={"a": {"model": "nsf", "kernle": "rbf"}}),
        ValueError,
        "'a' has no argument 'kernle'",
    ),
    "argument of a baseline": (
        dict(models={"intercept": {"rng": 1}}),
        ValueError,
        "'rng' is no argument",
    ),
    "arguments of nothing": (
        dict(model_kwargs={"pnfm": {}}),
        ValueError,
        "model_kwargs='pnfm'",
    ),
    "array of size factors": (
        dict(models={"a": {"model": "nsf", "size_factors": np.ones(144)}}),
        ValueError,
        "store it in adata.obs",
    ),
    "too many factors": (
        dict(n_components=41),
        ValueError,
        "n_components=41 exceeds the smaller side of what is fitted: 129 of 144",
    ),
    "model": (dict(models="nsg"), ValueError, "models='nsg'"),
    "no models": (dict(models=[]), ValueError, r"models=\[\] names no models.*'nsf'"),
    "a table of no models": (dict(models={}), ValueError, r"models=\{\} names no"),
    "components": (dict(n_components=0), ValueError, "n_components=0"),
    "no components": (
        dict(models=["intercept", "nmf"], n_components=[]),
        ValueError,
        r"n_components=\[\] must hold a number for model 'nmf'",
    ),
    "no spatial": (
        dict(models="nsfh", n_spatial=[]),
        ValueError,
        r"n_spatial=\[\] must hold a number for model 'nsfh'",
    ),
    "spatial": (
        dict(models="nsfh", n_components=2, n_spatial=3),
        ValueError,
        "nothing to compare",
    ),
    "splits": (dict(n_splits=0), ValueError, "n_splits=0"),
    "test size": (dict(test_size=1.0), ValueError, "test_size=1.0"),
    "layer": (dict(layer="raw"), KeyError, "'raw' is not in adata.layers"),
    "spatial key": (dict(spatial_key="xy"), KeyError, "'xy' is not in adata.obsm"),
    "library key": (dict(library_key="s"), KeyError, "'s' is not in adata.obs"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(adata, case):
    kwargs, error, match = REFUSALS[case]
    before = snapshot(adata)
    with pytest.raises(error, match=match):
        nng.tl.compare(adata, **kwargs)
    assert_same(snapshot(adata), before)


def stored(adata, form, path):
    """The data in another form."""
    import anndata as ad

    if form == "dask":
        da = pytest.importorskip("dask.array")
        lazy = adata.copy()
        lazy.X = da.from_array(adata.X, chunks=(50, adata.n_vars), asarray=False)
        return lazy
    if form == "lazy":
        adata.write_zarr(path / "a.zarr")
        return ad.experimental.read_lazy(path / "a.zarr")
    if form == "dense":
        adata = adata.copy()
        adata.X = adata.X.toarray()
    adata.write_h5ad(path / "a.h5ad")
    return ad.read_h5ad(path / "a.h5ad", backed="r")


@pytest.mark.parametrize("form", ["backed", "dense", "dask", "lazy"])
def test_stored_data(adata, form, tmp_path):
    adata.obs["section"] = np.repeat(["a", "b"], 72)
    kwargs = dict(library_key="section", n_splits=1)
    given = {"pnmf": dict(max_iter=3)}
    nng.tl.compare(adata, ["pnmf", "intercept"], 2, model_kwargs=given, **kwargs)
    expected = adata.uns.pop("comparison")
    other = stored(adata, form, tmp_path)
    nng.tl.compare(other, ["pnmf", "intercept"], 2, model_kwargs=given, **kwargs)
    np.testing.assert_allclose(
        other.uns["comparison"]["deviance"], expected["deviance"], rtol=1e-6
    )


@pytest.mark.filterwarnings("ignore:adata.X has 26 variables that are all zero")
def test_every_section_has_its_part(adata):
    from nonneg.tl._compare.data import ComparedData

    adata.obs["section"] = np.where(np.arange(144) < 9, "small", "large")
    data = ComparedData.read(adata, None, "spatial", "section")
    for out in data.splits(5, 0.2, seed=0):
        held = adata.obs["section"][out].value_counts()
        assert held.to_dict() == {"large": 27, "small": 2}
    # A section of one location is never held out.
    adata.obs["section"] = np.where(np.arange(144) < 1, "small", "large")
    data = ComparedData.read(adata, None, "spatial", "section")
    assert not any(out[0] for out in data.splits(5, 0.5, seed=0))
    adata = adata[:1].copy()
    with pytest.raises(ValueError, match="one location"):
        nng.tl.compare(adata, "intercept")


def test_nothing_global_changes(adata, monkeypatch):
    """Neither settings nor filters, at any time; what others warn of is heard."""
    import warnings

    from nonneg.tl._compare import models

    filters, seen = list(warnings.filters), []

    def fit(*args, **kwargs):
        seen.append((nng.settings.progress, list(warnings.filters) == filters))
        warnings.warn("of another package", RuntimeWarning, stacklevel=1)  # noqa: TID251
        return nng.tl.pnmf(*args, **kwargs, max_iter=2)

    model = models.MODELS["pnmf"]._replace(fit=fit)
    monkeypatch.setitem(models.MODELS, "pnmf", model)
    monkeypatch.setattr(nng.settings, "progress", True)
    filters = list(warnings.filters)
    with pytest.raises(RuntimeWarning, match="of another package"):
        nng.tl.compare(adata, "pnmf", 2, n_splits=1)
    assert seen == [(True, True)]


def test_warnings_of_fits_are_told_together(adata):
    from sklearn.exceptions import ConvergenceWarning

    # Of one cell, a gene is zero where that cell is held out.
    x = adata.X.toarray()
    x[:, 3], x[1:, 4], x[7] = 0, 0, 0
    x[0, 4] = 5
    adata.X = x
    given = {"pnmf": dict(max_iter=2)}
    models = ["pnmf", "nmf"]
    with pytest.warns() as seen:
        nng.tl.compare(adata, models, [2, 3], n_splits=2, model_kwargs=given)
    ours = [one for one in seen if issubclass(one.category, UserWarning)]
    assert len(ours) == 2
    assert "adata.X has 1 observation that is all zero and 1 variable" in str(
        ours[0].message
    )
    assert "4 of 8 fits have not converged" in str(ours[1].message)
    assert "'pnmf' with 2, 3 factors" in str(ours[1].message)
    assert ours[1].category is ConvergenceWarning
    assert all(one.filename == __file__ for one in ours)


def test_settings_that_did_not_converge_are_named():
    """Those alone, with the number of spatial factors where there is one to choose."""
    from nonneg.tl._compare.compare import _warn_unconverged

    rows = [
        ("short", "nsfh", 3, 1, False),
        ("short", "nsfh", 3, 2, False),
        ("short", "nsfh", 3, 2, False),
        ("nsf", "nsf", 3, 3, True),
        ("nsf", "nsf", 4, 4, False),
        ("intercept", "intercept", 0, 0, None),
    ]
    columns = ["model", "method", "n_components", "n_spatial", "converged"]
    table = pd.DataFrame(rows, columns=columns).astype({"converged": "boolean"})
    with pytest.warns(match="4 of 6 fits have not converged") as seen:
        _warn_unconverged(table)
    told = str(seen[0].message)
    assert "'short' with 3 (1 spatial), 3 (2 spatial) factors; 'nsf' with 4 f" in told
    assert "model_kwargs={'nsfh': {'max_iter': ...}}" in told
    _warn_unconverged(table[table["converged"].fillna(value=True)])
