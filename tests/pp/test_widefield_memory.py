"""A recording that is read in blocks is never in memory as a whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROBE = """
import json, sys, warnings
from pathlib import Path
import nonneg as nng
from testing.nonneg import PeakGrowth

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])


def peak_growth(n_frames):
    path = folder / f"{n_frames}.tif"
    nng.datasets.widefield(
        shape=(96, 120), n_frames=n_frames, form="svd", tiff=path
    )
    with PeakGrowth() as memory:
        adata = nng.io.read_video(path, channels=["blue", "violet"], fs=15, chunk_size=50)
        nng.pp.motion_correct(adata, store=folder / f"{n_frames}.zarr")
        nng.pp.delta_f(adata)
        nng.pp.svd(adata, 30, n_iter=1)
        nng.pp.svd(adata, 30, n_iter=1, layer="violet")
        nng.pp.hemodynamic_correction(adata)
    return memory.bytes


print(json.dumps([peak_growth(n) for n in (150, 200, 1000)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_does_not_grow_with_the_recording(tmp_path):
    """800 more frames are 74 MB in single precision, of both channels."""
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
