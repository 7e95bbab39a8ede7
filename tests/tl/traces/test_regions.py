"""Canonical correlations, matches and maps of sessions."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.stats import ttest_ind

import nonneg as nng
from nonneg.models.traces.labels import subject_test
from testing.nonneg import assert_same, snapshot

from .conftest import session_of, slow

PAIRS = np.triu_indices(12, 1)


def independent(seed, *, shared=None):
    """Twelve regions of one to seven components; the first two may share something."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, 12)
    regions = np.repeat([f"r{i:02}" for i in range(12)], sizes)
    traces = slow(6000, sizes.sum(), 19, rng)
    if shared is not None:
        common = slow(6000, 1, 19, rng)[:, 0]
        for name in ("r00", "r01"):
            column = np.flatnonzero(regions == name)[0]
            traces[:, column] *= np.sqrt(1 - shared)
            traces[:, column] += np.sqrt(shared) * common
    return session_of(traces, regions)


@pytest.mark.slow
def test_independent_regions_are_rarely_significant():
    p, adjusted = [], []
    for seed in range(10):
        adata = independent(seed)
        nng.tl.region_cca(adata, n_shifts=200, rng=seed)
        found = adata.uns["locanmf_region_cca"]
        p.append(found["p_value"][PAIRS])
        # What would be taken for a correlation otherwise.
        assert found["r"][PAIRS].max() > 0.25
        assert np.abs(found["r_held_out"][PAIRS]).mean() < 0.08
        adjusted.append(found["p_adjusted"][PAIRS])
    assert (np.concatenate(p) <= 0.05).mean() <= 0.07
    # Of maps in which nothing is connected.
    assert (np.concatenate(adjusted) <= 0.05).mean() <= 0.01


@pytest.mark.slow
def test_coupled_regions_are_found():
    found = []
    for seed in range(20):
        adata = independent(seed, shared=0.5)
        nng.tl.region_cca(adata, n_shifts=200)
        stored = adata.uns["locanmf_region_cca"]
        found.append(stored["p_adjusted"][0, 1] <= 0.05)
        assert stored["r_held_out"][0, 1] == pytest.approx(0.5, abs=0.2)
    assert np.mean(found) >= 0.9


def test_what_is_stored(session, tmp_path):
    nng.tl.region_cca(session, n_shifts=40)
    found = session.uns["locanmf_region_cca"]
    assert found["regions"].tolist() == ["a", "b", "c"]
    assert found["n_components"].tolist() == [2, 3, 1]
    for name in ("r", "r_held_out", "null_mean", "null_q95", "p_value", "p_adjusted"):
        assert found[name].shape == (3, 3)
        np.testing.assert_allclose(found[name], found[name].T, atol=1e-8)
    assert np.isnan(np.diag(found["p_value"])).all()
    assert found["params"]["n_shifts"] == 40
    assert found["correlation_time"] == pytest.approx(5 / 15, abs=2 / 15)
    session.write_h5ad(tmp_path / "session.h5ad")
    read = ad.read_h5ad(tmp_path / "session.h5ad")
    np.testing.assert_allclose(read.uns["locanmf_region_cca"]["r"], found["r"])
    nng.pl.region_cca(read)


def test_order_and_units_do_not_matter(session):
    nng.tl.region_cca(session, n_shifts=20)
    first = session.uns["locanmf_region_cca"]
    session.varm["locanmf"] = session.varm["locanmf"] * 1000
    nng.tl.region_cca(session, regions=["c", "a", "b"], n_shifts=20)
    second = session.uns["locanmf_region_cca"]
    order = [2, 0, 1]
    for name in ("r", "r_held_out", "p_value"):
        expected = first[name][np.ix_(order, order)]
        np.testing.assert_allclose(second[name], expected, rtol=1e-4, atol=1e-6)


def test_components_of_equal_number(session):
    with pytest.warns(UserWarning, match=r"1 region has fewer than 2 .* \['c'\]"):
        nng.tl.region_cca(session, n_components=2, n_shifts=0)
    found = session.uns["locanmf_region_cca"]
    assert found["regions"].tolist() == ["a", "b"]
    assert found["n_components"].tolist() == [2, 2]
    assert np.isnan(found["p_value"]).all()
    with pytest.raises(ValueError, match="two regions"):
        nng.tl.region_cca(session, n_components=3)


