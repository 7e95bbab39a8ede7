"""Localised components: optimality, truth, invariance, bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from testing.nonneg import assert_same, real_data, snapshot

SMALL = dict(form="svd", shape=(40, 48), n_regions=3, n_frames=300)
QUIET = pytest.mark.filterwarnings("ignore")


def session(**kwargs):
    return nng.datasets.widefield(**{**SMALL, **kwargs})


def cosine(x, y):
    return (x / np.linalg.norm(x, axis=0)).T @ (y / np.linalg.norm(y, axis=0))


def matched(one, other, key="locanmf"):
    """Cosine of each component with the best one of its region."""
    similar = cosine(one.obsm[f"X_{key}"], other.obsm[f"X_{key}"])
    regions = [np.asarray(x.uns[key]["region"]) for x in (one, other)]
    similar[regions[0][:, None] != regions[1]] = 0
    return similar.max(axis=1)


def test_planted_ranks_and_time_courses():
    exact = []
    for seed in (0, 1, 2):
        adata = nng.datasets.widefield(form="svd", rng=seed)
        nng.tl.locanmf(adata)
        fit, truth = adata.uns["locanmf"], adata.uns["truth"]["region"]
        planted = pd.Series(truth).value_counts().reindex(fit["regions"].index)
        exact += list(planted == fit["regions"]["rank"])
        assert fit["localization"].min() >= 0.8
        assert fit["regions"]["r2"].min() >= 0.99
        r = np.corrcoef(adata.varm["true_traces"].T, adata.varm["locanmf"].T)
        best = np.abs(r[: len(truth), len(truth) :]).max(axis=1)
        assert np.median(best) > 0.98
    assert np.mean(exact) >= 0.9


@pytest.fixture(scope="module")
def published():
    """The article's simulation, on its atlas."""
    labels = np.load(real_data("dorsal_cortex_atlases.npz"))["locanmf_540x540"]
    return nng.datasets.widefield("paper", regions=labels)


def stored(key):
    return "X_locanmf" if key == "locanmf" else key


def agreement(adata, key="locanmf"):
    """Correlations of footprints and time courses with the true ones of a region."""
    found = list(adata.uns[key]["region"])
    order = [found.index(name) for name in adata.uns["truth"]["region"]]
    return (
        paired(adata.obsm["true_footprints"], adata.obsm[stored(key)][:, order]),
        paired(adata.varm["true_traces"], adata.varm[key][:, order]),
    )


def paired(x, y):
    return cosine(x - x.mean(axis=0), y - y.mean(axis=0)).diagonal()


def best_time_courses(adata):
    """What can be known of true time courses.

    Where one footprint covers another with at least t of its values, t of its time
    course may be added to the other's, and taken off its footprint: the movie is the
    same, and footprints are more localised than the true ones.
    """
    a, c = adata.obsm["true_footprints"], adata.varm["true_traces"]
    other = np.array(c)
    for k in range(a.shape[1]):
        seen = a[:, k] > 0.01
        covered = (a[seen] / a[seen, k : k + 1]).min(axis=0)
        covered[k] = 0
        other[:, k] += c @ covered
    return paired(c, other)


@QUIET
@pytest.mark.slow
def test_published_simulation(published):
    """58 regions of the article's atlas, one Gaussian in each."""
    adata = published
    nng.tl.locanmf(adata, max_rank=1, min_pixels=100, loc_threshold=0.7)
    fit = adata.uns["locanmf"]
    footprints, traces = agreement(adata)
    assert len(footprints) == 58
    assert footprints.min() >= 0.99
    assert fit["localization"].min() >= 0.7
    assert 1 - fit["objective"][-1] >= 0.999
    # Small regions at the midline, under the tails of large ones, have no such time
    # course: another factorisation is as exact.
    best = best_time_courses(adata)
    assert (best > 0.992).sum() == 55
    assert traces[best > 0.992].min() >= 0.99
    assert (traces >= best - 0.03).all()


@pytest.mark.slow
@QUIET
def test_published_simulation_without_regions(published):
    """As exact, and far from the truth."""
    adata = published[::8].copy()
    truth = adata.obsm["true_footprints"]
    nng.tl.locanmf(
        adata, loc_threshold=0, init="random", n_components=58, key_added="vanilla"
    )
    nng.tl.region_traces(adata, method="svd", n_components=20, key_added="svd20")
    for key in ("vanilla", "svd20"):
        best = cosine(truth, np.abs(adata.obsm[key])).max(axis=1)
        assert np.median(best) < 0.8


