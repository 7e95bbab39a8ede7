"""What is stored is what is documented, and it survives."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from testing.nonneg import assert_same, counts, snapshot

# Convergence is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DOCS = Path(__file__).parents[1] / "docs" / "keys.md"
SAFE = str | bool | int | float | None | np.ndarray | pd.DataFrame


@cache
def reference(method, **kwargs):
    """A factorization of other data; not to be changed."""
    return getattr(nng.tl, method)(counts(seed=1), 4, copy=True, **kwargs)


METHODS = {
    "nmf": lambda adata, **kwargs: nng.tl.nmf(adata, 4, **kwargs),
    "nmf-kl": lambda adata, **kwargs: nng.tl.nmf(
        adata, 4, beta_loss="kullback-leibler", mask_var="used", **kwargs
    ),
    "nmf-array-mask": lambda adata, **kwargs: nng.tl.nmf(
        adata, 4, mask_var=adata.var["used"].to_numpy(), rng=None, **kwargs
    ),
    "seminmf": lambda adata, **kwargs: nng.tl.seminmf(adata, 4, tol=0.1, **kwargs),
    "project": lambda adata, **kwargs: nng.tl.project(
        adata, reference("nmf"), **kwargs
    ),
}


# Of data sets; with `batch` in obs.
SCALED = dict(batch_key="batch", size_factors="total")
INTEGRATIONS = {
    "inmf": lambda adata, **kwargs: nng.tl.inmf(adata, 4, **SCALED, **kwargs),
    "inmf-mask": lambda adata, **kwargs: nng.tl.inmf(
        adata, 4, mask_var="used", lam={"a": 1, "b": 2}, **SCALED, **kwargs
    ),
    "online_inmf": lambda adata, **kwargs: nng.tl.online_inmf(
        adata, 4, **SCALED, n_epochs=1, **kwargs
    ),
    "update": lambda adata, key_added=None, **kwargs: nng.tl.online_inmf_update(
        reference("inmf", **SCALED, key_added=key_added),
        adata,
        batch="c",
        key=key_added or "inmf",
        **kwargs,
    ),
    "project": lambda adata, **kwargs: nng.tl.project(
        adata,
        reference("inmf", **SCALED),
        key="inmf",
        batch_key="batch",
        **kwargs,
    ),
}
SIDES = ("", "_specific", "_stats", "_scale")


@pytest.fixture(params=INTEGRATIONS)
def integration(request):
    return INTEGRATIONS[request.param]


@pytest.fixture(scope="module")
def integrated():
    """All integrations in one object."""
    adata = counts()
    for name, method in INTEGRATIONS.items():
        method(adata, key_added=name)
    return adata


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.fixture(scope="module")
def fitted():
    """Everything that is written, in one object."""
    adata = counts()
    nng.pp.deviant_genes(adata, 12, batch_key="batch")
    for name, method in METHODS.items():
        method(adata, key_added=name)
    adata.obsm["X_pca"] = np.abs(adata.X[:, :6])
    nng.tl.nmf(adata, 2, obsm="X_pca", key_added="of_obsm")
    nng.tl.nmf(adata, 4)
    return adata


def added(before, after):
    """Keys that are new, by attribute."""
    return {
        name: set(after[name]) - set(before[name])
        for name in ("obs", "var", "layers", "obsm", "varm", "obsp", "varp", "uns")
        if set(after[name]) - set(before[name])
    }


def test_default_keys(method):
    adata = counts()
    before = snapshot(adata)
    method(adata)
    assert added(before, snapshot(adata)) == {
        "obsm": {"X_nmf"},
        "varm": {"nmf"},
        "uns": {"nmf"},
    }
    assert adata.obsm["X_nmf"].shape == (120, 4)
    assert adata.varm["nmf"].shape == (40, 4)
    for stored in (adata.obsm["X_nmf"], adata.varm["nmf"]):
        assert type(stored) is np.ndarray
        assert stored.dtype == np.float32
    assert adata.uns["nmf"]["obsm_key"] == "X_nmf"
    assert adata.uns["nmf"]["varm_key"] == "nmf"


def test_added_key(method):
    adata = counts()
    before = snapshot(adata)
    method(adata, key_added="foo")
    assert added(before, snapshot(adata)) == {
        "obsm": {"foo"},
        "varm": {"foo"},
        "uns": {"foo"},
    }
    assert adata.uns["foo"]["obsm_key"] == adata.uns["foo"]["varm_key"] == "foo"


def test_deviant_genes():
    adata = counts()
    before = snapshot(adata)
    nng.pp.deviant_genes(adata, 12)
    columns = {"deviance", "highly_variable", "highly_variable_rank"}
    assert added(before, snapshot(adata)) == {"var": columns}
    doc = nng.pp.deviant_genes.__doc__
    assert set(re.findall(r"^`\.var\['(\w+)'\]`", doc, re.MULTILINE)) == columns


def test_a_second_key_leaves_the_first_alone(method):
    adata = counts()
    nng.tl.nmf(adata, 3)
    before = snapshot(adata)
    method(adata, key_added="second")
    after = snapshot(adata)
    for name in ("obsm", "varm", "uns"):
        del after[name]["second"]
    assert_same(after, before)


def test_entries_are_those_of_the_documentation(fitted):
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text()))
    documented |= set(re.findall(r"`(\w+)`", nng.tl.nmf.__doc__))
    for key in ("nmf", "nmf-kl", "seminmf"):
        entry = fitted.uns[key]
        assert set(entry) == {
            "schema",
            "side_keys",
            "method",
            "params",
            "obsm_key",
            "varm_key",
            "objective",
            "iteration",
            "n_iter",
            "converged",
            "interrupted",
            "mass",
            "scale",
        }
        assert entry["method"] == key.partition("-")[0]
        assert len(entry["objective"]) == len(entry["iteration"])
        assert entry["iteration"][-1] == entry["n_iter"]
        assert set(entry) <= documented


@pytest.mark.parametrize("method", ["nsf", "nsfh", "pnmf", "rsf", "fa"])
def test_entries_of_spatial_models_are_those_of_the_documentation(method):
    function = getattr(nng.tl, method)
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text() + function.__doc__))
    adata = nng.datasets.ggblocks(12, 40)
    before = snapshot(adata)
    function(adata, 4, max_iter=3)
    assert set(adata.uns[method]) <= documented
    # Columns and arrays are listed one by one, with those that `_std` is appended to.
    listed = re.findall(r"`\.(obsm|varm|var|obs|uns)\['(\w+)'", function.__doc__)
    for name, keys in added(before, snapshot(adata)).items():
        for key in keys:
            assert (name, key.removesuffix("_std")) in listed


def test_parameters_are_recorded(fitted):
    params = fitted.uns["nmf-kl"]["params"]
    assert params["beta_loss"] == "kullback-leibler"
    assert params["solver"] == "mu"
    assert params["n_components"] == 4
    assert params["mask_var"] == "used"
    assert params["seed"] == 0
    assert params["version"] == nng.__version__
    assert fitted.uns["nmf-array-mask"]["params"]["mask_var"] == "array"
    assert fitted.uns["nmf-array-mask"]["params"]["seed"] > 0
    assert fitted.uns["of_obsm"]["params"]["obsm"] == "X_pca"
    assert fitted.uns["of_obsm"]["loadings"].shape == (6, 2)
    assert "of_obsm" not in fitted.varm
    projected = fitted.uns["project"]
    assert projected["projected"] == pytest.approx(1)
    assert projected["params"]["n_components"] == 4


def test_types_are_safe(fitted):
    def check(value, where):
        if isinstance(value, dict):
            for key, entry in value.items():
                assert type(key) is str
                check(entry, f"{where}/{key}")
            return
        assert isinstance(value, SAFE), (where, type(value))
        # NumPy scalars become other types on the way.
        assert not isinstance(value, np.generic), where
        assert not isinstance(value, np.ndarray) or value.dtype.kind in "fib", where

    check(dict(fitted.uns), "uns")


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_round_trip(fitted, form, tmp_path):
    path = tmp_path / f"fitted.{form}"
    getattr(fitted, f"write_{form}")(path)
    read = getattr(ad, f"read_{form}")(path)
    before, after = snapshot(fitted), snapshot(read)
    assert_same(loose(after["uns"]), loose(before["uns"]))
    for name in ("obsm", "varm", "var"):
        assert_same(after[name], before[name])
    # What is read is what functions understand.
    assert nng.get.top_genes(read).equals(nng.get.top_genes(fitted))
    nng.tl.project(read, fitted, key="nmf-kl", key_added="again")


def loose(value):
    """Numbers and flags as Python's own."""
    if isinstance(value, dict):
        return {key: loose(value[key]) for key in sorted(value)}
    if isinstance(value, np.generic) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    ):
        return value.item()
    return value


