"""Data sets that arrive after a fit, and scores of cells on what it has learned."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

import nonneg as nng
from testing.nonneg import assert_same, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
K = 4
NAMES = ["batch_0", "batch_1", "batch_2"]
SIMULATED = nng.datasets.batches((60, 40, 50), 30, K, specific=1.0)
CODES = SIMULATED.obs["batch"].cat.codes.to_numpy()


def fit(data, **kwargs):
    arguments = {"size_factors": "total", "minibatch_size": 50, "n_epochs": 2}
    return nng.tl.online_inmf(data, K, batch_key="batch", **(arguments | kwargs))


def update(reference, data, batch="batch_2", **kwargs):
    arguments = {"minibatch_size": 25, "n_epochs": 2} | kwargs
    return nng.tl.online_inmf_update(reference, data, batch=batch, **arguments)


@pytest.fixture(scope="module")
def fitted():
    """The first two data sets, with their cells."""
    return fit(SIMULATED[CODES < 2].copy(), copy=True)


@pytest.fixture
def model(fitted):
    """What is needed of it."""
    return fitted[:0].copy()


@pytest.fixture
def new():
    return SIMULATED[CODES == 2].copy()


@contextmanager
def warns(message):
    """As `pytest.warns`, which lets out what others warn of and is ignored."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message, UserWarning)
        yield
    assert caught


def write(adata, path):
    getattr(adata, f"write_{path.suffix[1:]}")(path)
    return path


def dense(adata):
    return np.asarray(sp.csr_matrix(adata.X).toarray(), np.float64)


def scaled(adata, model, d):
    x = dense(adata)
    return x / x.sum(1, keepdims=True) * model.varm["inmf_scale"][:, d]


def expected_scores(adata, model, d):
    """By SciPy, on data that are scaled explicitly."""
    w = model.varm["inmf"].astype(np.float64)
    v = model.varm["inmf_specific"][:, d].astype(np.float64)
    both = np.vstack([w + v, np.sqrt(model.uns["inmf"]["lam"][d]) * v])
    rows = np.hstack([scaled(adata, model, d), np.zeros((adata.n_obs, adata.n_vars))])
    return np.array([nnls(both, row)[0] for row in rows])


def assert_same_model(first, second, *, exact=False):
    for name in ("inmf", "inmf_specific", "inmf_stats", "inmf_scale"):
        one, other = np.asarray(first.varm[name]), np.asarray(second.varm[name])
        if exact:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, atol=1e-3 * np.nanmax(other))


