"""Events and behaviour: alignment, averages, decoding."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg.tl._traces.decode_events import _null_labels
from testing.nonneg import assert_same, snapshot

from .conftest import session_of, slow


def refused(error, match, call, adata):
    before = snapshot(adata)
    with pytest.raises(error, match=match):
        call()
    assert_same(snapshot(adata), before)


def test_events_are_aligned(session):
    table = pd.DataFrame({"time": [3.01, 1.0], 7: ["x", "y"]}, index=[5, 9])
    nng.pp.align_events(session, table)
    found = session.uns["events"]
    assert found["frame"].tolist() == [15, 45]
    assert found["7"].tolist() == ["y", "x"]
    clock = nng.io.align_clocks([0.0, 10.0], [1.0, 11.001])
    nng.pp.align_events(session, table, clock=clock, key_added="licks")
    assert session.uns["licks"]["time"].iloc[0] == pytest.approx(2.0001)
    # Of the first frame, but for rounding.
    first = pd.DataFrame({"time": [session.var["time"].iloc[0] - 1e-12]})
    nng.pp.align_events(session, first)
    assert session.uns["events"]["frame"].tolist() == [0]


def test_events_outside_of_the_recording(session):
    table = pd.DataFrame({"time": [-1.0, 5.0, 39.99, 41.0, 900.0]})
    align = lambda **kwargs: nng.pp.align_events(session, table, **kwargs)  # noqa: E731
    refused(
        ValueError,
        r"3 of 5 events are outside .* 39.9333 s, e.g. at -1 s",
        align,
        session,
    )
    with pytest.warns(UserWarning, match="3 of 5 events .* dropped"):
        align(outside="drop")
    assert session.uns["events"]["time"].tolist() == [5.0, 39.99]
    table = table.iloc[[4]]
    refused(ValueError, "1 of 1", lambda: align(outside="drop"), session)
    # Where they are given instead of stored.
    for call in (
        lambda: nng.tl.event_average(session, table),
        lambda: nng.tl.decode_events(session, "side", table.assign(side="a")),
    ):
        refused(ValueError, "outside of the recording", call, session)


def test_columns_that_files_cannot_hold(session, tmp_path):
    times = [1.0, 2.0, 3.0]
    for columns, match in (
        ({"stim/side": times}, "'stim/side', whose name is empty or has a '/'"),
        ({"mixed": [1, "x", None]}, "'mixed', which holds NoneType, int, str"),
        ({"hit": [True, None, False]}, "'hit', which holds NoneType, bool"),
        ({"poses": [[1], [2, 3], []]}, "'poses', which holds list"),
        ({"date": pd.to_datetime(times)}, "'date', of type datetime64"),
        ({7: times, "7": times}, "several columns named"),
    ):
        table = pd.DataFrame({"time": times, **columns})
        refused(
            ValueError,
            match,
            lambda table=table: nng.pp.align_events(session, table),
            session,
        )
    fine = {
        "side": ["l", "r", None],
        "kind": pd.Categorical(["a", None, "b"]),
        "hit": pd.array([True, None, False], "boolean"),
        "n": [1, 2, 3],
    }
    nng.pp.align_events(session, pd.DataFrame({"time": times, **fine}))
    session.write_h5ad(tmp_path / "a.h5ad")
    stored = ad.read_h5ad(tmp_path / "a.h5ad").uns["events"]
    assert stored["side"].isna().tolist() == [False, False, True]


def test_frames_of_events_after_others_were_left_out(session):
    nng.pp.align_events(session, session.uns["events"])
    part = session[:, np.delete(np.arange(600), [1, 2, 3])].copy()
    events = part.uns["events"]
    with pytest.warns(UserWarning, match=r"counts other frames.*align_events"):
        nng.tl.event_average(part, window=(-0.5, 0.5))
    # Times say which frames they are.
    nng.tl.event_average(session, events, window=(-0.5, 0.5))
    one, other = (a.uns["locanmf_event_average"]["mean"] for a in (part, session))
    np.testing.assert_array_equal(one, other)
    nng.pp.align_events(part, events)
    np.testing.assert_array_equal(part.uns["events"]["frame"], events["frame"] - 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nng.tl.event_average(part, window=(-0.5, 0.5))


def test_events_in_one_frame_are_not_told_apart():
    """A copy in training would give away the one that is held out."""
    adata = informative(0, n_trials=20)
    events = adata.uns["events"]
    twice = pd.concat([events, events.assign(time=events["time"] + 1e-4)])
    for call in (
        lambda: nng.tl.decode_events(adata, "side", twice, n_null=0),
        lambda: nng.tl.demixed_pca(adata, "side", twice, window=(-0.3, 0.3)),
    ):
        refused(ValueError, "20 of 40 events are in the same frame", call, adata)
    nng.pp.align_events(adata, twice, key_added="twice")
    table = adata.uns["twice"]
    nng.tl.decode_events(adata, "side", table[~table["frame"].duplicated()], n_null=0)
    assert adata.uns["locanmf_decode_events"]["truth"].size == 20
    # Averages of chosen weights hold nothing out.
    nng.tl.demixed_pca(adata, "side", twice, window=(-0.3, 0.3), ridge=0.1)


def test_events_without_a_time(session):
    for table, match in (
        (pd.DataFrame({"onset": [1.0]}), "column 'time'"),
        (
            pd.DataFrame({"time": [1.0, np.nan, np.inf]}),
            "2 events without a finite time",
        ),
        (pd.DataFrame({"time": ["soon"]}), "must hold numbers"),
        ([1.0], "data frame"),
    ):
        refused(
            ValueError, match, lambda x=table: nng.pp.align_events(session, x), session
        )
    refused(
        KeyError,
        "align_events",
        lambda: nng.tl.event_average(session, "licks"),
        session,
    )


def test_behavior_is_aligned(session):
    time = np.arange(0, 41, 0.01)
    table = pd.DataFrame({"x": np.sin(time), "y": time}, index=time)
    nng.pp.align_behavior(session, table)
    assert session.uns["behavior"]["columns"].tolist() == ["x", "y"]
    np.testing.assert_allclose(
        session.varm["behavior"][1:, 1], session.var["time"][1:], atol=0.006
    )
    deltas = table.set_index(pd.to_timedelta(time, unit="s"))
    nng.pp.align_behavior(session, deltas, key_added="deltas")
    np.testing.assert_allclose(
        session.varm["deltas"], session.varm["behavior"], atol=0.006
    )
    # What covers a part of the recording.
    with pytest.warns(UserWarning, match=r"300 of 600 frames lack behaviour"):
        nng.pp.align_behavior(session, table.loc[20:], method="linear")
    for bad, match in (
        (table.assign(x=np.inf), "'x' of behavior has 4100 infinite"),
        (table.iloc[::-1], "ascending"),
        (table.set_index(time + 1000), "No frame"),
        (table.assign(x="a"), "must hold numbers"),
        ({"x": 1}, "data frame"),
        (table.set_index(pd.to_datetime(time, unit="s")), "holds dates"),
        (table.set_axis(["x", "x"], axis=1), "different names"),
    ):
        refused(
            ValueError, match, lambda x=bad: nng.pp.align_behavior(session, x), session
        )


def test_averages_are_those_of_trials(session):
    nng.tl.event_average(session, by="side", window=(-0.5, 1), baseline=(-0.5, 0))
    found = session.uns["locanmf_event_average"]
    assert found["conditions"].tolist() == ["left", "right"]
    assert found["n_events"].tolist() == [18, 18]
    assert found["offset"].size == 24
    trials = []
    for t in np.arange(2, 38, 2):
        frame = round(t * 15)
        trial = session.varm["locanmf"][frame - 8 : frame + 16]
        trials.append(trial - trial[:9].mean(axis=0))
    np.testing.assert_allclose(found["mean"][0], np.mean(trials, axis=0), atol=1e-5)
    np.testing.assert_allclose(found["median"][0], np.median(trials, axis=0), atol=1e-5)
    assert (found["low"] <= found["median"]).all()
    assert (found["median"] <= found["high"]).all()
    # A baseline that is not shown.
    nng.tl.event_average(session, window=(0, 1), baseline=(-0.5, -0.2))
    assert session.uns["locanmf_event_average"]["offset"][0] == 0


def test_windows_beyond_the_recording(session):
    with pytest.warns(
        UserWarning, match=r"6 of 36 events have windows that reach beyond"
    ):
        nng.tl.event_average(session, window=(-4, 6))
    with pytest.raises(ValueError, match="No event has the whole"):
        nng.tl.event_average(session, window=(-30, 30))
    with pytest.raises(ValueError, match="two numbers of seconds"):
        nng.tl.event_average(session, window=(1, -1))
    with pytest.raises(KeyError, match="no column 'lick'"):
        nng.tl.event_average(session, by="lick")


def test_columns_of_events_that_repeat(session):
    events = session.uns["events"]
    for name in ("time", "side"):
        repeated = events.assign(side="a")[["time", "side", name]]
        for call in (nng.tl.event_average, nng.pp.align_events):
            with pytest.raises(ValueError, match=rf"same name, \['{name}'\]. Rename"):
                call(session, events=repeated)


def test_dropped_frames(session):
    part = session[:, np.delete(np.arange(600), [100, 101])].copy()
    nng.tl.event_average(part, window=(-0.5, 0.5))
    assert np.isfinite(part.uns["locanmf_event_average"]["mean"]).all()
    with pytest.warns(UserWarning, match="1 of 36 events have windows with dropped"):
        nng.tl.decode_events(part, "side", window=(-0.4, 0), n_null=0)


def test_demixing(session):
    # Region a tells sides apart, region b follows time.
    times = session.uns["events"]["time"].to_numpy()
    for t, side in zip(times, session.uns["events"]["side"], strict=True):
        f = round(t * 15)
        session.varm["locanmf"][f : f + 10, 0] += 5 if side == "left" else -5
        session.varm["locanmf"][f : f + 10, 2] += 5
    nng.tl.demixed_pca(session, "side", window=(-0.3, 0.6))
    found = session.uns["locanmf_demixed_pca"]
    for part, component in (("side", 0), ("time", 2)):
        first = found["marginal"].tolist().index(part)
        assert np.abs(found["encoder"][:, first]).argmax() == component
        assert found["purity"][first] > 0.9
    assert found["total"] > 0.8
    assert found["variance"]["share"].sum() == pytest.approx(1)
    nng.tl.demixed_pca(session, "side", regions="b", ridge=0.0)
    assert session.uns["locanmf_demixed_pca"]["decoder"].shape[0] == 3
    events = session.uns["events"].assign(one="x", few=["p"] + ["q"] * 35)
    for by, error, match in (
        ("one", ValueError, "label 'x'|label \\['x'\\]"),
        ("few", ValueError, "has 1 complete trials; there must be 2"),
        (["side", "side"], ValueError, "each once"),
        ("lick", KeyError, "no column"),
    ):
        refused(
            error,
            match,
            lambda by=by: nng.tl.demixed_pca(session, by, events, window=(-0.3, 0.6)),
            session,
        )
    session.varm["locanmf"][:] = 1
    for ridge in (None, 0.1):
        refused(
            ValueError,
            "do not vary",
            lambda ridge=ridge: nng.tl.demixed_pca(
                session, "side", window=(-0.3, 0.6), ridge=ridge
            ),
            session,
        )


def test_demixing_recovers_what_was_planted():
    """Of noisy trials: directions of time, side and lick, in components of all regions."""
    rng = np.random.default_rng(0)
    k, n_trials, fs = 12, 120, 15
    basis = np.linalg.qr(rng.standard_normal((k, 3)))[0]
    frames = np.arange(n_trials) * 30 + 20
    side, lick = np.arange(n_trials) % 2, np.arange(n_trials) // 2 % 2
    traces = 0.5 * rng.standard_normal((n_trials * 30 + 40, k))
    bump = np.hanning(15)
    for f, s, d in zip(frames, side, lick, strict=True):
        course = np.outer(np.sin(np.arange(15) / 3), 2 * basis[:, 0])
        course += np.outer(bump, (2 * s - 1) * 1.5 * basis[:, 1])
        course += np.outer(bump[::-1] * np.arange(15) / 8, (2 * d - 1) * basis[:, 2])
        traces[f : f + 15] += course
    adata = session_of(traces, ["a", "b", "c"] * 4)
    events = pd.DataFrame(
        {
            "time": frames / fs,
            "side": np.array(["left", "right"])[side],
            "lick": np.array(["no", "yes"])[lick],
        }
    )
    nng.tl.demixed_pca(adata, ["side", "lick"], events, window=(0, 0.93))
    found = adata.uns["locanmf_demixed_pca"]
    for i, part in enumerate(["time", "side", "lick"]):
        first = found["marginal"].tolist().index(part)
        assert abs(found["encoder"][:, first] @ basis[:, i]) > 0.98
        assert found["purity"][first] > 0.9
        assert (
            found["explained"][first]
            == found["explained"][found["marginal"] == part].max()
        )
    # What was not planted holds little.
    share = found["variance"].set_index("part")["share"]
    assert share["side x lick"] < 0.05
    shuffled = events.assign(side=rng.permutation(events["side"]))
    nng.tl.demixed_pca(adata, ["side", "lick"], shuffled, window=(0, 0.93))
    chance = adata.uns["locanmf_demixed_pca"]["variance"].set_index("part")["share"]
    assert chance["side"] < share["side"] / 5


def informative(seed, *, n_trials=60, effect=1.0):
    """Eight regions, of which `r3` tells sides apart before the event."""
    rng = np.random.default_rng(seed)
    regions = np.repeat([f"r{i}" for i in range(8)], [3, 1, 4, 2, 3, 2, 1, 4])
    n = n_trials * 30 + 60
    traces = slow(n, regions.size, 8, rng)
    side = rng.permutation(np.tile([0, 1], n_trials // 2))
    times = (np.arange(n_trials) * 30 + 40) / 15
    behavior = slow(n, 1, 8, rng)[:, 0]
    column = np.flatnonzero(regions == "r3")[0]
    for t, s in zip(times, side, strict=True):
        f = round(t * 15)
        traces[f - 8 : f + 1, column] += effect * (2 * s - 1)
    # Behaviour follows the other component of the region by a fifth of a second.
    behavior += 1.5 * np.roll(traces[:, column + 1], 3)
    adata = session_of(traces, regions)
    adata.var["speed"] = behavior
    events = pd.DataFrame({"time": times, "side": np.array(["left", "right"])[side]})
    nng.pp.align_events(adata, events)
    return adata


@pytest.mark.slow
def test_the_informative_region_is_first_in_all_seeds():
    for seed in range(20):
        adata = informative(seed, n_trials=40, effect=1.5)
        nng.tl.decode_events(adata, "side", n_null=0)
        nng.tl.decode_behavior(adata, "speed", n_null=0)
        for name in ("locanmf_decode_events", "locanmf_decode_behavior"):
            table = adata.uns[name]["table"].set_index("region")
            assert table["rank"].idxmin() == "r3"


def test_decoding_of_events():
    adata = informative(0)
    nng.tl.decode_events(adata, "side", n_null=40)
    found = adata.uns["locanmf_decode_events"]
    table = found["table"].set_index("region")
    assert table.loc["r3", "accuracy"] > 0.8
    assert table.loc["r3", "p_adjusted"] <= 0.05
    assert (table["p_adjusted"].drop("r3") > 0.05).all()
    assert table.loc["r3", "p_value"] == pytest.approx(1 / 41)
    # Shuffled labels are at chance.
    null = found["null"]
    error = null.std(axis=0) / np.sqrt(len(null))
    assert (np.abs(null.mean(axis=0) - 0.5) < 3 * error + 0.01).all()
    assert found["predicted"].shape == (60, 8)
    right = (found["predicted"][:, 3] == found["truth"]).mean()
    assert right == pytest.approx(table.loc["r3", "accuracy"], abs=0.02)


def test_nothing_after_the_event_is_seen():
    adata = informative(1, effect=0.0)
    events = adata.uns["events"]
    for t, side in zip(events["time"], events["side"], strict=True):
        f = round(t * 15)
        adata.varm["locanmf"][f + 1 : f + 9, :] += 5 * (side == "left")
    nng.tl.decode_events(adata, "side", n_null=0)
    table = adata.uns["locanmf_decode_events"]["table"]
    assert (table["accuracy"] < 0.75).all()
    nng.tl.decode_events(adata, "side", window=(0, 0.5), n_null=0)
    assert (adata.uns["locanmf_decode_events"]["table"]["accuracy"] > 0.95).all()


def test_shifted_labels_keep_their_order():
    adata = informative(0, n_trials=20)
    nng.tl.decode_events(adata, "side", null="shift", n_null=100)
    found = adata.uns["locanmf_decode_events"]
    # There are no more of them.
    assert found["params"]["n_null"] == 19
    y = found["truth"]
    shifted = _null_labels(y, "shift", 100, np.random.default_rng(0))
    rolled = {tuple(np.roll(y, s)) for s in range(1, 20)}
    assert {tuple(z) for z in shifted} == rolled


def test_decoding_of_behavior():
    adata = informative(0)
    nng.tl.decode_behavior(adata, "speed", n_null=40)
    found = adata.uns["locanmf_decode_behavior"]
    table = found["table"].set_index("region")
    assert table.loc["r3", "r2"] > 0.4
    assert table.loc["r3", "p_value"] == pytest.approx(1 / 41)
    assert table["r2"].drop("r3").max() < 0.1
    assert table.loc["r3", "relative"] == pytest.approx(1, abs=0.15)
    decoded = adata.varm["locanmf_decoded"]
    assert decoded.shape == (adata.n_vars, 9)
    r = np.corrcoef(decoded[:, 3], adata.var["speed"])[0, 1]
    assert r == pytest.approx(table.loc["r3", "correlation"], abs=1e-4)
    assert np.median(found["null"]) < 0.02


def test_a_network_decodes_what_is_not_linear():
    rng = np.random.default_rng(0)
    traces = slow(1500, 2, 2, rng)
    adata = session_of(traces, ["a", "b"])
    adata.var["speed"] = np.abs(traces[:, 0])
    r2 = {}
    for model in ("ridge", "network"):
        nng.tl.decode_behavior(
            adata, "speed", window=(0, 0), model=model, n_null=0, n_folds=3
        )
        table = adata.uns["locanmf_decode_behavior"]["table"]
        r2[model] = table["r2"].to_numpy()
    assert r2["network"][0] > 0.8
    assert r2["ridge"][0] < 0.1
    assert r2["network"][1] < 0.1


def test_behavior_that_is_missing_or_infinite():
    adata = informative(0)
    adata.var.loc[adata.var_names[10:20], "speed"] = np.nan
    with pytest.warns(UserWarning, match=r"NaN in 10 of 1860 frames"):
        nng.tl.decode_behavior(adata, "speed", n_null=0)
    decoded = adata.varm["locanmf_decoded"]
    np.testing.assert_array_equal(
        np.isnan(decoded).any(axis=1), adata.var["speed"].isna()
    )
    for value, match in ((np.inf, "infinite in 1860"), (1.0, "does not vary")):
        adata.var["bad"] = value
        refused(ValueError, match, lambda: nng.tl.decode_behavior(adata, "bad"), adata)
    refused(
        KeyError, "align_behavior", lambda: nng.tl.decode_behavior(adata, "x"), adata
    )


def test_decoding_that_is_refused(session):
    events = session.uns["events"]
    for kwargs, error, match in (
        (dict(label="time"), ValueError, "with at least n_folds=5"),
        (dict(label="lick"), KeyError, "no column 'lick'"),
        (dict(label="one"), ValueError, "labels {'x': 36}"),
        (dict(label="side", n_folds=1), ValueError, "n_folds=1"),
        (dict(label="side", regions=["x"]), KeyError, "no regions"),
        (dict(label="side", null="none"), ValueError, "null="),
    ):
        refused(
            error,
            match,
            lambda kwargs=kwargs: nng.tl.decode_events(
                session, events=events.assign(one="x"), **kwargs
            ),
            session,
        )
    session.varm["locanmf"][7, 2] = np.nan
    refused(
        ValueError,
        r"1 frame and the components \['locanmf_2'\]",
        lambda: nng.tl.decode_events(session, "side"),
        session,
    )


def test_a_frame_column_of_the_user_is_kept(session):
    """It would be replaced; that of a stored table is renewed."""
    times = np.array([0.5, 2.04])
    events = pd.DataFrame({"time": times, "frame": [100, 300]})
    before = snapshot(session)
    with pytest.raises(
        ValueError, match=r"column 'frame' with other values.*own_frame"
    ):
        nng.pp.align_events(session, events)
    assert_same(snapshot(session), before)
    nng.pp.align_events(session, events.rename(columns={"frame": "own_frame"}))
    stored = session.uns["events"]
    assert stored["own_frame"].tolist() == [100, 300]
    assert stored["frame"].tolist() != [100, 300]
    # The right numbers are no clash, and neither is the stored table elsewhere.
    nng.pp.align_events(session, stored, key_added="again")
    part = session[:, 5:].copy()
    nng.pp.align_events(part, part.uns["events"])
    assert (part.uns["events"]["frame"] == stored["frame"] - 5).all()


def test_columns_of_several_levels(session):
    columns = pd.MultiIndex.from_tuples([("time", "s"), ("side", "")])
    events = pd.DataFrame([[0.5, "a"], [2.0, "b"]], columns=columns)
    match = r"columns of events have 2 levels, e\.g\. \[\('time', 's'\).*'_'\.join"
    with pytest.raises(ValueError, match=match):
        nng.pp.align_events(session, events)
    with pytest.raises(ValueError, match="columns of behavior have 2 levels"):
        nng.pp.align_behavior(session, events)
    for attr in ("obs", "var"):
        wide = session.copy()
        frame = getattr(wide, attr)
        frame.columns = pd.MultiIndex.from_product([frame.columns, ["x"]])
        with pytest.raises(
            ValueError, match=rf"columns of adata\.{attr} have 2 levels"
        ):
            nng.tl.nmf(wide, 2)


@pytest.mark.parametrize(
    ("clock", "match"),
    [
        (int, r"clock=<class 'int'> cannot map an array of times.*align_clocks"),
        (lambda times: times[:1], r"makes times of shape \(1,\) of \(2,\)"),
        (lambda times: ["a"] * len(times), "cannot map .* must hold numbers"),
    ],
)
def test_clocks_that_are_none(session, clock, match):
    events = pd.DataFrame({"time": [0.5, 2.0]})
    behavior = pd.DataFrame({"speed": [1.0, 2.0]}, index=[0.5, 2.0])
    for call in (
        lambda: nng.pp.align_events(session, events, clock=clock),
        lambda: nng.pp.align_behavior(session, behavior, clock=clock),
    ):
        refused(ValueError, match, call, session)