def test_a_model_file(fitted, tmp_path):
    fitted[:0].copy().write_h5ad(tmp_path / "model.h5ad")
    model = ad.read_h5ad(tmp_path / "model.h5ad")
    assert model.shape == (0, 40)
    new = counts(seed=2)
    nng.tl.project(new, model)
    expected = nng.tl.project(new, fitted, key_added="expected", copy=True)
    np.testing.assert_array_equal(new.obsm["X_nmf"], expected.obsm["expected"])


def test_subsets_of_observations_and_variables(fitted):
    rows, columns = np.arange(0, 120, 7), np.arange(0, 40, 3)
    part = fitted[rows, columns].copy()
    np.testing.assert_array_equal(part.obsm["X_nmf"], fitted.obsm["X_nmf"][rows])
    np.testing.assert_array_equal(part.varm["nmf"], fitted.varm["nmf"][columns])
    table = nng.get.loadings_df(part)
    assert list(table.index) == list(fitted.var_names[columns])
    # Half of the genes: still a reference, with a warning about the others.
    other = nng.tl.project(counts(seed=2), part, copy=True)
    assert np.isnan(other.varm["nmf"]).any(1).sum() == 40 - len(columns)


def test_concatenation(fitted):
    first, second = fitted[:50].copy(), fitted[50:].copy()
    both = ad.concat([first, second], merge="same", uns_merge="same")
    np.testing.assert_array_equal(both.obsm["X_nmf"], fitted.obsm["X_nmf"])
    np.testing.assert_array_equal(both.varm["nmf"], fitted.varm["nmf"])
    assert both.uns["nmf"]["params"] == fitted.uns["nmf"]["params"]
    pd.testing.assert_frame_equal(
        nng.get.loadings_df(both), nng.get.loadings_df(fitted)
    )
    nng.tl.project(counts(seed=2), both)


