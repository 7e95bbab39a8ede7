"""Disks that are full, or fail, at every kind of place where something is written."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import anndata as ad
import numpy as np
import pytest

import nonneg as nng
from nonneg._adata import checkpoint as _checkpoint
from nonneg._adata import files
from nonneg._adata import staged as _staged
from testing.nonneg import assert_same, snapshot
from testing.nonneg._disk import FailingDisk
from testing.nonneg._online import (
    assert_same_model,
    contents,
    fit,
    parts,
    read,
    refused,
    write,
)

SMALL = dict(n_components=2, n_epochs=1, minibatch_size=60)
NAMES = ["batch_0", "batch_1"]
# Of the places that are tried in every case; all of them take minutes.
N_PLACES = 5


def _files(folder, form):
    return {name: folder / f"{name}.{form}" for name in NAMES}


def _mixed(folder):
    backed = ad.read_h5ad(folder / "batch_1.h5ad", backed="r")
    return {
        "batch_1": backed,
        "batch_0": folder / "batch_0.zarr",
        "batch_2": parts()["batch_2"],
        "other": folder / "batch_1.zarr",
    }


@pytest.fixture(scope="module")
def model():
    """A fit of other data sets, to be updated."""
    return fit(parts(), **SMALL)


def _fit(data, model, **kwargs):
    return fit(data, **(SMALL | kwargs))


def _update(data, model, **kwargs):
    data = {f"new_{name}": one for name, one in data.items()}
    return nng.tl.online_inmf_update(model, data, minibatch_size=60, **kwargs)


# What is called, with which data, what it writes, and what names that.
CASES = {
    "scores, h5ad": (_fit, "h5ad", "s.h5ad", r"scores='.*s\.h5ad'"),
    "scores, zarr": (_fit, "h5ad", "s.zarr", r"scores='.*s\.zarr'"),
    "write_back, h5ad": (_fit, "h5ad", None, r"batch_\d"),
    "write_back, zarr": (_fit, "zarr", None, r"batch_\d"),
    "write_back, mixed": (_fit, "mixed", None, r"batch_\d"),
    "update, scores": (_update, "h5ad", "s.h5ad", r"scores='.*s\.h5ad'"),
    "update, write_back": (_update, "zarr", None, r"batch_\d"),
}


def tree(folder):
    """Names of all files and folders."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def called(case, folder, model, disk):
    """One call while writing fails, and the objects in memory that it was given."""
    function, kind, scores, _ = CASES[case]
    data = _mixed(folder) if kind == "mixed" else _files(folder, kind)
    out = {"write_back": True} if scores is None else {"scores": folder / scores}
    objects = [one for one in data.values() if isinstance(one, ad.AnnData)]
    before = [snapshot(one) for one in (*objects, model)]
    error = None
    try:
        with disk.mounted():
            function(data, model, **out)
    except OSError as raised:
        error = str(raised)
    for one, old in zip((*objects, model), before, strict=True):
        if error is not None or one is model:
            assert_same(snapshot(one), old)
    return error


