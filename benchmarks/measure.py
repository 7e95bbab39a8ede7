"""What the benchmarks measure: objectives, memory, fresh processes; peers and machine."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import kl_div

from nonneg.operators.threads import available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    type Call = Callable[..., Any]

_ROWS = 1000
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def objective(x: Any, w: NDArray[Any], h: NDArray[Any], loss: str) -> float:
    """Either loss, entry by entry in float64: no shortcut that both sides share.

    scikit-learn's ``reconstruction_err_`` is inexact where the input is float32.
    """
    w, h = np.asarray(w, np.float64), np.asarray(h, np.float64)
    total = 0.0
    for start in range(0, x.shape[0], _ROWS):
        rows = x[start : start + _ROWS]
        dense = rows.toarray() if sp.issparse(rows) else rows
        dense = np.asarray(dense, np.float64)
        fitted = w[start : start + _ROWS] @ h
        if loss == "frobenius":
            total += np.square(dense - fitted).sum() / 2
        else:
            total += kl_div(dense, np.maximum(fitted, 1e-30)).sum()
    return float(total)


def relative_difference(
    first: tuple[NDArray[Any], NDArray[Any]], second: tuple[NDArray[Any], NDArray[Any]]
) -> float:
    """``‖W₁H₁ - W₂H₂‖ / ‖W₂H₂‖`` from Gram matrices, (n, k) and (k, p) factors."""
    (w1, h1), (w2, h2) = (
        tuple(np.asarray(part, np.float64) for part in pair) for pair in (first, second)
    )
    norm1, norm2, inner = (
        np.vdot(a.T @ b, g @ h.T)
        for a, b, g, h in ((w1, w1, h1, h1), (w2, w2, h2, h2), (w1, w2, h1, h2))
    )
    return float(np.sqrt(max(norm1 - 2 * inner + norm2, 0) / norm2))


def resident() -> int:
    """Bytes in memory now."""
    return _status("VmRSS") if _STATUS.exists() else peak()


def peak() -> int:
    """Most bytes that were in memory since :func:`reset_peak`."""
    if _STATUS.exists():
        return _status("VmHWM")
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024


def reset_peak() -> None:
    """Forget the peak; where that cannot be done, it counts from the start."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


class Cost(NamedTuple):
    """Of one call: seconds by the clock and of all cores, and bytes."""

    seconds: float
    cpu: float
    growth: int
    """Peak of the resident size above what it was before."""


def timed(run: Callable[[], Any]) -> tuple[Any, Cost]:
    """What a call returns, and what it takes."""
    before = resident()
    reset_peak()
    start, cpu = time.perf_counter(), time.process_time()
    found = run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return found, Cost(seconds, cpu, peak() - before)


@contextmanager
def two_processes(call: Call) -> Iterator[tuple[Call, Call]]:
    """Run ``call`` in a process each: thread pools of one slow the other."""
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(1, context) as first,
        ProcessPoolExecutor(1, context) as second,
    ):
        yield tuple(
            lambda *args, pool=pool, **kwargs: pool.submit(
                call, *args, **kwargs
            ).result()
            for pool in (first, second)
        )


class Peer(NamedTuple):
    """A program in an environment of its own."""

    python: str
    version: str


@cache
def installed(distribution: str) -> Peer | None:
    """Where a peer is, in the interpreters that NONNEG_PEERS names, separated as in PATH."""
    script = f"from importlib.metadata import version; print(version({distribution!r}))"
    for python in os.environ.get("NONNEG_PEERS", "").split(os.pathsep):
        if not python:
            continue
        done = subprocess.run(
            [python, "-c", script], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return Peer(python, done.stdout.strip())
    return None


def machine() -> str:
    """Processor, cores and memory."""
    model, cpuinfo = platform.machine(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{platform.system()}, {model}, {available_cpus()} CPUs, {size:.0f} GB"


def in_fresh_process(
    task: str, arguments: Mapping[str, Any], *, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run ``benchmarks.tasks.<task>(**arguments)`` in a process of its own."""
    environment = {**os.environ, **(env or {})}
    # Compiled programs of other runs would hide what compilation takes.
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tasks", task, json.dumps(arguments)],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        msg = f"{task} {arguments} failed:\n{done.stderr}"
        raise RuntimeError(msg)
    return json.loads(done.stdout.splitlines()[-1])


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table that can be pasted into a note."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_block(path: Path, name: str, text: str) -> None:
    """Replace what is between the two lines that name it in a document."""
    begin, end = _marks(name)
    if has_block(path, name):
        before, rest = path.read_text().split(begin, 1)
        after = rest.split(end, 1)[1]
        path.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")


def has_block(path: Path, name: str) -> bool:
    """Whether a document has the two lines, in their order."""
    begin, end = _marks(name)
    return end in path.read_text().partition(begin)[2]


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->\n", f"<!-- end of {name} -->"


def progress(*values: str) -> None:
    """Say on stderr what is done."""
    print("done:", *values, sep=" | ", file=sys.stderr, flush=True)
