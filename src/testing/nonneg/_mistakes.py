"""Random mistakes in calls of all public functions, and what must not come of them."""

from __future__ import annotations

import copy
import inspect
import signal
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from nonneg._core.arguments import is_ours

from ._data import counts
from ._public import public_functions
from ._snapshot import assert_same, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    type Make = Callable[[], dict[str, Any]]

# What the public functions may raise, as their conventions say.
DOCUMENTED = (TypeError, ValueError, KeyError, ImportError, OSError)

_KERNEL: dict[str, Any] = dict(
    length_scale=3.0, amplitude=1.0, temperature=1.0, max_iter=3
)


def _events() -> pd.DataFrame:
    time = np.arange(5, 37, 2) / 10
    return pd.DataFrame({"time": time, "side": ["a", "b"] * 8}).rename(index=str)


@cache
def _located() -> AnnData:
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
    adata.uns["events"] = _events()
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
def _integrated() -> AnnData:
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
def _deconvolved() -> tuple[AnnData, AnnData]:
    import nonneg as nng

    adata, reference = nng.datasets.spots(6, 40, 3)
    nng.tl.deconvolve(
        adata, reference, cell_type_key="cell_type", max_iter=3, **_WEIGHTS
    )
    return adata, reference


_WEIGHTS: dict[str, Any] = dict(graph_weight=1.0, group_weight=0.0, effects=False)


@cache
def _spatial() -> AnnData:
    import nonneg as nng

    adata = nng.datasets.ggblocks(8, 20)
    adata.obs["section"] = np.repeat(["a", "b"], 32)
    nng.tl.nsfh(adata, 3, **_KERNEL)
    nng.tl.nsf(adata, 3, **_KERNEL)
    nng.tl.compare(adata, ["intercept", "neighbors"], n_splits=1)
    nng.tl.stability(adata, [2, 3], n_bootstraps=2, max_iter=3)
    return adata


@cache
def _volume() -> AnnData:
    import nonneg as nng

    adata = nng.datasets.atlas_expression((6, 6, 6), 20, 3, missing_planes=0)
    nng.tl.nmf(adata, 3, max_iter=3)
    return adata


@cache
def _movie() -> AnnData:
    import nonneg as nng

    adata = nng.datasets.widefield(
        form="dense", shape=(16, 20), n_regions=2, n_frames=60, min_pixels=1
    )
    return adata


def _types(adata: AnnData) -> pd.DataFrame:
    means = 1.0 + np.arange(2 * adata.n_vars).reshape(2, -1) % 7
    return pd.DataFrame(means, index=["a", "b"], columns=adata.var_names)


