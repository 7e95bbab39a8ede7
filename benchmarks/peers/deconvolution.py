"""Run in the peers' own environment: ``python peers/deconvolution.py NAME FOLDER …``.

The environment is made by ``deconvolution.sh`` beside this file. Reads the folders that
:mod:`benchmarks.deconvolution` has written, and leaves ``NAME.npz`` there: the shares
and the seconds that they took.
"""

from __future__ import annotations

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
# minutes for each section on few cores.
SIGMA = os.environ.get("RCTD_SIGMA")


def main(name: str, *folders: str) -> None:
    warnings.simplefilter("ignore")
    if name == "versions":
        names = ("flashdeconv", "tacco", "rctd-py", "torch", "pandas", "numpy")
        print(", ".join(f"{each} {version(each)}" for each in names))
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
            start = time.perf_counter()
            shares = run(*read(folder))
            seconds = time.perf_counter() - start
        except Exception as error:  # noqa: BLE001
            print(f"{name} failed on {folder}: {error!r}", file=sys.stderr)
            continue
        types = json.loads((folder / "names.json").read_text())["types"]
        values = shares.reindex(columns=types).fillna(0).to_numpy()
        np.savez(folder / f"{name}.npz", shares=values, seconds=seconds)


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
        UMI_min=1, counts_MIN=0, UMI_min_sigma=50, device="cpu", compile=False
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

    with np.load(os.environ["RCTD_Q_MATRICES"]) as stored:
        names = [f"Q_{SIGMA}", "X_vals"] if SIGMA else stored.files
        found = {name: stored[name] for name in names}
    splines = {
        id(table): compute_spline_coefficients(table, found["X_vals"])
        for name, table in found.items()
        if name != "X_vals"
    }
    _rctd.load_cached_q_matrices = lambda: dict(found)
    _rctd.compute_spline_coefficients = lambda table, _: splines[id(table)]


def tables(path: Path, largest: int = 1000, step: float = 0.01) -> None:
    """RCTD's likelihood tables by its own integral, where its download is not to be had.

    ``rctd._likelihood.compute_q_matrix`` for all values of sigma at once: the Poisson
    probabilities are the same for all. It has steps of 0.004.
    """
    from rctd._likelihood import _ht_pdf_norm, build_x_vals
    from rctd._sigma import SIGMA_ALL

    x = build_x_vals()
    grid = np.arange(-20, 20 + step / 2, step)
    density = np.stack([_ht_pdf_norm(grid * 100 / s) * 100 / s for s in SIGMA_ALL], 1)
    density *= step
    rate = np.log(x)[:, None] + grid
    mean = np.exp(rate)
    found = np.empty((len(SIGMA_ALL), largest + 3, len(x)))
    for k in range(largest + 3):
        chance = np.exp(k * rate - mean - gammaln(k + 1))
        found[:, k] = np.log(np.maximum(chance @ density, 1e-300)).T
    named = {f"Q_{s}": table for s, table in zip(SIGMA_ALL, found, strict=True)}
    np.savez(path, X_vals=x, **named)


def many(folder: Path) -> None:
    """FlashDeconv on ready signatures: time of the second call, and memory."""
    from flashdeconv import FlashDeconv

    counts = sp.load_npz(folder / "counts.npz").astype(np.float64)
    b, xy = np.load(folder / "signatures.npy"), np.load(folder / "coords.npy")
    status, seconds = Path("/proc/self/status"), []

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
        start = time.perf_counter()
        model = FlashDeconv()
        shares = model.fit(counts, b, xy).get_cell_type_proportions()
        seconds.append(time.perf_counter() - start)
    np.savez(
        folder / "FlashDeconv.npz",
        shares=np.asarray(shares),
        seconds=seconds,
        growth=memory("VmHWM") - before,
    )


if __name__ == "__main__":
    if sys.argv[1] == "tables":
        tables(Path(sys.argv[2]))
    else:
        main(*sys.argv[1:])
