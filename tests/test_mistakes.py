"""Random mistakes, and Ctrl-C at random moments, of all public functions.

Both in short here: thousands of mistakes are made by `scripts/mistakes.py`, 50 interruptions of
each function by `scripts/interruptions.py`.
"""

from __future__ import annotations

import shutil

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg._core.arguments import checked
from testing.nonneg import (
    LONGER,
    Mistakes,
    assert_same,
    interrupt,
    public_functions,
    snapshot,
)
from testing.nonneg._public import public_callables, public_classes

# Of whatever kind, and of other packages as well.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def mistakes():
    return Mistakes()


@pytest.fixture(autouse=True)
def no_window():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_mistakes_end_in_messages_or_results(mistakes, part):
    outcomes = [mistakes.run(seed) for seed in range(50 * part, 50 * (part + 1))]
    assert not [str(outcome) for outcome in outcomes if outcome.fault is not None]
    # Most are told; the others did not matter.
    assert sum(outcome.error is not None for outcome in outcomes) > 25


QUICK = (
    *("tl.nmf", "tl.inmf_search", "tl.online_inmf"),
    *("tl.locanmf", "tl.quantile_align", "tl.region_cca", "tl.decode_events"),
    "tl.compare_atlases",
)


@pytest.mark.parametrize("name", QUICK)
def test_interruptions_leave_nothing_or_a_part_that_says_so(mistakes, name):
    function, make = mistakes.functions[name], mistakes.calls[name]
    assert not interrupt(
        lambda kwargs: function(**kwargs),
        lambda: {**make(), **LONGER.get(name, {})},
        np.random.default_rng(0),
        2,
    )


# Classes of which users make no objects, or whose methods are all that they call.
MADE_ELSEWHERE = {
    "atlas.Atlas": "made by `from_arrays`",
    "datasets.Spots": "returned by datasets.spots",
    "io.Clock": "returned by io.align_clocks",
    "metrics.FactorMatch": "returned by metrics.match_factors",
    "tl.ComponentMatches": "returned by tl.match_components",
    "tl.MapDistances": "returned by tl.map_distances",
}


def test_mistakes_are_about_all_that_is_public(mistakes):
    made = {name.split()[0] for name in mistakes.calls}
    assert made == set(public_callables())
    assert set(public_classes()) == set(MADE_ELSEWHERE)
    # What is left are fields of settings, which pydantic checks.
    with pytest.raises(ValueError, match="n_threads"):
        nng.settings.n_threads = "many"


ADATA = nng.datasets.ggblocks(6, 12)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: nng.tl.nmf(ADATA, 2, copy="no"), "copy='no' is a str.*takes bool"),
        (lambda: nng.get.factors(ADATA, ["truth"]), r"key=\['truth'\] is a list.*str"),
        (lambda: nng.pl.loadings(ADATA, pd.NA), r"key=<NA> is a NAType"),
        (lambda: nng.tl.nmf(ADATA, 2, layer=3), "3"),
        (lambda: nng.metrics.poisson_deviance([[1.0]], [[1.0]], axis="x"), "'x' is a"),
    ],
)
def test_arguments_of_another_kind_are_named(call, match):
    with pytest.raises((TypeError, KeyError), match=match):
        call()


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        # Kinds with a name in front and others within; arrays without a length.
        ("pl.region_map", {"values": pd.DataFrame()}),
        ("pl.marker_agreement", {"palette": np.array(3)}),
        ("pl.presence", {"palette": np.array("red")}),
        ("get.factors", {"key": np.array(["stored"])}),
        # Which no assertion says.
        ("tl.nsf", {"spatial_key": None}),
        ("tl.rsf", {"spatial_key": None}),
    ],
)
def test_arguments_that_look_like_the_right_kind(mistakes, name, kwargs):
    (argument,) = kwargs
    with pytest.raises(TypeError, match=rf"^{argument}=.* is a .*, but nonneg"):
        mistakes.functions[name](**mistakes.calls[name]() | kwargs)


def test_errors_of_ours_are_left_alone():
    """Also those of arguments of another kind: they know more."""

    @checked
    def f(n: int) -> None:
        msg = "ours"
        raise ValueError(msg)

    with pytest.raises(TypeError, match="takes"):
        checked_sum("x")
    with pytest.raises(ValueError, match="ours"):
        f_of_package(f)


