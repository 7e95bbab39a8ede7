"""Predictions of spatial models, at locations of the fit and elsewhere."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng

from .conftest import EACH_SPATIAL, close, fit, mean_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("n_inducing", [None, 40, 1000])
@EACH_SPATIAL
def test_prediction_where_observed_is_the_fit(adata, method, n_inducing):
    fit(adata, method, n_inducing=n_inducing)
    found = nng.tl.predict(adata[:0].copy(), adata.obsm["spatial"], key=method)
    close(found.X, adata.obsm[f"X_{method}"], 1e-5)
    close(found.layers["std"], adata.obsm[f"X_{method}_std"], 1e-5)
    assert adata.uns[method]["params"]["n_inducing"] == min(n_inducing or 144, 144)
    assert list(found.var["is_spatial"]) == adata.uns[method]["is_spatial"].tolist()


def test_factors_without_space_elsewhere():
    """Where all patterns are smooth, neighbours say what those without space are."""
    adata = nng.datasets.quilt(12, 60)
    left = np.arange(144) % 7 == 3
    train = adata[~left].copy()
    told = r"no space here: nsfh_[23] to \d\d%.* count them as not .* Try n_spatial="
    with pytest.warns(UserWarning, match=told):
        fit(train, "nsfh", n_spatial=2, size_factors=None)
    at = adata.obsm["spatial"][left]
    found = nng.tl.predict(train, at, key="nsfh", expression=True)
    assert train.uns["nsfh"]["kriged"]["foretold"].max() > 0.5
    # A fit of an earlier version knows their mean only.
    del train.uns["nsfh"]["kriged"]
    before = nng.tl.predict(train, at, key="nsfh", expression=True)
    assert (np.ptp(nng.tl.predict(train, at, key="nsfh").X[:, 2:], axis=0) == 0).all()
    deviance, worse = (
        nng.metrics.poisson_deviance(adata.X[left], x.X) for x in (found, before)
    )
    assert deviance < 0.85 * worse


def _with_and_without(adata, coords, key):
    """Predicted factors, and those of fields alone, as in fits of earlier versions."""
    before = adata.copy()
    del before.uns[key]["kriged"]
    return [nng.tl.predict(x, coords, key=key) for x in (adata, before)]


def test_edges_are_between_both_sides():
    """Beside them, neighbours know more than a smooth logarithm, and opinions differ."""
    adata = nng.datasets.ggblocks(16, 60)
    left = np.arange(256) % 7 == 3
    train, at = adata[~left].copy(), adata.obsm["spatial"][left]
    fit(train, "nsf", 4, size_factors=None)
    found, alone = _with_and_without(train, at, "nsf")
    pooled, worse = (
        nng.metrics.poisson_deviance(adata.X[left], x.X @ train.varm["nsf"].T)
        for x in (found, alone)
    )
    assert pooled < 0.95 * worse
    wide, narrow = (x.layers["std"] / x.X for x in (found, alone))
    differ = np.abs(found.X - alone.X) > 0.1 * np.abs(alone.X)
    assert differ.sum() > 20
    assert (wide[differ] > narrow[differ]).all()


def test_what_neighbours_say_is_of_each_field(adata):
    """Also where fields end in another order than they had during the fit."""
    adata.obs["section"] = np.repeat(["a", "b"], 72)[np.arange(144) * 5 % 144]
    fit(adata, "nsfh", n_spatial=3, library_key="section", max_iter=3)
    told = adata.uns["nsfh"]["kriged"]
    for s, section in enumerate(adata.uns["nsfh"]["transform"]["sections"]):
        own = adata.obsm["X_nsfh"][adata.obs["section"] == section]
        close(told["center"][s], own.mean(0))


def test_units_of_the_coordinates_are_no_matter(fits, adata):
    coords = adata.obsm["spatial"]
    adata.obsm["spatial"] = 1000 * coords + 7
    fit(adata, "nsf", length_scale=5000.0)
    # No two locations are as far from it.
    at = np.add(coords, [0.3137, 0.1271])
    found = nng.tl.predict(adata, 1000 * at + 7)
    close(found.X, nng.tl.predict(fits["nsf"], at).X, 1e-5)


def test_neighbours_are_found_along_each_axis():
    """Of stripes, where fields reach farther along one of them."""
    rng = np.random.default_rng(0)
    coords = rng.uniform(0, 10, (200, 2))
    rates = 5 * np.exp(np.sin(2 * coords[:, [0]] + [0, 2, 4]))
    counts = rng.poisson(rates @ rng.gamma(1, 1, (3, 30))).astype(np.float32)
    adata = ad.AnnData(counts, obsm={"spatial": coords})
    nng.tl.nsf(adata, 3, anisotropic=True, size_factors=None)
    across, along = adata.uns["nsf"]["kernel"]["length_scale"].mean(0)
    assert along > 2 * across
    # Beside a location both opinions are near what it is.
    found, alone = _with_and_without(adata, coords + 1e-3, "nsf")
    assert np.abs(found.X - alone.X).max() < 0.1 * np.ptp(alone.X)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("site_mean", np.ones((3, 2))),
        ("share", None),
        ("share", np.full(4, np.nan)),
        ("length_scale", np.zeros(4)),
        ("scatter", np.full(4, np.inf)),
        ("center", np.ones(2)),
    ],
)
def test_changed_values_of_factors_without_space(fits, name, value):
    adata = fits["nsfh"].copy()
    adata.uns["nsfh"]["kriged"] = {**adata.uns["nsfh"]["kriged"], name: value}
    if value is None:
        del adata.uns["nsfh"]["kriged"][name]
    with pytest.raises(ValueError, match=rf"'kriged'\]\['{name}'\].*Fit again"):
        nng.tl.predict(adata, adata.obsm["spatial"] + 0.5, key="nsfh")


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
    rate = mean_of(adata, size=np.ones(144))
    total = adata.uns["nsf"]["params"]["size_median"]
    factor = total / rate.sum(1, keepdims=True)
    close(found.X, factor * rate)
    variance = adata.obsm["X_nsf_std"] ** 2 @ (adata.varm["nsf"] ** 2).T
    close(found.layers["std"], factor * np.sqrt(variance))


def test_expected_counts_sum_to_totals_that_are_known(adata):
    """Size factors are totals: factors tell the shares, also of a few genes."""
    coords, size = adata.obsm["spatial"][:9] + 0.3, np.linspace(0.2, 4, 9)
    asked = dict(expression=True, size_factors=size)
    fit(adata, "nsf")
    total = size * adata.uns["nsf"]["params"]["size_median"]
    found = nng.tl.predict(adata, coords, **asked)
    close(found.X.sum(1), total, 1e-5)
    # Genes that are not asked for, or are no longer there, have their part.
    few = adata[:, 5:9].copy()
    for one in (
        nng.tl.predict(adata, coords, genes=few.var_names, **asked),
        nng.tl.predict(few, coords, **asked),
    ):
        close(one.X, found.X[:, 5:9], 1e-6)
    # Without totals, depth is part of the pattern.
    fit(adata, "nsf", size_factors=None)
    found = nng.tl.predict(adata, adata.obsm["spatial"], expression=True)
    close(found.X, mean_of(adata, size=np.ones(144)))
    assert np.ptp(found.X.sum(1)) > 1
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
    fit(train, "nsf", temperature=5.0)
    found = nng.tl.predict(train, adata[held].obsm["spatial"], expression=True)
    counts = adata[held].X.toarray()
    size = counts.sum(1) / np.median(train.X.toarray().sum(1))
    rate = train.X.toarray().mean(0)
    ours, theirs = (
        nng.metrics.poisson_deviance(counts, size[:, None] * np.maximum(m, 0.01 * rate))
        for m in (np.asarray(found.X), np.broadcast_to(rate, counts.shape))
    )
    assert ours < 0.9 * theirs


def test_another_object_is_no_coordinates(fits):
    """It has them, and is told where."""
    adata = fits["nsf"]
    with pytest.raises(TypeError, match=r"pass those .* other\.obsm\['spatial'\]"):
        nng.tl.predict(adata, adata)


def test_uncertainty_grows_with_distance(fits):
    adata = fits["nsf"]
    x = np.array([[5.0, 5.0], [20.0, 5.0], [60.0, 5.0]])
    told = (
        r"2 of 3 places are outside .* than 3 \(3 times .* coords\[1\]\. Nothing is "
        r"known there but means and trends.* marked in `\.obs\['outside'\]`"
    )
    with pytest.warns(UserWarning, match=told):
        found = nng.tl.predict(adata, x)
    assert found.obs["outside"].tolist() == [False, True, True]
    spread = np.log1p((found.layers["std"] / found.X) ** 2)
    # Far away nothing is known, wherever.
    assert (spread[1:] > spread[0]).all()


@pytest.mark.parametrize("method", ["nsf", "rsf"])
def test_far_away_there_is_the_trend_of_the_border(adata, method):
    """However far: a straight line of logarithms would be in the thousands."""
    coords = adata.obsm["spatial"]
    fit(adata, method, length_scale=1.0)
    field, transform = (adata.uns[method][name] for name in ("field", "transform"))
    # A square lies in a circle, whose border is farther than its sides.
    center, radius = coords.mean(0), np.sqrt(2) * 5.5
    directions = np.array([[1, 0], [0, -1], [0.6, 0.8]])
    border = transform["scale"] * radius * directions
    basis = np.c_[np.ones(3), border]
    expected = basis @ field["trend"].T
    for far in (3, 1e6):
        with pytest.warns(UserWarning, match="3 of 3 places"):
            found = nng.tl.predict(
                adata, center + far * radius * directions, key=method
            )
        if method == "rsf":
            close(found.X, expected, 1e-4)
        else:
            assert (adata.obsm["X_nsf"].max(0) * (1 + 1e-5) >= found.X).all()
            # A quarter of it is the mean of the section.
            told = adata.uns["nsf"]["kriged"]
            assert (told["share"] > 0).all()
            before = adata.copy()
            del before.uns["nsf"]["kriged"]
            with pytest.warns(UserWarning, match="3 of 3 places"):
                alone = nng.tl.predict(before, center + far * radius * directions)
            if far > 3:
                close(found.X, 0.75 * alone.X + 0.25 * told["center"])


@pytest.mark.filterwarnings("ignore:Observations with different:UserWarning")
@pytest.mark.parametrize("form", ["strip", "line beside a section"])
def test_the_trend_is_that_of_the_nearest_place(adata, form):
    """Beside a section that is long, or flat, too: predictions do not jump."""
    if form == "strip":
        adata.obsm["spatial"] = np.c_[np.arange(144) // 3, np.arange(144) % 3].astype(
            float
        )
        kwargs, at, section = {}, [141, 143], None
    else:
        xy = adata.obsm["spatial"].astype(float)
        xy[72:] = np.c_[np.arange(72), np.zeros(72)]
        adata.obsm["spatial"] = xy
        kwargs, at, section = {"library_key": "section"}, [141, 142], "b"
    fit(adata, "rsf", **kwargs)
    field = adata.uns["rsf"]["field"]
    trend, scale = np.array(field["trend"]), adata.uns["rsf"]["transform"]["scale"]
    # How far along the tissue the trend is taken, by what a slope of 1 along it adds.
    slope = np.zeros_like(trend)
    slope[:, 1 if section is None else 4] = 1
    places = adata.obsm["spatial"][at]

    def along(shift):
        found = []
        for field["trend"] in (trend, trend + slope):
            found.append(
                nng.tl.predict(adata, places + shift, key="rsf", section=section).X
            )
        return (found[1] - found[0]) / scale

    # Not at locations, where it is the fit.
    start = along([-1e-3, 0])
    for shift in ([0, 1e-3], [0, 0.25], [0, -1.2], [0, 2.2]):
        assert np.abs(along(shift) - start).max() < 0.2


def test_no_more_is_expected_than_there_is():
    """Beside edges, the mean of a log-normal would be far above both sides."""
    adata = nng.datasets.quilt(12, 40)
    fit(adata, "nsf", amplitude=4.0, length_scale=1.0, size_factors=None)
    largest = adata.obsm["X_nsf"].max(0)
    found = nng.tl.predict(adata, adata.obsm["spatial"] + 0.4)
    assert (largest * (1 + 1e-5) >= found.X).all()
    # It is not that nothing comes near.
    assert (found.X.max(0) > 0.5 * largest).all()


def test_outside_of_a_section_of_one_location(adata):
    """It reaches as far as the others do."""
    adata.obs["section"] = ["a"] * 143 + ["b"]
    fit(adata, "nsf", library_key="section", max_iter=1)
    at = adata.obsm["spatial"][143]
    with pytest.warns(UserWarning, match="1 of 2 places is outside"):
        found = nng.tl.predict(adata, [at, at + 1e4], section="b")
    assert found.obs["outside"].tolist() == [False, True]


@pytest.mark.filterwarnings("error:.*Neighbours foretell")
def test_patterns_without_space_are_not_called_spatial():
    adata = nng.datasets.ggblocks(12, 60, n_nonspatial=3, mixing=0.55)
    fit(adata, "nsfh", 7, n_spatial=4, size_factors=None)
    assert adata.uns["nsfh"]["kriged"]["foretold"][4:].max() < 1 / 3


def test_predictions_are_drawn(fits, tmp_path):
    """Of models with and without other factors, also from a file."""
    for key, titles in (
        ("nsf", [f"nsf_{i}" for i in range(4)]),
        ("nsfh", ["nsfh_0", "nsfh_1", "nsfh_2, not spatial", "nsfh_3, not spatial"]),
    ):
        adata = fits[key]
        between = nng.tl.predict(adata, adata.obsm["spatial"] + 0.3, key=key)
        between.write_h5ad(tmp_path / "between.h5ad")
        between = ad.read_h5ad(tmp_path / "between.h5ad")
        axes = nng.pl.factor_maps(between, key)
        assert [ax.get_title() for ax in axes] == titles
        assert [ax.get_title() for ax in nng.pl.factor_maps(adata, key)] == titles
        drawn = axes[1].collections[0].get_array()
        close(drawn, between.X[:, 1])
        close(nng.get.factors(between, key).X, between.X)
        backed = ad.read_h5ad(tmp_path / "between.h5ad", backed="r")
        close(nng.get.factors(backed, key).X, between.X)
        backed.file.close()
        # The same factors, beside expected counts.
        counts = nng.tl.predict(
            adata, adata.obsm["spatial"] + 0.3, key=key, expression=True
        )
        counts.write_h5ad(tmp_path / "counts.h5ad")
        beside = nng.get.factors(ad.read_h5ad(tmp_path / "counts.h5ad"), key)
        close(beside.X, between.X)
        close(beside.layers["std"], between.layers["std"])
        assert beside.uns.keys() == between.uns.keys()
        assert [ax.get_title() for ax in nng.pl.factor_maps(counts, key)] == titles
        # With what was added to them since.
        counts.obsm["more"] = pd.DataFrame({"x": 1.0}, index=counts.obs_names)
        counts.obsm["sparse"] = sp.csr_matrix((144, 2))
        beside = nng.get.factors(counts, key)
        assert list(beside.obsm["more"].columns) == ["x"]
        assert sp.issparse(beside.obsm["sparse"])
        counts.obsm[f"X_{key}"] = counts.obsm[f"X_{key}"][:, :3]
        with pytest.raises(ValueError, match=r"do not belong to each other.* Predict"):
            nng.get.factors(counts, key)
    with pytest.raises(ValueError, match=r"no leading genes\. Leave top_gene out"):
        nng.pl.factor_maps(between, "nsfh", top_gene="loading")
    with pytest.raises(KeyError, match=r"gave for key='nsfh': name that, not 'nmf'"):
        nng.pl.factor_maps(between)
    with pytest.raises(KeyError, match="predict` gave, values without loadings"):
        nng.pl.top_genes(between, "nsfh")
    with pytest.raises(ValueError, match="normalize='lda' is not known of predictions"):
        nng.get.factors(between, "nsfh", normalize="lda")


def test_predicted_sections_are_drawn_apart(adata):
    fit(adata, "nsf", library_key="section", max_iter=1)
    coords, section = adata.obsm["spatial"], adata.obs["section"].to_numpy(str)
    between = nng.tl.predict(adata, coords, section=section)
    axes = nng.pl.factor_maps(between, "nsf", factors=0)
    assert [ax.get_title() for ax in axes] == ["nsf_0 | a", "nsf_0 | b"]


def test_places_that_belong_to_another_section(adata):
    """They are as far from those of this one as if nothing were there."""
    fit(adata, "nsf", library_key="section", max_iter=1)
    border, inside = adata.obsm["spatial"][[71, 0]]
    nng.tl.predict(adata, [np.add(border, [0, 2.9])], section="a")
    with pytest.warns(UserWarning, match="1 of 2 places is outside"):
        nng.tl.predict(adata, [np.add(border, [0, 3.1]), inside], section="a")


@pytest.mark.parametrize(
    ("coords", "match"),
    [
        (np.zeros((3, 3)), r"shape \(n, 2\)"),
        (np.zeros(2), r"shape \(n, 2\)"),
        (np.zeros((0, 2)), r"shape \(n, 2\)"),
        (np.full((3, 2), np.nan), "without finite coordinates"),
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


@pytest.mark.parametrize(
    "simulation", [pytest.param("ggblocks", marks=pytest.mark.slow), "quilt"]
)
def test_hybrid_expects_the_counts_that_there_are(simulation):
    """Factors without space enter by their mean over the observations.

    Without size factors: with totals, what is expected sums to them in any case.
    """
    adata = getattr(nng.datasets, simulation)(18, 100, n_nonspatial=3, mixing=0.55)
    held = np.random.default_rng(0).random(adata.n_obs) < 0.2
    train, test = adata[~held].copy(), adata[held]
    fit(train, "nsfh", 7, n_spatial=4, size_factors=None)
    found = nng.tl.predict(train, test.obsm["spatial"], key="nsfh", expression=True)
    assert found.X.sum() / test.X.sum() == pytest.approx(1, abs=0.15)
    others = ~train.uns["nsfh"]["is_spatial"]
    # What neighbours say by chance is little.
    close(
        found.obsm["X_nsfh"][0, others], train.obsm["X_nsfh"][:, others].mean(0), 0.05
    )


def test_after_a_projection(fits):
    """Scores of new observations have no fields: the hint is another one."""
    new = nng.datasets.ggblocks(12, 40, rng=1)
    nng.tl.project(new, fits["nsf"], key="nsf")
    with pytest.raises(ValueError, match="Predict with the reference"):
        nng.tl.predict(new, np.ones((1, 2)))


def test_nugget_is_not_shared_with_neighbours(adata):
    """Next to a location of the fit, its own part is unknown."""
    fit(adata, "nsf", nugget=0.5)
    assert adata.uns["nsf"]["kernel"]["nugget"] == 0.5
    at, beside = (
        nng.tl.predict(adata, adata.obsm["spatial"] + shift, key="nsf")
        for shift in (0.0, 1e-3)
    )
    spread = [np.log1p((x.layers["std"] / x.X) ** 2) for x in (at, beside)]
    # With an amplitude of 1. Large values are cut at the largest.
    small = 0.02 * at.X.max(0) > at.X
    assert small.any(0).all()
    assert (spread[1][small] > 0.5 * 0.99).all()
    assert np.median(spread[0]) < 0.6 * np.median(spread[1])


def test_a_nugget_follows_what_neighbours_do_not_share():
    """Without one, borders are rounded off by fields this smooth."""
    adata = nng.datasets.ggblocks(18, 60)
    similarity = []
    for nugget in (0.0, 0.1):
        fit(adata, "nsf", length_scale=8.0, size_factors=None, nugget=nugget)
        match = nng.metrics.match_factors(
            adata.obsm["truth"], adata.obsm["X_nsf"], metric="pearson"
        )
        similarity.append(match.similarity.mean())
    assert similarity[1] > max(similarity[0], 0.985)


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_intervals_hold_what_they_promise(adata, likelihood):
    """Counts drawn from the factors as predicted: 90 % and little more are inside."""
    # Of known totals, which shares are of, more is inside.
    fit(adata, "nsf", likelihood=likelihood, size_factors=None)
    coords = adata.obsm["spatial"][:40] + 0.3
    size = np.linspace(0.3, 3, 40)
    genes = ["gene_3", "gene_0", "gene_17"]
    found = nng.tl.predict(
        adata, coords, expression=True, genes=genes, interval=0.9, size_factors=size
    )
    # In the order of the names, as `adata[:, genes]`, at size factors.
    assert list(found.var_names) == genes
    whole = nng.tl.predict(adata, coords, expression=True)
    close(found.X, size[:, None] * whole[:, found.var_names].X)
    close(
        found.layers["std"],
        size[:, None] * whole[:, found.var_names].layers["std"],
        1e-5,
    )
    rng = np.random.default_rng(0)
    factors = nng.tl.predict(adata, coords)
    log_var = np.log1p((factors.layers["std"] / factors.X) ** 2)
    shape = (4000, *log_var.shape)
    draws = factors.X * np.exp(np.sqrt(log_var) * rng.normal(size=shape) - log_var / 2)
    rate = size[:, None] * (draws @ adata[:, found.var_names].varm["nsf"].T)
    phi = adata[:, found.var_names].var["nsf_dispersion"].to_numpy()
    phi = np.maximum(phi, 1e-9)
    rate = rate * rng.gamma(1 / phi, phi, rate.shape)
    counts = rng.poisson(rate)
    lower, upper = found.layers["lower"], found.layers["upper"]
    inside = ((counts >= lower) & (counts <= upper)).mean(0)
    assert inside.min() > 0.88
    # Each tail has at most a twentieth of them, where single counts are few enough.
    below, above = (counts < lower).mean(0), (counts > upper).mean(0)
    # Of 4,000 draws, the largest of thirty such parts is up to four errors of .0034 higher.
    assert max(below.max(), above.max()) < 0.064
    large = found.X > 20
    if large.any():
        assert inside[large].mean() == pytest.approx(0.9, abs=0.025)


@pytest.mark.slow
def test_scatter_of_genes_is_measured_where_it_was_not_fitted():
    """Intervals of a Poisson fit hold counts that scatter more than Poisson's."""
    adata = nng.datasets.ggblocks(18, 60)
    rng = np.random.default_rng(0)
    scattered = np.arange(60) < 20
    noise = rng.gamma(2, 0.5, adata.shape)
    truth = (adata.obsm["truth"] + 0.2) @ rng.gamma(1, 1, (60, 4)).T
    adata.X = rng.poisson(20 * truth / truth.mean() * np.where(scattered, noise, 1.0))
    held = rng.random(adata.n_obs) < 0.3
    train, test = adata[~held].copy(), adata[held]
    nng.tl.nsf(train, 4, size_factors=None)
    found = train.var["nsf_dispersion"].to_numpy()
    assert np.median(found[scattered]) == pytest.approx(0.5, rel=0.25)
    assert np.median(found[~scattered]) < 0.1
    inside = nng.tl.predict(train, test.obsm["spatial"], expression=True, interval=0.9)
    counts = test.X
    held_in = (inside.layers["lower"] <= counts) & (counts <= inside.layers["upper"])
    assert held_in[:, scattered].mean() == pytest.approx(0.92, abs=0.04)