@QUIET
@pytest.mark.slow
def test_what_is_cut_off_goes_to_no_other_component(published):
    """Three true footprints are less localised than asked for, and are cut down.

    Everything else stays as it is without a threshold; by the other rules, components
    spread to where something is missing.
    """
    adata = published
    arguments = dict(max_rank=1, min_pixels=100)
    nng.tl.locanmf(adata, loc_threshold=0.7, **arguments)
    fit = adata.uns["locanmf"]
    cut = {name for name, x in zip(fit["region"], fit["damping"], strict=True) if x}
    inside = nng.metrics.localization(
        adata.obsm["true_footprints"],
        adata.obs["region"].astype(str),
        adata.uns["truth"]["region"],
    )
    assert cut == set(np.array(adata.uns["truth"]["region"])[inside < 0.7])
    nng.tl.locanmf(
        adata, loc_threshold=0.7, localization="paper", key_added="paper", **arguments
    )
    footprints, _ = agreement(adata)
    spread, _ = agreement(adata, "paper")
    assert footprints.min() > spread.min() + 0.05


@QUIET
def test_more_components_the_narrower_they_must_be():
    adata = nng.datasets.widefield(form="svd", rng=1)
    ranks = []
    for threshold in (0.0, 0.8, 1.0):
        nng.tl.locanmf(adata, loc_threshold=threshold)
        ranks.append(adata.uns["locanmf"]["regions"]["rank"].sum())
        if threshold == 1:
            np.testing.assert_allclose(adata.uns["locanmf"]["localization"], 1)
    assert ranks[0] <= ranks[1] < ranks[2]
    assert ranks[2] >= 1.5 * ranks[1]


def test_what_is_stored():
    adata = session()
    nng.tl.locanmf(adata, max_rank=4)
    a, c, fit = adata.obsm["X_locanmf"], adata.varm["locanmf"], adata.uns["locanmf"]
    np.testing.assert_allclose(a.max(axis=0), 1, rtol=1e-6)
    assert a.min() >= 0
    regions = list(fit["regions"].index)
    number = [regions.index(name) for name in fit["region"]]
    energy = np.square(a).sum(axis=0) * np.square(c).sum(axis=0)
    assert list(np.lexsort((-energy, number))) == list(range(len(number)))
    # Numbers are those of what is stored.
    inside = nng.metrics.localization(a, adata.obs["region"], fit["region"])
    np.testing.assert_allclose(fit["localization"], inside, rtol=1e-5)
    movie = adata.obsm["X_svd"] @ adata.varm["svd"].T
    left = movie - a @ c.T
    for name in regions:
        rows = (adata.obs["region"] == name).to_numpy()
        r2 = 1 - np.square(left[rows]).sum() / np.square(movie[rows]).sum()
        assert r2 == pytest.approx(fit["regions"].loc[name, "r2"], abs=1e-4)
    # Time courses are the least-squares ones.
    best = np.linalg.lstsq(a.astype(float), movie.astype(float), rcond=None)[0]
    np.testing.assert_allclose(c.T, best, atol=2e-4 * np.abs(best).max())


@QUIET
@pytest.mark.parametrize("rule", ["energy", "scale-free", "paper", "reference"])
def test_units_do_not_matter(rule):
    one, other = session(), session()
    other.varm["svd"] = other.varm["svd"] * 1024
    for adata in (one, other):
        nng.tl.locanmf(adata, max_rank=4, localization=rule)
    np.testing.assert_allclose(
        one.obsm["X_locanmf"], other.obsm["X_locanmf"], atol=1e-5
    )
    assert (one.uns["locanmf"]["localization"] >= 0.8).all()


def test_order_of_pixels_does_not_matter():
    one = session()
    order = np.random.default_rng(0).permutation(one.n_obs)
    other = one[order].copy()
    for adata in (one, other):
        nng.tl.locanmf(adata, max_rank=4)
    np.testing.assert_array_equal(one.obsm["X_locanmf"][order], other.obsm["X_locanmf"])


