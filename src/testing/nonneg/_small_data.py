"""Small data with everything that functions ask for, and files of all that are read."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._data import counts

if TYPE_CHECKING:
    from anndata import AnnData

    from nonneg.tl import MapDistances


KERNEL: dict[str, Any] = dict(
    length_scale=3.0, amplitude=1.0, temperature=1.0, max_iter=3
)

WEIGHTS: dict[str, Any] = dict(graph_weight=1.0, group_weight=0.0, effects=False)


def events() -> pd.DataFrame:
    time = np.arange(5, 37, 2) / 10
    return pd.DataFrame({"time": time, "side": ["a", "b"] * 8}).rename(index=str)


@cache
def located() -> AnnData:
    """Counts on a grid, with a fit whose variables can be frames, and all that follows."""
    import nonneg as nng

    adata = counts()
    nng.tl.nmf(adata, 3, max_iter=3, key_added="stored")
    place = np.arange(adata.n_obs)
    adata.obsm["spatial"] = np.stack([place % 12, place // 12], axis=1).astype(float)
    adata.obs["region"] = np.where(place % 12 < 5, "west", "east")
    adata.obs["hemisphere"] = np.where(place % 12 < 6, "left", "right")
    adata.obs["voxel"] = place
    adata.obs["cell_type"] = np.array(["a", "b"])[place % 2]
    adata.uns["volume"] = {
        "shape": np.array([10, 12]),
        "spacing": np.ones(2),
        "origin": np.zeros(2),
    }
    adata.var["time"] = np.arange(adata.n_vars) / 10
    adata.var["speed"] = np.random.default_rng(0).standard_normal(adata.n_vars)
    nng.tl.nmf(adata, 3, max_iter=3, key_added="movie")
    adata.uns["movie"] |= {
        "method": "widefield",
        "region": np.array(["west", "west", "east"]),
    }
    adata.uns["video"] = {"fs": 10.0, "channels": np.array(["blue"], object)}
    adata.uns["events"] = events()
    for key in ("svd", "svd_violet"):
        nng.tl.seminmf(adata, 3, max_iter=3, key_added=key)
        adata.uns[key]["method"] = "svd"
    adata.obs["svd_mean"] = 1.0
    nng.tl.region_correlation(adata, key="stored", n_surrogates=3)
    nng.tl.region_prediction(adata, "west", key="stored", n_factors=2, n_random=9)
    nng.tl.compare_patterns(adata, key="stored", baselines=["pca"])
    nng.tl.gene_importance(adata, key="stored")
    nng.tl.coexpression_network(adata, key="stored", quantile=0.8)
    few: dict[str, Any] = dict(key="movie", window=(-0.2, 0.2))
    nng.tl.event_average(adata, by="side", **few)
    nng.tl.demixed_pca(adata, "side", **few)
    nng.tl.decode_events(adata, "side", key="movie", window=(-0.2, 0), n_null=3)
    nng.tl.decode_behavior(
        adata, "speed", key="movie", window=(0, 0), n_null=3, n_folds=3
    )
    nng.tl.seed_correlation(adata, 3, key="movie")
    nng.tl.region_cca(adata, key="movie", n_shifts=4, min_shift=0.2, n_folds=2)
    nng.pp.hemodynamic_correction(adata)
    adata.uns["svd"]["singular_values"] = np.array([3.0, 2.0, 1.0])
    adata.uns["svd"]["total_variance"] = 20.0
    return adata


def _with_history(adata: AnnData) -> None:
    """As if another data set had arrived, which changed nothing."""
    w = np.asarray(adata.varm["online"])
    adata.varm["online_history"] = np.stack([w, w], axis=1)
    adata.uns["online"]["history_batch"] = np.array(["both", "another"], dtype=object)


@cache
def integrated() -> AnnData:
    import nonneg as nng

    adata = counts(seed=1)
    given: dict[str, Any] = dict(batch_key="batch", size_factors="total")
    nng.tl.online_inmf(adata, 3, n_epochs=1, key_added="online", **given)
    _with_history(adata)
    nng.tl.inmf(adata, 3, max_iter=3, **given)
    nng.tl.quantile_align(adata, min_cells=2)
    nng.tl.factor_markers(adata, min_cells=2)
    nng.tl.inmf_search(adata, [3], max_iter=3, **given)
    return adata


@cache
def deconvolved() -> tuple[AnnData, AnnData]:
    import nonneg as nng

    adata, reference = nng.datasets.spots(6, 40, 3)
    nng.tl.deconvolve(
        adata, reference, cell_type_key="cell_type", max_iter=3, **WEIGHTS
    )
    return adata, reference


@cache
def spatial() -> AnnData:
    import nonneg as nng

    adata = nng.datasets.ggblocks(8, 20)
    adata.obs["section"] = np.repeat(["a", "b"], 32)
    nng.tl.nsfh(adata, 3, **KERNEL)
    nng.tl.nsf(adata, 3, **KERNEL)
    nng.tl.compare(adata, ["intercept", "neighbors"], n_splits=1)
    nng.tl.stability(adata, [2, 3], n_bootstraps=2, max_iter=3)
    return adata


@cache
def volume() -> AnnData:
    import nonneg as nng

    adata = nng.datasets.atlas_expression((6, 6, 6), 20, 3, missing_planes=0)
    nng.tl.nmf(adata, 3, max_iter=3)
    return adata


@cache
def movie() -> AnnData:
    import nonneg as nng

    adata = nng.datasets.widefield(
        form="dense", shape=(16, 20), n_regions=2, n_frames=60, min_pixels=1
    )
    return adata


@cache
def recording() -> AnnData:
    """A session with all steps from frames to a compressed signal, and components."""
    import nonneg as nng

    adata = nng.datasets.widefield(
        form="dense",
        shape=(16, 20),
        n_regions=2,
        n_frames=60,
        min_pixels=1,
        mask=False,
    )
    nng.pp.motion_correct(adata)
    brain = adata[adata.obs["region"].notna()].copy()
    nng.pp.delta_f(brain)
    for layer in (None, "violet"):
        nng.pp.svd(brain, 5, layer=layer)
    nng.pp.hemodynamic_correction(brain)
    brain.obs["sides"] = np.asarray(brain.obs["hemisphere"])
    nng.tl.locanmf(brain, key="svd", max_rank=2, max_iter=3, min_pixels=5)
    return brain


@cache
def missing_type() -> AnnData:
    """Spots with a type that the reference lacks."""
    import nonneg as nng

    adata, reference = nng.datasets.spots(6, 40, 3)
    known = reference[reference.obs["cell_type"] != "type_2"].copy()
    nng.tl.deconvolve(adata, known, cell_type_key="cell_type", max_iter=3, **WEIGHTS)
    return adata


def distances() -> MapDistances:
    """Of the maps of three animals."""
    import nonneg as nng

    same = np.arange(12) < 3
    table = pd.DataFrame({"same_subject": same, "distance": np.arange(12.0)})
    return nng.tl.MapDistances(table, 5.0, np.zeros(9), 0.1, ["a", "b"])


# --- files ------------------------------------------------------------------------------

_HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
ElementSpacing = 200 200 200
DimSize = 5 4 6
ElementType = {kind}
ElementDataFile = {name}.raw
"""
_POSE = "scorer,net,net,net\nbodyparts,paw,paw,paw\ncoords,x,y,likelihood\n"