def test_intervals_are_read_in_blocks(adata, monkeypatch):
    """Blocks of rows give the same numbers."""
    from nonneg.models.nsf import counts

    fit(adata, "nsf")
    given = dict(expression=True, interval=0.5)
    whole = nng.tl.predict(adata, adata.obsm["spatial"], **given)
    monkeypatch.setattr(counts, "_BLOCK", 8 * 40 * 7)
    parts = nng.tl.predict(adata, adata.obsm["spatial"], **given)
    for kind in ("std", "lower", "upper"):
        np.testing.assert_array_equal(parts.layers[kind], whole.layers[kind])
    np.testing.assert_array_equal(parts.X, whole.X)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        (dict(interval=0.9), ValueError, "interval is of expected counts"),
        (dict(genes=["gene_1"]), ValueError, "genes is of expected counts"),
        (dict(expression=True, interval=90), ValueError, "between 0 and 1"),
        (dict(expression=True, genes=["Gad1"]), KeyError, "genes names 1 unknown"),
        (
            dict(expression=True, size_factors=np.ones(3)),
            ValueError,
            r"have shape \(3,\)",
        ),
        (dict(expression=True, size_factors=-1.0), ValueError, "not negative"),
    ],
)
def test_arguments_of_counts(fits, kwargs, error, match):
    with pytest.raises(error, match=match):
        nng.tl.predict(fits["nsf"], np.ones((2, 2)), **kwargs)