def calls() -> dict[str, Make]:
    """Small right calls of functions, by name, as all their arguments."""
    import nonneg as nng

    located, integrated, spatial = _located, _integrated, _spatial

    def of(make: Callable[[], AnnData], **kwargs: Any) -> Make:
        return lambda: {"adata": make().copy(), **copy.deepcopy(kwargs)}

    def pair(**kwargs: Any) -> Make:
        def make() -> dict[str, Any]:
            adata, reference = _deconvolved()
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
        "tl.nmf": of(located, n_components=3, max_iter=3),
        "tl.seminmf": of(located, n_components=3, max_iter=3),
        "tl.nsf": of(spatial, n_components=3, **_KERNEL),
        "tl.nsfh": of(spatial, n_components=3, **_KERNEL),
        "tl.pnmf": of(spatial, n_components=3, max_iter=3),
        "tl.rsf": of(
            spatial, n_components=3, length_scale=3.0, temperature=1.0, max_iter=3
        ),
        "tl.fa": of(spatial, n_components=3, max_iter=3),
        "tl.compare": of(
            spatial, models=["intercept", "neighbors"], n_components=2, n_splits=1
        ),
        "tl.inmf": of(integrated, n_components=3, max_iter=3, **given),
        "tl.online_inmf": lambda: {
            "data": integrated().copy(), "n_components": 3, "n_epochs": 1, **given
        },
        "tl.online_inmf_update": lambda: {
            "reference": integrated().copy(),
            "data": counts(seed=2),
            "batch": "c",
            "key": "online",
        },
        "tl.inmf_search": of(integrated, n_components=[3], max_iter=3, **given),
        "tl.project": lambda: {
            "adata": counts(), "reference": located().copy(), "key": "stored"
        },
        "tl.quantile_align": of(integrated, min_cells=2),
        "tl.centroid_align": of(integrated),
        "tl.factor_markers": of(integrated, min_cells=2),
        "tl.region_correlation": of(located, key="stored", n_surrogates=3),
        "tl.region_prediction": of(
            located, region="west", key="stored", n_factors=2, n_random=9
        ),
        "tl.compare_patterns": of(located, key="stored", baselines=["pca"]),
        "tl.deconvolve": pair(max_iter=3, **_WEIGHTS),
        "tl.learn_deconvolution": pair(
            n_maps=2, n_validation=1, n_layers=2, max_iter=2
        ),
        "tl.predict": of(spatial, coords=np.ones((2, 2))),
        "tl.stability": of(
            spatial, n_components=[2, 3], n_bootstraps=2, max_iter=3
        ),
        "tl.gene_importance": of(located, key="stored"),
        "tl.coexpression_network": of(located, key="stored", quantile=0.8),
        "tl.locanmf": of(located, key="stored", max_rank=2, max_iter=3),
        "tl.region_traces": of(located, key="stored"),
        "tl.region_cca": of(
            located, key="movie", n_shifts=4, min_shift=0.2, n_folds=2
        ),
        "tl.seed_correlation": of(located, seeds=3, key="movie"),
        "tl.event_average": of(
            located, key="movie", by="side", window=(-0.2, 0.2)
        ),
        "tl.demixed_pca": of(located, by="side", key="movie", window=(-0.2, 0.2)),
        "tl.decode_events": of(
            located, label="side", key="movie", window=(-0.2, 0), n_null=3
        ),
        "tl.decode_behavior": of(
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
        "pp.align_events": of(located, events=_events()),
        "pp.align_behavior": of(
            located,
            behavior=pd.DataFrame({"speed": np.arange(50.0)}, index=np.arange(50) / 10),
        ),
        "pp.average_experiments": of(located, gene_key="used"),
        "pp.deviant_genes": of(located, n_top_genes=10),
        "pp.impute_knn": of(_volume),
        "pp.correct_slices": of(_volume),
        "pp.mirror_hemispheres": of(_volume),
        "pp.motion_correct": of(_movie),
        "pp.delta_f": of(_movie),
        "pp.svd": of(located, n_components=3, key_added="new"),
        "pp.hemodynamic_correction": of(located),
        "pp.signatures": lambda: {
            "reference": _deconvolved()[1].copy(), "cell_type_key": "cell_type"
        },
        "atlas.align": of(
            located,
            landmarks={"a": (0, 0), "b": (1, 0)},
            targets={"a": (2, 2), "b": (2, 4)},
        ),
        "atlas.annotate": lambda: {
            "adata": located().copy(),
            "atlas": nng.atlas.Atlas.from_arrays(np.ones((10, 12), int)),
        },
        "get.factors": of(located, key="stored"),
        "get.factor_df": of(located, key="stored"),
        "get.loadings_df": of(located, key="stored"),
        "get.factor_correlation": of(located, other="region", key="stored"),
        "get.top_genes": of(located, n=3, key="stored"),
        "get.image": of(located, values="gene_0"),
        "get.region_sets": of(located, key="stored"),
        "get.marker_overlap": of(
            located, markers={"a": ["gene_0", "gene_1"]}, key="stored"
        ),
        "get.coexpression_graph": of(located, key="stored"),
        "get.dataset_specificity": of(integrated),
        "get.cluster_composition": of(integrated),
        "get.cell_type_counts": lambda: {
            "adata": _deconvolved()[0].copy(), "cell_type": "type_0"
        },
        "get.dominant_type": lambda: {"adata": _deconvolved()[0].copy()},
        "get.presence": lambda: {"adata": _deconvolved()[0].copy()},
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
        "deconvolution": (lambda: _deconvolved()[0], {}),
        "presence": (lambda: _deconvolved()[0], {}),
        "type_correlation": (lambda: _deconvolved()[0], {}),
        "hemodynamic_maps": (located, {}),
        "svd_variance_ratio": (located, {}),
        "compare_patterns": (located, {}),
        "region_map": (located, {"values": {"west": 1.0, "east": 2.0}}),
        "canonical_pair": (
            located,
            {"region": "west", "other": "east", "key": "movie"},
        ),
        "volume_maps": (_volume, {}),
    }
    for name, (make, kwargs) in drawn.items():
        found[f"pl.{name}"] = of(make, **kwargs)
    return found