def test_names_of_regions_do_not_matter():
    one = session(n_sources=(1, 2))
    other = one.copy()
    names = other.obs["region"].cat.categories
    swapped = dict(zip(names, names[::-1], strict=True))
    other.obs["region"] = other.obs["region"].astype(str).map(swapped)
    for adata in (one, other):
        nng.tl.locanmf(adata, max_rank=4, hemisphere_key=None)
    similar = cosine(one.obsm["X_locanmf"], other.obsm["X_locanmf"]).max(axis=1)
    assert similar.min() >= 0.99


def test_missing_regions_that_became_text():
    adata = nng.datasets.widefield(
        form="svd", shape=(40, 48), n_regions=2, n_frames=50, mask=False
    )
    adata.obs["region"] = np.asarray(adata.obs["region"]).astype(str)
    before = snapshot(adata)
    with pytest.raises(ValueError, match=r"\d+ pixels 'nan', which is what `astype"):
        nng.tl.locanmf(adata, max_rank=2)
    assert_same(before, snapshot(adata))


@QUIET
def test_pixels_of_an_unknown_hemisphere():
    """Where regions are named by their side, they are of the same region."""
    adata = session(n_sources=(1, 2))
    whole = adata.copy()
    adata.obs["hemisphere"] = adata.obs["hemisphere"].astype(object)
    adata.obs.iloc[::7, adata.obs.columns.get_loc("hemisphere")] = None
    for each in (adata, whole):
        nng.tl.region_traces(each)
    pd.testing.assert_frame_equal(
        adata.uns["region_traces"]["regions"], whole.uns["region_traces"]["regions"]
    )


@QUIET
def test_without_hemispheres_regions_stay_as_they_are():
    adata = session()
    adata.obs["region"] = adata.obs["region"].str.rsplit("_", n=1).str[0]
    nng.tl.region_traces(adata, key_added="sides")
    nng.tl.region_traces(adata, hemisphere_key=None, key_added="none")
    del adata.obs["hemisphere"]
    nng.tl.region_traces(adata, key_added="missing")
    assert len(adata.uns["sides"]["region"]) == 6
    assert len(adata.uns["none"]["region"]) == 3
    np.testing.assert_array_equal(
        adata.varm["none"], adata.varm["missing"], strict=True
    )


