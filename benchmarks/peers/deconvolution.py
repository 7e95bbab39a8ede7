"""Run in the peers' own environment: ``python peers/deconvolution.py NAME FOLDER …``.

The environment is made by ``deconvolution.sh`` beside this file. Reads the folders that
:mod:`benchmarks.deconvolution` has written, and leaves ``NAME.npz`` there: the shares,
the seconds that they took, and what they were made of and by.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import gammaln

# Noise of RCTD in hundredths, 10 to 200. Without it RCTD estimates it, which takes
# longer than the rest.
SIGMA = os.environ.get("RCTD_SIGMA")
# Counts above are clipped. Its grid of means ends at 1600, so that tables for larger
# counts could not be fitted by a mean either.
K_VAL = 1600
PACKAGES = {
    "FlashDeconv": ("flashdeconv", "numba"),
    "TACCO": ("tacco", "pandas"),
    "RCTD": ("rctd-py", "torch"),
}


def main(name: str, *folders: str) -> None:
    warnings.simplefilter("ignore")
    if name == "versions":
        print(json.dumps({each: made_by(each) for each in PACKAGES}))
        return
    if name == "many":
        many(Path(folders[0]))
        return
    run = {"FlashDeconv": flashdeconv, "TACCO": tacco, "RCTD": rctd}[name]
    for i, folder in enumerate(map(Path, folders)):
        try:
            if i == 0 and name != "RCTD":  # imports and compilation are not counted
                run(*read(folder))
            if name == "RCTD":
                keep_tables()
            start, cpu = time.perf_counter(), time.process_time()
            shares = run(*read(folder))
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        except Exception as error:  # noqa: BLE001
            print(f"{name} failed on {folder}: {error!r}", file=sys.stderr)
            continue
        types = json.loads((folder / "names.json").read_text())["types"]
        write(
            folder / f"{name}.npz",
            shares=shares.reindex(columns=types).fillna(0).to_numpy(),
            seconds=seconds,
            cpu=cpu,
            section=(folder / "stamp.txt").read_text(),
            made_by=made_by(name),
        )
        print(f"{name} on {folder.name}: {cpu:.1f} s", file=sys.stderr, flush=True)


def made_by(name: str) -> str:
    """Versions, and what of this file decides the result."""
    found = [f"{each} {version(each)}" for each in (*PACKAGES[name], "numpy")]
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    noise = f", sigma {SIGMA}" if SIGMA and name == "RCTD" else ""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"{', '.join(found)}, Python {python}{noise}; script {code}"


def read(folder: Path):
    """Locations and reference."""
    names = json.loads((folder / "names.json").read_text())
    spots = ad.AnnData(
        sp.load_npz(folder / "spots.npz").astype(np.float32).tocsr(),
        obs=pd.DataFrame(index=names["spots"]),
        var=pd.DataFrame(index=names["spot_genes"]),
    )
    spots.obsm["spatial"] = np.load(folder / "coords.npy")
    cells = ad.AnnData(
        sp.load_npz(folder / "cells.npz").astype(np.float32).tocsr(),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(names["labels"])},
            index=[f"c{i}" for i in range(len(names["labels"]))],
        ),
        var=pd.DataFrame(index=names["cell_genes"]),
    )
    return spots, cells


def flashdeconv(spots, cells):
    from flashdeconv.tl import deconvolve

    deconvolve(spots, cells, cell_type_key="cell_type")
    return pd.DataFrame(spots.obsm["flashdeconv"])


def tacco(spots, cells):
    import tacco

    tacco.tl.annotate(spots, cells, "cell_type", result_key="tacco", verbose=0)
    found = spots.obsm["tacco"]
    # Locations and genes that it filters out are missing.
    return found.reindex(spots.obs_names)


def rctd(spots, cells):
    """Full mode, which does not limit the number of types; no cells or spots dropped."""
    from rctd import RCTDConfig, Reference, run_rctd

    config = RCTDConfig(
        UMI_min=1,
        counts_MIN=0,
        UMI_min_sigma=50,
        K_val=K_VAL,
        device="cpu",
        compile=False,
    )
    reference = Reference(cells, cell_type_col="cell_type", cell_min=2, min_UMI=1)
    result = run_rctd(
        spots,
        reference,
        mode="full",
        config=config,
        sigma_override=int(SIGMA) if SIGMA else None,
    )
    weights = np.maximum(np.asarray(result.weights), 0)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-30)
    kept = np.asarray(result.pixel_mask)
    shares = np.tile(weights.mean(0), (spots.n_obs, 1))
    shares[kept] = weights
    return pd.DataFrame(shares, columns=list(result.cell_type_names))


@cache
def keep_tables() -> None:
    """Read RCTD's likelihood tables and their splines once, not in every call."""
    from rctd import _rctd
    from rctd._likelihood import compute_spline_coefficients

    path = Path(os.environ["RCTD_TABLES"]) / f"q_matrices-{K_VAL}.npz"
    if not path.exists():
        tables(path)
    with np.load(path) as stored:
        names = [f"Q_{SIGMA}", "X_vals"] if SIGMA else stored.files
        found = {name: stored[name] for name in names}
    splines = {
        id(table): compute_spline_coefficients(table, found["X_vals"])
        for name, table in found.items()
        if name != "X_vals"
    }
    _rctd.load_cached_q_matrices = lambda: dict(found)
    _rctd.compute_spline_coefficients = lambda table, _: splines[id(table)]