@cache
def scratch() -> Path:
    """A folder that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="nonneg-mistakes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def files() -> Path:
    """A folder with a file, or a folder of files, of every kind that is read."""
    folder = scratch() / "sound"
    folder.mkdir()
    rng = np.random.default_rng(0)
    _write_grids(folder, rng)
    _write_agea(folder / "agea", rng)
    _write_recordings(folder, rng)
    table = pd.DataFrame({"onset": [2.5, 1.0, 4.0], "side": ["left", "right", "left"]})
    table.to_csv(folder / "events.csv", index=False)
    table.to_csv(folder / "events.tsv", index=False, sep="\t")
    table.to_parquet(folder / "events.parquet")
    np.save(folder / "events.npy", table["onset"])
    rows = "".join(f"{i},{10 + i}.5,20.0,0.9{i}\n" for i in range(6))
    (folder / "pose.csv").write_text(_POSE + rows)
    return folder


def _write_grids(folder: Path, rng: np.random.Generator) -> None:
    inside = np.zeros((5, 4, 6), np.uint32)
    inside[1:4, 1:3, 1:5] = 5
    volumes = {"one": rng.gamma(1, 1, inside.shape), "two": inside + 1.0}
    for name, values in volumes.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(
                "energy.mhd", _HEADER.format(kind="MET_FLOAT", name="energy")
            )
            archive.writestr("energy.raw", values.astype(np.float32).tobytes(order="F"))
    header = _HEADER.format(kind="MET_UINT", name="annotation")
    (folder / "annotation.mhd").write_text(header)
    (folder / "annotation.raw").write_bytes(inside.tobytes(order="F"))


def _write_agea(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    shape = (58, 41, 67)
    volumes = rng.gamma(1, 1, (3, *shape)).astype(np.float16)
    for name in ("gene-expression.bin", "gene-expression-processed.bin"):
        volumes.tofile(folder / name)
    labels = np.zeros(shape, np.int16)
    labels[20:29, 5:15, 4:20] = 3
    labels[29:38, 5:15, 4:20] = 3 + 2
    np.save(folder / "label.npy", labels)
    pd.DataFrame({"id": ["11", "12", "13"], "gene": ["a", "b", "b"]}).to_parquet(
        folder / "gene-expression.pqt"
    )
    ids = {"id": [0, 997, 8, 567], "acronym": ["void", "root", "grey", "CH"]}
    parents = {"parent_structure_id": [np.nan, np.nan, 997, 8]}
    pd.DataFrame({**ids, **parents}).to_csv(folder / "structures.csv", index=False)


def _write_recordings(folder: Path, rng: np.random.Generator) -> None:
    import h5py
    import tifffile

    frames = rng.poisson(100, (24, 6, 8)).astype(np.uint16)
    np.save(folder / "frames.npy", frames)
    frames.tofile(folder / "frames.dat")
    tifffile.imwrite(folder / "frames.tif", frames)
    with h5py.File(folder / "frames.h5", "w") as file:
        file["frames"] = frames
    wfield, cortexlab = folder / "wfield", folder / "cortexlab"
    for each in (wfield, cortexlab):
        each.mkdir()
    np.save(wfield / "U.npy", rng.normal(size=(6, 8, 3)))
    np.save(wfield / "SVT.npy", rng.normal(size=(3, 40)))
    np.save(wfield / "SVTcorr.npy", rng.normal(size=(3, 20)))
    places = {"name": ["OB", "RSP"], "x": [0.0, 1.0], "y": [0.0, 2.0]}
    landmarks = {
        "landmarks": places,
        "landmarks_im": places,
        "landmarks_match": places,
        "transform": np.eye(3).tolist(),
        "bregma_offset": [3, 4],
        "resolution": 0.02,
    }
    (wfield / "dorsal_cortex_landmarks.json").write_text(json.dumps(landmarks))
    u = np.asfortranarray(rng.normal(size=(6, 8, 4)))
    np.save(cortexlab / "svdSpatialComponents.npy", u)
    np.save(cortexlab / "svdTemporalComponents.npy", rng.normal(size=(30, 4)))
    np.save(cortexlab / "svdTemporalComponents.timestamps.npy", np.arange(30) / 10)
    np.save(cortexlab / "meanImage.npy", rng.random((6, 8)))
