"""From where an interrupted fit goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import anndata as ad
import numpy as np
import pytest

import nonneg as nng
from nonneg._adata import checkpoint as _checkpoint
from nonneg._adata import files
from nonneg.models.inmf import minibatches
from nonneg.models.inmf.online import OnlineSolver
from testing.nonneg import assert_same, snapshot
from testing.nonneg._online import (
    MAPPINGS,
    N_STEPS,
    K,
    assert_close,
    assert_same_model,
    contents,
    dense,
    expected_scores,
    fit,
    parts,
    read,
    refused,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Killed(BaseException):
    """Ends a fit where a process would die."""


@contextmanager
def killed_after(n_saves):
    """Let a fit die after some saves, one after every step."""
    original, n_done = _checkpoint.Checkpoint.save, 0

    def save(self, state, *, now=False):
        nonlocal n_done
        original(self, state, now=now)
        n_done += 1
        if n_done == n_saves:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "_SHARE", np.inf)
        patch.setattr(_checkpoint.Checkpoint, "save", save)
        with pytest.raises(Killed):
            yield


# In the middle of an epoch, at its end, and before cells are scored.
@pytest.mark.parametrize("n_saves", [1, N_STEPS, N_STEPS + 2, 2 * N_STEPS])
def test_goes_on_in_memory(adata, fitted, tmp_path, n_saves):
    before = snapshot(adata)
    with killed_after(n_saves):
        fit(adata, checkpoint=tmp_path / "state.npz")
    assert_same(snapshot(adata), before)
    fit(adata, checkpoint=tmp_path / "state.npz")
    assert_same_model(adata, fitted, exact=True)
    np.testing.assert_array_equal(adata.obsm["X_inmf"], fitted.obsm["X_inmf"])
    assert adata.uns["inmf"]["n_iter"] == 2 * N_STEPS
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize("n_saves", [1, 4])
def test_goes_on_where_an_epoch_is_one_step(adata, tmp_path, n_saves):
    """Steps begin further on than the last one ended."""
    state, kwargs = tmp_path / "state.npz", dict(minibatch_size=1000, n_epochs=6)
    whole = fit(adata, copy=True, **kwargs)
    with killed_after(n_saves):
        fit(adata, checkpoint=state, **kwargs)
    fit(adata, checkpoint=state, **kwargs)
    assert_same_model(adata, whole, exact=True)


def test_a_checkpoint_of_an_older_version(adata, fitted, tmp_path):
    state = tmp_path / "state.npz"
    with killed_after(N_STEPS):
        fit(adata, checkpoint=state)
    with np.load(state) as file:
        arrays = dict(file)
    new = {"ahead_W", "ahead_V", "value"}
    np.savez(state, **{name: x for name, x in arrays.items() if name not in new})
    fit(adata, checkpoint=state)
    assert_same_model(adata, fitted, exact=True)


@pytest.mark.parametrize("window", [None, 4000])
@pytest.mark.parametrize("n_saves", [2, N_STEPS + 1])
def test_goes_on_with_files(folder, tmp_path, n_saves, window, monkeypatch):
    """Also where an epoch is read in several windows."""
    if window is not None:
        monkeypatch.setattr(minibatches, "_WINDOW_BYTES", window)
    data, state = MAPPINGS["h5ad"](folder), tmp_path / "state.npz"
    expected = fit(data)
    before = contents(folder)
    with killed_after(n_saves):
        fit(data, checkpoint=state, write_back=True)
    assert contents(folder) == before
    assert_same_model(fit(data, checkpoint=state), expected, exact=True)


SCRIPT = """
import os, signal, sys
import nonneg as nng
from nonneg._adata import checkpoint as _checkpoint

folder, out = sys.argv[1:]
original, n_done = _checkpoint.Checkpoint.save, 0


def save(self, state, *, now=False):
    global n_done
    original(self, state, now=now)
    n_done += 1
    if n_done == 4:
        os.kill(os.getpid(), signal.SIGKILL)


_checkpoint._SHARE = float("inf")
_checkpoint.Checkpoint.save = save
nng.tl.online_inmf(
    {name: f"{folder}/{name}.h5ad" for name in ("batch_0", "batch_1", "batch_2")},
    4,
    size_factors="total",
    minibatch_size=50,
    n_epochs=2,
    scores=f"{out}/scores.zarr",
    checkpoint=f"{out}/state.npz",
)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_that_is_killed(folder, tmp_path):
    """The same call gives what it would have given."""
    data, out = MAPPINGS["h5ad"](folder), tmp_path / "out"
    out.mkdir()
    before = contents(folder)
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder, out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    left = {path.name for path in out.iterdir()}
    locks = {".lock-state.npz", ".lock-scores.zarr"}
    assert left == {"state.npz", ".unfinished-scores.zarr", *locks}
    assert contents(folder) == before
    with np.load(out / "state.npz") as file:
        assert int(file["step"]) == 4
    where = {"scores": out / "scores.zarr", "checkpoint": out / "state.npz"}
    resumed = fit(data, **where)
    whole = fit(data, scores=out / "whole.zarr")
    assert_same_model(resumed, whole, exact=True)
    left = {path.name for path in out.iterdir()}
    assert left == {"state.npz", "scores.zarr", "whole.zarr"}
    scores = [read(out / f"{name}.zarr").obsm["X_inmf"] for name in ("scores", "whole")]
    np.testing.assert_array_equal(*scores)