def tables(path: Path) -> None:
    """RCTD's likelihood tables by its own integral, where its download is not to be had.

    ``rctd._likelihood.compute_q_matrix`` for all values of sigma at once, on its grid:
    the Poisson probabilities are the same for all. It is compared with that function.
    """
    from rctd._likelihood import _get_q_single, _ht_pdf_norm, build_x_vals
    from rctd._sigma import SIGMA_ALL

    x = build_x_vals()
    step = 4e-3
    grid = np.arange(-5000, 5001) * step
    density = np.stack([_ht_pdf_norm(grid * 100 / s) * 100 / s for s in SIGMA_ALL], 1)
    density *= step
    rate = np.log(x)[:, None] + grid
    mean = np.exp(rate)
    found = np.empty((len(SIGMA_ALL), K_VAL + 3, len(x)))
    for k in range(K_VAL + 3):
        chance = np.exp(k * rate - mean - gammaln(k + 1))
        found[:, k] = np.log(np.maximum(chance @ density, 1e-300)).T
    for k, at in ((0, 0), (7, 40), (150, 90), (K_VAL, 125)):
        theirs = _get_q_single(x, k, SIGMA_ALL[at] / 100)
        theirs = np.log(np.maximum(theirs, 1e-300))
        np.testing.assert_allclose(found[at, k], theirs, rtol=1e-6, atol=1e-8)
    named = {f"Q_{s}": table for s, table in zip(SIGMA_ALL, found, strict=True)}
    write(path, X_vals=x, **named)


def write(path: Path, **arrays) -> None:
    """All or nothing: a run that is cut off must not leave half a file."""
    partial = path.with_name(f"partial-{path.name}")
    np.savez(partial, **arrays)
    partial.rename(path)


def many(folder: Path) -> None:
    """FlashDeconv on ready signatures: time of the second call, and memory."""
    from flashdeconv import FlashDeconv

    counts = sp.load_npz(folder / "counts.npz").astype(np.float64)
    b, xy = np.load(folder / "signatures.npy"), np.load(folder / "coords.npy")
    status, seconds, cpu = Path("/proc/self/status"), [], []

    def memory(field):
        for line in status.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        raise KeyError(field)

    small = slice(0, 2000)
    FlashDeconv().fit(counts[small], b, xy[small])
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        start, begin = time.perf_counter(), time.process_time()
        model = FlashDeconv()
        shares = model.fit(counts, b, xy).get_cell_type_proportions()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - begin)
    write(
        folder / "FlashDeconv.npz",
        shares=np.asarray(shares),
        seconds=seconds,
        cpu=cpu,
        growth=memory("VmHWM") - before,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