def f_of_package(f):
    """Raised in this file, which is not of the package: explained, if there is a reason."""
    f(1)


@checked
def checked_sum(values: list[int]) -> int:
    return np.sum(values) + 1


@pytest.mark.parametrize("public", public_functions(), ids=str)
def test_all_functions_are_checked(public):
    function = public.function
    while hasattr(function, "__wrapped__"):
        if function.__code__.co_name == "call":
            return
        function = function.__wrapped__
    pytest.fail("without `@checked`")


def test_patterns_in_a_sparse_matrix_are_those_of_a_dense_one(mistakes):
    adata = mistakes.calls["tl.compare_patterns"]()["adata"]
    maps = adata.obsm[adata.uns["stored"]["obsm_key"]]
    tables = []
    for kind in (np.asarray, sp.csr_matrix, sp.csc_array):
        adata.obsm["maps"] = kind(maps)
        nng.tl.compare_patterns(adata, key="maps", baselines=[])
        tables.append(adata.uns["pattern_comparison"])
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_dates_are_no_behaviour(mistakes):
    adata = mistakes.calls["tl.decode_behavior"]()["adata"]
    adata.var["when"] = pd.date_range("2020", periods=adata.n_vars)
    before = snapshot(adata)
    with pytest.raises(
        ValueError, match=r"adata.var\['when'\] must hold numbers.*dates"
    ):
        nng.tl.decode_behavior(adata, "when", key="movie", window=(0, 0), n_null=3)
    assert_same(snapshot(adata), before)


# --- what a fit has stored ----------------------------------------------------------------

# The call, and the element beside a fit that it reads.
BESIDE = {
    "tl.factor_markers": ("varm", "inmf_specific"),
    "get.dataset_specificity": ("varm", "inmf_specific"),
    "pl.metagenes": ("varm", "inmf_specific"),
    "tl.online_inmf_update": ("varm", "online_stats"),
    "pl.shared_history": ("varm", "online_history"),
    "get.presence": ("obsm", "X_deconv_std"),
    "pl.seed_correlation": ("obsm", "movie_seed_correlation"),
    "pl.decoded_trace": ("varm", "movie_decoded"),
    "pl.motion": ("varm", "shifts"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_elements_beside_a_fit_that_have_changed(mistakes, name):
    attr, key = BESIDE[name]
    make, function = mistakes.calls[name], mistakes.functions[name]
    argument = "reference" if "update" in name else "adata"
    for change in (
        lambda x: x[:, :-1],
        lambda x: np.zeros((len(x), 0)),
        lambda x: np.hstack([x, x]),
        lambda x: x[..., None],
        lambda x: x.astype(complex),
    ):
        kwargs = make()
        held = getattr(kwargs[argument], attr)
        held[key] = change(np.asarray(held[key]))
        before = snapshot(kwargs[argument])
        with pytest.raises(ValueError, match=rf"{attr}\['{key}'\]"):
            function(**kwargs)
        assert_same(snapshot(kwargs[argument]), before)


@pytest.mark.parametrize("name", ["gram", "lam", "n_cells", "sq_norm", "change_batch"])
def test_numbers_of_an_integration_that_have_changed(mistakes, name):
    kwargs = mistakes.calls["tl.online_inmf_update"]()
    entry = kwargs["reference"].uns["online"]
    entry[name] = np.asarray(entry[name])[:1]
    if name == "change_batch":
        entry[name] = np.array(["one"] * 99, object)
    with pytest.raises(ValueError, match=r"uns\['online'\].*changed since the fit"):
        mistakes.functions["tl.online_inmf_update"](**kwargs)


# --- too little ---------------------------------------------------------------------------

FEW = (
    *("tl.nsf", "tl.rsf", "tl.gene_importance", "tl.compare_patterns"),
    *("tl.compare_atlases", "pp.correct_slices", "pp.mirror_hemispheres"),
    *("pp.motion_correct", "pp.hemodynamic_correction", "get.marker_overlap"),
    *("pl.loadings", "pl.hemodynamic_maps", "pl.svd_variance_ratio", "pl.volume_maps"),
    *("pl.motion", "pl.widefield_report", "pl.missing_type"),
)


@pytest.mark.parametrize("name", FEW)
def test_nothing_or_little_is_left(mistakes, name):
    """No observation, one, no variable: a message of ours, or a result that is drawn."""
    for rows, columns in ((0, None), (1, None), (None, 0)):
        kwargs = mistakes.calls[name]()
        kwargs["adata"] = kwargs["adata"][:rows, :columns].copy()
        outcome = mistakes.call(
            name, mistakes.functions[name], kwargs, f"{rows} {columns}"
        )
        assert outcome.fault is None, str(outcome)
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("pl.missing_type", {"vmax": -1}),
        ("pl.region_map", {"vmin": 3.0, "vmax": 1.0}),
        ("pl.region_sets", {"vmax": -1.0}),
        ("pl.factor_maps", {"vmin": 3.0, "vmax": 1.0}),
    ],
)
def test_colours_go_up(mistakes, name, kwargs):
    with pytest.raises(ValueError, match=r"Colours.* would go from .* lower vmin"):
        mistakes.functions[name](**mistakes.calls[name]() | kwargs)


