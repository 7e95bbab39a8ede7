"""Scans of numbers of components: what is written, resumed, sent, and refused."""

from __future__ import annotations

import shutil
import sys
import warnings
from functools import cache

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import nonneg as nng
from nonneg.models.stability.batch import BatchSolver
from nonneg.tl._stability.judge import priority, select
from testing.nonneg import ARRAY_TYPES, assert_same, low_rank, real_data, snapshot
from testing.nonneg._disk import FailingDisk
from testing.nonneg._online import contents

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Instability is lowest at an end of the range"),
]
TRUE = 4
# The module, whose name in its package is that of its function.
stability_module = sys.modules["nonneg.tl._stability.stability"]


@cache
def simulated():
    """Blocks on a grid; not to be changed."""
    return nng.datasets.ggblocks(12, 60)


def scan(adata=None, ranks=(3, 4, 5), **kwargs):
    adata = simulated() if adata is None else adata
    return nng.tl.stability(adata, ranks, **{"n_bootstraps": 6, "copy": True, **kwargs})


@cache
def scanned():
    """Not to be changed."""
    return scan(ranks=range(2, 7))


def table_of(adata, key="stability"):
    return adata.uns[key]["table"].set_index("n_components")


def test_the_true_number_is_found():
    adata = scanned()
    table = table_of(adata)
    assert adata.uns["stability"]["best"] == TRUE
    assert table.index.tolist() == [2, 3, 4, 5, 6]
    assert table["is_minimum"].tolist() == [False, False, True, False, False]
    assert table["instability"][TRUE] < 0.02
    assert (table["instability"].drop(TRUE) > 0.1).all()
    assert (table["pca"] > table["instability"])[TRUE]
    truth = adata.obsm["truth"]
    match = nng.metrics.match_factors(truth, adata.obsm["X_stability"])
    assert match.similarity.min() > 0.98


def test_patterns_without_structure_select_nothing():
    permuted = simulated().copy()
    permuted.X = np.random.default_rng(0).permuted(permuted.X.toarray(), axis=0)
    with pytest.warns(UserWarning, match="No number of components is selected"):
        found = scan(permuted, [3, 5], baseline=False)
    assert (table_of(found)["corrected"] > 0.5).all()
    assert "best" not in found.uns["stability"]


def test_what_is_near_chance_is_not_selected():
    """Few components differ little by chance: a low value alone says nothing."""
    table = pd.DataFrame(
        {
            "n_components": [3, 4, 5],
            "instability": [0.16, 0.17, 0.2],
            "corrected": [0.52, 0.48, 0.49],
        }
    )
    assert select(table) == 4
    assert min(table.to_dict("records"), key=priority)["n_components"] == 4
    assert select(table[table["corrected"] > 0.5]) is None


def test_the_end_of_the_range_is_no_minimum():
    with pytest.warns(UserWarning, match=r"n_components=4: it may be lower with more"):
        scan(ranks=[2, 3, TRUE], n_bootstraps=3, baseline=False)


def test_columns_are_consistent():
    table = table_of(scanned())
    np.testing.assert_allclose(
        table["corrected"], table["instability"] / table["chance"]
    )
    assert (table["amari"] <= table["hungarian"] + 1e-9).all()
    assert (table["instability"] == table["hungarian"]).all()
    assert (table["centered"] > table["hungarian"]).all()
    assert table["reconstruction"].is_monotonic_increasing
    assert table["reconstruction"].between(0, 1).all()
    assert (table["n_dead"] == 0).all()
    assert (table["converged"] == 1).all()
    patterns = scanned().uns["stability"]["patterns"]
    assert patterns.groupby("n_components").size().tolist() == [2, 3, 4, 5, 6]
    of_true = patterns[patterns["n_components"] == TRUE]
    assert (of_true["stability"] > 0.98).all()
    # Rows are columns of what is stored.
    assert of_true["pattern"].tolist() == [0, 1, 2, 3]
    mass = scanned().uns["stability"]["mass"]
    assert (np.diff(mass) <= 0).all()
    # One pattern is surplus, and it is known which.
    surplus = patterns[patterns["n_components"] == TRUE + 1]["stability"].sort_values()
    assert surplus.iloc[0] < 0.9 < surplus.iloc[1]