def test_what_is_stored(fitted, model, new):
    before = snapshot(model)
    assert update(model, new) is None
    assert_same(snapshot(model), before)
    info, old = new.uns["inmf"], model.uns["inmf"]
    assert info["method"] == "online_inmf"
    assert list(info["batches"]) == NAMES
    np.testing.assert_array_equal(info["n_cells"], [60, 40, 50])
    np.testing.assert_array_equal(info["lam"], [5, 5, 5])
    assert new.varm["inmf_specific"].shape == (30, 3, K)
    scores = expected_scores(new, new, 2)
    np.testing.assert_allclose(new.obsm["X_inmf"], scores, atol=1e-3 * scores.max())
    # The sums of the new cells are those of their scores.
    h, x = new.obsm["X_inmf"].astype(np.float64), scaled(new, new, 2)
    np.testing.assert_allclose(info["gram"][2], h.T @ h, rtol=1e-3)
    np.testing.assert_allclose(
        new.varm["inmf_stats"][:, 2], x.T @ h, rtol=1e-3, atol=1e-3
    )
    # Those of the old ones are as they were, but for the scale of the factors.
    scale = np.sqrt(np.einsum("dkk->dk", info["gram"][:2] / old["gram"]))
    np.testing.assert_allclose(scale[0], scale[1], rtol=1e-5)
    gram = old["gram"] * scale[0][:, None] * scale[0]
    np.testing.assert_allclose(info["gram"][:2], gram, rtol=1e-4)
    np.testing.assert_allclose(
        new.varm["inmf_stats"][:, :2], model.varm["inmf_stats"] * scale[0], rtol=1e-4
    )
    # What is specific to them stays as well.
    np.testing.assert_allclose(
        new.varm["inmf_specific"][:, :2] * scale[0],
        model.varm["inmf_specific"],
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_array_equal(
        new.varm["inmf_scale"][:, :2], model.varm["inmf_scale"]
    )


def test_traces(fitted, model, new):
    """Changes of W go on; the objective is that of all cells, at the end."""
    update(model, new)
    info, old = new.uns["inmf"], model.uns["inmf"]
    # Two mini-batches in each of two epochs.
    n = len(old["change"])
    np.testing.assert_array_equal(info["change"][:n], old["change"])
    assert len(info["change"]) == n + 4
    assert list(info["change_batch"]) == ["all"] * n + ["batch_2"] * 4
    # Old cells keep their scores, but for the scale of the factors.
    scale = np.sqrt(np.diagonal(info["gram"][0]) / np.diagonal(old["gram"][0]))
    objective = 0.0
    for d, name in enumerate(NAMES):
        rows = SIMULATED[name == SIMULATED.obs["batch"]]
        h = new.obsm["X_inmf"]
        if d < 2:
            h = fitted[rows.obs_names].obsm["X_inmf"] * scale
        w, v = new.varm["inmf"], new.varm["inmf_specific"][:, d]
        objective += np.square(scaled(rows, new, d) - h @ (w + v).T).sum()
        objective += 5 * np.square(h @ v.T).sum()
    assert info["objective"] == pytest.approx([objective], rel=1e-4)
    assert len(info["seconds"]) == 1


def test_the_metagenes_explain_the_new_cells_better(model, new):
    """Better than those that were fitted without them, and the old ones nearly as well."""
    projected = nng.tl.project(new, model, key="inmf", copy=True)
    update(model, new, n_epochs=5)
    h = new.obsm["X_inmf"].astype(np.float64)
    both = new.varm["inmf"] + new.varm["inmf_specific"][:, 2]
    residual = np.square(scaled(new, new, 2) - h @ both.T).sum()
    assert residual < 0.9 * projected.uns["inmf"]["projected_objective"]
    old = SIMULATED[CODES < 2].copy()
    nng.tl.project(old, new, key="inmf", batch_key="batch")
    after = old.uns["inmf"]["projected_objective"]
    assert after < 1.3 * model.uns["inmf"]["objective"][-1]


def test_cells_of_the_reference_do_not_matter(fitted, model, new):
    """A model without cells is enough."""
    expected = update(fitted, new, copy=True)
    update(model, new)
    assert_same_model(new, expected, exact=True)
    np.testing.assert_array_equal(new.obsm["X_inmf"], expected.obsm["X_inmf"])


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_files(model, new, form, tmp_path):
    path = write(new, tmp_path / f"new.{form}")
    updated = update(model, path, scores=tmp_path / f"scores.{form}")
    expected = update(model, new, copy=True)
    assert updated.shape == (0, 30)
    assert_same_model(updated, expected)
    scores = getattr(ad, f"read_{form}")(tmp_path / f"scores.{form}")
    assert list(scores.obs_names) == list(new.obs_names)
    assert list(scores.obs["batch"]) == ["batch_2"] * 50
    largest = expected.obsm["X_inmf"].max()
    np.testing.assert_allclose(
        scores.obsm["X_inmf"], expected.obsm["X_inmf"], atol=1e-3 * largest
    )
    update(model, path, write_back=True)
    stored = getattr(ad, f"read_{form}")(path)
    np.testing.assert_allclose(
        stored.obsm["X_inmf"], expected.obsm["X_inmf"], atol=1e-3 * largest
    )
    assert "inmf" not in stored.uns


def test_two_at_once(model):
    data = {
        "b": SIMULATED[CODES == 2].copy(),
        "a": SIMULATED[CODES == 1].copy(),
    }
    updated = update(model, data, batch=None, lam=2.0)
    info = updated.uns["inmf"]
    assert list(info["batches"]) == ["a", "b", "batch_0", "batch_1"]
    np.testing.assert_array_equal(info["n_cells"], [40, 50, 60, 40])
    np.testing.assert_array_equal(info["lam"], [2, 2, 5, 5])
    assert info["change_batch"][-1] == "b + a"


def test_more_cells_of_a_known_data_set(model, new):
    """They are added; the data set keeps its scale and its penalty."""
    update(model, new, batch="batch_1", lam=9.0)
    info = new.uns["inmf"]
    assert list(info["batches"]) == NAMES[:2]
    np.testing.assert_array_equal(info["n_cells"], [60, 90])
    np.testing.assert_array_equal(info["lam"], [5, 5])
    np.testing.assert_array_equal(new.varm["inmf_scale"], model.varm["inmf_scale"])
    scores = expected_scores(new, new, 1)
    np.testing.assert_allclose(new.obsm["X_inmf"], scores, atol=1e-3 * scores.max())


def test_one_after_another(fitted, new):
    """Updates of updates, under another key."""
    first = fit(SIMULATED[CODES < 2].copy(), key_added="foo", copy=True)[:0].copy()
    second = update(first, new, batch="x/1", key="foo", copy=True)[:0].copy()
    third = update(second, new, batch="a b", key="foo", copy=True)
    assert list(third.uns["foo"]["batches"]) == ["a b", "batch_0", "batch_1", "x/1"]
    assert set(third.varm) == {
        *SIMULATED.varm,
        "foo",
        "foo_specific",
        "foo_stats",
        "foo_scale",
    }
    assert third.obsm["foo"].shape == (50, K)


def test_of_a_batch_fit(new):
    """The model of `inmf` can be brought up to date as well."""
    first = SIMULATED[CODES < 2].copy()
    nng.tl.inmf(first, K, batch_key="batch", size_factors="total")
    update(first, new)
    assert list(new.uns["inmf"]["batches"]) == NAMES
    assert set(new.uns["inmf"]["change_batch"]) == {"batch_2"}
    nng.tl.project(first, new, key="inmf", batch_key="batch")


def test_genes_in_another_order_and_others(model, new):
    expected = update(model, new, copy=True)
    order = np.random.default_rng(0).permutation(30)
    moved = new[:, order].copy()
    update(model, moved)
    largest = expected.obsm["X_inmf"].max()
    np.testing.assert_allclose(
        moved.obsm["X_inmf"], expected.obsm["X_inmf"], atol=1e-3 * largest
    )
    np.testing.assert_allclose(
        moved.varm["inmf_specific"], expected.varm["inmf_specific"][order], atol=1e-3
    )
    more = ad.AnnData(
        sp.csr_matrix(np.hstack([np.zeros((50, 1)), dense(new), np.zeros((50, 2))])),
        obs=new.obs,
    )
    more.var_names = ["other_0", *new.var_names, "other_1", "other_2"]
    update(model, more)
    assert np.isnan(more.varm["inmf_specific"][[0, 31, 32]]).all()
    np.testing.assert_allclose(
        more.obsm["X_inmf"], expected.obsm["X_inmf"], atol=1e-3 * largest
    )
    # And is itself a model, of those that were fitted.
    update(more, new, batch="again")


def test_a_view_and_a_copy(model, new):
    expected = update(model, new, copy=True)
    assert "inmf" not in new.uns
    view = SIMULATED.copy()[CODES == 2]
    update(model, view)
    assert not view.is_view
    np.testing.assert_array_equal(view.obsm["X_inmf"], expected.obsm["X_inmf"])


def test_what_was_aligned_is_of_the_old_model(fitted):
    adata = fitted.copy()
    nng.tl.quantile_align(adata, batch_key="batch", min_cells=5)
    update(fitted, adata, batch="again")
    assert "X_inmf_aligned" not in adata.obsm
    assert "inmf_cluster" not in adata.obs


def test_empty_cells(model, new):
    x = dense(new).astype(np.float32)
    x[4] = 0
    new.X = sp.csr_matrix(x)
    with warns(".*: 1 cell has no counts of these genes"):
        update(model, new)
    assert not new.obsm["X_inmf"][4].any()


def test_what_is_said_of_genes_names_the_data_set(model, new, tmp_path):
    x = dense(new).astype(np.float32)
    x[:, 7] = 0
    new.X = sp.csr_matrix(x)
    with warns(r"adata.X of 'batch_2': 1 gene is zero in all cells"):
        update(model, new)
    path = write(new, tmp_path / "new.h5ad")
    with warns(r".*new.h5ad.*: 1 gene is zero in all cells"):
        update(model, path)


def test_held_out_cells_of_the_fit_are_not_those_of_an_update(new):
    reference = fit(SIMULATED[CODES < 2].copy(), copy=True, validation=0.2)
    before = snapshot(reference)
    with warns(r".*`validation` of key='inmf', is of the fit before"):
        update(reference, new)
    assert not {"validation", "n_held_out"} & set(new.uns["inmf"])
    assert_same(snapshot(reference), before)


# --- refusals ---------------------------------------------------------------


def refused(error, match, reference, data, **kwargs):
    objects = [one for one in (reference, data) if isinstance(one, ad.AnnData)]
    before = [snapshot(one) for one in objects]
    with pytest.raises(error, match=match):
        update(reference, data, **kwargs)
    for one, old in zip(objects, before, strict=True):
        assert_same(snapshot(one), old)


ARGUMENTS = {
    "no name": (dict(batch=None), ValueError, "arrives a name, `batch`"),
    "empty name": (dict(batch=""), ValueError, "arrives a name, `batch`"),
    "number": (dict(batch=3), ValueError, "arrives a name, `batch`"),
    "key": (dict(key="nmf"), KeyError, "'nmf'"),
    "size": (dict(minibatch_size=0), ValueError, "minibatch_size=0"),
    "epochs": (dict(n_epochs=0), ValueError, "n_epochs=0"),
    "chunk": (dict(chunk_size=0), ValueError, "chunk_size=0"),
    "lam": (dict(lam=-1), ValueError, "lam=-1 must be"),
    "layer": (dict(layer="raw"), KeyError, "'raw'"),
    "scores": (dict(scores="a.h5ad"), ValueError, "go to its obsm"),
    "back": (dict(write_back=True), ValueError, "go to its obsm"),
    "column": (dict(size_factors="n"), KeyError, "'n' is not in obs of 'batch_2'"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(model, new, case):
    arguments, error, match = ARGUMENTS[case]
    refused(error, match, model, new, **arguments)


def test_names_of_a_mapping(model, new):
    match = "batch='batch_2' does not apply to a mapping"
    refused(ValueError, match, model, {"a": new})
    refused(ValueError, "no data sets in the mapping", model, {}, batch=None)


def test_missing_genes(model, new, tmp_path):
    part = new[:, 2:].copy()
    match = (
        r"'batch_2' lacks 2 of the 30 variables, e.g. \['gene_0', 'gene_1'\]. Add them"
    )
    refused(ValueError, match, model, part)
    path = write(part, tmp_path / "part.h5ad")
    content = path.read_bytes()
    refused(ValueError, match, model, path, write_back=True)
    assert path.read_bytes() == content


def test_data_that_do_not_suit(model, new, tmp_path):
    refused(ValueError, "'batch_2' has no cells", model, new[:0].copy())
    match = r"fewer cells than n_components=4: \{'batch_2': 3\}"
    refused(ValueError, match, model, new[:3].copy())
    refused(FileNotFoundError, "There is no file", model, tmp_path / "missing.h5ad")
    refused(TypeError, "not a int", model, 3)
    negative = new.copy()
    negative.X = -dense(new)
    match = "data set 'batch_2', contains negative entries"
    refused(ValueError, match, model, negative)
    repeated = new.copy()
    repeated.var_names = ["gene_1", *new.var_names[1:]]
    match = "'batch_2' are matched by name but repeat"
    refused(ValueError, match, model, repeated)


def test_references_that_do_not_suit(fitted, model, new):
    plain = nng.tl.nmf(fitted, K, copy=True)
    match = r"made by 'nmf', which knows no data sets. Fit `nonneg.tl.inmf`"
    refused(ValueError, match, plain, new, key="nmf")
    broken = model.copy()
    del broken.varm["inmf_stats"]
    match = "'inmf_stats' is not in adata.varm.*removed after the fit"
    refused(KeyError, match, broken, new)
    by_array = SIMULATED[CODES < 2].copy()
    fit(by_array, size_factors=dense(by_array).sum(1))
    refused(ValueError, "array of size_factors.*'total'", by_array, new)
    update(by_array, new, size_factors="total")
    assert list(new.uns["inmf"]["batches"]) == NAMES


def test_a_backed_reference_is_read(fitted, new, tmp_path):
    """Its file stays as it is."""
    path = write(fitted, tmp_path / "reference.h5ad")
    content = path.read_bytes()
    backed = ad.read_h5ad(path, backed="r")
    expected = update(fitted, new, copy=True)
    update(backed, new)
    backed.file.close()
    assert_same_model(new, expected, exact=True)
    assert path.read_bytes() == content


class TestHistory:
    """Shared metagenes, kept as data sets arrive."""

    def test_what_is_kept(self, fitted, model, new):
        updated = update(model, new, keep_history=True, copy=True)
        history = updated.varm["inmf_history"]
        assert history.shape == (30, 2, K)
        np.testing.assert_array_equal(history[:, -1], updated.varm["inmf"])
        # As it was, in the scale of what is now: one number for each component.
        ratio = np.linalg.norm(history[:, 0], axis=0) / np.linalg.norm(
            fitted.varm["inmf"], axis=0
        )
        np.testing.assert_allclose(
            history[:, 0], fitted.varm["inmf"] * ratio, rtol=1e-5
        )
        assert updated.uns["inmf"]["history_batch"].tolist() == [
            "batch_0 + batch_1",
            "batch_2",
        ]
        # The first data sets did not change what is their own, but its scale.
        for d in (0, 1):
            np.testing.assert_allclose(
                updated.varm["inmf_specific"][:, d],
                fitted.varm["inmf_specific"][:, d] * ratio,
                rtol=1e-5,
                atol=1e-7,
            )

    def test_changes_nothing_else(self, model, new):
        one, other = (
            update(model, new, keep_history=keep, copy=True) for keep in (True, None)
        )
        assert "inmf_history" not in other.varm
        assert "history_batch" not in other.uns["inmf"]
        for key in ("inmf", "inmf_specific", "inmf_stats"):
            np.testing.assert_array_equal(one.varm[key], other.varm[key])

    def test_goes_on(self, model, new, tmp_path):
        once = update(model, new, keep_history=True, copy=True)[:0].copy()
        # From a file, and with genes in another order.
        once = ad.read_h5ad(write(once, tmp_path / "model.h5ad"))[:, ::-1].copy()
        more = SIMULATED[CODES == 0].copy()
        twice = update(once, more, batch="more", copy=True)
        names = twice.uns["inmf"]["history_batch"].tolist()
        assert names == ["batch_0 + batch_1", "batch_2", "more"]
        history = twice.varm["inmf_history"]
        np.testing.assert_array_equal(history[:, -1], twice.varm["inmf"])
        before = once[:, twice.var_names].varm["inmf_history"]
        ratio = np.linalg.norm(history[:, 1], axis=0) / np.linalg.norm(
            before[:, 1], axis=0
        )
        np.testing.assert_allclose(history[:, :2], before * ratio, rtol=1e-5)
        assert (
            "inmf_history"
            not in update(once, more, batch="more", keep_history=False, copy=True).varm
        )

    def test_projection_has_none(self, model, new):
        updated = update(model, new, keep_history=True, copy=True)
        cells = SIMULATED.copy()
        nng.tl.project(cells, updated, key="inmf", batch_key="batch")
        assert "inmf_history" not in cells.varm
        with pytest.raises(KeyError, match=r"no history.*keep_history=True"):
            nng.pl.shared_history(cells)