# Values that somebody passes by mistake where another was meant.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 5, 10**6, 2**70, 0.0, 0.5, -0.5, 1.5, 1e300, float("nan"),
    float("inf"), "", "nope", "spatial", "batch", "region", "all", "auto", "stored", b"bytes",
    [], [0], [0, 1], [1.5], ["a"], ["a", "a"], [None], (), (1, 2), (2, 1), (0.5, float("nan")),
    {}, {"a": 1}, {"nope": []}, set(), range(3), slice(2), object(), int, len, 1 + 2j,
    np.int64(2), np.float32(0.5), np.bool_(1), np.array(3), np.array([]), np.array([1.0, np.nan]),
    np.zeros(3), np.ones((2, 2)), np.ones((2, 3, 4)), np.array(["a", "b"]), np.array([None, 1]),
    np.array("2020-01-01", "datetime64[s]"), pd.Series([1.0, 2.0]), pd.Series(["a", None]),
    pd.DataFrame({"a": [1, 2]}), pd.DataFrame(), pd.Categorical(["a", "b"]), pd.NA,
    Path("nowhere/nothing.h5ad"), "nowhere/nothing.h5ad", sp.eye_array(3), AnnData(),
    np.random.default_rng(0), lambda x: x,
)  # fmt: skip

# Of which a large one would take all of the memory, or most of an hour.
_COSTLY = (10**6, 2**70, 1e300)