def places(case, folder, model, n):
    """Numbers of writes, of the first and last ones of every kind."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    disk = FailingDisk(copy, None, 1)
    assert called(case, copy, model, disk) is None
    shutil.rmtree(copy)
    found = disk.places()
    chosen = np.unique(np.linspace(0, len(found) - 1, min(n, len(found))).astype(int))
    return [found[i] for i in chosen]


def nothing_changes(case, folder, model, n):
    """Neither where one write fails, nor where all do from there on."""
    chosen = places(case, folder, model, n)
    before, names = contents(folder), tree(folder)
    kept = shutil.copytree(folder, folder.with_name("kept"))
    for n_fail, some in ((1, chosen), (None, chosen[1::2])):
        for first in some:
            disk = FailingDisk(folder, first, n_fail)
            error = called(case, folder, model, disk)
            if error is None:
                # Links are made where they can be. zarr may need fewer writes when
                # others come first.
                assert disk.n_writes < first or "link" in disk.operations[first - 1]
                assert not [name for name in tree(folder) if name.startswith(".")]
                shutil.rmtree(folder)
                shutil.copytree(kept, folder)
                continue
            assert re.search(CASES[case][3], error), error
            assert "could not be written: No space left" in error, error
            assert re.search("o(ther)? file has changed|was changed", error), error
            assert contents(folder) == before, (first, n_fail)
            assert tree(folder) == names, (first, n_fail)
    # Files that HDF5 could not close would end the process here.
    gc.collect()


# Stores and files are written back in the case of both.
SLOW = {"scores, zarr", "update, scores", "update, write_back", "write_back, zarr"}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] if case in SLOW else [])
        for case in CASES
    ],
)
def test_nothing_changes(case, folder, model):
    nothing_changes(case, folder, model, N_PLACES)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["scores, h5ad", "write_back, h5ad"])
def test_nothing_changes_wherever_it_fails(case, folder, model):
    nothing_changes(case, folder, model, 60)


def test_the_next_call_succeeds(folder, model):
    disk = FailingDisk(folder, 60)
    assert called("scores, h5ad", folder, model, disk) is not None
    fit(_files(folder, "h5ad"), scores=folder / "s.h5ad", **SMALL)
    assert read(folder / "s.h5ad").obsm["X_inmf"].shape == (100, 2)


def test_what_cannot_be_brought_back_is_said(folder, monkeypatch):
    """Of two files, the second cannot be replaced, nor the first restored."""
    data = _files(folder, "h5ad")
    original = files.Path.replace

    def replace(self, target):
        if self.name in {".unfinished-batch_1.h5ad", ".before-batch_0.h5ad"}:
            msg = "Input/output error"
            raise OSError(errno.EIO, msg)
        return original(self, target)

    monkeypatch.setattr(files.Path, "replace", replace)
    match = (
        r"not possible to bring back .* in .*batch_0\.h5ad \(.*\.before-batch_0\.h5ad"
    )
    with pytest.raises(OSError, match=match) as raised:
        fit(data, write_back=True, **SMALL)
    assert "No file has changed" not in str(raised.value)
    assert "X_inmf" in read(data["batch_0"]).obsm
    assert "X_inmf" not in read(data["batch_1"]).obsm
    assert "X_inmf" not in read(folder / ".before-batch_0.h5ad").obsm
    assert [path.name for path in folder.glob(".*")] == [".before-batch_0.h5ad"]


def test_a_file_that_is_moved_away_is_not_lost(folder, monkeypatch):
    """Without links the file has no name for a moment, in which a process may die."""

    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    data, original = _files(folder, "h5ad"), files.Path.replace

    def replace(self, target):
        if "unfinished" in self.name or self.name == ".before-batch_0.h5ad":
            refuse()
        return original(self, target)

    before = contents(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        patch.setattr(files.Path, "replace", replace)
        with pytest.raises(OSError, match=r"\.before-batch_0\.h5ad"):
            fit(data, write_back=True, **SMALL)
    assert not data["batch_0"].exists()
    with pytest.raises(FileNotFoundError, match=r"has left .*\.before-batch_0\.h5ad"):
        fit(data, write_back=True, **SMALL)
    (folder / ".before-batch_0.h5ad").rename(data["batch_0"])
    assert contents(folder) == before
    fit(data, write_back=True, **SMALL)


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_an_interruption_between_files_changes_none(folder, form, monkeypatch):
    data = _files(folder, form)
    kinds = {"h5ad": _staged._StagedHDF5, "zarr": _staged._StagedZarr}
    commit = kinds[form].commit
    before = contents(folder)

    def committed(self):
        commit(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(kinds[form], "commit", committed)
    with pytest.raises(KeyboardInterrupt):
        fit(data, write_back=True, **SMALL)
    assert contents(folder) == before
    assert not list(folder.glob(".*"))


def test_what_a_killed_process_left_is_replaced(folder):
    data = _files(folder, "h5ad")
    for what in ("before", "unfinished"):
        (folder / f".{what}-batch_0.h5ad").write_bytes(b"old")
    fit(data, write_back=True, **SMALL)
    assert "X_inmf" in read(data["batch_0"]).obsm
    assert not list(folder.glob(".*"))


def test_a_file_that_was_changed_meanwhile_is_kept(folder, monkeypatch):
    from nonneg.models.inmf.online import OnlineSolver

    data, step = _files(folder, "h5ad"), OnlineSolver.step

    def changing(self, *args):
        adata = read(data["batch_1"])
        adata.obs["new"] = 1.0
        write(adata, folder / "other.h5ad").replace(data["batch_1"])
        return step(self, *args)

    monkeypatch.setattr(OnlineSolver, "step", changing)
    with pytest.raises(OSError, match=r"batch_1.*changed by something else"):
        fit(data, write_back=True, **SMALL)
    assert "new" in read(data["batch_1"]).obs
    assert "X_inmf" not in read(data["batch_0"]).obsm
    assert not list(folder.glob(".*"))


def test_one_file_takes_scores_once(folder):
    path = folder / "batch_0.h5ad"
    with pytest.raises(ValueError, match=r"batch_0\.h5ad'\] are given twice"):
        fit({"a": path, "b": folder / "../data/batch_0.h5ad"}, write_back=True)
    adata = parts()["batch_0"]
    refused(ValueError, "an AnnData.* twice", {"a": adata, "b": adata}, write_back=True)


def test_links_stay_links(folder):
    data = _files(folder, "h5ad")
    target = data["batch_0"].rename(folder / "real.h5ad")
    data["batch_0"].symlink_to(target)
    fit(data, write_back=True, **SMALL)
    assert data["batch_0"].is_symlink()
    assert "X_inmf" in read(target).obsm


def test_new_files_are_where_links_point(folder, adata):
    """As to a disk that is larger, even if what they point at is not there yet."""
    (folder / "large").mkdir()
    links = {name: folder / name for name in ("s.h5ad", "c.npz")}
    for name, link in links.items():
        link.symlink_to(folder / "large" / name)
    data = _files(folder, "h5ad")
    fit(data, scores=links["s.h5ad"], checkpoint=links["c.npz"], **SMALL)
    assert all(link.is_symlink() for link in links.values())
    assert tree(folder / "large") == ["c.npz", "s.h5ad"]


def test_the_working_directory_may_change(adata, tmp_path, monkeypatch):
    from nonneg.models.inmf.online import OnlineSolver

    step = OnlineSolver.step

    def moving(self, *args):
        os.chdir(tmp_path.parent)
        return step(self, *args)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(OnlineSolver, "step", moving)
    fit(adata, checkpoint="c.npz")
    assert tree(tmp_path) == ["c.npz"]


def test_no_scores_within_a_folder_that_is_read(folder):
    data = _files(folder, "zarr")
    path = data["batch_0"] / "s.h5ad"
    refused(ValueError, "or within it", data, scores=path, **SMALL)


# --- checkpoints ------------------------------------------------------------------------


@pytest.mark.parametrize("n_fail", [1, None])
def test_a_fit_goes_on_without_its_checkpoint(adata, fitted, tmp_path, n_fail):
    state = tmp_path / "state" / "c.npz"
    state.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "_SHARE", np.inf)
        disk = FailingDisk(state.parent, None, n_fail)
        with disk.mounted():
            fit(adata.copy(), checkpoint=state)
        state.unlink()
        # From the lock to the last save.
        for first in np.linspace(1, disk.n_writes, 8).astype(int).tolist():
            what = disk.operations[first - 1]
            tried, failing = adata.copy(), FailingDisk(state.parent, first, n_fail)
            with failing.mounted():
                if "lock" in what:
                    match = r"c\.npz'.* could not be written.*Nothing was changed"
                    refused(OSError, match, tried, checkpoint=state)
                    continue
                match = r"checkpoint='.*c\.npz' could not be written.* goes on"
                with pytest.warns(UserWarning, match=match) as found:
                    fit(tried, checkpoint=state)
            assert len(found) == 1
            assert_same_model(tried, fitted, exact=True)
            assert set(tree(state.parent)) <= {"c.npz"}
            if state.exists():
                again = adata.copy()
                fit(again, checkpoint=state)
                assert_same_model(again, fitted, exact=True)
                state.unlink()


def test_scores_that_fail_after_a_checkpoint_name_it(folder, tmp_path):
    state, data = tmp_path / "c.npz", _files(folder, "h5ad")
    disk = FailingDisk(folder, 100)
    match = r"The fit is in checkpoint='.*c\.npz': the same call goes on"
    with disk.mounted(), pytest.raises(OSError, match=match):
        fit(data, scores=folder / "s.h5ad", checkpoint=state, **SMALL)
    fit(data, scores=folder / "s.h5ad", checkpoint=state, **SMALL)
    assert (folder / "s.h5ad").exists()


def test_scores_and_checkpoint_are_two_files(folder):
    path = folder / "s.h5ad"
    match = "is the checkpoint as well"
    data = _files(folder, "h5ad")
    refused(ValueError, match, data, folder, scores=path, checkpoint=path)


@pytest.mark.parametrize("chunk_size", [7, None])
def test_blocks_of_another_size_are_another_fit(folder, tmp_path, chunk_size):
    """Cells of a file are shuffled by blocks: some would be visited twice."""
    data, state = _files(folder, "h5ad"), tmp_path / "c.npz"
    fit(data, checkpoint=state, chunk_size=20, **SMALL)
    match = r"belongs to another fit.*'chunk_size': \(20, "
    refused(ValueError, match, data, checkpoint=state, chunk_size=chunk_size, **SMALL)


# --- locks ------------------------------------------------------------------------------


def test_one_fit_at_a_time(adata, tmp_path, monkeypatch):
    from nonneg.models.inmf.online import OnlineSolver

    state, step = tmp_path / "c.npz", OnlineSolver.step
    tried = adata.copy()

    def stepping(self, *args):
        monkeypatch.setattr(OnlineSolver, "step", step)
        match = r"checkpoint=.* is in use by process \d+ on .*remove .*\.lock-c\.npz if"
        refused(ValueError, match, tried, checkpoint=state)
        return step(self, *args)

    monkeypatch.setattr(OnlineSolver, "step", stepping)
    fit(adata, checkpoint=state)
    assert tree(tmp_path) == ["c.npz"]


def _holder(**kwargs):
    return json.dumps({**files._process(os.getpid()), **kwargs})


LOCKS = {
    "of a process that died": (lambda: _holder(pid=2**22 + 1), False),
    "of a number that is used again": (lambda: _holder(began="1"), False),
    "of this process": (_holder, True),
    "of another machine": (lambda: _holder(host="elsewhere"), True),
    "just made": (lambda: "", True),
    "damaged": (lambda: "[]", True),
    "of a number that there cannot be": (lambda: _holder(pid=10**30), True),
    "of a group of processes": (lambda: _holder(pid=-1), True),
}


@pytest.mark.parametrize("case", LOCKS)
def test_locks(case, tmp_path):
    content, holds = LOCKS[case]
    lock = tmp_path / ".lock-a"
    lock.write_text(content())
    if holds:
        with (
            pytest.raises(ValueError, match="a is in use"),
            files.locked(tmp_path / "a", "a"),
        ):
            pass
        assert lock.exists()
        return
    with files.locked(tmp_path / "a", "a"):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert tree(tmp_path) == []


def test_a_lock_is_taken_over_once(tmp_path, monkeypatch):
    """Two processes find the lock of one that died; the other one is faster."""
    lock, other = tmp_path / ".lock-a", _holder(host="faster")
    lock.write_text(_holder(pid=2**22 + 1))
    is_running = files._is_running

    def slow(*args):
        running = is_running(*args)
        if not running:
            lock.write_text(other)
        return running

    monkeypatch.setattr(files, "_is_running", slow)
    with (
        pytest.raises(ValueError, match=r"in use by process .* on faster"),
        files.locked(tmp_path / "a", "a"),
    ):
        pass
    assert lock.read_text() == other
    assert tree(tmp_path) == [".lock-a"]


def test_the_lock_of_another_is_left(tmp_path):
    """A user may have removed ours, and another process has made its own."""
    lock, other = tmp_path / ".lock-a", _holder(host="elsewhere")
    with files.locked(tmp_path / "a", "a"):
        lock.write_text(other)
    assert lock.read_text() == other


def test_processes_that_are_hidden_hold_their_locks(tmp_path, monkeypatch):
    """Such as those of other users: they can be asked, but not looked at."""
    (tmp_path / ".lock-a").write_text(_holder())
    process = files._process

    def hidden(pid):
        return {**process(pid), "began": None}

    monkeypatch.setattr(files, "_process", hidden)
    with pytest.raises(ValueError, match="in use"), files.locked(tmp_path / "a", "a"):
        pass


def test_a_lock_without_content_grows_old(tmp_path):
    lock = tmp_path / ".lock-a"
    lock.touch()
    os.utime(lock, (0, 0))
    with files.locked(tmp_path / "a", "a"):
        pass
    assert not lock.exists()


# --- a real limit -----------------------------------------------------------------------

LIMITED = """
import os, resource, shutil, signal, sys, warnings
from pathlib import Path
from testing.nonneg._online import contents, fit
warnings.simplefilter("ignore")
folder, disk = map(Path, sys.argv[1:])
names = ("batch_0", "batch_1")
small = dict(n_components=2, n_epochs=1, minibatch_size=60)
# What is compiled is cached in files as well.
fit({n: folder / f"{n}.h5ad" for n in names}, **small)

