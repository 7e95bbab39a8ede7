"""Small right calls of all public functions, to make mistakes in."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._data import counts
from ._small_data import (
    KERNEL,
    WEIGHTS,
    deconvolved,
    distances,
    events,
    files,
    integrated,
    located,
    missing_type,
    movie,
    recording,
    spatial,
    volume,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    type Make = Callable[[], dict[str, Any]]


def calls() -> dict[str, Make]:
    """Small right calls of functions, by name, as all their arguments.

    Where a function has several, a word behind its name tells them apart.
    """
    return {**_data_calls(), **_plot_calls(), **_reader_calls(), **_atlas_calls()}


def _of(make: Callable[[], AnnData], **kwargs: Any) -> Make:
    return lambda: {"adata": make().copy(), **copy.deepcopy(kwargs)}


def _data_calls() -> dict[str, Make]:
    import nonneg as nng

    def pair(**kwargs: Any) -> Make:
        def make() -> dict[str, Any]:
            adata, reference = deconvolved()
            return {
                "adata": adata.copy(),
                "reference": reference.copy(),
                "cell_type_key": "cell_type",
                **kwargs,
            }

        return make

    given: dict[str, Any] = dict(batch_key="batch", size_factors="total")
    random = np.random.default_rng(0).random
    found: dict[str, Make] = {
        "tl.nmf": _of(located, n_components=3, max_iter=3),
        "tl.seminmf": _of(located, n_components=3, max_iter=3),
        "tl.nsf": _of(spatial, n_components=3, **KERNEL),
        "tl.nsfh": _of(spatial, n_components=3, **KERNEL),
        "tl.pnmf": _of(spatial, n_components=3, max_iter=3),
        "tl.rsf": _of(
            spatial, n_components=3, length_scale=3.0, temperature=1.0, max_iter=3
        ),
        "tl.fa": _of(spatial, n_components=3, max_iter=3),
        "tl.compare": _of(
            spatial, models=["intercept", "neighbors"], n_components=2, n_splits=1
        ),
        "tl.inmf": _of(integrated, n_components=3, max_iter=3, **given),
        "tl.online_inmf": lambda: {
            "data": integrated().copy(), "n_components": 3, "n_epochs": 1, **given
        },
        "tl.online_inmf_update": lambda: {
            "reference": integrated().copy(),
            "data": counts(seed=2),
            "batch": "c",
            "key": "online",
        },
        "tl.inmf_search": _of(integrated, n_components=[3], max_iter=3, **given),
        "tl.project": lambda: {
            "adata": counts(), "reference": located().copy(), "key": "stored"
        },
        "tl.quantile_align": _of(integrated, min_cells=2),
        "tl.centroid_align": _of(integrated),
        "tl.factor_markers": _of(integrated, min_cells=2),
        "tl.region_correlation": _of(located, key="stored", n_surrogates=3),
        "tl.region_prediction": _of(
            located, region="west", key="stored", n_factors=2, n_random=9
        ),
        "tl.compare_patterns": _of(located, key="stored", baselines=["pca"]),
        "tl.deconvolve": pair(max_iter=3, **WEIGHTS),
        "tl.learn_deconvolution": pair(
            n_maps=2, n_validation=1, n_layers=2, max_iter=2
        ),
        "tl.predict": _of(spatial, coords=np.ones((2, 2))),
        "tl.stability": _of(
            spatial, n_components=[2, 3], n_bootstraps=2, max_iter=3
        ),
        "tl.gene_importance": _of(located, key="stored"),
        "tl.coexpression_network": _of(located, key="stored", quantile=0.8),
        "tl.locanmf": _of(located, key="stored", max_rank=2, max_iter=3),
        "tl.region_traces": _of(located, key="stored"),
        "tl.region_cca": _of(
            located, key="movie", n_shifts=4, min_shift=0.2, n_folds=2
        ),
        "tl.seed_correlation": _of(located, seeds=3, key="movie"),
        "tl.event_average": _of(
            located, key="movie", by="side", window=(-0.2, 0.2)
        ),
        "tl.demixed_pca": _of(located, by="side", key="movie", window=(-0.2, 0.2)),
        "tl.decode_events": _of(
            located, label="side", key="movie", window=(-0.2, 0), n_null=3
        ),
        "tl.decode_behavior": _of(
            located,
            column="speed",
            key="movie",
            window=(0, 0),
            n_null=3,
            n_folds=3,
        ),
        "tl.match_components": lambda: {
            "adata": located().copy(), "other": located().copy(), "key": "movie"
        },
        "tl.map_distances": lambda: {
            "sessions": dict.fromkeys(("one", "two", "three"), located()),
            "key": "movie",
            "subjects": {"one": "a", "two": "a", "three": "b"},
            "n_permutations": 9,
        },
        "tl.compare_atlases": _of(
            recording,
            region_keys=["region", "sides"],
            max_rank=1,
            max_iter=2,
            min_pixels=5,
            r2_threshold=0,
        ),
        "pp.align_events": _of(located, events=events()),
        "pp.align_behavior": _of(
            located,
            behavior=pd.DataFrame({"speed": np.arange(50.0)}, index=np.arange(50) / 10),
        ),
        "pp.average_experiments": _of(located, gene_key="used"),
        "pp.deviant_genes": _of(located, n_top_genes=10),
        "pp.impute_knn": _of(volume),
        "pp.correct_slices": _of(volume),
        "pp.mirror_hemispheres": _of(volume),
        "pp.motion_correct": _of(movie),
        "pp.delta_f": _of(movie),
        "pp.svd": _of(located, n_components=3, key_added="new"),
        "pp.hemodynamic_correction": _of(located),
        "pp.signatures": lambda: {
            "reference": deconvolved()[1].copy(), "cell_type_key": "cell_type"
        },
        "atlas.align": _of(
            located,
            landmarks={"a": (0, 0), "b": (1, 0)},
            targets={"a": (2, 2), "b": (2, 4)},
        ),
        "atlas.annotate": lambda: {
            "adata": located().copy(),
            "atlas": nng.atlas.Atlas.from_arrays(np.ones((10, 12), int)),
        },
        "get.factors": _of(located, key="stored"),
        "get.factor_df": _of(located, key="stored"),
        "get.loadings_df": _of(located, key="stored"),
        "get.factor_correlation": _of(located, other="region", key="stored"),
        "get.comparison": _of(spatial),
        "get.top_genes": _of(located, n=3, key="stored"),
        "get.image": _of(located, values="gene_0"),
        "get.region_sets": _of(located, key="stored"),
        "get.marker_overlap": _of(
            located, markers={"a": ["gene_0", "gene_1"]}, key="stored"
        ),
        "get.coexpression_graph": _of(located, key="stored"),
        "get.dataset_specificity": _of(integrated),
        "get.cluster_composition": _of(integrated),
        "get.cell_type_counts": lambda: {
            "adata": deconvolved()[0].copy(), "cell_type": "type_0"
        },
        "get.dominant_type": lambda: {"adata": deconvolved()[0].copy()},
        "get.presence": lambda: {"adata": deconvolved()[0].copy()},
        "metrics.agreement": lambda: {
            "x": random((20, 3)),
            "references": {"a": random((10, 3)), "b": random((10, 3))},
            "batches": ["a"] * 10 + ["b"] * 10,
            "n_neighbors": 3,
        },
        "metrics.alignment": lambda: {
            "x": random((20, 3)), "batches": ["a"] * 10 + ["b"] * 10
        },
        "metrics.purity": lambda: {
            "clusters": ["a"] * 10 + ["b"] * 10, "labels": ["c", "d"] * 10
        },
        "metrics.match_factors": lambda: {"a": random((9, 3)), "b": random((9, 3))},
        "metrics.poisson_deviance": lambda: {
            "y": np.arange(12.0).reshape(4, 3), "mu": 1 + random((4, 3))
        },
        "metrics.r2": lambda: {
            "x": random((9, 5)), "scores": random((9, 2)), "loadings": random((5, 2))
        },
        "metrics.instability": lambda: {"patterns": [random((9, 3)), random((9, 3))]},
        "metrics.localization": lambda: {
            "footprints": random((9, 2)),
            "regions": ["a"] * 5 + ["b"] * 4,
            "component_regions": ["a", "b"],
        },
        "metrics.region_auc": lambda: {
            "patterns": random((9, 2)), "inside": np.arange(9) < 4
        },
        "metrics.marker_agreement": lambda: {
            "counts": np.arange(20.0).reshape(5, 4),
            "shares": pd.DataFrame(random((5, 2)), columns=["a", "b"]),
            "markers": {"a": ["g0"], "b": ["g1", "g2"]},
            "genes": ["g0", "g1", "g2", "g3"],
        },
        "datasets.ggblocks": lambda: {"size": 6, "n_genes": 12},
        "datasets.quilt": lambda: {"size": 12, "n_genes": 12},
        "datasets.batches": lambda: {
            "n_obs": (20, 10), "n_vars": 15, "n_components": 2
        },
        "datasets.spots": lambda: {"size": 5, "n_genes": 20, "n_types": 3},
        "datasets.widefield": lambda: {
            "shape": (12, 16), "n_regions": 2, "n_frames": 30, "min_pixels": 1
        },
        "datasets.widefield paper": lambda: {
            "kind": "paper",
            "shape": (12, 16),
            "n_regions": 2,
            "n_frames": 30,
            "min_pixels": 1,
        },
        "datasets.atlas_expression": lambda: {
            "labels": (6, 6, 6), "n_genes": 12, "n_components": 2
        },
        "io.align_clocks": lambda: {
            "pulses": np.arange(9.0), "reference": 2 * np.arange(9.0) + 1
        },
        "io.ttl_onsets": lambda: {
            "trace": np.r_[np.zeros(5), np.ones(5), np.zeros(5), np.ones(5)], "fs": 10.0
        },
        "io.from_svd": lambda: {
            "U": random((20, 3)), "SVT": random((3, 30)), "fs": 10.0, "shape": (4, 5)
        },
    }  # fmt: skip
    for name in ("composition_correlation", "composition_divergence",
                 "composition_error", "composition_rmse", "presence_aupr"):  # fmt: skip
        found[f"metrics.{name}"] = lambda: {
            "estimate": random((9, 3)) / 3, "truth": random((9, 3)) / 3
        }  # fmt: skip
    return found


def _plot_calls() -> dict[str, Make]:
    drawn: dict[str, tuple[Callable[[], AnnData], dict[str, Any]]] = {
        name: (located, {"key": "stored"})
        for name in (
            "loadings",
            "factor_maps",
            "objective",
            "gene_importance",
            "top_genes",
            "coexpression_network",
            "region_correlation",
            "region_matrix",
            "region_prediction",
            "region_sets",
        )
    }
    drawn |= {
        name: (located, {"key": "movie"})
        for name in ("event_average", "traces", "decoding", "region_cca",
                     "demixed_pca", "footprints", "decoded_trace", "seed_correlation")
    }  # fmt: skip
    drawn |= {
        "inmf_search": (integrated, {}),
        "metagenes": (integrated, {"n_genes": 2}),
        "shared_change": (integrated, {"key": "online"}),
        "shared_history": (integrated, {"key": "online"}),
        "cluster_composition": (integrated, {}),
        "cluster_dots": (integrated, {}),
        "comparison": (spatial, {}),
        "factor_correlation": (located, {"other": "region", "key": "stored"}),
        "spatial_importance": (spatial, {}),
        "stability": (spatial, {}),
        "deconvolution": (lambda: deconvolved()[0], {}),
        "presence": (lambda: deconvolved()[0], {}),
        "type_correlation": (lambda: deconvolved()[0], {}),
        "hemodynamic_maps": (located, {}),
        "svd_variance_ratio": (located, {}),
        "compare_patterns": (located, {}),
        "region_map": (located, {"values": {"west": 1.0, "east": 2.0}}),
        "canonical_pair": (
            located,
            {"region": "west", "other": "east", "key": "movie"},
        ),
        "volume_maps": (volume, {}),
        "factor_merge": (located, {"key": "stored"}),
        "motion": (recording, {}),
        "widefield_report": (recording, {}),
        "region_quality": (recording, {}),
        "movie": (recording, {"step": 20}),
        "missing_type": (missing_type, {}),
        "marker_agreement": (
            lambda: deconvolved()[0],
            {"markers": {"type_0": ["gene_3", "gene_8"], "type_1": ["gene_5"]}},
        ),
    }
    found = {f"pl.{name}": _of(make, **given) for name, (make, given) in drawn.items()}
    found["pl.map_distances"] = lambda: {"distances": distances()}
    return found


def _reader_calls() -> dict[str, Make]:
    def at(name: str, argument: str = "path", **kwargs: Any) -> Make:
        return lambda: {argument: files() / name, **kwargs}

    source = "source"
    two = ["blue", "violet"]
    return {
        "io.read_events csv": at("events.csv"),
        "io.read_events tsv": at("events.tsv", unit="ms"),
        "io.read_events parquet": at("events.parquet", time_column="onset"),
        "io.read_events npy": at("events.npy"),
        "io.read_pose": at("pose.csv", fs=100),
        "io.read_wfield": at("wfield", fs=15),
        "io.read_wfield raw": at("wfield", fs=15, corrected=False),
        "io.read_cortexlab": at("cortexlab", n_components=2),
        "io.read_agea": at("agea", "folder", genes=["a"], lazy=False),
        "io.read_agea structures": lambda: {
            "folder": files() / "agea",
            "structures": files() / "agea" / "structures.csv",
        },
        "io.read_allen_grid": lambda: {
            "path": {"a": files() / "one.zip", "b": files() / "two.zip"},
            "annotation": files() / "annotation.mhd",
        },
        "io.read_allen_grid one": at("one.zip"),
        "io.read_video npy": at("frames.npy", source, fs=10.0, channels=two),
        "io.read_video raw": at(
            "frames.dat", source, fs=10.0, shape=(6, 8), dtype="uint16"
        ),
        "io.read_video tiff": at("frames.tif", source, fs=10.0, lazy=False),
        "io.read_video hdf5": at("frames.h5", source, fs=10.0, binning=2),
        "io.read_video array": lambda: {
            "source": np.ones((12, 4, 5), np.uint8), "fs": 10.0, "channels": two
        },
    }  # fmt: skip


def _atlas_calls() -> dict[str, Make]:
    """Of the atlas, its methods, and those of other classes."""
    import nonneg as nng

    labels = np.array([[[0, 3, 3], [2, 4, 4]], [[0, 3, 3], [1, 4, 0]]])
    tree = pd.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "acronym": ["brain", "CTX", "MO", "TH"],
            "parent": [0, 1, 2, 1],
        }
    )

    def of(**kwargs: Any) -> Make:
        return lambda: {
            "self": nng.atlas.Atlas.from_arrays(labels, tree),
            **copy.deepcopy(kwargs),
        }

    return {
        "atlas.load": lambda: {"name": "example_mouse_100um"},
        "atlas.Atlas.from_arrays": lambda: {
            "labels": labels.copy(), "structures": tree.copy(), "spacing": 0.5
        },
        "atlas.Atlas.find": of(node="CTX"),
        "atlas.Atlas.ancestors": of(node="MO"),
        "atlas.Atlas.children": of(node=1),
        "atlas.Atlas.descendants": of(node=1),
        "atlas.Atlas.at_level": of(level=1),
        "atlas.Atlas.mask": of(node="CTX"),
        "atlas.Atlas.dorsal": of(regions=["CTX"]),
        "atlas.Atlas.group": of(level=1),
        "atlas.Atlas.targets": of(regions=["CTX", "TH"]),
        "io.Clock.__call__": lambda: {
            "self": nng.io.Clock(2.0, 1.0, np.zeros(3), 0), "times": [0.0, 1.0]
        },
    }  # fmt: skip