def test_it_is_a_factorization_as_others_are():
    adata = scanned()
    scores, loadings = adata.obsm["X_stability"], adata.varm["stability"]
    assert scores.shape == (144, TRUE)
    np.testing.assert_allclose(np.linalg.norm(loadings, axis=0), 1, rtol=1e-5)
    fitted = scores @ loadings.T
    single = nng.tl.nmf(simulated(), TRUE, copy=True)
    best = single.obsm["X_nmf"] @ single.varm["nmf"].T
    x = adata.X.toarray() if sp.issparse(adata.X) else adata.X
    assert np.linalg.norm(x - fitted) < 1.02 * np.linalg.norm(x - best)
    assert nng.get.factors(adata, "stability").shape == (144, TRUE)
    new = adata[:20].copy()
    nng.tl.project(new, adata, key="stability")
    again = new.obsm["X_stability"]
    assert np.corrcoef(again.ravel(), scores[:20].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_it_survives_files(form, tmp_path):
    adata = scanned()
    path = tmp_path / f"scan.{form}"
    getattr(adata, f"write_{form}")(path)
    read = getattr(ad, f"read_{form}")(path)
    stored = read.uns["stability"]
    for name in ("table", "patterns"):
        pd.testing.assert_frame_equal(
            stored[name],
            adata.uns["stability"][name],
            check_dtype=False,
            check_index_type=False,
        )
    assert stored["best"] == TRUE
    assert len(nng.pl.stability(read)) == 2


def test_samples_of_observations():
    adata = scan(resample="obs")
    assert adata.uns["stability"]["best"] == TRUE
    match = nng.metrics.match_factors(adata.varm["truth"], adata.varm["stability"])
    assert match.similarity.min() > 0.98


def test_random_starts_alone():
    adata = scan(resample=None)
    table = table_of(adata)
    assert table["instability"][TRUE] < 1e-3
    assert table["instability"][TRUE + 1] > 0.05
    assert "pca" not in table


def test_another_metric():
    table = table_of(scan(metric="amari"))
    assert (table["instability"] == table["amari"]).all()
    assert table["hungarian"].equals(table_of(scan())["hungarian"])


@pytest.mark.parametrize(
    "array_type",
    [
        pytest.param(
            t, id=str(t), marks=[pytest.mark.slow] * (t.name == "read-lazy-dense")
        )
        for t in ARRAY_TYPES
        if t.name in {"csc-array", "h5ad-csr", "read-lazy-dense"}
    ],
)
def test_array_types(array_type, tmp_path):
    expected = table_of(scan(ranks=[TRUE]))
    adata = array_type(simulated(), tmp_path)
    nng.tl.stability(adata, TRUE, n_bootstraps=6)
    found = table_of(adata)
    for column in expected:
        np.testing.assert_allclose(
            found[column].astype(float),
            expected[column].astype(float),
            rtol=0.05,
            atol=1e-3,
        )


def test_weights_of_variables():
    """A variable of weight 0 is as one that is not there; it has loadings all the same."""
    adata = simulated().copy()
    rng = np.random.default_rng(0)
    noise = 30 * rng.random((adata.n_obs, 20))
    x = adata.X.toarray() if sp.issparse(adata.X) else adata.X
    noisy = AnnData(np.hstack([x, noise]).astype(np.float32))
    noisy.var["weight"] = np.repeat([1.0, 0.0], [60, 20])
    found = scan(noisy, [TRUE], var_weights="weight")
    match = nng.metrics.match_factors(adata.obsm["truth"], found.obsm["X_stability"])
    assert match.similarity.min() > 0.98
    assert found.varm["stability"][60:].max() > 0
    assert found.var["stability_weight"].tolist() == noisy.var["weight"].tolist()


@pytest.mark.parametrize(
    ("method", "kwargs"),
    [
        ("nmf", {"beta_loss": "kullback-leibler"}),
        ("seminmf", None),
        ("pnmf", {"max_iter": 20}),
    ],
)
@pytest.mark.parametrize("resample", ["var", "obs"])
def test_other_methods(method, kwargs, resample):
    adata = scan(
        ranks=[TRUE],
        method=method,
        method_kwargs=kwargs,
        resample=resample,
        n_bootstraps=3,
        baseline=False,
    )
    table = table_of(adata)
    assert table["instability"][TRUE] < 0.15
    assert "pca" not in table
    side = adata.obsm["truth"] if resample == "var" else adata.varm["truth"]
    ours = adata.obsm["X_stability"] if resample == "var" else adata.varm["stability"]
    assert nng.metrics.match_factors(side, ours).similarity.min() > 0.85


def test_components():
    """Signs do not matter, and the table is that of the baseline."""
    table = table_of(scan(method="pca"))
    baseline = table_of(scan())
    np.testing.assert_allclose(table["instability"], baseline["pca"], atol=1e-6)


def test_a_scan_resumes(tmp_path, monkeypatch):
    """What is finished is not fitted again, also when it was interrupted."""
    fits = []
    original = BatchSolver.init

    def init(self, factors):
        if len(fits) == 2:
            raise KeyboardInterrupt
        fits.append(len(factors))
        return original(self, factors)

    monkeypatch.setattr(BatchSolver, "init", init)
    path = tmp_path / "scan"
    with pytest.warns(UserWarning, match="Interrupted after 2 of 3"):
        partial = scan(checkpoint=path)
    assert table_of(partial).index.tolist() == [3, 4]
    assert partial.uns["stability"]["interrupted"] is True
    monkeypatch.setattr(BatchSolver, "init", original)
    counted = []
    monkeypatch.setattr(
        BatchSolver,
        "init",
        lambda self, factors: counted.append(1) or original(self, factors),
    )
    whole = scan(checkpoint=path)
    assert len(counted) == 1
    pd.testing.assert_frame_equal(
        whole.uns["stability"]["table"], scan().uns["stability"]["table"]
    )
    counted.clear()
    scan(ranks=range(2, 6), checkpoint=path)
    assert len(counted) == 1


def test_an_interruption_before_anything_is_found(monkeypatch):
    def init(self, factors):
        raise KeyboardInterrupt

    monkeypatch.setattr(BatchSolver, "init", init)
    adata = simulated().copy()
    before = snapshot(adata)
    with pytest.raises(KeyboardInterrupt):
        nng.tl.stability(adata, [3], n_bootstraps=2)
    assert_same(snapshot(adata), before)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The checkpoint of a finished scan, which those that are refused leave alone."""
    path = tmp_path_factory.mktemp("kept") / "scan"
    scan(ranks=[3], checkpoint=path, baseline=False)
    before = contents(path)
    yield path
    assert contents(path) == before


@pytest.mark.parametrize(
    "other",
    [
        {"rng": 1},
        {"n_bootstraps": 7},
        {"resample": "obs"},
        {"tol": 1e-3},
        {"method_kwargs": {"beta_loss": "kullback-leibler"}},
        {"mask_var": np.arange(60) < 50},
        {"var_weights": np.arange(60.0)},
    ],
)
def test_a_checkpoint_of_another_scan(other, kept):
    with pytest.raises(ValueError, match="belongs to another scan"):
        scan(ranks=[3], checkpoint=kept, **other)


def test_a_checkpoint_of_another_scan_costs_no_pass(kept, tmp_path):
    adata = simulated().copy()
    # Seen as soon as data are read.
    adata.X = -adata.X
    with pytest.raises(ValueError, match="belongs to another scan"):
        scan(adata, ranks=[3], checkpoint=kept, rng=1)
    with pytest.raises(ValueError, match="negative"):
        scan(adata, ranks=[3], checkpoint=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_of_the_same_values_in_another_order(tmp_path):
    """Permuted data have the same sums and norm, and are no reason to skip a fit."""
    weights = np.arange(60.0) + 1
    options = dict(ranks=[3], checkpoint=tmp_path / "scan", baseline=False)
    scan(var_weights=weights, **options)
    for axis in (0, 1):
        permuted = simulated().copy()
        x = permuted.X.toarray()
        permuted.X = np.random.default_rng(0).permuted(x, axis=axis)
        with pytest.raises(ValueError, match="belongs to another scan"):
            scan(permuted, var_weights=weights, **options)
    with pytest.raises(ValueError, match="belongs to another scan"):
        scan(var_weights=weights[::-1], **options)


@pytest.mark.parametrize("n_fail", [pytest.param(1, marks=pytest.mark.slow), None])
def test_a_scan_goes_on_without_its_checkpoint(n_fail, tmp_path):
    options = dict(ranks=[3], baseline=False)
    path = tmp_path / "disk" / "scan"
    expected = scan(**options)
    (tmp_path / "disk").mkdir()
    disk = FailingDisk(tmp_path / "disk", None, n_fail)
    with disk.mounted():
        scan(checkpoint=path, **options)
    begun = {n for n, name in enumerate(disk.operations, 1) if ".npz" not in name}
    n_saves = disk.n_writes
    for first in {*disk.places(), n_saves}:
        shutil.rmtree(path, ignore_errors=True)
        disk = FailingDisk(tmp_path / "disk", first, n_fail)
        if first in begun:
            # Before anything was fitted.
            with disk.mounted(), pytest.raises(OSError, match=r"scan'.* could not be"):
                scan(checkpoint=path, **options)
            assert not path.exists() or not list(path.glob(".*"))
            continue
        match = r"checkpoint='.*scan' could not be written after 3 components"
        with disk.mounted(), pytest.warns(UserWarning, match=match):
            found = scan(checkpoint=path, **options)
        assert_same(snapshot(found), snapshot(expected))
        assert not list(path.glob(".*"))
        # Nothing of it is damaged.
        again = scan(checkpoint=path, **options)
        assert_same(snapshot(again), snapshot(expected))


def test_one_scan_at_a_time(tmp_path, monkeypatch):
    path, run = tmp_path / "scan", stability_module.Scan.run

    def running(self, *args):
        monkeypatch.undo()
        with pytest.raises(ValueError, match=r"scan' is in use by process \d+"):
            scan(ranks=[3], baseline=False, checkpoint=path)
        return run(self, *args)

    monkeypatch.setattr(stability_module.Scan, "run", running)
    scan(ranks=[3], baseline=False, checkpoint=path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scan"]


def test_folders_that_are_no_checkpoints(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not a checkpoint"):
        scan(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        scan(checkpoint=tmp_path / "nowhere" / "scan")
    scan(ranks=[3], checkpoint=tmp_path / "scan", baseline=False)
    (file,) = (tmp_path / "scan").glob("k3-*.npz")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"is damaged.*Remove it"):
        scan(ranks=[3], checkpoint=tmp_path / "scan")


def test_on_a_cluster():
    """Workers have copies of the data, and find the same."""
    distributed = pytest.importorskip("distributed")
    expected = scan()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.Client(
            processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as client:
            submitted = []
            submit = client.submit
            client.submit = lambda *args, **kwargs: (
                submitted.append(1) or submit(*args, **kwargs)
            )
            found = scan()
    assert len(submitted) == 3
    pd.testing.assert_frame_equal(
        found.uns["stability"]["table"], expected.uns["stability"]["table"], rtol=1e-3
    )


REFUSED = {
    "one sample": ({"n_bootstraps": 1}, ValueError, "two samples"),
    "twice": ({"ranks": [3, 4, 3]}, ValueError, r"holds \[3\] more than once"),
    "none": ({"ranks": []}, ValueError, "empty"),
    "above rank": ({"ranks": [3, 61]}, ValueError, "n_components=61 exceeds"),
    "above a sample": ({"ranks": [3, 55]}, ValueError, "holds .* different variables"),
    "resample": ({"resample": "genes"}, ValueError, "resample='genes' must be one of"),
    "metric": ({"metric": "cosine"}, ValueError, "metric='cosine' must be"),
    "method": ({"method": "ica"}, ValueError, "method='ica' must be one of"),
    "no starts": (
        {"method": "pca", "resample": None},
        ValueError,
        "does not have. Use resample",
    ),
    "weights": (
        {"method": "seminmf", "var_weights": np.ones(60)},
        ValueError,
        "for method='nmf'",
    ),
    "negative weights": ({"var_weights": -np.ones(60)}, ValueError, "at least 0"),
    "short weights": ({"var_weights": np.ones(3)}, ValueError, "60 numbers"),
    "clash": (
        {"method": "nmf", "method_kwargs": {"layer": "x"}},
        ValueError,
        r"method_kwargs hold \['layer'\]",
    ),
    "arguments of pca": (
        {"method": "pca", "method_kwargs": {"tol": 1}},
        ValueError,
        "takes no method_kwargs",
    ),
    "column": ({"var_weights": "nothing"}, KeyError, "not in adata.var"),
}


@pytest.mark.parametrize(("kwargs", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(kwargs, error, message):
    adata = simulated().copy()
    before = snapshot(adata)
    with pytest.raises(error, match=message):
        scan(adata, copy=False, **kwargs)
    assert_same(snapshot(adata), before)


def test_samples_without_data():
    x = np.zeros((30, 20), np.float32)
    x[:, :2] = low_rank(30, 2, 1)
    with pytest.raises(ValueError, match="different variables that are not all zero"):
        scan(AnnData(x), [2], n_bootstraps=20)


def test_empty_variables_and_dead_patterns():
    """Variables of zeros are drawn like others; surplus patterns may die."""
    x = np.zeros((40, 30), np.float32)
    x[:, :20] = low_rank(40, 20, 2, noise=0)
    adata = scan(AnnData(x), [2, 6], baseline=False)
    assert np.isfinite(table_of(adata)["instability"]).all()
    assert (adata.varm["stability"][20:] == 0).all()


def test_columns_of_obsm():
    adata = simulated().copy()
    x = adata.X.toarray() if sp.issparse(adata.X) else adata.X
    adata.obsm["X_other"] = x[:, :30]
    nng.tl.stability(adata, [2, 3], obsm="X_other", n_bootstraps=3)
    assert "stability" not in adata.varm
    assert adata.uns["stability"]["loadings"].shape[0] == 30
    with pytest.raises(ValueError, match="for method='nmf' without method_kwargs"):
        scan(adata, [2], obsm="X_other", method="seminmf")


def test_the_plot():
    adata = scanned()
    left, right = nng.pl.stability(adata)
    table = table_of(adata)
    labels = [line.get_label() for line in left.get_lines()]
    curves = dict(zip(labels, left.get_lines(), strict=True))
    np.testing.assert_array_equal(curves["NMF"].get_ydata(), table["instability"])
    np.testing.assert_array_equal(curves["PCA"].get_ydata(), table["pca"])
    assert len(left.collections) == 2
    assert left.get_title() == "selected: 4"
    ring = left.get_lines()[-2]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (4, table["instability"][4])
    np.testing.assert_array_equal(
        right.get_lines()[0].get_ydata(), table["reconstruction"]
    )
    for label, curve in curves.items():
        for other in right.get_lines()[:2]:
            if other.get_label() == label:
                assert other.get_color() == curve.get_color()
    assert right.get_lines()[0].get_color() != right.get_lines()[1].get_color()
    fit = nng.tl.nmf(simulated(), 2, tol=1, copy=True)
    with pytest.raises(KeyError, match="compares no numbers"):
        nng.pl.stability(fit, "nmf")
    with pytest.raises(KeyError, match=r"tl\.stability` first"):
        nng.pl.stability(simulated())


@pytest.mark.data
@pytest.mark.slow
def test_the_first_data_of_the_method():
    """Permuted in-situ images select no number; as they are, patterns are far from chance."""
    file = np.load(real_data("wu2016_drosophila.npz"))
    x = file["X"].astype(np.float32)
    _, gene, n_images = np.unique(
        file["genes"], return_inverse=True, return_counts=True
    )
    weights = 1 / n_images[gene]
    permuted = np.random.default_rng(0).permuted(x, axis=0)
    ranks = (5, 12, 21)
    found = scan(AnnData(x), ranks, var_weights=weights, baseline=False)
    assert (table_of(found)["corrected"] < 0.25).all()
    with pytest.warns(UserWarning, match="No number of components is selected"):
        nothing = scan(AnnData(permuted), ranks, var_weights=weights, baseline=False)
    assert (table_of(nothing)["corrected"] > 0.65).all()