def test_resolution_does_not_matter():
    fine = session(shape=(80, 96), n_sources=(1, 2))
    shape = fine.uns["volume"]["shape"]
    row, column = np.unravel_index(fine.obs["voxel"], shape)
    cell = row // 2 * (shape[1] // 2) + column // 2
    frame = pd.DataFrame(fine.obsm["X_svd"]).groupby(cell)
    names = fine.obs["region"].astype(str).groupby(cell).agg(lambda x: x.mode().iloc[0])
    coarse = nng._adata.video.new_video(
        nng._adata.volume.Box(
            tuple(shape // 2), tuple(2 * fine.uns["volume"]["spacing"]), (0.0, 0.0)
        ),
        names.index.to_numpy(),
        fine.var["time"].to_numpy(),
        fs=15.0,
        channels=["blue"],
    )
    coarse.obs["region"] = names.to_numpy()
    coarse.uns["svd"], coarse.varm["svd"] = fine.uns["svd"], fine.varm["svd"]
    coarse.obsm["X_svd"] = frame.mean().to_numpy(np.float32)
    for adata in (fine, coarse):
        nng.tl.locanmf(adata, max_rank=4, hemisphere_key=None)
    means = pd.DataFrame(fine.obsm["X_locanmf"]).groupby(cell).mean()
    similar = cosine(means.to_numpy(), coarse.obsm["X_locanmf"]).max(axis=1)
    assert similar.min() >= 0.98


def test_a_coarse_search_ends_where_a_fine_one_does():
    one, other = session(n_sources=(1, 2)), session(n_sources=(1, 2))
    nng.tl.locanmf(one, max_rank=4, coarse=1)
    nng.tl.locanmf(other, max_rank=4, coarse=2)
    ranks = [x.uns["locanmf"]["regions"]["rank"].tolist() for x in (one, other)]
    assert ranks[0] == ranks[1]
    assert np.median(matched(one, other)) >= 0.99


def test_nonnegative_time_courses():
    adata = session()
    # Above a baseline, which is in the means of pixels.
    baseline = -adata.varm["true_traces"].min(axis=0)
    adata.obs["svd_mean"] += adata.obsm["true_footprints"] @ baseline
    nng.tl.locanmf(adata, max_rank=4, nonnegative_traces=True, r2_threshold=0.9)
    assert adata.varm["locanmf"].min() >= 0
    assert adata.uns["locanmf"]["regions"]["r2"].min() > 0.9


@QUIET
def test_a_volume():
    shape = (6, 12, 14)
    z, y, x = np.indices(shape)
    rng = np.random.default_rng(0)
    labels = np.where(x < 7, "west", "east")
    centres = [(3, 3, 3), (3, 8, 3), (3, 6, 10)]
    maps = [
        np.exp(-((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) / 8) for a, b, c in centres
    ]
    from scipy.ndimage import gaussian_filter1d

    traces = gaussian_filter1d(rng.standard_normal((400, 3)), 3, axis=0)
    adata = nng._adata.video.new_video(
        nng._adata.volume.Box(shape, (0.1,) * 3, (0.0,) * 3),
        np.arange(z.size),
        np.arange(400) / 10,
        fs=10.0,
        channels=["signal"],
    )
    adata.obs["region"] = labels.ravel()
    nng._adata.write.write_factors(
        adata,
        nng._adata.keys.factor_keys("svd"),
        method="svd",
        scores=np.stack([m.ravel() for m in maps], axis=1),
        loadings=traces,
        params={},
        info={},
    )
    nng.tl.locanmf(adata, max_rank=4)
    assert dict(adata.uns["locanmf"]["regions"]["rank"]) == {"east": 1, "west": 2}
    r = np.abs(np.corrcoef(adata.varm["locanmf"].T, traces.T)[:3, 3:])
    assert r.max(axis=0).min() > 0.99


@QUIET
def test_comparisons():
    adata = session()
    nng.tl.locanmf(adata, max_rank=4)
    k = adata.varm["locanmf"].shape[1]
    nng.tl.locanmf(
        adata, init="random", n_components=k, loc_threshold=0, key_added="vanilla"
    )
    nng.tl.region_traces(adata)
    nng.tl.region_traces(adata, method="svd", n_components=k, key_added="top")
    r2 = {
        name: adata.uns[name]["regions"]["r2"].mean()
        for name in ("locanmf", "vanilla", "region_traces", "top")
    }
    assert r2["region_traces"] < r2["locanmf"] <= 1
    assert r2["top"] > 0.99
    local = {name: adata.uns[name]["localization"] for name in r2}
    assert np.median(local["vanilla"]) < local["locanmf"].min()
    assert np.median(local["top"]) < local["locanmf"].min()
    np.testing.assert_allclose(local["region_traces"], 1)
    # A mean is the mean.
    rows = (adata.obs["region"] == adata.uns["region_traces"]["region"][0]).to_numpy()
    movie = adata.obsm["X_svd"][rows] @ adata.varm["svd"].T
    np.testing.assert_allclose(
        adata.varm["region_traces"][:, 0], movie.mean(axis=0), atol=1e-6
    )


def test_projection_on_fixed_footprints():
    adata = session()
    nng.tl.locanmf(adata, max_rank=4)
    same = adata.copy()
    del same.uns["locanmf"]
    nng.tl.project(same, adata, key="locanmf")
    np.testing.assert_allclose(
        same.varm["locanmf"],
        adata.varm["locanmf"],
        atol=1e-3 * np.abs(adata.varm["locanmf"]).max(),
    )
    assert same.uns["locanmf"]["projected"] == pytest.approx(1)
    assert list(same.uns["locanmf"]["region"]) == list(adata.uns["locanmf"]["region"])
    part = adata[100:].copy()
    with pytest.warns(UserWarning, match="of the energy"):
        nng.tl.project(part, adata, key="locanmf", key_added="part")
    for change in ({"shape": np.array([41, 48])}, {"spacing": np.ones(2)}):
        other = adata.copy()
        other.uns["volume"] = {**other.uns["volume"], **change}
        with pytest.raises(ValueError, match="image of adata"):
            nng.tl.project(other, adata, key="locanmf")


def test_projections_explain_what_they_say():
    """Of the recording that is projected, not of the one that was fitted."""
    adata = session()
    nng.tl.locanmf(adata, max_rank=4)
    fitted = adata.uns["locanmf"]["regions"]
    same, noise = adata.copy(), adata.copy()
    nng.tl.project(same, adata, key="locanmf")
    np.testing.assert_allclose(
        same.uns["locanmf"]["regions"]["r2"], fitted["r2"], atol=1e-4
    )
    u = np.random.default_rng(0).normal(size=adata.obsm["X_svd"].shape)
    noise.obsm["X_svd"] = u
    nng.tl.project(noise, adata, key="locanmf")
    table = noise.uns["locanmf"]["regions"]
    assert table["r2"].max() < 0.2
    np.testing.assert_array_equal(table["n_pixels"], fitted["n_pixels"])
    # As written out.
    name = table.index[1]
    rows = (adata.obs["region"] == name).to_numpy()
    movie = u[rows] @ adata.varm["svd"].T.astype(float)
    left = movie - noise.obsm["X_locanmf"][rows] @ noise.varm["locanmf"].T
    r2 = 1 - np.square(left).sum() / (movie.var(axis=1) * adata.n_vars).sum()
    assert table.loc[name, "r2"] == pytest.approx(r2, abs=1e-4)
    unknown = adata.copy()
    del unknown.obs["region"]
    nng.tl.project(same, unknown, key="locanmf")
    assert same.uns["locanmf"]["regions"]["r2"].isna().all()


def test_regions_of_the_components_correlate_with_them():
    adata = session()
    nng.tl.locanmf(adata, max_rank=4)
    nng.tl.region_correlation(adata, key="locanmf", null=None, max_regions=1)
    best = nng.get.region_sets(adata, "locanmf")
    assert len(best) == adata.varm["locanmf"].shape[1]


def test_interrupted(monkeypatch):
    adata = session()
    from nonneg.models.locanmf.solver import LocaNMFSolver

    step = LocaNMFSolver.step

    def stop(self, state):
        if state.n_steps == 3:
            raise KeyboardInterrupt
        return step(self, state)

    monkeypatch.setattr(LocaNMFSolver, "step", stop)
    with pytest.warns(UserWarning, match="Interrupted after 3"):
        nng.tl.locanmf(adata, max_rank=4)
    assert adata.uns["locanmf"]["interrupted"]
    assert np.isfinite(adata.obsm["X_locanmf"]).all()


@QUIET
def test_interrupted_before_the_first_step_of_a_later_fit(monkeypatch):
    """Wherever it was stopped, what was found before is kept."""
    from nonneg.models.locanmf.solver import LocaNMFSolver

    step, first = LocaNMFSolver.step, []

    def stop(self, state):
        first.append(state.n_steps == 0)
        if sum(first) == 3:
            raise KeyboardInterrupt
        return step(self, state)

    monkeypatch.setattr(LocaNMFSolver, "step", stop)
    adata = session()
    try:
        nng.tl.locanmf(adata, max_rank=4)
    except KeyboardInterrupt:
        pytest.fail("what was found before is lost")
    found = adata.uns["locanmf"]
    assert found["interrupted"]
    assert not found["converged"]
    assert found["n_iter"] == len(first) - 1 > 0
    assert set(found["region"]) == set(found["regions"].index)
    assert np.isfinite(adata.obsm["X_locanmf"]).all()


@pytest.mark.parametrize("threshold", [0.999, 1])
def test_a_device_holds_footprints_as_the_host_does(monkeypatch, threshold):
    """There, sums of what is inside and of all differ by rounding."""
    from nonneg.models.locanmf import search
    from nonneg.models.locanmf.passes import DeviceFootprints

    host = session()
    device = host.copy()
    arguments = dict(min_rank=3, max_rank=3, r2_threshold=0, loc_threshold=threshold)
    nng.tl.locanmf(host, **arguments)
    monkeypatch.setattr(search, "place_footprints", DeviceFootprints)
    nng.tl.locanmf(device, **arguments)
    assert device.uns["locanmf"]["converged"]
    assert device.uns["locanmf"]["localization"].min() >= threshold - 1e-6
    np.testing.assert_allclose(
        device.uns["locanmf"]["regions"]["r2"],
        host.uns["locanmf"]["regions"]["r2"],
        atol=1e-3,
    )


def test_regions_without_a_component_are_named():
    adata = session()
    dark = (adata.obs["region"] == "region_2_left").to_numpy()
    adata.obsm["X_svd"][dark] = 0
    with pytest.warns(UserWarning, match=r"1 region has no component.*region_2_left"):
        nng.tl.locanmf(adata, max_rank=4)
    regions = adata.uns["locanmf"]["regions"]
    assert regions.loc["region_2_left", "rank"] == 0
    assert np.isnan(regions.loc["region_2_left", "r2"])
    assert regions["r2"].drop("region_2_left").min() > 0.95


def nan_mean(adata):
    adata.obs["svd_mean"] = np.where(np.arange(adata.n_obs) == 3, np.nan, 0)


def nan_pixel(adata):
    adata.obsm["X_svd"][7] = np.nan


def infinite_frame(adata):
    adata.varm["svd"][3, 0] = np.inf


def no_regions(adata):
    adata.obs["region"] = np.nan


def zero(adata):
    adata.obsm["X_svd"][:] = 0


@pytest.mark.parametrize(
    ("damage", "arguments", "error", "message"),
    [
        (nan_pixel, {}, ValueError, "1 pixels.*row 7"),
        (infinite_frame, {}, ValueError, "1 frames.*row 3"),
        (no_regions, {}, ValueError, "names no region"),
        (zero, {}, ValueError, "all zero"),
        (None, {"key": "hemo"}, KeyError, "pp.svd"),
        (None, {"region_key": "area"}, KeyError, "atlas.annotate"),
        (None, {"hemisphere_key": "side"}, KeyError, "side.*hemisphere_key=None"),
        (None, {"min_pixels": 5000}, ValueError, "No region .* has 5000 pixels"),
        (None, {"min_pixels": 3}, ValueError, "at least max_rank"),
        (None, {"min_rank": 3, "max_rank": 2}, ValueError, "exceeds max_rank"),
        (None, {"min_rank": 40, "max_rank": 40}, ValueError, "components of the movie"),
        (None, {"loc_threshold": 70}, ValueError, "share"),
        (nan_mean, {"nonnegative_traces": True}, ValueError, "svd_mean.* 1 values"),
        (None, {"penalty_growth": 1}, ValueError, "above 1"),
        (None, {"penalty_growth": np.inf}, ValueError, "finite"),
        (None, {"penalty": 0.0}, ValueError, "would not grow"),
        (None, {"init": "random"}, ValueError, "n_components"),
        (None, {"n_components": 3}, ValueError, "init='random'"),
        (None, {"localization": "linear"}, ValueError, "must be one of"),
    ],
)
def test_refusals(damage, arguments, error, message):
    adata = session()
    if damage is not None:
        damage(adata)
    before = snapshot(adata)
    with pytest.raises(error, match=message):
        nng.tl.locanmf(adata, **arguments)
    assert_same(before, snapshot(adata))


def test_regions_that_are_too_small_are_named():
    adata = session()
    names = adata.obs["region"].astype(str).to_numpy()
    names[:4] = "speck"
    adata.obs["region"] = names
    with pytest.warns(UserWarning, match=r"speck.* \(4\)"):
        nng.tl.locanmf(adata, max_rank=5)
    assert "speck" not in set(adata.uns["locanmf"]["region"])


def test_more_regions_than_the_movie_can_tell_apart():
    """Footprints that penalties shrink for long do not vanish, with all others."""
    adata = nng.datasets.widefield(
        shape=(40, 48), n_regions=2, n_frames=200, motion=0, hemodynamics=0, rng=1
    )
    nng.pp.delta_f(adata)
    nng.pp.svd(adata, 20)
    row, column = np.divmod(adata.obs["voxel"].to_numpy(), 48)
    adata.obs["tile"] = pd.Categorical((row // 8) * 6 + column // 8)
    with pytest.warns(UserWarning, match="max_rank"):
        nng.tl.locanmf(adata, region_key="tile", hemisphere_key=None, max_rank=4)
    regions = adata.uns["locanmf"]["regions"]
    assert (regions["rank"] > 0).all()
    assert regions["r2"].min() > 0.8
    assert adata.uns["locanmf"]["objective"][-1] < 0.05


def test_nonnegative_time_courses_without_the_mean_are_told():
    """What is below the mean cannot be explained."""
    adata = session(n_frames=100)
    del adata.obs["svd_mean"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nng.tl.locanmf(adata, max_rank=1, max_iter=2, nonnegative_traces=True)
    told = [str(w.message) for w in caught if "needs the mean" in str(w.message)]
    assert len(told) == 1
    assert "'svd_mean'" in told[0]