def _wrong_column(column: pd.Series[Any], rng: np.random.Generator) -> Any:
    n = len(column)
    options: list[Callable[[], Any]] = [
        lambda: np.full(n, np.nan),
        lambda: pd.array([None] * n, "Int64"),
        lambda: np.array([None] * n, object),
        lambda: pd.Categorical(["x"] * n),
        lambda: pd.Categorical([None] * n, ["x"]),
        lambda: np.arange(n),
        lambda: np.arange(n) * 1j,
        lambda: pd.to_datetime(np.arange(n)),
        lambda: np.where(np.arange(n) < 1, "a", "b"),
        lambda: np.array(["a", None] * n, object)[:n],
        lambda: pd.array([True, None] * (n // 2) + [True] * (n % 2), "boolean"),
        lambda: [f"name {i}" for i in range(n)],
    ]
    return options[rng.integers(len(options))]()


def _wrong_matrix(x: Any, rng: np.random.Generator) -> Any:
    stored: Any = x.toarray() if hasattr(x, "toarray") else x
    dense = np.array(stored, np.float64)
    first = dense.reshape(-1)[:1].copy()

    def with_entry(value: float) -> Any:
        changed = dense.copy()
        if not changed.size:
            return changed
        changed.flat[rng.integers(changed.size)] = value
        return changed

    options: list[Callable[[], Any]] = [
        lambda: with_entry(np.nan),
        lambda: with_entry(np.inf),
        lambda: with_entry(-1.0),
        lambda: with_entry(1e30),
        lambda: np.zeros_like(dense),
        lambda: dense.astype(complex),
        lambda: dense.astype(object),
        lambda: dense.astype(str),
        lambda: dense > first,
        lambda: np.clip(dense, -99, 99).astype(np.int8),
        lambda: dense.astype(np.float16),
        lambda: np.asfortranarray(dense),
        lambda: sp.csc_matrix(dense),
        lambda: sp.csr_array(dense),
        lambda: np.ma.masked_less(dense, 1),
        lambda: dense * 1e-30,
        lambda: dense - dense.mean(0),
        lambda: np.log1p(np.abs(dense)),
    ]
    return options[rng.integers(len(options))]()


def spoil(adata: AnnData, rng: np.random.Generator) -> tuple[Any, str]:
    """The data with one mistake, and what it is."""
    groups = ["obs", "var", "obsm", "varm", "uns", "layers", "obsp"]
    kind = rng.choice(["drop", "column", "matrix", "entry", "rows", "names", "other", "form", "field"])  # fmt: skip
    if kind == "drop":
        held = [(g, k) for g in groups for k in getattr(adata, g) if k is not None]
        if not held:
            return adata, "as it was"
        group, key = held[rng.integers(len(held))]
        del getattr(adata, group)[key]
        return adata, f"no {group}[{key!r}]"
    if kind == "column":
        group = str(rng.choice(["obs", "var"]))
        frame = getattr(adata, group)
        if len(frame.columns) == 0:
            return adata, "as it was"
        key = frame.columns[rng.integers(len(frame.columns))]
        frame[key] = _wrong_column(frame[key], rng)
        return adata, f"{group}[{key!r}] of other kind"
    if kind == "matrix":
        if adata.X is not None:
            adata.X = _wrong_matrix(adata.X, rng)
        return adata, f"X is {type(adata.X).__name__} {getattr(adata.X, 'dtype', None)}"
    if kind == "entry":
        held = [(g, k) for g in ("obsm", "varm") for k in getattr(adata, g)]
        if held:
            group, key = held[rng.integers(len(held))]
            values = np.asarray(getattr(adata, group)[key], np.float64)
            options: list[Callable[[], Any]] = [
                lambda: values[:, :1],
                lambda: np.zeros((len(values), 0)),
                lambda: values.astype(complex),
                lambda: values.astype(object),
                lambda: np.full_like(values, np.nan),
                lambda: np.zeros_like(values),
                lambda: values[..., None],
                lambda: sp.csr_matrix(values) if values.ndim == 2 else values,
                lambda: np.hstack([values, values]),
                lambda: -values,
            ]
            getattr(adata, group)[key] = options[rng.integers(len(options))]()
            return adata, f"{group}[{key!r}] of other kind"
    if kind == "field":
        held = [(k, v) for k, v in adata.uns.items() if isinstance(v, dict) and v]
        if held:
            key, entry = held[rng.integers(len(held))]
            name = list(entry)[rng.integers(len(entry))]
            if rng.random() < 0.5:
                del entry[name]
            else:
                entry[name] = VALUES[rng.integers(len(VALUES))]
            return adata, f"uns[{key!r}][{name!r}] of other kind"
    if kind == "rows":
        n = int(rng.choice([0, 1, 2, 3]))
        return (adata[:n].copy(), f"{n} observations") if rng.random() < 0.5 else (
            adata[:, :n].copy(), f"{n} variables")  # fmt: skip
    if kind == "names":
        if rng.random() < 0.5:
            adata.obs_names = ["same"] * adata.n_obs
        else:
            adata.var_names = ["same"] * adata.n_vars
        return adata, "names that repeat"
    if kind == "form":
        return adata[:], "a view"
    others: list[Any] = [None, 3, "data.h5ad", adata.X, adata.obs, [adata], {"a": adata}, Path("nowhere.h5ad"), type(adata), adata.uns]  # fmt: skip
    return others[rng.integers(len(others))], "not an AnnData"


@dataclass
class Outcome:
    """What came of one call."""

    function: str
    mistake: str
    error: BaseException | None = None
    fault: str | None = None
    """Why that must not be; None: a result, or a message of ours."""

    def __str__(self) -> str:
        text = f"{self.function}({self.mistake})"
        if self.error is not None:
            text += f" -> {type(self.error).__name__}: {str(self.error)[:160]}"
        return text if self.fault is None else f"{text}\n    {self.fault}"


class TooLongError(Exception):
    """A call that does not end."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise in a call that takes longer; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Mistakes:
    """Random mistakes of a seed."""

    def __init__(self, *, only: str = "") -> None:
        import nonneg

        self.package = str(Path(nonneg.__file__).parent)
        self.functions = {str(public): public.function for public in public_functions()}
        self.calls = {k: v for k, v in calls().items() if k.startswith(only)}
        unknown = set(self.calls) - set(self.functions)
        assert not unknown, unknown

    def run(self, seed: int) -> Outcome:
        """One call with a mistake, or two."""
        rng = np.random.default_rng(seed)
        name = sorted(self.calls)[rng.integers(len(self.calls))]
        function, kwargs = self.functions[name], self.calls[name]()
        told: list[str] = []
        for _ in range(rng.integers(1, 3)):
            if rng.random() < 0.4 and self._spoil(kwargs, rng, told):
                continue
            self._replace(function, kwargs, rng, told)
        return self._call(name, function, kwargs, ", ".join(told))

    def _spoil(
        self, kwargs: dict[str, Any], rng: np.random.Generator, told: list[str]
    ) -> bool:
        held = [key for key, value in kwargs.items() if isinstance(value, AnnData)]
        if not held:
            return False
        key = held[rng.integers(len(held))]
        kwargs[key], what = spoil(kwargs[key], rng)
        told.append(f"{key}: {what}")
        return True

    @staticmethod
    def _replace(
        function: Callable[..., Any],
        kwargs: dict[str, Any],
        rng: np.random.Generator,
        told: list[str],
    ) -> None:
        names = [
            name
            for name, p in inspect.signature(function).parameters.items()
            if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}
        ]
        name = names[rng.integers(len(names))]
        value = VALUES[rng.integers(len(VALUES))]
        if isinstance(value, int | float) and value in _COSTLY and name != "lam":
            value = -value
        # Files are written where they were asked for.
        if name in {"checkpoint", "scores", "store", "tiff"}:
            value = [3, True, object(), 1.5][rng.integers(4)]
        kwargs[name] = value
        told.append(f"{name}={value!r}"[:60])

    def _call(
        self, name: str, function: Callable[..., Any], kwargs: dict[str, Any], told: str
    ) -> Outcome:
        outcome = Outcome(name, told)
        objects = {k: v for k, v in kwargs.items() if isinstance(v, AnnData)}
        try:
            before = {k: snapshot(v) for k, v in objects.items()}
        except Exception:  # noqa: BLE001 - such data nobody has
            return outcome
        try:
            with limited(60):
                function(**kwargs)
        except TooLongError as error:
            outcome.error, outcome.fault = error, "takes more than a minute"
        except Exception as error:  # noqa: BLE001
            outcome.error = error
            if not isinstance(error, DOCUMENTED):
                outcome.fault = f"raises a {type(error).__name__}"
            elif not is_ours(error):
                outcome.fault = "no message of ours: " + self._where(error)
            elif not str(error).strip():
                outcome.fault = "a message without words"
        if outcome.error is not None and outcome.fault is None:
            for key, value in objects.items():
                try:
                    assert_same(snapshot(value), before[key])
                except AssertionError as error:
                    outcome.fault = f"{key} has changed: {str(error)[:200]}"
        return outcome

    def _where(self, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if f.filename.startswith(self.package)]
        last = frames[-1]
        text = f"{last.filename[-50:]}:{last.lineno}"
        if ours:
            own = ours[-1]
            text += f" from {own.filename[len(self.package) :]}:{own.lineno} {own.line}"
        return text
