"""Sections with known truth, simulated or made of real cells, and their folders.

They are made by `deconvolution_workloads.py` and `workloads.py`, which are looked for in
``$NONNEG_CHECK``, by default beside the data of ``$NONNEG_DATA``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    type Floats = NDArray[np.floating[Any]]

DATA = Path(os.environ.get("NONNEG_DATA", Path(__file__).parents[2] / "shared/data"))
CHECK = Path(os.environ.get("NONNEG_CHECK", DATA.parent / "check"))

# What the truth of a workload is: shares of RNA, or of cells.
WORKLOADS = {
    "W5": "rna",
    "PDAC 5 types, clean": "rna",
    "PDAC 5 types, noisy": "rna",
    "osmFISH bins": "cells",
    "PDAC held-out cells": "cells",
}
# A quick run has so many locations.
_QUICK = 80


@dataclass(frozen=True)
class Section:
    """Locations, a reference, and the true shares where there is a truth."""

    spots: ad.AnnData
    cells: ad.AnnData
    truth: Floats | None

    @property
    def types(self) -> list[str]:
        return sorted(set(self.cells.obs["cell_type"]))

    @cached_property
    def stamp(self) -> str:
        """Digest of all that a method is given."""
        arrays: list[Any] = [self.spots.obsm["spatial"]]
        for x in (sp.csr_matrix(self.spots.X), sp.csr_matrix(self.cells.X)):
            arrays += [x.data, x.indices, x.indptr]
        return digest(
            *(np.ascontiguousarray(array).tobytes() for array in arrays),
            json.dumps(_names(self)).encode(),
        )

    def first(self, n: int) -> Section:
        truth = None if self.truth is None else self.truth[:n]
        return Section(self.spots[:n].copy(), self.cells, truth)

    def shuffled(self, seed: int) -> Section:
        """The same with coordinates that say nothing."""
        order = np.random.default_rng(seed).permutation(self.spots.n_obs)
        spots = self.spots.copy()
        spots.obsm["spatial"] = spots.obsm["spatial"][order]
        return Section(spots, self.cells, self.truth)

    def signatures(self) -> Floats:
        """Mean counts of a cell of each type, pooled."""
        x, labels = self.cells.X, self.cells.obs["cell_type"].to_numpy(str)
        return np.stack(
            [np.asarray(x[labels == name].mean(0)).ravel() for name in self.types]
        )

    def shared(self) -> tuple[Floats, Floats, Floats]:
        """Counts and signatures of the shared genes, and library sizes of types."""
        genes, b = self.genes(), self.signatures()
        y = self.spots[:, genes].X.toarray().astype(np.float64)
        return y, b[:, self.cells.var_names.get_indexer(genes)], b.sum(1)

    def genes(self) -> pd.Index[str]:
        """Those with counts in locations and in cells."""
        found = [
            adata.var_names[np.asarray(adata.X.sum(0)).ravel() > 0]
            for adata in (self.cells, self.spots)
        ]
        return found[0].intersection(found[1])


def digest(*parts: bytes | Path) -> str:
    """Of bytes, and of the contents of files."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.read_bytes() if isinstance(part, Path) else part)
        found.update(b"\0")
    return found.hexdigest()[:12]


def sources(*paths: Path) -> str:
    """Digest of Python files, and of those in folders."""
    files: Iterable[Path] = (
        file
        for path in paths
        for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))
    )
    return digest(*files)


@cache
def section(name: str, seed: int, *, quick: bool = False) -> Section:
    """A section with truth; of its first locations in a quick run."""
    found = _section(name, seed)
    return found.first(_QUICK) if quick else found


def _section(name: str, seed: int) -> Section:
    if name == "W5":
        d = _module("workloads").w5(seed=seed)
        genes = [f"g{i:05d}" for i in range(d["sc"].shape[1])]
        types = [f"ct{k}" for k in range(d["P"].shape[1])]
        cells = ad.AnnData(d["sc"], var=pd.DataFrame(index=genes))
        cells.obs["cell_type"] = np.array(types)[d["lab"]]
        spots = ad.AnnData(d["st"], var=pd.DataFrame(index=genes))
        spots.obsm["spatial"], truth = d["xy"], d["P"]
    else:
        module = _module("deconvolution_workloads")
        cells, spots = {
            "PDAC 5 types, clean": lambda: module.pdac("clean", seed=seed),
            "PDAC 5 types, noisy": lambda: module.pdac("noisy", seed=seed),
            "osmFISH bins": lambda: module.osm(seed=seed),
            "PDAC held-out cells": lambda: module.pdac_cells(seed=seed),
        }[name]()
        cells.obs["cell_type"] = cells.obs["cellType"].astype(str)
        truth = spots.obsm["prop"]
        truth = truth[sorted(truth.columns)].to_numpy()
        del spots.obsm["prop"]
    return Section(spots, cells, np.asarray(truth))