def test_no_intervals_of_normalised_values(fits):
    with pytest.raises(ValueError, match="fitted to log-normalised values"):
        nng.tl.predict(
            fits["rsf"], np.ones((2, 2)), key="rsf", expression=True, interval=0.9
        )


@pytest.mark.parametrize(
    "damaged",
    [np.ones(3), np.ones((4, 2)), np.full(4, np.nan), np.array(list("abcd")), None],
)
def test_totals_that_were_changed_since(adata, damaged):
    """Expected counts sum to nothing else in silence; `None`: an earlier version's."""
    fit(adata, "nsf", max_iter=2)
    adata.uns["nsf"]["loading_totals"] = damaged
    ask = dict(coords=adata.obsm["spatial"][:2], expression=True)
    if damaged is None:
        assert np.isfinite(nng.tl.predict(adata, **ask).X).all()
        return
    with pytest.raises((TypeError, ValueError), match="'loading_totals'"):
        nng.tl.predict(adata, **ask)


@pytest.mark.parametrize(
    ("where", "name"),
    [("params", "kernel"), ("kernel", "amplitude"), ("field", "trend"),
     ("transform", "scale")],
)  # fmt: skip
def test_entries_that_are_gone_are_named(fits, where, name):
    changed = fits["nsf"].copy()
    del changed.uns["nsf"][where][name]
    match = rf"adata.uns\['nsf'\]\['{where}'\] has no '{name}', .*Fit again"
    with pytest.raises(ValueError, match=match):
        nng.tl.predict(changed, np.ones((1, 2)))
