"""NMF in memory, alone and beside scikit-learn."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from sklearn.decomposition import NMF, non_negative_factorization
from sklearn.decomposition._nmf import _initialize_nmf
from sklearn.exceptions import ConvergenceWarning

import nonneg as nng
from nonneg.models.nmf.problem import Problem
from nonneg.models.nmf.solver import nmf as fit_nmf
from nonneg.operators.choose import as_operator
from nonneg.operators.threads import available_cpus, computing

from .data import low_rank_counts, low_rank_dense
from .measure import in_fresh_process, markdown, objective, progress, two_processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from nonneg.models.loop import Report

    type Call = Callable[..., Any]

# Here and not in __main__: the processes that fit import this module.
nng.settings.progress = False

_TOL = 1e-4
_MAX_ITER = 200
# The race from one start goes on until the peer is passed, or this long.
_RACE_ITER = 2000


@dataclass(frozen=True)
class Case:
    """A matrix, a rank and a loss, with the peer's solver for it."""

    title: str
    make: Callable[[int, int, int], Any]
    shape: tuple[int, int]
    rank: int
    loss: str
    solver: str

    def scaled(self, *, quick: bool) -> Case:
        """The same with a small matrix."""
        if not quick:
            return self
        return Case(self.title, self.make, (1500, 300), 5, self.loss, self.solver)

    def data(self) -> Any:
        return self.make(*self.shape, self.rank)


CASES = {
    "dense": Case(
        "dense, Frobenius", low_rank_dense, (20_000, 2000), 11, "frobenius", "cd"
    ),
    "sparse": Case(
        "CSR 5 %, Frobenius", low_rank_counts, (20_000, 2000), 20, "frobenius", "cd"
    ),
    "kl": Case(
        "CSR 5 %, Kullback-Leibler",
        low_rank_counts,
        (20_000, 2000),
        20,
        "kullback-leibler",
        "mu",
    ),
}


class Fit(NamedTuple):
    seconds: float
    w: NDArray[Any]
    h: NDArray[Any]
    n_iter: int


def ours(case: Case, x: Any, seed: int) -> Fit:
    """What a user runs."""
    adata = AnnData(x)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", ".*all zero", UserWarning)
        nng.tl.nmf(
            adata,
            case.rank,
            beta_loss=case.loss,
            tol=_TOL,
            max_iter=_MAX_ITER,
            rng=seed,
        )
    seconds = time.perf_counter() - start
    n_iter = int(adata.uns["nmf"]["n_iter"])
    return Fit(seconds, adata.obsm["X_nmf"], adata.varm["nmf"].T, n_iter)


def theirs(case: Case, x: Any, seed: int) -> Fit:
    """The same request to scikit-learn."""
    model = NMF(
        case.rank,
        init="nndsvda",
        solver=case.solver,
        beta_loss=case.loss,
        tol=_TOL,
        max_iter=_MAX_ITER,
        random_state=seed,
    )
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        w = model.fit_transform(x)
    return Fit(time.perf_counter() - start, w, model.components_, model.n_iter_)


class Descent(NamedTuple):
    """One side of a race from the same start."""

    seconds: float | None
    """None: the target was not passed."""
    objective: float


class _PassedError(Exception):
    pass