def test_a_limit_of_colours_is_positive(mistakes):
    with pytest.raises(ValueError, match=r"limit=-1\.0 must be above 0"):
        nng.pl.seed_correlation(
            **mistakes.calls["pl.seed_correlation"]() | {"limit": -1.0}
        )


def test_no_genes(mistakes):
    kwargs = mistakes.calls["io.read_agea"]() | {"genes": []}
    with pytest.raises(ValueError, match=r"genes=\[\] names no genes"):
        nng.io.read_agea(**kwargs)


def test_components_in_a_file_without_axes(mistakes, tmp_path):
    folder = tmp_path / "session"
    shutil.copytree(mistakes.calls["io.read_cortexlab"]()["path"], folder)
    np.save(folder / "svdSpatialComponents.npy", 3.0)
    with pytest.raises(
        ValueError, match=r"svdSpatialComponents.npy must hold.*is \(\)"
    ):
        nng.io.read_cortexlab(folder, n_components=2)


def test_all_objects_of_a_call_are_compared(mistakes):
    """What a mistake must not change may be in a dictionary."""

    def spoil(*, sessions):
        sessions["two"].obs["new"] = 1
        msg = "no"
        raise ValueError(msg)

    spoil.__code__ = spoil.__code__.replace(co_filename=nng.__file__)
    kwargs = {"sessions": {"one": ADATA.copy(), "two": ADATA.copy()}}
    outcome = mistakes.call("spoil", spoil, kwargs, "")
    assert outcome.fault.startswith("sessions['two'] has changed")


def test_an_object_in_uns_is_compared(mistakes):
    """What the random mistakes compare may be another AnnData."""
    adata = ad.AnnData(np.ones((2, 2)))
    adata.uns["other"] = ad.AnnData(np.ones((1, 2)))
    before = snapshot(adata)
    assert_same(snapshot(adata), before)
    adata.uns["other"].X[0, 0] = 2
    with pytest.raises(AssertionError):
        assert_same(snapshot(adata), before)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("tl.stability", {"method_kwargs": {"n_compnents": 1}}),
        ("tl.compare_atlases", {"n_compnents": 1}),
        ("tl.compare", {"models": "nmf", "model_kwargs": {"nmf": {"n_compnents": 1}}}),
    ],
)
def test_arguments_that_another_function_does_not_take(mistakes, name, kwargs):
    with pytest.raises((TypeError, ValueError), match="has no argument 'n_compnents'"):
        mistakes.functions[name](**mistakes.calls[name]() | kwargs)


def test_a_midline_that_is_nowhere(mistakes):
    name = "pp.mirror_hemispheres"
    with pytest.raises(ValueError, match="midline=inf must be in the volume"):
        mistakes.functions[name](**mistakes.calls[name]() | {"midline": np.inf})


# What reads each entry of `params` that cannot be done without.
PARAMS = {
    ("tl.project", "stored"): ("reference", ["beta_loss", "alpha_W"]),
    ("tl.online_inmf_update", "online"): (
        "reference",
        ["layer", "size_factors", "scale", "batch_key", "dataset_weights"],
    ),
    ("tl.predict", "nsf"): ("adata", ["kernel", "trend", "n_neighbors"]),
    ("pl.stability", "stability"): ("adata", ["method"]),
    ("pl.region_correlation", "stored_region_correlation"): ("adata", ["metric"]),
    ("pl.region_sets", "stored_region_correlation"): ("adata", ["region_key"]),
    ("pl.demixed_pca", "movie_demixed_pca"): ("adata", ["by"]),
    ("pl.decoded_trace", "movie_decode_behavior"): ("adata", ["behavior_key"]),
}