def test_corrections(session):
    common = slow(600, 1, 5, np.random.default_rng(9))[:, 0]
    session.varm["locanmf"][:, [0, 2]] += 2 * common[:, None]
    adjusted = {}
    for correction in ("fdr", "max"):
        nng.tl.region_cca(session, correction=correction, n_shifts=200)
        adjusted[correction] = session.uns["locanmf_region_cca"]["p_adjusted"]
        assert adjusted[correction][0, 1] <= 0.05
    p = session.uns["locanmf_region_cca"]["p_value"]
    off = ~np.eye(3, dtype=bool)
    for each in adjusted.values():
        assert (each[off] >= p[off]).all()


def refused(error, match, call, adata):
    before = snapshot(adata)
    with pytest.raises(error, match=match):
        call()
    assert_same(snapshot(adata), before)


def test_refusals(session):
    def call(**kwargs):
        return lambda: nng.tl.region_cca(session, **kwargs)

    refused(KeyError, "no regions", call(regions=["a", "x"]), session)
    refused(ValueError, "at least 2 regions", call(regions=["a"]), session)
    refused(ValueError, "n_folds=1", call(n_folds=1), session)
    for shift in (30.0, 1e308):
        refused(ValueError, "too few for circular", call(min_shift=shift), session)
    refused(ValueError, "correction", call(correction="none"), session)
    session.varm["locanmf"][5, 3] = np.inf
    refused(ValueError, r"1 value that is infinite or NaN, in 1 frame", call(), session)
    session.varm["locanmf"][5, 3] = 0
    del session.uns["locanmf"]["region"]
    refused(ValueError, "which region each component", call(), session)
    del session.var["time"]
    session.uns["locanmf"]["region"] = np.array(list("aabbbc"))
    refused(KeyError, "seconds of every frame", call(), session)


def test_gaps_between_frames_are_told(session):
    part = session[:, np.delete(np.arange(600), [100, 101, 300])].copy()
    with pytest.warns(UserWarning, match="2 gaps"):
        nng.tl.region_cca(part, n_shifts=0)


def test_constant_regions(session):
    session.varm["locanmf"][:, 5] = 3
    nng.tl.region_cca(session, n_shifts=20)
    found = session.uns["locanmf_region_cca"]
    assert np.isnan(found["r"][2]).all()
    assert np.isnan(found["p_value"][0, 2])
    assert np.isfinite(found["p_adjusted"][0, 1])


def test_a_new_fit_removes_what_was_made_of_the_old(session):
    nng.tl.region_cca(session, n_shifts=0)
    nng.tl.seed_correlation(session, 3, key="locanmf")
    nng.tl.event_average(session)
    session_of(slow(600, 2, 5, np.random.default_rng(0)), ["a", "b"])
    from nonneg._adata.keys import factor_keys
    from nonneg._adata.write import write_factors

    write_factors(
        session, factor_keys("locanmf"), method="widefield", params={},
        scores=np.ones((80, 1)), loadings=np.ones((600, 1)), info={},
    )  # fmt: skip
    assert set(session.uns) == {"volume", "video", "events", "locanmf"}
    assert set(session.obsm) == {"spatial", "X_locanmf"}


# --- matches ----------------------------------------------------------------