def halves(seed: int, side: int = 20) -> tuple[Section, NDArray[np.intp]]:
    """One type on the left and one on the right, and columns from the border."""
    found = section("W5", seed)
    rng = np.random.default_rng(seed)
    b = found.signatures()
    b = b / b.sum(1, keepdims=True)
    yy, xx = np.mgrid[0:side, 0:side]
    right = (xx.ravel() >= side // 2).astype(int)
    depth = rng.lognormal(np.log(2000), 0.4, (side * side, 1))
    noise = rng.gamma(4, 0.25, (side * side, b.shape[1]))
    counts = rng.poisson(depth * noise * b[right]).astype(np.float32)
    spots = ad.AnnData(sp.csr_matrix(counts), var=found.spots.var)
    spots.obsm["spatial"] = np.c_[xx.ravel(), yy.ravel()].astype(float)
    inside = np.where(right, xx.ravel() - side // 2, side // 2 - 1 - xx.ravel())
    return Section(spots, found.cells, np.eye(len(b))[right]), inside


def real() -> Section:
    """PDAC-A, with its annotated regions, which no method is given."""
    cells = ad.read_h5ad(DATA / "pdac_a_scrna.h5ad")
    cells.obs_names = [f"c{i}" for i in range(cells.n_obs)]
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(str)
    spots = ad.read_h5ad(DATA / "pdac_a_spatial.h5ad")
    regions = pd.read_csv(DATA / "pdac_a_regions.csv", index_col="spot")["region"]
    spots.obs["region"] = regions.reindex(spots.obs_names).to_numpy()
    for adata in (cells, spots):
        adata.var_names_make_unique()
        adata.X = sp.csr_matrix(adata.X).astype(np.float32)
    return Section(spots, cells, None)


def write_section(folder: Path, found: Section) -> None:
    """Files that any environment can read; results for another section are removed."""
    stamp = folder / "stamp.txt"
    if stamp.exists() and stamp.read_text() == found.stamp:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sp.save_npz(folder / "spots.npz", sp.csr_matrix(found.spots.X))
    sp.save_npz(folder / "cells.npz", sp.csr_matrix(found.cells.X))
    np.save(folder / "coords.npy", np.asarray(found.spots.obsm["spatial"], float))
    (folder / "names.json").write_text(json.dumps(_names(found)))
    stamp.write_text(found.stamp)


def write_many(root: Path, n: int) -> Path:
    """Many shallow locations with ready signatures; the folder."""
    module = CHECK / "deconvolution_workloads.py"
    folder = root / f"many-{n}-{digest(module)}"
    if not (folder / "coords.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        d = _module("deconvolution_workloads").many_spots(n)
        sp.save_npz(folder / "counts.npz", d["Y"], compressed=False)
        np.save(folder / "signatures.npy", d["B"])
        np.save(folder / "truth.npy", d["P"])
        np.save(folder / "coords.npy", d["xy"])
    return folder


def _names(found: Section) -> dict[str, list[str]]:
    return {
        "types": found.types,
        "spots": list(found.spots.obs_names),
        "spot_genes": list(found.spots.var_names),
        "cell_genes": list(found.cells.var_names),
        "labels": list(found.cells.obs["cell_type"].to_numpy(str)),
    }


@cache
def _module(name: str) -> Any:
    path = CHECK / f"{name}.py"
    if not path.exists():
        msg = f"{path} is not there; set NONNEG_DATA, or NONNEG_CHECK."
        raise FileNotFoundError(msg)
    os.environ.setdefault("NONNEG_DATA", str(DATA))
    os.environ.setdefault("WORKLOADS", os.environ.get("TMPDIR", "/tmp"))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