def their_descent(case: Case, x: Any, seed: int) -> Descent:
    """The peer, from its starting values, which take no part in the time."""
    w0, h0 = _initialize_nmf(x, case.rank, init="nndsvda", random_state=seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        w, h, _ = non_negative_factorization(
            x,
            w0,
            h0,
            n_components=case.rank,
            init="custom",
            solver=case.solver,
            beta_loss=case.loss,
            tol=_TOL,
            max_iter=_MAX_ITER,
        )
    return Descent(time.perf_counter() - start, objective(x, w, h, case.loss))


def rcppml(case: Case, x: Any, seed: int) -> Descent:
    """RcppML, from its random start, and with the same tolerance of its own kind."""
    columns = sp.csc_array(x.T)
    n_vars, n_obs = columns.shape
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, values, dtype in (
            ("shape", columns.shape, np.int32),
            ("indptr", columns.indptr, np.int32),
            ("indices", columns.indices, np.int32),
            ("data", columns.data, np.float64),
        ):
            np.asarray(values, dtype).tofile(folder / part)
        script = Path(__file__).parent / "peers" / "rcppml.R"
        done = subprocess.run(
            ["Rscript", str(script), name, str(case.rank), str(seed + 1)],
            env={**os.environ, "NONNEG_CPUS": str(available_cpus())},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = float(done.stdout.split()[0])
        # As R stores them: column by column.
        w = np.fromfile(folder / "w").reshape(n_vars, -1, order="F")
        h = np.fromfile(folder / "h").reshape(-1, n_obs, order="F")
    return Descent(seconds, objective(x, h.T, w.T, case.loss))


def our_descent(
    case: Case, x: Any, seed: int, target: float, *, peers_start: bool = True
) -> Descent:
    """Ours until the peer's final objective is passed.

    From the starting values of scikit-learn, or from those of ours, which count then.
    """
    init: Any = "nndsvda"
    if peers_start:
        init = _initialize_nmf(x, case.rank, init=init, random_state=seed)
    reached: list[float] = []
    best = np.inf

    def watch(_: int, report: Report, /) -> None:
        nonlocal best
        if report.objective is not None:
            best = min(best, report.objective)
            if report.objective <= target:
                reached.append(time.perf_counter())
                raise _PassedError

    start = time.perf_counter()
    with computing(), contextlib.suppress(_PassedError):
        op = as_operator(x, where="x")
        fit_nmf(
            Problem(op, op.stats(), case.loss),
            case.rank,
            solver="hals" if case.loss == "frobenius" else "mu",
            init=init,
            tol=0,
            max_iter=_RACE_ITER,
            seed=seed,
            callback=watch,
        )
    return Descent(reached[0] - start if reached else None, best)


@cache
def input_of(name: str, *, quick: bool) -> tuple[Case, Any]:
    case = CASES[name].scaled(quick=quick)
    return case, case.data()


def _call(function: Call, name: str, quick: bool, *args: Any, **kwargs: Any) -> Any:
    return function(*input_of(name, quick=quick), *args, **kwargs)


def compare(names: list[str], *, quick: bool, n_seeds: int) -> str:
    """Tables of ours against scikit-learn."""
    speed, passing, calls = [], [], []
    for name in names:
        case, x = input_of(name, quick=quick)
        label = f"{case.title}, {case.shape[0]} x {case.shape[1]}, k = {case.rank}"
        fits, races = [], []
        with two_processes(_call) as (we, they):
            # The first calls of a process are counted elsewhere.
            we(ours, name, quick, 0)
            they(theirs, name, quick, 0)
            we(our_descent, name, quick, 0, np.inf)
            # Interleaved: whatever else the machine does meets both alike.
            for seed in range(n_seeds):
                fits.append(
                    (we(ours, name, quick, seed), they(theirs, name, quick, seed))
                )
                their_end = they(their_descent, name, quick, seed)
                our_end = we(our_descent, name, quick, seed, their_end.objective)
                races.append((our_end, their_end))
        values = [
            tuple(objective(x, fit.w, fit.h, case.loss) for fit in pair)
            for pair in fits
        ]
        seconds = [median(pair[i].seconds for pair in fits) for i in range(2)]
        speed.append(
            [
                label,
                *(f"{s:.2f}" for s in seconds),
                f"{median(b.seconds / a.seconds for a, b in fits):.2f}",
                *(f"{median(pair[i].n_iter for pair in fits):.0f}" for i in range(2)),
                f"{median(a / b for a, b in values):.6f}",
                f"{max(a / b for a, b in values):.6f}",
            ]
        )
        passed = [(a, b) for a, b in races if a.seconds is not None]
        passing.append(
            [
                label,
                f"{median(b.seconds for _, b in races):.2f}",
                f"{median(a.seconds for a, _ in passed):.2f}" if passed else "-",
                f"{median(b.seconds / a.seconds for a, b in passed):.2f}"
                if passed
                else "-",
                f"{len(passed)} of {len(races)}",
                f"{max(a.objective / b.objective for a, b in races):.6f}",
            ]
        )
        calls.append([label, *_first_calls(name, quick=quick)])
        # A long run that breaks off leaves what it had.
        for part in (speed, passing, calls):
            progress(*part[-1])
    return "\n\n".join(
        [
            f"### Fits in memory, median of {n_seeds} seeds (not the first calls)",
            markdown(
                [
                    "input",
                    "nonneg, s",
                    "scikit-learn, s",
                    "scikit-learn / nonneg",
                    "iterations, nonneg",
                    "scikit-learn",
                    "objective, nonneg / scikit-learn",
                    "worst seed",
                ],
                speed,
            ),
            "### From scikit-learn's start: time until its final objective is passed",
            markdown(
                [
                    "input",
                    "scikit-learn, s",
                    "nonneg, s",
                    "scikit-learn / nonneg",
                    "passed",
                    "worst objective / scikit-learn's",
                ],
                passing,
            ),
            "### First call in a new process (import not counted), seconds",
            markdown(
                [
                    "input",
                    "nonneg, nothing cached",
                    "nonneg, compiled kernels cached",
                    "nonneg, second call",
                    "scikit-learn, first call",
                    "scikit-learn / nonneg, first calls",
                ],
                calls,
            ),
        ]
    )


def _first_calls(name: str, *, quick: bool) -> list[str]:
    arguments = {"name": name, "quick": quick}
    with tempfile.TemporaryDirectory() as empty:
        env = {"NUMBA_CACHE_DIR": empty}
        cold = in_fresh_process("first_call", {**arguments, "peer": False}, env=env)
        warm = in_fresh_process("first_call", {**arguments, "peer": False}, env=env)
    peer = in_fresh_process("first_call", {**arguments, "peer": True})
    return [
        f"{cold['first']:.2f}",
        f"{warm['first']:.2f}",
        f"{warm['second']:.2f}",
        f"{peer['first']:.2f}",
        f"{peer['first'] / warm['first']:.2f}",
    ]


def beside_rcppml(*, quick: bool, n_seeds: int) -> str:
    """Time until the final objective of RcppML is passed, our start included."""
    if shutil.which("Rscript") is None:
        return "RcppML is left out: there is no Rscript."
    name = "sparse"
    case, _ = input_of(name, quick=quick)
    races = []
    with two_processes(_call) as (we, they):
        we(our_descent, name, quick, 0, np.inf, peers_start=False)
        for seed in range(n_seeds):
            their_end = they(rcppml, name, quick, seed)
            target = their_end.objective
            ours = we(our_descent, name, quick, seed, target, peers_start=False)
            races.append((ours, their_end))
            progress(f"{ours.seconds:.2f} s", f"{their_end.seconds:.2f} s of RcppML")
    rows = [
        [
            str(seed),
            f"{theirs.seconds:.2f}",
            f"{theirs.objective:.5e}",
            f"{ours.seconds:.2f}",
            f"{theirs.seconds / ours.seconds:.1f}",
        ]
        for seed, (ours, theirs) in enumerate(races)
    ]
    header = ["seed", "RcppML, s", "objective", "nonneg until there, s", "ratio"]
    title = f"### Beside RcppML: {case.title}, {case.shape[0]} x {case.shape[1]}"
    return f"{title}, k = {case.rank}\n\n" + markdown(header, rows)


# --- asv ------------------------------------------------------------------------------


class _Suite:
    name: str
    rounds = 1
    repeat = 3
    number = 1
    timeout = 600

    def setup(self) -> None:
        self.case = CASES[self.name]
        self.x = self.case.data()
        # Compile before anything is measured.
        ours(self.case, self.x[:2000], 0)

    def time_fit(self) -> None:
        ours(self.case, self.x, 0)

    def peakmem_fit(self) -> None:
        ours(self.case, self.x, 0)


class DenseFrobenius(_Suite):
    name = "dense"


class SparseFrobenius(_Suite):
    name = "sparse"


class SparseKullbackLeibler(_Suite):
    name = "kl"
