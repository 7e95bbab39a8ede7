"""Readers of events and behaviour, and clocks."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

import nonneg as nng

# --- tables -----------------------------------------------------------------

TABLE = "onset,side\n2.5,left\n1.0,right\n"


@pytest.mark.parametrize("end", ["csv", "tsv", "txt", "parquet", "npy"])
def test_tables(tmp_path, end):
    path = tmp_path / f"events.{end}"
    frame = pd.DataFrame({"onset": [2.5, 1.0], "side": ["left", "right"]})
    if end == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    elif end == "npy":
        np.save(path, [2.5, 1.0])
    else:
        path.write_text(TABLE.replace(",", "," if end == "csv" else "\t"))
    found = nng.io.read_events(path)
    assert found["time"].tolist() == [1.0, 2.5]
    if end != "npy":
        assert found["side"].tolist() == ["right", "left"]


def test_times_of_a_table(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("lick,cue\n2500,100\n1000,50\n")
    found = nng.io.read_events(path, time_column="cue", unit="ms")
    assert found["time"].tolist() == pytest.approx([0.05, 0.1])
    with pytest.raises(KeyError, match=r"has \['lick', 'cue'\]"):
        nng.io.read_events(path)
    with pytest.raises(KeyError, match="no column 'reward'"):
        nng.io.read_events(path, time_column="reward")
    path.write_text("time,side\n1,a\n,b\ninf,c\n")
    with pytest.raises(
        ValueError, match="2 times that are missing or infinite, the first in row 1"
    ):
        nng.io.read_events(path)
    path.write_text("time,start_time\n1,2\n")
    with pytest.raises(ValueError, match="a column 'time' beside 'start_time'"):
        nng.io.read_events(path, time_column="start_time")
    with pytest.raises(ValueError, match="of no known kind"):
        nng.io.read_events(path.rename(tmp_path / "events.xyz"))
    with pytest.raises(FileNotFoundError):
        nng.io.read_events(tmp_path / "none.csv")
    path.write_text(TABLE)
    with pytest.raises(ValueError, match="NWB files only"):
        nng.io.read_events(path, table="trials")


@pytest.mark.parametrize("end", ["npy", "parquet", "csv", "nwb"])
def test_damaged_tables(tmp_path, end):
    if end == "nwb":
        pytest.importorskip("pynwb")
    if end == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"events.{end}"
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(ValueError, match="cannot be read"):
        nng.io.read_events(path)


def test_nwb(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    nwb = pynwb.NWBFile("session", "id", datetime(2026, 1, 1, tzinfo=UTC))
    nwb.add_trial_column("side", "of the lick")
    for i in range(3):
        nwb.add_trial(start_time=float(3 - i), stop_time=4.0 - i, side="left")
    licks = pynwb.TimeSeries(name="licks", data=[1, 2], unit="1", timestamps=[0.5, 1.5])
    nwb.create_processing_module("behavior", "licks").add(licks)
    path = tmp_path / "session.nwb"
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    trials = nng.io.read_events(path)
    assert trials["time"].tolist() == [1, 2, 3]
    assert set(trials) == {"time", "stop_time", "side"}
    found = nng.io.read_events(path, table="licks")
    assert found["time"].tolist() == [0.5, 1.5]
    assert found["value"].tolist() == [1, 2]
    with pytest.raises(KeyError, match=r"licks.*trials"):
        nng.io.read_events(path, table="cues")


# --- pulses -----------------------------------------------------------------


def test_pulses_of_a_noisy_line():
    rng = np.random.default_rng(0)
    line = np.zeros(20_000)
    starts = np.arange(500, 19_000, 613)
    for start in starts:
        line[start : start + 20] = 3.3
    noisy = line + 0.3 * rng.standard_normal(line.size)
    found = nng.io.ttl_onsets(noisy, fs=10_000, start=5)
    np.testing.assert_allclose(found["time"], 5 + starts / 10_000, atol=1.01e-4)
    np.testing.assert_allclose(found["duration"], 0.002, atol=2.1e-4)
    digital = nng.io.ttl_onsets(line > 1, fs=10_000)
    np.testing.assert_allclose(digital["time"], starts / 10_000)
    inverted = nng.io.ttl_onsets(-noisy, fs=10_000, threshold=-1.65)
    assert len(inverted) == starts.size


def test_lines_at_the_edges():
    line = np.array([1, 1, 0, 0, 1, 0, 1, 1.0])
    found = nng.io.ttl_onsets(line, fs=1)
    assert found["time"].tolist() == [4, 6]
    assert found["duration"][0] == 1
    assert np.isnan(found["duration"][1])
    assert nng.io.ttl_onsets(line, fs=1, min_gap=3)["time"].tolist() == [4]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (np.ones(5), "never changes"),
        (
            np.array([0, np.inf, 1]),
            "1 sample that is infinite or NaN, the first at 1",
        ),
        (np.ones((3, 2)), "one-dimensional"),
    ],
)
def test_lines_that_are_refused(line, match):
    with pytest.raises(ValueError, match=match):
        nng.io.ttl_onsets(line, fs=10)
    with pytest.raises(ValueError, match="threshold=9"):
        nng.io.ttl_onsets([0, 1], fs=10, threshold=9)


# --- clocks -----------------------------------------------------------------


def test_a_clock_of_another_rate():
    rng = np.random.default_rng(0)
    pulses = np.cumsum(rng.uniform(5, 15, 200))
    reference = 3.7 + (1 + 40e-6) * pulses + 1e-4 * rng.standard_normal(200)
    clock = nng.io.align_clocks(pulses, reference)
    assert clock.scale - 1 == pytest.approx(40e-6, rel=0.02)
    times = np.array([100.0, 1000.0])
    np.testing.assert_allclose(clock(times), 3.7 + (1 + 40e-6) * times, atol=1e-4)
    # Pulses before the other clock was on, and after it went off.
    part = nng.io.align_clocks(pulses, reference[3:-2])
    assert part.n_unmatched == 5
    assert part.scale == pytest.approx(clock.scale, abs=1e-6)
    swapped = nng.io.align_clocks(reference[3:-2], pulses)
    np.testing.assert_allclose(swapped(clock(times)), times, atol=1e-3)


def test_clocks_that_do_not_fit():
    rng = np.random.default_rng(0)
    pulses = np.cumsum(rng.uniform(5, 15, 200))
    # The rate changes on the way, by warming up.
    drifting = pulses + 0.3 * np.sin(pulses / 500)
    with pytest.raises(ValueError, match="do not fit: of 200 pulses"):
        nng.io.align_clocks(drifting, pulses)
    lost = np.delete(pulses, 90)
    with pytest.raises(ValueError, match="pulse is missing"):
        nng.io.align_clocks(lost, pulses)
    with pytest.raises(ValueError, match="too regular"):
        nng.io.align_clocks(np.arange(10.0), np.arange(12.0))
    with pytest.raises(ValueError, match="ascending"):
        nng.io.align_clocks([1, 1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="ascending"):
        nng.io.align_clocks([1, 2, np.nan], [1, 2, 3])
    with pytest.raises(ValueError, match="two pulses"):
        nng.io.align_clocks([1], [1, 2])


# --- pose -------------------------------------------------------------------


def tracked(n_animals=1):
    names = ["scorer", "bodyparts", "coords"]
    parts, coords = ["paw", "nose"], ["x", "y", "likelihood"]
    levels = [["net"], parts, coords]
    if n_animals > 1:
        names.insert(1, "individuals")
        levels.insert(1, [f"mouse{i}" for i in range(n_animals)])
    columns = pd.MultiIndex.from_product(levels, names=names)
    values = np.arange(4 * len(columns), dtype=float).reshape(4, -1)
    values[:, 2::3] = 0.99
    values[1, 2] = 0.2
    return pd.DataFrame(values, columns=columns)


@pytest.mark.parametrize("n_animals", [1, 2])
@pytest.mark.parametrize("end", ["csv", "h5"])
def test_pose(tmp_path, end, n_animals):
    path = tmp_path / f"videoDLC.{end}"
    table = tracked(n_animals)
    if end == "h5":
        pytest.importorskip("tables")
        table.to_hdf(path, key="df_with_missing", format="table")
    else:
        table.to_csv(path)
    found = nng.io.read_pose(path, fs=50)
    front = "mouse0_" if n_animals > 1 else ""
    assert found.shape == (4, 6 * n_animals)
    assert list(found)[:3] == [f"{front}paw_{c}" for c in ("x", "y", "likelihood")]
    np.testing.assert_allclose(found.index, [0, 0.02, 0.04, 0.06])
    # Where the tracker lost the paw.
    assert np.isnan(found[f"{front}paw_x"].iloc[1])
    assert found[f"{front}nose_x"].notna().all()
    assert nng.io.read_pose(path, times=[0, 1, 3, 4]).index.tolist() == [0, 1, 3, 4]
    with pytest.raises(ValueError, match="3 times for the 4 frames"):
        nng.io.read_pose(path, times=[0, 1, 2])
    with pytest.raises(ValueError, match="Give fs"):
        nng.io.read_pose(path)
    with pytest.warns(UserWarning, match="No position"):
        nng.io.read_pose(path, fs=50, min_likelihood=2)


def test_files_of_others(tmp_path):
    path = tmp_path / "table.csv"
    for text in ("a,b\n1,2\n", "", "scorer,net\nbodyparts,paw\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="not of DeepLabCut"):
            nng.io.read_pose(path, fs=50)
    path.write_text("scorer,n\nbodyparts,paw\ncoords,x\n0,left\n")
    with pytest.raises(ValueError, match="no numbers"):
        nng.io.read_pose(path, fs=50)
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(ValueError, match=r"cannot be read|not of DeepLabCut"):
        nng.io.read_pose(path, fs=50)
    with pytest.raises(FileNotFoundError):
        nng.io.read_pose(tmp_path / "none.csv", fs=50)
    pytest.importorskip("tables")
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(ValueError, match="cannot be read"):
        nng.io.read_pose(damaged, fs=50)


@pytest.mark.parametrize("end", ["csv", "tsv", "txt"])
def test_tables_without_content(tmp_path, end):
    """Of which csv, pandas and Python each say something else."""
    path = tmp_path / f"events.{end}"
    path.touch()
    with pytest.raises(ValueError, match=rf"events\.{end} cannot be read"):
        nng.io.read_events(path)


@pytest.mark.parametrize(
    "values", [pd.to_datetime([1, 2]), pd.to_timedelta([1, 2]), [1j, 2]]
)
def test_what_is_no_number(values):
    """NumPy would make nanoseconds and real parts of it."""
    clock = nng.io.Clock(2.0, 1.0, np.zeros(2), 0)
    with pytest.raises(ValueError, match="times must hold numbers"):
        clock(np.asarray(values))
    np.testing.assert_array_equal(clock([1, 2]), [3, 5])