def test_a_finished_checkpoint_only_scores(adata, fitted, tmp_path, monkeypatch):
    state = tmp_path / "state.npz"
    fit(adata.copy(), checkpoint=state)

    def step(*_):
        msg = "There is nothing to fit."
        raise AssertionError(msg)

    monkeypatch.setattr(OnlineSolver, "step", step)
    fit(adata, checkpoint=state)
    assert_same_model(adata, fitted, exact=True)
    np.testing.assert_array_equal(adata.obsm["X_inmf"], fitted.obsm["X_inmf"])


def test_more_epochs_go_on(adata, tmp_path):
    """A fit of two epochs is the first part of one of four."""
    expected = fit(adata, n_epochs=4, copy=True)
    fit(adata.copy(), n_epochs=2, checkpoint=tmp_path / "state.npz")
    fit(adata, n_epochs=4, checkpoint=tmp_path / "state.npz")
    assert_same_model(adata, expected, exact=True)


DIFFERENCES = {
    "n_components": dict(n_components=3),
    "seed": dict(rng=1),
    "lam": dict(lam=2),
    "dataset_weights": dict(dataset_weights="equal"),
    "minibatch_size": dict(minibatch_size=75),
    "scale": dict(scale=False),
    "size_factors": dict(size_factors="size"),
    "mask_var": dict(mask_var="used"),
    "batches": dict(batch_key="other"),
    "layer": dict(layer="counts"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_checkpoint_of_another_fit(adata, name, tmp_path):
    adata.obs["size"] = dense(adata).sum(1)
    adata.obs["other"] = adata.obs["batch"].cat.rename_categories({"batch_0": "z"})
    adata.var["used"] = True
    adata.layers["counts"] = adata.X
    state = tmp_path / "state.npz"
    fit(adata.copy(), checkpoint=state, n_epochs=1)
    match = rf"belongs to another fit. Differences.*'{name}'.*Give another path"
    before = contents(tmp_path)
    refused(ValueError, match, adata, tmp_path, checkpoint=state, **DIFFERENCES[name])
    assert contents(tmp_path) == before


def test_the_checkpoint_of_other_data(adata, tmp_path):
    """Of the same shape and names: scaled genes have the same norms."""
    state = tmp_path / "state.npz"
    fit(adata.copy(), checkpoint=state, n_epochs=1)
    other = nng.datasets.batches((60, 40, 50), 30, K, specific=1.0, rng=1)
    refused(ValueError, "belongs to another fit", other, tmp_path, checkpoint=state)
    masks = np.arange(30) < 25, np.arange(30) >= 5
    fit(adata.copy(), checkpoint=tmp_path / "mask.npz", n_epochs=1, mask_var=masks[0])
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit(adata, checkpoint=tmp_path / "mask.npz", mask_var=masks[1])
    data = parts()
    fit(data, checkpoint=tmp_path / "mapping.npz", n_epochs=1)


def test_the_order_of_a_mapping_is_no_matter(tmp_path):
    data = parts()
    reverse = dict(reversed(data.items()))
    fit(data, checkpoint=tmp_path / "state.npz", n_epochs=1)
    whole = fit(data)
    assert_same_model(fit(reverse), whole, exact=True)
    assert_same_model(
        fit(reverse, checkpoint=tmp_path / "state.npz"), whole, exact=True
    )


def test_a_checkpoint_that_is_ahead(adata, tmp_path):
    fit(adata.copy(), checkpoint=tmp_path / "state.npz", n_epochs=2)
    refused(
        ValueError,
        "more than n_epochs=1 of 3",
        adata,
        tmp_path,
        checkpoint=tmp_path / "state.npz",
        n_epochs=1,
    )


def test_labels_of_an_old_anndata(folder):
    """Categories that are kept beside the codes, as before anndata 0.8."""
    import h5py

    expected = fit(folder / "all.h5ad")
    with h5py.File(folder / "all.h5ad", "r+") as file:
        obs = file["obs"]
        codes, categories = obs["batch/codes"][:], obs["batch/categories"]
        names = np.asarray(ad.io.read_elem(categories), object)
        del obs["batch"]
        obs["__categories/batch"] = names
        obs["batch"] = codes
        obs["batch"].attrs["categories"] = obs["__categories/batch"].ref
    assert_same_model(fit(folder / "all.h5ad"), expected, exact=True)


@pytest.mark.filterwarnings("ignore:Genes that are zero in all cells of a data set")
def test_a_checkpoint_of_another_number_of_threads(tmp_path):
    """SufficientStatistics differ in their last digits; that is no other fit."""
    adata = nng.datasets.batches((600, 400), 100, 3, depth=800)
    with nng.settings.override(n_threads=1):
        fit(adata.copy(), 3, checkpoint=tmp_path / "state.npz", n_epochs=1)
    with nng.settings.override(n_threads=2):
        fit(adata, 3, checkpoint=tmp_path / "state.npz", n_epochs=1)


def test_what_is_no_checkpoint(adata, tmp_path):
    (tmp_path / "garbage.npz").write_bytes(b"garbage")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "empty.npz").touch()
    for name in ("garbage.npz", "other.npz", "array.npy", "empty.npz"):
        match = f"checkpoint=.*{name}' is not a checkpoint"
        refused(ValueError, match, adata, tmp_path, checkpoint=tmp_path / name)
    match = "folder of checkpoint=.* does not exist"
    refused(ValueError, match, adata, checkpoint=tmp_path / "missing" / "state.npz")


def test_half_a_checkpoint(adata, tmp_path):
    state = tmp_path / "state.npz"
    fit(adata.copy(), checkpoint=state, n_epochs=1)
    state.write_bytes(state.read_bytes()[:-400])
    refused(ValueError, "is not a checkpoint", adata, tmp_path, checkpoint=state)


@contextmanager
def interrupted_in_step(n):
    """An interruption while a mini-batch is worked on."""
    original, n_done = OnlineSolver.step, 0

    def step(*args):
        nonlocal n_done
        n_done += 1
        if n_done == n:
            raise KeyboardInterrupt
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnlineSolver, "step", step)
        yield