@pytest.mark.parametrize(("name", "key"), PARAMS)
def test_parameters_of_a_fit_that_are_gone(mistakes, name, key):
    make, function = mistakes.calls[name], mistakes.functions[name]
    argument, entries = PARAMS[name, key]
    for entry in entries:
        kwargs = make()
        del kwargs[argument].uns[key]["params"][entry]
        before = snapshot(kwargs[argument])
        match = rf"\['{key}'\].*params.*'{entry}'"
        with pytest.raises((ValueError, KeyError), match=match) as found:
            function(**kwargs)
        assert "again" in str(found.value)
        assert_same(snapshot(kwargs[argument]), before)


# What reads each column of a table that cannot be done without.
COLUMNS = {
    ("get.region_sets", "stored_region_correlation", "sets"): [
        *("factor", "n_regions", "n_obs", "score", "sign", "p_value"),
        *("is_best", "p_search", "p_adjusted", "exclusivity"),
    ],
    ("pl.region_correlation", "stored_region_correlation", "regions"): ["region"],
    ("pl.region_prediction", "stored_region_prediction", "random"): ["auc"],
    ("pl.compare_patterns", "pattern_comparison"): ["method", "morans_i"],
    ("pl.demixed_pca", "movie_demixed_pca", "variance"): ["part", "share"],
    ("pl.decoded_trace", "movie_decode_behavior", "table"): ["region", "r2"],
    ("pl.decoding", "movie_decode_events", "table"): ["accuracy", "rank", "null_q95"],
    ("pl.seed_correlation", "movie_seed_correlation", "seeds"): ["seed", "pixel"],
    ("get.coexpression_graph", "stored_coexpression"): ["factor", "gene", "share"],
    ("pl.inmf_search", "inmf_search", "table"): ["lam", "n_components", "held_out"],
    ("pl.stability", "stability", "table"): ["instability", "chance", "pca_se"],
    ("pl.missing_type", "deconv", "missing_genes"): ["gene", "gain"],
    ("pl.region_quality", "locanmf", "regions"): ["rank", "r2"],
}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, *path in COLUMNS])
def test_columns_of_stored_tables_that_are_gone(mistakes, name, path):
    make, function = mistakes.calls[name], mistakes.functions[name]
    for column in COLUMNS[name, *path]:
        kwargs = make()
        held = kwargs["adata"].uns
        for part in path[:-1]:
            held = held[part]
        whole = held[path[-1]]
        where = "".join(rf"\['{part}'\]" for part in path)
        for table, match in (
            (whole.drop(columns=column), rf"{where} has no column '{column}'.*again"),
            (
                whole[[*whole, column]],
                rf"{where} has columns of the same name, \['{column}",
            ),
            ({}, rf"{where} is no table, which was stored there.*again"),
        ):
            held[path[-1]] = table
            with pytest.raises(ValueError, match=match):
                function(**kwargs)
            assert not plt.get_fignums()


@pytest.mark.parametrize("part", ["regions", "sets"])
@pytest.mark.parametrize("name", ["region_correlation", "region_matrix", "region_sets"])
def test_rows_of_regions_that_are_gone(mistakes, name, part):
    kwargs = mistakes.calls[f"pl.{name}"]()
    stored = kwargs["adata"].uns["stored_region_correlation"]
    for changed in (stored[part][:0], stored[part][1:]):
        stored[part] = changed
        with pytest.raises(ValueError, match=r"not those of its scores.*again"):
            mistakes.functions[f"pl.{name}"](**kwargs)


def test_the_selected_number_is_gone(mistakes):
    kwargs = mistakes.calls["pl.stability"]()
    kwargs["adata"].uns["stability"]["best"] = 9
    with pytest.raises(ValueError, match=r"\['table'\] has no row.*, 9\. .* again"):
        nng.pl.stability(**kwargs)


def test_columns_of_stored_tables_that_are_no_numbers(mistakes):
    kwargs = mistakes.calls["pl.seed_correlation"]()
    kwargs["adata"].uns["movie_seed_correlation"]["seeds"]["pixel"] = "x"
    with pytest.raises(ValueError, match=r"\['seeds'\]\['pixel'\] must hold numbers"):
        nng.pl.seed_correlation(**kwargs)