# --- integrations -----------------------------------------------------------


def test_keys_of_integrations(integration):
    adata = counts()
    before = snapshot(adata)
    integration(adata)
    assert added(before, snapshot(adata)) == {
        "obsm": {"X_inmf"},
        "varm": {f"inmf{side}" for side in SIDES},
        "uns": {"inmf"},
    }
    n = len(adata.uns["inmf"]["batches"])
    shapes = dict(zip(SIDES, [(40, 4), (40, n, 4), (40, n, 4), (40, n)], strict=True))
    for side, shape in shapes.items():
        stored = adata.varm[f"inmf{side}"]
        assert type(stored) is np.ndarray
        assert (stored.shape, stored.dtype) == (shape, np.float32)
    assert adata.obsm["X_inmf"].shape == (120, 4)
    assert adata.uns["inmf"]["obsm_key"] == "X_inmf"
    assert adata.uns["inmf"]["varm_key"] == "inmf"


def test_added_keys_of_integrations(integration):
    adata = counts()
    nng.tl.inmf(adata, 3, **SCALED)
    before = snapshot(adata)
    integration(adata, key_added="foo")
    after = snapshot(adata)
    assert added(before, after) == {
        "obsm": {"foo"},
        "varm": {f"foo{side}" for side in SIDES},
        "uns": {"foo"},
    }
    assert adata.uns["foo"]["obsm_key"] == adata.uns["foo"]["varm_key"] == "foo"
    # What was there is left alone.
    for name in ("obsm", "varm", "uns"):
        after[name] = {key: after[name][key] for key in before[name]}
    assert_same(after, before)