def footprints(shape, spacing, seed=0):
    """Four bumps in two regions, on a grid of some spacing."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.5, 0.5], [0.5, 1.5], [1.5, 0.5], [1.5, 1.5]])
    n = int(np.prod(shape))
    adata = session_of(rng.standard_normal((30, 4)), ["a", "a", "b", "b"], shape=shape)
    y, x = np.divmod(np.arange(n), shape[1])
    xy = (np.stack([x, y], axis=1) + 0.5) * spacing
    adata.obsm["spatial"] = xy
    adata.uns["volume"]["spacing"] = np.full(2, spacing)
    adata.uns["volume"]["origin"] = np.full(2, spacing / 2)
    distance = np.linalg.norm(xy[:, None] - centres, axis=2)
    adata.obsm["X_locanmf"] = np.exp(-((distance / 0.4) ** 2))
    return adata


def test_components_are_matched_in_any_order():
    one, two = footprints((20, 20), 0.1), footprints((20, 20), 0.1)
    two.obsm["X_locanmf"] = two.obsm["X_locanmf"][:, [1, 0, 3, 2]]
    two = two[np.random.default_rng(0).permutation(400)].copy()
    found = nng.tl.match_components(one, two)
    assert found.table["other"].tolist() == [1, 0, 3, 2]
    assert found.mean_cosine == pytest.approx(1)


def test_components_are_matched_across_resolutions_and_masks():
    fine, coarse = footprints((40, 40), 0.05), footprints((20, 20), 0.1)
    found = nng.tl.match_components(fine, coarse)
    assert found.table["other"].tolist() == [0, 1, 2, 3]
    assert found.mean_cosine > 0.995
    assert nng.tl.match_components(coarse, fine).mean_cosine > 0.995
    # Pixels that one session lacks do not count.
    part = nng.tl.match_components(
        fine[fine.obsm["spatial"][:, 0] < 1.7].copy(), coarse
    )
    assert part.mean_cosine > 0.99


def test_components_without_a_partner():
    one, two = footprints((20, 20), 0.1), footprints((20, 20), 0.1)
    two.uns["locanmf"]["region"] = np.array(["a", "c", "b", "b"])
    table = nng.tl.match_components(one, two).table
    assert table["other"].tolist() == [0, -1, 2, 3]
    assert np.isnan(table["cosine"][1])
    two.uns["locanmf"]["region"] = np.array(["x"] * 4)
    with pytest.raises(ValueError, match="No region has components in both"):
        nng.tl.match_components(one, two)
    two.obsm["spatial"] = two.obsm["spatial"] + 50
    two.uns["volume"]["origin"] = two.uns["volume"]["origin"] + 50
    with pytest.raises(ValueError, match="no pixel in common"):
        nng.tl.match_components(one, two)


# --- maps of sessions -------------------------------------------------------


def cohort(seed, effect, n_animals=10, n_pairs=45):
    """Distances of two maps of each animal."""
    rng = np.random.default_rng(seed)
    animal = np.repeat(rng.standard_normal((n_animals, n_pairs)), 2, axis=0)
    maps = effect * animal + rng.standard_normal((2 * n_animals, n_pairs))
    return ((maps[:, None] - maps) ** 2).mean(axis=2)


SUBJECTS = np.repeat(np.arange(10), 2)


def t_test(distance):
    """The published one: of all distances, as if they were independent."""
    i, j = np.triu_indices(len(distance), 1)
    same = SUBJECTS[i] == SUBJECTS[j]
    d = distance[i, j]
    return ttest_ind(d[~same], d[same], alternative="greater").pvalue


def test_animals_without_an_effect():
    p = [
        subject_test(
            cohort(seed, 0.0),
            SUBJECTS,
            n_permutations=199,
            rng=np.random.default_rng(seed),
        ).p_value
        for seed in range(400)
    ]
    assert 0.02 < np.mean(np.array(p) <= 0.05) <= 0.07


def test_permutations_have_more_power_than_the_t_test():
    permuted, t = [], []
    for seed in range(200):
        distance = cohort(1000 + seed, 0.28)
        permuted.append(
            subject_test(
                distance, SUBJECTS, n_permutations=199, rng=np.random.default_rng(seed)
            ).p_value
        )
        t.append(t_test(distance))
    power, other = (np.mean(np.array(p) <= 0.05) for p in (permuted, t))
    assert power > other + 0.05


@pytest.fixture
def sessions():
    found = {}
    for i in range(4):
        rng = np.random.default_rng(i // 2)
        mixing = np.eye(6) + 0.8 * rng.standard_normal((6, 6))
        traces = slow(2000, 6, 3, np.random.default_rng(10 + i)) @ mixing
        adata = session_of(traces, ["a", "a", "b", "b", "c", "d"])
        nng.tl.region_cca(adata, n_shifts=0)
        adata.uns["subject"] = f"animal {i // 2}"
        found[f"session {i}"] = adata
    return found


def test_maps_of_sessions(sessions):
    found = nng.tl.map_distances(sessions, n_permutations=99)
    assert found.regions == ["a", "b", "c", "d"]
    assert len(found.table) == 6
    assert found.table["same_subject"].sum() == 2
    within = found.table.query("same_subject")["distance"]
    between = found.table.query("not same_subject")["distance"]
    assert within.max() < between.min()
    assert found.statistic == pytest.approx(between.mean() - within.mean())
    maps = [one.uns["locanmf_region_cca"]["r"] for one in sessions.values()]
    pairs = np.triu_indices(4, 1)
    expected = ((maps[0] - maps[1])[pairs] ** 2).mean()
    assert found.table["distance"][0] == pytest.approx(expected)
    # In another order of regions, and with one that others lack.
    other = sessions["session 3"]
    nng.tl.region_cca(other, regions=["d", "b", "a"], n_shifts=0)
    again = nng.tl.map_distances(sessions, subjects=list("AABB"), n_permutations=9)
    assert again.regions == ["a", "b", "d"]
    assert again.table["subject"][0] == "A"
    nng.pl.map_distances(again)


def test_sessions_that_are_refused(sessions):
    with pytest.raises(TypeError, match="mapping"):
        nng.tl.map_distances(list(sessions.values()))
    with pytest.raises(ValueError, match="two animals"):
        nng.tl.map_distances(sessions, subjects=["A"] * 4)
    with pytest.raises(ValueError, match="two animals"):
        nng.tl.map_distances(sessions, subjects=list("ABCD"))
    with pytest.raises(ValueError, match="one animal for each of the 4"):
        nng.tl.map_distances(sessions, subjects=["A"])
    with pytest.raises(KeyError, match="does not name"):
        nng.tl.map_distances(sessions, subjects={"session 1": "A"})
    del sessions["session 2"].uns["subject"]
    with pytest.raises(KeyError, match=r"\['session 2'\] have no uns\['subject'\]"):
        nng.tl.map_distances(sessions)
    del sessions["session 1"].uns["locanmf_region_cca"]
    with pytest.raises(KeyError, match=r"Session 'session 1'.*region_cca"):
        nng.tl.map_distances(sessions, subjects=list("AABB"))


def test_seeds(session):
    nng.tl.seed_correlation(session, [3, "5", (0.42, 0.2)], key="locanmf")
    maps = session.obsm["X_locanmf_seed_correlation"]
    video = session.obsm["X_locanmf"] @ session.varm["locanmf"].T
    table = session.uns["locanmf_seed_correlation"]["seeds"]
    assert table["pixel"].tolist() == [3, 5, 24]
    expected = np.corrcoef(video)[:, [3, 5, 24]]
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    nng.tl.seed_correlation(session, (0.42, 0.2), key="locanmf", radius=0.11)
    table = session.uns["locanmf_seed_correlation"]["seeds"]
    assert table["n_pixels"].tolist() == [5]
    for bad, error, match in (
        (80, KeyError, "no pixel 80"),
        ("x", KeyError, "no pixel 'x'"),
        ((1.0,), ValueError, "2 finite coordinates"),
        ((42.0, 20.0), ValueError, "outside of the pixels"),
        ([], ValueError, "empty"),
    ):
        refused(
            error,
            match,
            lambda seeds=bad: nng.tl.seed_correlation(session, seeds, key="locanmf"),
            session,
        )
    refused(
        ValueError,
        "radius=-1",
        lambda: nng.tl.seed_correlation(session, 3, key="locanmf", radius=-1),
        session,
    )


def test_regions_read_from_zarr(session, tmp_path):
    """Zarr stores return text of another type."""
    session.write_zarr(tmp_path / "session.zarr")
    adata = ad.read_zarr(tmp_path / "session.zarr")
    key = next(
        k for k, v in session.uns.items() if isinstance(v, dict) and "region" in v
    )
    for each in (session, adata):
        nng.tl.region_cca(each, key=key, n_shifts=0)
    np.testing.assert_array_equal(
        *(each.uns[f"{key}_region_cca"]["r"] for each in (session, adata))
    )
    matches = nng.tl.match_components(session, adata, key=key)
    assert matches.mean_cosine == pytest.approx(1)