def test_an_interruption_keeps_what_was_fitted(adata, fitted, tmp_path):
    state = tmp_path / "state.npz"
    match = "Interrupted after 4 of 6 mini-batches; cells are scored"
    with interrupted_in_step(5), pytest.warns(UserWarning, match=match):
        fit(adata, checkpoint=state)
    info = adata.uns["inmf"]
    assert (info["n_iter"], info["interrupted"]) == (4, True)
    assert len(info["change"]) == 4
    # One epoch, and the exact value.
    assert len(info["objective"]) == 2
    codes = adata.obs["batch"].cat.codes.to_numpy()
    assert_close(adata.obsm["X_inmf"], expected_scores(adata, codes))
    fit(adata, checkpoint=state)
    assert_same_model(adata, fitted, exact=True)


def test_an_interruption_before_anything_was_fitted(adata):
    before = snapshot(adata)
    with interrupted_in_step(1), pytest.raises(KeyboardInterrupt):
        fit(adata)
    assert_same(snapshot(adata), before)


def test_any_byte_of_a_checkpoint_may_be_wrong(adata, tmp_path):
    """Also those that say how an archive is packed, or that it needs a password."""
    path = tmp_path / "state.npz"
    with killed_after(1):
        fit(adata, checkpoint=path)
    content, messages = path.read_bytes(), []
    for at in [*range(40), *range(len(content) - 120, len(content))]:
        wrong = bytearray(content)
        wrong[at] ^= 0xFF
        path.write_bytes(wrong)
        try:
            _checkpoint.Checkpoint(path, made_by={}).load()
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all("state.npz" in message for message in messages)


@pytest.mark.parametrize("case", ["of another fit", "in use", "no checkpoint"])
def test_refused_before_data_are_read(adata, tmp_path, monkeypatch, case):
    """A pass over large data takes long."""
    state, other = tmp_path / "state.npz", {}
    if case == "no checkpoint":
        state.write_text("text")
        match = "is not a checkpoint"
    elif case == "in use":
        (tmp_path / ".lock-state.npz").write_text(
            json.dumps({**files._process(os.getpid()), "host": "elsewhere"})
        )
        match = r"on elsewhere\. That is another machine.*removing the file .*\.lock-"
    else:
        with killed_after(1):
            fit(adata, checkpoint=state)
        other, match = {"rng": 1}, r"belongs to another fit.*'seed': \(0, 1\)"

    def summarise(*args, **kwargs):
        pytest.fail("data were read")

    monkeypatch.setattr(
        sys.modules["nonneg.tl._inmf.online_inmf"], "summarise_data", summarise
    )
    refused(ValueError, match, adata, checkpoint=state, **other)


def test_other_data_are_refused_after_they_were_read(adata, tmp_path):
    state = tmp_path / "state.npz"
    with killed_after(1):
        fit(adata, checkpoint=state)
    changed = adata.copy()
    changed.X = changed.X * 2
    match = r"belongs to another fit.*'entries'"
    refused(ValueError, match, changed, checkpoint=state)
