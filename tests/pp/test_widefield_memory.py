"""A recording that is read in blocks is never in memory as a whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROBE = """
import json, sys, threading, time, warnings
from pathlib import Path
import nonneg as nng

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def peak_growth(n_frames):
    path = folder / f"{n_frames}.tif"
    nng.datasets.widefield(
        shape=(96, 120), n_frames=n_frames, form="svd", tiff=path
    )
    start = highest = resident()
    done = threading.Event()

    def sample():
        nonlocal highest
        while not done.is_set():
            highest = max(highest, resident())
            time.sleep(0.002)

    thread = threading.Thread(target=sample)
    thread.start()
    adata = nng.io.read_video(path, channels=["blue", "violet"], fs=15, chunk_size=50)
    nng.pp.motion_correct(adata, store=folder / f"{n_frames}.zarr")
    nng.pp.delta_f(adata)
    nng.pp.svd(adata, 30, n_iter=1)
    nng.pp.svd(adata, 30, n_iter=1, layer="violet")
    nng.pp.hemodynamic_correction(adata)
    done.set()
    thread.join()
    return highest - start


print(json.dumps([peak_growth(n) for n in (150, 200, 1000)]))
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_recording(tmp_path):
    """800 more frames are 74 MB in single precision, of both channels."""
    pytest.importorskip("dask")
    pytest.importorskip("tifffile")
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is read from /proc")
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    _, short, long = json.loads(done.stdout.splitlines()[-1])
    more = 800 * 96 * 120 * 2 * 4
    # V, sketches and shifts are as long as the recording.
    assert long - short < 0.3 * more
    assert long < more