@pytest.mark.parametrize("method", ["inmf", "online_inmf"])
def test_entries_of_integrations_are_those_of_the_documentation(integrated, method):
    doc = nng.tl.inmf.__doc__ + getattr(nng.tl, method).__doc__
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text() + doc))
    entry = integrated.uns[method]
    common = {
        *("schema", "side_keys", "method", "params", "obsm_key", "varm_key"),
        *("batches", "lam", "weight"),
        *(
            "n_cells",
            "sq_norm",
            "gram",
            "objective",
            "seconds",
            "n_iter",
            "interrupted",
        ),
    }
    common.add("cells")
    online = {"change", "change_batch", "iteration"}
    own = online if method == "online_inmf" else {"converged"}
    assert set(entry) == common | own
    assert set(entry) <= documented
    assert entry["method"] == method
    listed = re.findall(r"^`\.(?:obsm|varm|uns)\['(\w+)'", doc, re.MULTILINE)
    assert {"X_inmf", *(f"inmf{side}" for side in SIDES)} <= set(listed)


def test_parameters_of_integrations_are_recorded(integrated):
    params = integrated.uns["inmf-mask"]["params"]
    assert params["batch_key"] == "batch"
    assert params["mask_var"] == "used"
    assert params["size_factors"] == "total"
    assert params["version"] == nng.__version__
    np.testing.assert_array_equal(integrated.uns["inmf-mask"]["lam"], [1, 2])
    assert set(integrated.uns["online_inmf"]["params"]) == {
        *("n_components", "batch_key", "layer", "mask_var", "size_factors", "scale"),
        *("dataset_weights", "minibatch_size", "n_epochs", "seed", "version"),
        "validation",
    }


def test_types_of_integrations_are_safe(integrated):
    def check(value, where):
        if isinstance(value, dict):
            for key, entry in value.items():
                assert type(key) is str
                check(entry, f"{where}/{key}")
            return
        assert isinstance(value, SAFE), (where, type(value))
        assert not isinstance(value, np.generic), where
        if isinstance(value, np.ndarray) and value.dtype.kind not in "fib":
            # Names of data sets.
            assert where.endswith(("/batches", "/change_batch", "/varm")), where
            assert {type(name) for name in value} == {str}

    check(dict(integrated.uns), "uns")


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_round_trip_of_integrations(integrated, form, tmp_path):
    path = tmp_path / f"integrated.{form}"
    getattr(integrated, f"write_{form}")(path)
    read = getattr(ad, f"read_{form}")(path)
    before, after = snapshot(integrated), snapshot(read)
    assert_same(as_text(loose(after["uns"])), as_text(loose(before["uns"])))
    for name in ("obsm", "varm"):
        assert_same(after[name], before[name])
    # What is read is what functions understand.
    for key in INTEGRATIONS:
        one, other = (
            nng.tl.project(counts(seed=2), x, key=key, batch_key="batch", copy=True)
            for x in (read, integrated)
        )
        info = one.uns[key]
        np.testing.assert_array_equal(
            one.obsm[info["obsm_key"]], other.obsm[info["obsm_key"]]
        )
        nng.tl.online_inmf_update(read, counts(seed=2), batch="new", key=key)


def as_text(value):
    """Arrays of strings in one form: files keep another one."""
    if isinstance(value, dict):
        return {key: as_text(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fib":
        return value.astype(object)
    return value


def test_subsets_of_integrations(integrated):
    rows, columns = np.arange(0, 120, 7), np.arange(0, 40, 3)
    part = integrated[rows, columns].copy()
    np.testing.assert_array_equal(part.obsm["inmf"], integrated.obsm["inmf"][rows])
    for side in SIDES:
        np.testing.assert_array_equal(
            part.varm[f"inmf{side}"], integrated.varm[f"inmf{side}"][columns]
        )
    # Still a reference, of the genes that are left.
    new = nng.tl.project(counts(seed=2), part, key="inmf", copy=True)
    assert np.isnan(new.varm["inmf"]).all(1).sum() == 40 - len(columns)
    nng.tl.online_inmf_update(part, counts(seed=2), batch="new")


def test_concatenation_of_integrations(integrated):
    first, second = integrated[:50].copy(), integrated[50:].copy()
    both = ad.concat([first, second], merge="same", uns_merge="same")
    for side in SIDES:
        np.testing.assert_array_equal(
            both.varm[f"inmf{side}"], integrated.varm[f"inmf{side}"]
        )
    np.testing.assert_array_equal(both.obsm["inmf"], integrated.obsm["inmf"])
    nng.tl.project(counts(seed=2), both, key="inmf", batch_key="batch")
