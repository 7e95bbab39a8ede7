"""What all public functions have in common."""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg._adata import write
from testing.nonneg import assert_same, counts, public_functions, snapshot

# Convergence is no matter here.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    # Batches of cells, which lie anywhere.
    "ignore:Observations with different adata.obs.'batch'.",
)
ROOT = Path(__file__).parents[1]
PUBLIC = public_functions()
EACH = pytest.mark.parametrize("public", PUBLIC, ids=str)
POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
# No search of the kernel.
KERNEL = dict(length_scale=3, amplitude=1, temperature=1, max_iter=10)


def located():
    """Counts on a grid, with a factorization of two data sets."""
    return _located().copy()


@cache
def _located():
    adata = counts()
    nng.tl.nmf(adata, 3, tol=0.1, key_added="stored")
    adata.uns["stored"] |= {"method": "inmf", "batches": np.array(["a", "b"])}
    adata.uns["stored"]["params"]["batch_key"] = "batch"
    adata.varm["stored_specific"] = np.zeros((adata.n_vars, 2, 3), np.float32)
    adata.obs["stored_cluster"] = adata.obsm["stored"].argmax(axis=1).astype(str)
    adata.obs["region"] = np.where(np.arange(adata.n_obs) % 12 < 5, "west", "east")
    place = np.arange(adata.n_obs)
    adata.obsm["spatial"] = np.stack([place % 12, place // 12], axis=1).astype(float)
    adata.obs["voxel"] = place
    adata.uns["volume"] = {
        "shape": np.array([10, 12]),
        "spacing": np.ones(2),
        "origin": np.zeros(2),
    }
    # Variables as frames, components in two regions.
    adata.var["time"] = np.arange(adata.n_vars) / 10
    adata.var["speed"] = np.random.default_rng(0).standard_normal(adata.n_vars)
    adata.uns["stored"]["region"] = np.array(["west", "west", "east"])
    adata.uns["video"] = {"fs": 10.0, "channels": np.array(["blue"], object)}
    add_svd(adata)
    return adata


def add_svd(adata):
    """Two products, as of two channels."""
    nng.tl.seminmf(adata, 3, tol=0.1, key_added="svd")
    nng.tl.seminmf(adata, 2, tol=0.1, key_added="svd_violet")
    for key in ("svd", "svd_violet"):
        adata.uns[key]["method"] = "svd"


def untimed(copy, adata, key="comparison"):
    """Seconds differ from run to run."""
    target = adata if copy is None else copy
    del target.uns[key]["seconds"]
    return copy


def untimed_search(copy, adata):
    """As above, for a table in an entry."""
    target = adata if copy is None else copy
    del target.uns["inmf_search"]["table"]["seconds"]
    return copy


@cache
def model():
    """A factorization to project on."""
    return nng.tl.nmf(counts(seed=1), 3, copy=True)


@cache
def integrated():
    """A model of two data sets, without cells."""
    adata = counts(seed=1)
    nng.tl.online_inmf(adata, 3, batch_key="batch", size_factors="total", n_epochs=1)
    return adata[:0].copy()


def types_of(adata):
    """Two cell types with the genes of the data."""
    means = 1.0 + np.arange(2 * adata.n_vars).reshape(2, -1) % 7
    return pd.DataFrame(means, index=["a", "b"], columns=adata.var_names)


def cells_of(adata):
    """The same observations as cells of two types."""
    cells = counts(seed=1)
    cells.obs["cell_type"] = np.array(["a", "b"])[np.arange(cells.n_obs) % 2]
    return cells


def events():
    """Events of two kinds."""
    return pd.DataFrame({"time": np.arange(5, 37, 2) / 10, "side": ["a", "b"] * 8})


# Smallest calls of the functions that have `copy`.
CALLS = {
    "tl.nmf": lambda adata, **kwargs: nng.tl.nmf(adata, 3, **kwargs),
    "tl.seminmf": lambda adata, **kwargs: nng.tl.seminmf(adata, 3, tol=0.1, **kwargs),
    "tl.nsf": lambda adata, **kwargs: nng.tl.nsf(adata, 3, **KERNEL, **kwargs),
    "tl.nsfh": lambda adata, **kwargs: nng.tl.nsfh(adata, 3, **KERNEL, **kwargs),
    "tl.pnmf": lambda adata, **kwargs: nng.tl.pnmf(adata, 3, **kwargs),
    "tl.rsf": lambda adata, **kwargs: nng.tl.rsf(
        adata, 3, length_scale=3, temperature=1, **kwargs
    ),
    "tl.fa": lambda adata, **kwargs: nng.tl.fa(adata, 3, **kwargs),
    "tl.compare": lambda adata, **kwargs: untimed(
        nng.tl.compare(adata, ["pnmf", "intercept"], 3, n_splits=1, **kwargs), adata
    ),
    "tl.inmf": lambda adata, **kwargs: untimed(
        nng.tl.inmf(adata, 3, batch_key="batch", size_factors="total", **kwargs),
        adata,
        "inmf",
    ),
    "tl.online_inmf": lambda adata, **kwargs: untimed(
        nng.tl.online_inmf(
            adata, 3, batch_key="batch", size_factors="total", n_epochs=1, **kwargs
        ),
        adata,
        "inmf",
    ),
    "tl.online_inmf_update": lambda adata, **kwargs: untimed(
        nng.tl.online_inmf_update(integrated(), adata, batch="c", **kwargs),
        adata,
        "inmf",
    ),
    "tl.inmf_search": lambda adata, **kwargs: untimed_search(
        nng.tl.inmf_search(
            adata, [3], batch_key="batch", size_factors="total", max_iter=5, **kwargs
        ),
        adata,
    ),
    "tl.project": lambda adata, **kwargs: nng.tl.project(adata, model(), **kwargs),
    "tl.quantile_align": lambda adata, **kwargs: nng.tl.quantile_align(
        adata, batch_key="batch", key="stored", min_cells=5, **kwargs
    ),
    "tl.centroid_align": lambda adata, **kwargs: nng.tl.centroid_align(
        adata, batch_key="batch", key="stored", **kwargs
    ),
    "tl.factor_markers": lambda adata, **kwargs: nng.tl.factor_markers(
        adata, key="stored", **kwargs
    ),
    "tl.region_correlation": lambda adata, **kwargs: nng.tl.region_correlation(
        adata, key="stored", n_surrogates=3, **kwargs
    ),
    "tl.region_prediction": lambda adata, **kwargs: nng.tl.region_prediction(
        adata, "west", key="stored", n_factors=2, **kwargs
    ),
    "tl.compare_patterns": lambda adata, **kwargs: nng.tl.compare_patterns(
        adata, key="stored", baselines=["pca"], **kwargs
    ),
    "tl.deconvolve": lambda adata, **kwargs: nng.tl.deconvolve(
        adata, types_of(adata), graph_weight=1, group_weight=0, effects=False, **kwargs
    ),
    "tl.learn_deconvolution": lambda adata, **kwargs: nng.tl.learn_deconvolution(
        adata,
        cells_of(adata),
        cell_type_key="cell_type",
        n_maps=2,
        n_validation=1,
        n_layers=2,
        max_iter=2,
        **kwargs,
    ),
    "tl.stability": lambda adata, **kwargs: nng.tl.stability(
        adata, [2, 3], n_bootstraps=2, **kwargs
    ),
    "tl.gene_importance": lambda adata, **kwargs: nng.tl.gene_importance(
        adata, key="stored", **kwargs
    ),
    "tl.coexpression_network": lambda adata, **kwargs: nng.tl.coexpression_network(
        adata, key="stored", quantile=0.8, **kwargs
    ),
    "tl.locanmf": lambda adata, **kwargs: nng.tl.locanmf(
        adata, key="stored", max_rank=1, r2_threshold=0.0, **kwargs
    ),
    "tl.region_traces": lambda adata, **kwargs: nng.tl.region_traces(
        adata, key="stored", **kwargs
    ),
    "tl.region_cca": lambda adata, **kwargs: nng.tl.region_cca(
        adata, key="stored", n_shifts=4, min_shift=0.2, n_folds=2, **kwargs
    ),
    "tl.seed_correlation": lambda adata, **kwargs: nng.tl.seed_correlation(
        adata, 3, key="stored", **kwargs
    ),
    "tl.event_average": lambda adata, **kwargs: nng.tl.event_average(
        adata, events(), key="stored", by="side", window=(-0.2, 0.2), **kwargs
    ),
    "tl.demixed_pca": lambda adata, **kwargs: nng.tl.demixed_pca(
        adata, "side", events(), key="stored", window=(-0.2, 0.2), **kwargs
    ),
    "tl.decode_events": lambda adata, **kwargs: nng.tl.decode_events(
        adata, "side", events(), key="stored", window=(-0.2, 0), n_null=3, **kwargs
    ),
    "tl.decode_behavior": lambda adata, **kwargs: nng.tl.decode_behavior(
        adata, "speed", key="stored", window=(0, 0), n_null=3, n_folds=3, **kwargs
    ),
    "pp.align_events": lambda adata, **kwargs: nng.pp.align_events(
        adata, events(), **kwargs
    ),
    "pp.align_behavior": lambda adata, **kwargs: nng.pp.align_behavior(
        adata,
        pd.DataFrame({"speed": np.arange(50.0)}, index=np.arange(50) / 10),
        **kwargs,
    ),
    "pp.deviant_genes": lambda adata, **kwargs: nng.pp.deviant_genes(
        adata, 10, subset=True, **kwargs
    ),
    "pp.impute_knn": nng.pp.impute_knn,
    "pp.mirror_hemispheres": nng.pp.mirror_hemispheres,
    "pp.correct_slices": nng.pp.correct_slices,
    "pp.motion_correct": nng.pp.motion_correct,
    "pp.delta_f": lambda adata, **kwargs: nng.pp.delta_f(adata, dark=-1, **kwargs),
    "pp.svd": lambda adata, **kwargs: nng.pp.svd(adata, 3, key_added="new", **kwargs),
    "pp.hemodynamic_correction": nng.pp.hemodynamic_correction,
    "atlas.align": lambda adata, **kwargs: nng.atlas.align(
        adata, {"a": (0, 0), "b": (1, 0)}, {"a": (2, 2), "b": (2, 4)}, **kwargs
    ),
    "atlas.annotate": lambda adata, **kwargs: nng.atlas.annotate(
        adata, nng.atlas.Atlas.from_arrays(np.ones((10, 12), int)), **kwargs
    ),
}
# Data may be files and mappings as well, and arrive at a model that comes first;
# signatures are of a reference.
FIRST = {
    "tl.online_inmf": "data",
    "tl.online_inmf_update": "reference",
    "pp.signatures": "reference",
    "atlas.load": "name",
    "tl.map_distances": "sessions",
    "pl.map_distances": "distances",
}
# A data set that arrives is an AnnData or a file, not a table of many.
WITHOUT_TABLE = {"tl.online_inmf_update"}
WITH_COPY = [public for public in PUBLIC if "copy" in public.parameters]
EACH_WITH_COPY = pytest.mark.parametrize("public", WITH_COPY, ids=str)


def test_something_is_found():
    assert len(PUBLIC) >= 16
    assert {public.module for public in PUBLIC} == {
        "io",
        "pp",
        "tl",
        "pl",
        "get",
        "metrics",
        "datasets",
        "atlas",
    }
    assert set(CALLS) == {str(public) for public in WITH_COPY}


@EACH
def test_first_argument(public):
    first = next(iter(public.parameters), None)
    if public.module in {"pp", "tl", "pl", "get", "atlas"}:
        assert first == FIRST.get(str(public), "adata")
    else:
        assert "adata" not in public.parameters


@EACH
def test_at_most_three_positional(public):
    positional = [p for p in public.parameters.values() if p.kind in POSITIONAL]
    assert len(positional) <= 3


# What is asked for comes first: events, a region, how many genes.
KEY_LATER = {"tl.event_average", "pl.decoded_trace", "get.top_genes"}


@EACH
def test_key_is_second(public):
    """Of what reads a fit, unless something else must be given."""
    names = list(public.parameters)
    required = [p for p in public.parameters.values() if p.default is p.empty]
    if "key" in names and len(required) == 1 and str(public) not in KEY_LATER:
        assert names.index("key") == 1
        assert public.parameters["key"].kind in POSITIONAL


@EACH
def test_no_positional_flags(public):
    for parameter in public.parameters.values():
        if isinstance(parameter.default, bool):
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@EACH
def test_everything_is_annotated(public):
    assert inspect.signature(public.function).return_annotation is not inspect._empty
    for parameter in public.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter.name


@EACH
def test_documented(public):
    sections = public.sections
    summary = sections[""].splitlines()[0]
    assert summary.endswith(".")
    assert len(summary) < 90
    assert "%(" not in inspect.getdoc(public.function)
    assert public.documented_parameters == list(public.parameters)
    assert f"nng.{public}(" in sections["Examples"]
    assert ">>> import nonneg as nng" in sections["Examples"]
    if public.module != "pl":
        assert sections["Returns"].strip()


@EACH
def test_documented_errors_are_known(public):
    text = public.sections.get("Raises", "")
    names = re.findall(r"^(\w+)$", text, flags=re.MULTILINE)
    assert set(names) <= {
        *(
            "KeyError",
            "TypeError",
            "ValueError",
            "ImportError",
            "FileNotFoundError",
            "OSError",
        )
    }
    assert len(names) == len(set(names))


@EACH
def test_listed_in_the_documentation(public):
    page = ROOT / "docs" / "api" / f"{public.module}.md"
    listed = re.findall(rf"^   ({public.module}\.\w+)$", page.read_text(), re.MULTILINE)
    assert listed.count(str(public)) == 1


def test_nothing_else_is_listed():
    pages = (ROOT / "docs" / "api").glob("*.md")
    listed = re.findall(
        r"^   (\w+\.\w+)$", "\n".join(page.read_text() for page in pages), re.MULTILINE
    )
    modules = {public.module for public in PUBLIC}
    names = {f"{m}.{name}" for m in modules for name in getattr(nng, m).__all__}
    assert set(listed) <= names
    assert {str(public) for public in PUBLIC} <= names


@EACH
def test_tested(public):
    text = "\n".join(
        path.read_text()
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.name != Path(__file__).name
    )
    # Simulations are a parameter of their tests.
    end = "" if public.module == "datasets" else r"\("
    assert re.search(rf"\b{public.name}{end}", text)


@EACH_WITH_COPY
def test_copy(public):
    assert public.parameters["copy"].default is False
    adata = located()
    before = snapshot(adata)
    copy = CALLS[str(public)](adata, copy=True)
    assert_same(snapshot(adata), before)
    assert copy is not adata
    assert CALLS[str(public)](adata) is None
    # The same on both ways, and something new.
    assert_same(snapshot(adata), snapshot(copy))
    with pytest.raises(AssertionError):
        assert_same(snapshot(adata), before)
    assert not np.shares_memory(copy.X, adata.X)


@EACH_WITH_COPY
def test_nothing_changes_when_the_last_write_fails(public, monkeypatch):
    """All writes go through one function, which takes back what it did."""
    exchange, adata = write._exchange, located()

    def with_one_that_fails(target, values, removed):
        # Not in what a verb makes on the way.
        if target.n_obs == adata.n_obs:
            values = {**values, ("obsm", "short"): np.zeros((1, 2))}
        exchange(target, values, removed)

    model(), integrated()
    before = snapshot(adata)
    monkeypatch.setattr(write, "_exchange", with_one_that_fails)
    with pytest.raises(ValueError, match="short"):
        CALLS[str(public)](adata)
    assert_same(snapshot(adata), before)


@EACH_WITH_COPY
def test_tail_of_the_arguments(public):
    names = list(public.parameters)
    if str(public) in WITHOUT_TABLE:
        names.append("table_key")
    assert names[-2:] == ["copy", "table_key"]
    if "key_added" in names:
        assert names[-3] == "key_added"
    if "rng" in names:
        assert public.parameters["rng"].default == 0


# Their AnnData is one of several, or makes a new one.
OF_ANNDATA_ONLY = {
    "pp.average_experiments",
    "pp.signatures",
    "tl.compare_atlases",
    "tl.map_distances",
    "tl.match_components",
    "tl.online_inmf_update",
}


def test_spatialdata_is_in_the_types():
    """Annotations are the types in the documentation."""
    without = {
        str(public)
        for public in PUBLIC
        for first in list(inspect.signature(public.function).parameters.values())[:1]
        if "AnnData" in str(first.annotation)
        and "SpatialData" not in str(first.annotation)
    }
    assert without == OF_ANNDATA_ONLY


OF_SPATIALDATA = [
    public
    for public in PUBLIC
    if any("SpatialData" in str(one.annotation) for one in public.parameters.values())
]


@pytest.mark.parametrize("public", OF_SPATIALDATA, ids=str)
def test_tables_have_names(public):
    """Whatever takes SpatialData takes the name of a table."""
    given = public.parameters["table_key"]
    assert given.kind is inspect.Parameter.KEYWORD_ONLY
    assert given.default is None


@pytest.mark.parametrize(
    "public",
    [public for public in OF_SPATIALDATA if str(public).startswith(("get.", "pl."))],
    ids=str,
)
def test_readers_take_the_table_that_is_named(public):
    two_tables = SimpleNamespace(tables={name: counts() for name in "ab"})
    _, *rest = public.parameters.values()
    more = {
        one.name: "x"
        for one in rest
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    }
    with pytest.raises(ValueError, match=r"has 2 tables, .* as in table_key='a'"):
        public.function(two_tables, **more)
    with pytest.raises(KeyError, match="table_key='c' is not in"):
        public.function(two_tables, table_key="c", **more)
