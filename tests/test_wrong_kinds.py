"""Arrays and stored results of another kind than was meant, whoever takes them.

Each as a table of all that take one: a value of the right shape that is none, and what is
said of it. Random ones are in `test_mistakes.py`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg._adata.checks import as_flags, as_numbers

pytestmark = pytest.mark.filterwarnings("ignore")
RANDOM = np.random.default_rng(0).random


# --- numbers and flags --------------------------------------------------------------------


def test_numbers_are_read_from_whatever_holds_them():
    dense = np.array([[1.0, 0.0], [0.0, 2.0]])
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    for given in (sp.csr_matrix(dense), sp.coo_array(dense), dense.astype(str)):
        np.testing.assert_array_equal(as_numbers(given, "x"), dense)
    np.testing.assert_array_equal(as_numbers(masked, "x"), [1, np.nan])
    np.testing.assert_array_equal(
        as_numbers(pd.array([1, None], "Int64"), "x"), [1, np.nan]
    )


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (np.array(["2020-01-01"], "datetime64[s]"), "x must hold numbers.*dates"),
        (pd.Series(pd.date_range("2020", periods=2, tz="UTC")), "dates"),
        (pd.Series(pd.period_range("2020", periods=2, freq="D")), "must hold numbers"),
        (np.array([pd.Timestamp("2020")], object), "must hold numbers: .*Timestamp"),
        (np.array([1 + 2j]), "complex numbers"),
        (["a", 1.5], "must hold numbers"),
        ([[1], [1, 2]], "must hold numbers"),
    ],
)
def test_what_is_no_number_is_told(given, match):
    with pytest.raises(ValueError, match=match):
        as_numbers(given, "x")


def test_flags_are_true_or_false():
    np.testing.assert_array_equal(as_flags([1, 0], "x"), [True, False])
    for wrong in ([0.5, 1], [np.nan, 1], pd.array([True, None], "boolean"), ["a", "b"]):
        with pytest.raises(ValueError, match=r"^x must "):
            as_flags(wrong, "x")


FRAMES = RANDOM((12, 4, 5))
# Who takes arrays of numbers or flags: the call, the argument, and its right value.
TAKERS = {
    "video mask": (
        lambda x: nng.io.read_video(FRAMES, fs=10, mask=x, lazy=False),
        "mask",
        np.ones((4, 5)),
    ),
    "video time": (
        lambda x: nng.io.read_video(FRAMES, time=x, lazy=False),
        "time",
        np.arange(12.0),
    ),
    "video dropped": (
        lambda x: nng.io.read_video(FRAMES, fs=10, dropped=x, lazy=False),
        "dropped",
        np.array([3, 4]),
    ),
    **{
        f"svd {name}": (
            lambda x, name=name: nng.io.from_svd(
                **{"U": RANDOM((20, 3)), "SVT": RANDOM((3, 30)), "shape": (4, 5), "fs": 10}
                | {name: x}
            ),
            name,
            right,
        )
        for name, right in {
            "U": RANDOM((20, 3)),
            "SVT": RANDOM((3, 30)),
            "mask": np.ones((4, 5)),
            "mean": np.ones((4, 5)),
            "time": np.arange(30.0),
        }.items()
    },
    "deviance": (
        lambda x: nng.metrics.poisson_deviance(np.ones((2, 3)), x), "mu", np.ones((2, 3))
    ),
    "alignment": (
        lambda x: nng.metrics.alignment(x, ["a"] * 10 + ["b"] * 10), "x", RANDOM((20, 3))
    ),
    "auc": (
        lambda x: nng.metrics.region_auc(RANDOM((9, 2)), x), "inside", np.arange(9) < 4
    ),
    "sides": (
        lambda x: nng.atlas.Atlas.from_arrays(np.ones((2, 3), int), hemispheres=x),
        "hemispheres",
        np.ones((2, 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("taker", TAKERS)
def test_arrays_of_another_kind_are_told(taker):
    call, argument, right = TAKERS[taker]
    call(right)
    mixed = np.full(right.shape, None, object)
    mixed.flat[0] = "a"
    for wrong in (
        np.full(right.shape, "x"),
        np.full(right.shape, np.datetime64("2020-01-01", "s")),
        right.astype(complex),
        mixed,
    ):
        with pytest.raises(ValueError, match=f"{argument}.* must "):
            call(wrong)


def test_places_of_another_kind():
    adata = nng.datasets.ggblocks(8, 20)
    nng.tl.nsf(adata, 2, length_scale=3.0, amplitude=1.0, temperature=1.0, max_iter=2)
    for wrong in (np.full((2, 2), "x"), np.full((2, 2), np.datetime64("2020", "s"))):
        with pytest.raises(ValueError, match="coords must hold numbers"):
            nng.tl.predict(adata, wrong, key="nsf")
    # Squares of distances would be infinite.
    with pytest.raises(ValueError, match="coords has 2 observations without finite"):
        nng.tl.predict(adata, np.full((2, 2), 1e300), key="nsf")
    size = np.array(["a", "b"])
    with pytest.raises(ValueError, match="size_factors must hold numbers"):
        nng.tl.predict(
            adata, np.ones((2, 2)), key="nsf", expression=True, size_factors=size
        )


def test_hidden_entries_are_no_data():
    adata = nng.datasets.ggblocks(8, 20)
    dense = adata.X.toarray()
    adata.X = np.ma.masked_less(dense, 1)
    with pytest.raises(ValueError, match=r"adata.X is a masked array.*filled\(0\)"):
        nng.tl.nmf(adata, 2)
    # Without hidden entries it is an array as others.
    adata.X = np.ma.masked_array(dense)
    nng.tl.nmf(adata, 2, max_iter=2)


def test_weights_that_cannot_be_squared():
    adata = nng.datasets.ggblocks(8, 20)
    with pytest.raises(
        ValueError, match=r"var_weights, of up to 1e\+300.*by their mean"
    ):
        nng.tl.nmf(adata, 2, var_weights=np.full(20, 1e300))
    names = pd.Categorical(adata.var_names[:5])
    nng.tl.nmf(adata, 2, max_iter=2, mask_var=names)
    assert np.isfinite(adata.varm["nmf"]).all(axis=1).sum() == 5


def test_metrics_of_what_is_not_finite():
    x = RANDOM((9, 3))
    infinite = x.copy()
    infinite[0, 0] = np.inf
    with pytest.raises(ValueError, match="1 infinite entries"):
        nng.metrics.match_factors(infinite, x)
    with pytest.raises(ValueError, match="finite and not negative"):
        nng.metrics.presence_aupr(infinite, x)
    with pytest.raises(ValueError, match="NaN, infinite or too large"):
        nng.metrics.r2(x * np.nan, x[:, :2], RANDOM((3, 2)))
    counts = {
        "markers": {"a": ["g"]},
        "genes": ["g"],
        "shares": pd.DataFrame({"a": [1.0]}),
    }
    with pytest.raises(ValueError, match="counts has negative"):
        nng.metrics.marker_agreement([[-1.0]], **counts)
    with pytest.raises(ValueError, match="No observation has counts"):
        nng.metrics.marker_agreement([[0.0]], **counts)
    # Squares of large entries are infinite; their direction is not.
    large = nng.metrics.match_factors(1e300 * x, x)
    np.testing.assert_allclose(large.similarity, 1)


# --- elements of obsm ---------------------------------------------------------------------


def test_coordinates_in_a_sparse_matrix():
    adata = nng.datasets.ggblocks(8, 20)
    image = nng.get.image(adata, "gene_0")
    adata.obsm["spatial"] = sp.csr_matrix(adata.obsm["spatial"])
    again = nng.get.image(adata, "gene_0")
    np.testing.assert_array_equal(np.asarray(again), np.asarray(image))


def test_factors_of_another_number_or_type():
    adata = nng.datasets.ggblocks(8, 20)
    nng.tl.nmf(adata, 3, max_iter=2)
    changed = adata.copy()
    changed.varm["nmf"] = adata.varm["nmf"][:, :2]
    with pytest.raises(ValueError, match=r"differ, {'scores': 3, 'loadings': 2"):
        nng.get.factors(changed)
    changed.varm["nmf"] = adata.varm["nmf"].astype(complex)
    with pytest.raises(
        ValueError, match="with dtype complex128, which holds no factors"
    ):
        nng.get.loadings_df(changed)


def test_neighbours_that_are_equally_far():
    """Two locations: no width is learned, and none is needed."""
    adata, reference = nng.datasets.spots(6, 40, 3)
    adata = adata[:2].copy()
    nng.tl.learn_deconvolution(
        adata,
        reference,
        cell_type_key="cell_type",
        n_maps=2,
        n_validation=1,
        n_layers=2,
        max_iter=2,
    )
    assert adata.uns["deconv_learned"]["width"] == 1


# --- files --------------------------------------------------------------------------------


def test_folders_where_files_are_expected(tmp_path):
    for name, read in {
        "pose.csv": lambda path: nng.io.read_pose(path, fs=10),
        "events.csv": nng.io.read_events,
    }.items():
        (tmp_path / name).mkdir()
        with pytest.raises((ValueError, OSError), match=f"{name} cannot be read"):
            read(tmp_path / name)


def test_an_image_has_rows_and_columns():
    given = dict(U=RANDOM((20, 3)), SVT=RANDOM((3, 30)), fs=10)
    for shape in ((4,), (4, 5, 1), (-4, -5), (4.0, 5.0)):
        with pytest.raises((ValueError, TypeError), match="shape="):
            nng.io.from_svd(**given, shape=shape)
    widefield = nng.datasets.widefield(
        shape=np.array([12, 16]), n_regions=2, n_frames=30, min_pixels=1
    )
    assert widefield.uns["volume"]["shape"].tolist() == [12, 16]


# --- numbers that are out of all proportion -------------------------------------------------


@pytest.mark.parametrize(
    ("simulate", "kwargs", "match"),
    [
        (nng.datasets.ggblocks, {"background": 1e300}, "background and height make"),
        (nng.datasets.quilt, {"dispersion": 1e300}, "dispersion=1e.300 must be 0, or"),
        (nng.datasets.batches, {"depth": 1e300}, "depth make counts of"),
        (nng.datasets.spots, {"platform": 1e300}, "platform make counts of"),
        (nng.datasets.widefield, {"fs": 1e300}, "fs=1e.300 must be from"),
        (nng.datasets.widefield, {"kind": "paper", "n_regions": 0}, "n_regions=0"),
        (
            nng.datasets.atlas_expression,
            {"noise": 1e-300},
            "noise=1e-300 must be 0, or",
        ),
    ],
)
def test_simulations_that_cannot_be_drawn(simulate, kwargs, match):
    with pytest.raises(ValueError, match=match):
        simulate(**kwargs)


def test_fewer_frames_than_components():
    adata = nng.datasets.widefield(
        kind="paper", shape=(12, 16), n_regions=2, n_frames=3, min_pixels=1
    )
    assert adata.obsm["X_svd"].shape[1] <= 3
    assert np.isfinite(adata.varm["svd"]).all()


# Of every table that is given, with a column that is there twice.
TABLES = {
    "landmarks": lambda: nng.atlas.align(
        nng.datasets.ggblocks(6, 12),
        pd.DataFrame({"name": ["a", "b"], "x": [0, 1], "y": [0, 0]})[[*"xyx", "name"]],
        {"a": (2, 2), "b": (2, 4)},
    ),
    "structures": lambda: nng.atlas.Atlas.from_arrays(
        np.ones((2, 3), int), pd.DataFrame({"id": [1, 2]})[["id", "id"]]
    ),
    "markers": lambda: nng.get.marker_overlap(
        nng.datasets.ggblocks(6, 12),
        pd.DataFrame({"group": ["a"], "names": ["b"]})[["group", "names", "names"]],
        key="truth",
    ),
    "shares": lambda: nng.metrics.marker_agreement(
        np.ones((5, 2)),
        pd.DataFrame(RANDOM((5, 2)), columns=["a", "a"]),
        {"a": ["g"]},
        genes=["g", "h"],
    ),
}


@pytest.mark.parametrize("where", TABLES)
def test_columns_of_one_name(where):
    with pytest.raises(ValueError, match=rf"^{where} has columns of the same name, \["):
        TABLES[where]()


# --- names of arguments -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (
            "n_iter",
            r"nonneg\.tl\.nmf has no argument 'n_iter': it is called 'max_iter'\.$",
        ),
        ("random_state", "it is called 'rng'"),
        ("max_itr", r"Did you mean 'max_iter'\?$"),
        ("n_jobs", r"no argument 'n_jobs'; it takes \['adata'"),
        ("spatial_key", r"no argument 'spatial_key'; it takes \['adata'"),
        ("colour", r"no argument 'colour'; it takes \['adata', 'n_components', "),
    ],
)
def test_arguments_that_have_another_name(name, match):
    with pytest.raises(TypeError, match=match):
        nng.tl.nmf(None, 3, **{name: 1})


@pytest.mark.parametrize(
    ("call", "ours"),
    [
        (lambda: nng.tl.nsf(None, 3, library_id="x"), "library_key"),
        (lambda: nng.tl.predict(None, coordinates=[[0, 0]]), "coords"),
    ],
)
def test_names_of_squidpy(call, ours):
    with pytest.raises(TypeError, match=f"it is called '{ours}'"):
        call()


def test_python_says_what_is_missing():
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        nng.tl.nmf()