def fail(folder, form, **out):
    before = contents(folder)
    try:
        fit({n: folder / f"{n}.{form}" for n in names}, **small, **out)
    except OSError as error:
        assert "could not be written" in str(error), error
        assert contents(folder) == before
        return
    # A folder is of small files.
    assert form == "zarr" or "s.zarr" in str(out), out
    shutil.rmtree(folder / "s.zarr", ignore_errors=True)

# On a disk that is full, or has room for some.
for left in (0, 40) if disk.is_mount() else ():
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - left * 1024))
    fail(disk, "h5ad", scores=disk / "s.h5ad")
    fail(disk, "h5ad", scores=disk / "s.zarr")
    fail(disk, "h5ad", write_back=True)
    fail(disk, "zarr", write_back=True)
    (disk / "filler").unlink()
# Files that may not grow.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for size in (3000,):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    fail(folder, "h5ad", scores=folder / "s.h5ad")
    fail(folder, "h5ad", scores=folder / "s.zarr")
    fail(folder, "h5ad", write_back=True)
print("alive")
"""


@contextmanager
def small_disk(path):
    """A file system of two megabytes, where one may be mounted."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    mounted = (
        shutil.which("mount") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(path)], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of size")
@pytest.mark.slow
def test_limits_that_the_system_sets(folder, tmp_path):
    """HDF5 closes its files, and the process ends well."""
    big = nng.datasets.batches((60, 40), 400, 2)
    with small_disk(tmp_path / "disk") as mounted:
        for name in NAMES:
            one = big[big.obs["batch"] == name].copy()
            for form in ("h5ad", "zarr"):
                shutil.rmtree(folder / f"{name}.zarr", ignore_errors=True)
                write(one, folder / f"{name}.{form}")
                if mounted:
                    write(one, tmp_path / "disk" / f"{name}.{form}")
        found = subprocess.run(
            [sys.executable, "-c", LIMITED, str(folder), str(tmp_path / "disk")],
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.returncode == 0, found.stderr
    assert "alive" in found.stdout
