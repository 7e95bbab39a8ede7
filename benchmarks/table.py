"""Every system beside its peers, in one run and one table.

A row has a process for ours and one for the peer. In each the data are made, and then come
a first call, and pairs of calls in turn: whatever else the machine does meets both alike.
"""

from __future__ import annotations

import math
import platform
import shutil
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

import nonneg as nng
from nonneg.models.stability.draws import Draws

from . import deconvolution, inmf, locanmf, nmf, nsf, stability
from .data import low_rank_dense, mosaic_movie
from .deconvolution_baselines import both_shares, least_squares
from .deconvolution_sections import Section, write_many, write_section
from .measure import (
    installed,
    machine,
    markdown,
    objective,
    progress,
    timed,
    two_processes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

nng.settings.progress = False

# Pairs of calls, and seconds after which no further one begins.
_PAIRS, _BUDGET = 3, 45.0

Quality = dict[str, float]


class Outcome(NamedTuple):
    """Of one call; what a peer does not tell is None."""

    seconds: float
    cpu: float | None = None
    growth: float | None = None
    quality: Mapping[str, float] = {}


class NoDataError(Exception):
    """The files of a workload are not at hand."""


@dataclass(frozen=True)
class Workload:
    """Two sides of the same data; they are given whether to judge what they find."""

    title: str
    ours: Callable[[bool], Outcome]
    theirs: Callable[[bool], Outcome] | None = None
    stated: Outcome | None = None
    """Of a program that cannot be run here."""


@dataclass(frozen=True)
class Row:
    """A workload, and with whom it is compared."""

    task: str
    make: Callable[[bool, Path], Workload]
    peer: str
    found: Callable[[], str | None]
    """Version of the peer, None where it is not installed."""
    warm: bool = True
    """Whether the peer has a first call that does not count; else it sees to that itself."""
    ratio: bool = False
    """Whether qualities are told as ratios."""


@dataclass
class Result:
    """What is found of a row."""

    row: Row
    version: str | None
    title: str = ""
    first: Outcome | None = None
    pairs: list[tuple[Outcome, Outcome | None]] = field(default_factory=list)
    theirs: Mapping[str, float] = field(default_factory=dict)
    stated: Outcome | None = None
    error: str = ""
    """Of ours; the row has nothing else then."""
    peer_error: str = ""
    no_data: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.error or self.peer_error)


# --- workloads ------------------------------------------------------------------------


def _measured(
    run: Callable[[], Any], judge: Callable[[Any], Quality]
) -> Callable[[bool], Outcome]:
    """A side that runs in this process."""

    def call(judged: bool) -> Outcome:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, cost = timed(run)
            return Outcome(*cost, judge(found) if judged else {})

    return call


def _nmf(quick: bool, folder: Path, *, name: str, rcppml: bool = False) -> Workload:
    del folder
    case, x = nmf.input_of(name, quick=quick)

    def judge(found: nmf.Fit) -> Quality:
        return {"objective": objective(x, found.w, found.h, case.loss)}

    def beside_rcppml(judged: bool) -> Outcome:
        del judged
        found = nmf.rcppml(case, x, 0)
        assert found.seconds is not None
        return Outcome(found.seconds, quality={"objective": found.objective})

    return Workload(
        f"{_shape(x.shape)}, k = {case.rank}",
        _measured(lambda: nmf.ours(case, x, 0), judge),
        beside_rcppml if rcppml else _measured(lambda: nmf.theirs(case, x, 0), judge),
    )


def _kernel(length_scale: float) -> dict[str, Any]:
    """Of quick runs: a search for it takes most of a small fit."""
    return {"length_scale": length_scale, "amplitude": 1.0, "temperature": 1.0}


def _nsf(quick: bool, folder: Path) -> Workload:
    del folder
    n, n_genes, rank, density = nsf.SIZES["visium"]
    if quick:
        n, n_genes, rank = n // 20, n_genes // 20, 3
    adata = nsf.simulate(n, n_genes, rank, density)

    kwargs = _kernel(300) if quick else {}

    def judge(model: str, _: Any) -> Quality:
        tested = AnnData(adata.X, obsm={"spatial": adata.obsm["spatial"]})
        nng.tl.compare(
            tested,
            [model],
            rank,
            n_splits=1,
            test_size=0.05,
            model_kwargs={"nsf": kwargs},
        )
        return {
            "held-out deviance": float(tested.uns["comparison"]["deviance"].iloc[0])
        }

    return Workload(
        f"{_shape(adata.shape)}, k = {rank}",
        _measured(lambda: nsf.fit(adata, rank, **kwargs), partial(judge, "nsf")),
        _measured(lambda: nng.tl.pnmf(adata, rank), partial(judge, "pnmf")),
    )


def _nsf_adam(quick: bool, folder: Path) -> Workload:
    del folder
    train, test = nsf.quilt(12, 60) if quick else nsf.quilt(24, 200)
    steps, kwargs = ((5,), _kernel(3)) if quick else (nsf.STEPS[:1], {})
    return Workload(
        f"quilt, {_shape(train.shape)}, k = 4; {steps[0]} steps of Adam",
        _measured(
            lambda: nsf.fit(train, 4, size_factors=None, **kwargs),
            lambda _: {"held-out deviance": nsf.held_out_deviance(train, test)},
        ),
        _measured(
            lambda: nsf.adam(train, test, 4, steps),
            lambda found: {"held-out deviance": found[-1][-1]},
        ),
    )


def _inmf(quick: bool, folder: Path, *, peer: str, online: bool = False) -> Workload:
    rank = 20
    data = _integration(folder / "inmf", quick)
    adata = inmf.joined(data)

    def run() -> AnnData:
        if online:
            return inmf.fit_online(folder / "inmf", len(data), rank, 1)
        return inmf.fit_batch(adata, rank, tol=1e-6, max_iter=500)

    def theirs(judged: bool) -> Outcome:
        del judged
        seconds, reached = inmf.peer(folder / "inmf", peer, rank, data)
        if not math.isfinite(seconds):
            msg = f"{peer} ended without a result"
            raise RuntimeError(msg)
        return Outcome(seconds, quality={"objective": reached})

    sizes = " + ".join(f"{x.shape[0]:,}" for x in data)
    return Workload(
        f"{sizes} cells × {adata.n_vars:,}, k = {rank}",
        _measured(run, lambda model: {"objective": inmf.exact_of(data, model)}),
        theirs,
    )


def _integration(folder: Path, quick: bool) -> list[sp.csr_matrix]:
    """From the folder, where the first process that asks leaves it."""
    if not folder.exists():
        data = inmf.two_data_sets(quick=quick)
        partial_ = folder.with_name("partial")
        shutil.rmtree(partial_, ignore_errors=True)
        partial_.mkdir(parents=True)
        inmf.write_data(partial_, data)
        partial_.rename(folder)
    stored = sorted(folder.glob("data_*.npz"))
    return [sp.csr_matrix(sp.load_npz(path)) for path in stored]


def _section(quick: bool, folder: Path, *, flash: bool) -> Workload:
    spots, cells = (
        nng.datasets.spots(8, 100, 4) if quick else nng.datasets.spots(40, 2000, 12)
    )
    order = np.argsort(np.asarray(spots.uns["truth"]["cell_types"], str))
    truth = np.asarray(spots.obsm["truth"])[:, order]
    found = Section(spots, cells, truth)

    def judge(shares: tuple[Any, Any]) -> Quality:
        return {"RMSE": deconvolution.rmse(shares[1], truth)}

    def flashdeconv(judged: bool) -> Outcome:
        del judged
        place = folder / "section"
        write_section(place, found)
        left = place / "FlashDeconv.npz"
        left.unlink(missing_ok=True)
        deconvolution.run_peer("FlashDeconv", place)
        if not left.exists():
            msg = "FlashDeconv ended without a result"
            raise RuntimeError(msg)
        with np.load(left) as kept:
            shares = both_shares(kept["shares"], found.signatures().sum(1))
            seconds, cpu = float(kept["seconds"]), float(kept["cpu"])
        return Outcome(seconds, cpu, quality=judge(shares))

    return Workload(
        f"{spots.n_obs:,} spots × {spots.n_vars:,}, {order.size} types",
        _measured(lambda: deconvolution.deconvolve(found), judge),
        flashdeconv if flash else _measured(lambda: least_squares(found), judge),
    )


def _many(quick: bool, folder: Path) -> Workload:
    n = 2_000 if quick else 100_000
    try:
        place = write_many(folder, n)
    except FileNotFoundError as error:
        raise NoDataError(str(error)) from error
    adata, reference = deconvolution.many_input(place)
    truth = np.load(place / "truth.npy")

    def judge(shares: Any) -> Quality:
        return {"RMSE": deconvolution.rmse(np.asarray(shares, float), truth)}

    def run() -> Any:
        nng.tl.deconvolve(adata, reference)
        return adata.obsm["X_deconv_rna"]

    def flashdeconv(judged: bool) -> Outcome:
        del judged
        left = place / "FlashDeconv.npz"
        left.unlink(missing_ok=True)
        deconvolution.run_peer("many", place)
        with np.load(left) as kept:
            return Outcome(
                float(kept["seconds"][-1]),
                float(kept["cpu"][-1]),
                float(kept["growth"]),
                judge(kept["shares"]),
            )

    return Workload(
        f"{n:,} spots × {adata.n_vars:,}, {len(reference)} types",
        _measured(run, judge),
        flashdeconv,
    )


def _stability(quick: bool, folder: Path, *, rank: int) -> Workload:
    del folder
    shape, n_samples = ((600, 200), 3) if quick else ((5000, 1000), 8)
    x = low_rank_dense(*shape, 11)
    adata = AnnData(x)
    draws = Draws(x.shape, n_samples, "var", 0)

    def run() -> float:
        nng.tl.stability(adata, [rank], n_bootstraps=n_samples, baseline=False)
        return float(adata.uns["stability"]["table"]["instability"].iloc[0])

    return Workload(
        f"{_shape(shape)}, k = {rank}, {n_samples} samples",
        _measured(run, lambda found: {"instability": found}),
        _measured(
            lambda: [w for w, _ in stability.loop(x, draws, rank, n_samples)],
            lambda found: {"instability": nng.metrics.instability(found)},
        ),
    )


def _locanmf(quick: bool, folder: Path, *, name: str) -> Workload:
    del folder
    adata = mosaic_movie(60, 500) if quick else mosaic_movie()
    options = {**locanmf.RANKS[name], **locanmf.OPTIONS}

    def judge(_: Any) -> Quality:
        found = locanmf.judge(adata)
        return {"R²": found["r2"], "r with truth": found["truth"]}

    seconds, r2, _, _, truth = map(float, locanmf.PUBLISHED[name])
    return Workload(
        f"{adata.n_obs:,} pixels, {adata.n_vars:,} frames, "
        f"{name.replace('each', 'components a region')}",
        _measured(lambda: nng.tl.locanmf(adata, **options), judge),
        stated=None
        if quick
        else Outcome(seconds, quality={"R²": r2, "r with truth": truth}),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{n:,}" for n in shape)


def _here(name: str) -> str:
    return version(name)


def _elsewhere(name: str) -> str | None:
    found = installed(name)
    return found.version if found else None


@cache
def _rcppml() -> str | None:
    if shutil.which("Rscript") is None:
        return None
    script = 'cat(as.character(packageVersion("RcppML")))'
    done = subprocess.run(
        ["Rscript", "-e", script], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


_SKLEARN: dict[str, Any] = {
    "peer": "scikit-learn",
    "found": partial(_here, "scikit-learn"),
}
_FLASH: dict[str, Any] = {
    "peer": "FlashDeconv",
    "found": partial(_elsewhere, "flashdeconv"),
    "warm": False,
}


def _integrated(task: str, peer: str, *, online: bool = False) -> Row:
    make = partial(_inmf, peer=peer, online=online)
    found = partial(_elsewhere, peer.split(maxsplit=1)[0])
    return Row(task, make, peer, found, warm=False, ratio=True)


ROWS = {
    "nmf-dense": Row("NMF, dense", partial(_nmf, name="dense"), **_SKLEARN, ratio=True),
    "nmf-sparse": Row(
        "NMF, 5 % non-zeros", partial(_nmf, name="sparse"), **_SKLEARN, ratio=True
    ),
    "nmf-rcppml": Row(
        "NMF, 5 % non-zeros",
        partial(_nmf, name="sparse", rcppml=True),
        "RcppML",
        _rcppml,
        warm=False,
        ratio=True,
    ),
    "nmf-kl": Row(
        "NMF, Kullback–Leibler, 5 % non-zeros",
        partial(_nmf, name="kl"),
        "scikit-learn, mu",
        _SKLEARN["found"],
        ratio=True,
    ),
    "nsf": Row(
        "NSF",
        _nsf,
        "PNMF of nonneg, averaged over neighbours",
        lambda: "",
    ),
    "nsf-adam": Row(
        "NSF",
        _nsf_adam,
        "published optimiser (Adam on draws), optax",
        partial(_here, "optax"),
        warm=False,
    ),
    "inmf-torch": _integrated("iNMF", "nmf-torch batch"),
    "inmf-pyliger": _integrated("iNMF", "pyliger anls"),
    "online-torch": _integrated(
        "online iNMF from files, 1 epoch", "nmf-torch online", online=True
    ),
    "deconv-nnls": Row(
        "deconvolution",
        partial(_section, flash=False),
        "NNLS, scipy",
        partial(_here, "scipy"),
    ),
    "deconv-flash": Row("deconvolution", partial(_section, flash=True), **_FLASH),
    "deconv-many": Row("deconvolution, signatures ready", _many, **_FLASH),
    **{
        f"stability-{rank}": Row(
            "stability", partial(_stability, rank=rank), **_SKLEARN
        )
        for rank in (11, 20)
    },
    **{
        f"locanmf-{short}": Row(
            "LocaNMF", partial(_locanmf, name=name), "published program", lambda: ""
        )
        for short, name in (("3", "3 each"), ("1to5", "1 to 5"))
    },
}


# --- a run ----------------------------------------------------------------------------


@cache
def _workload(name: str, quick: bool, folder: Path) -> Workload:
    return ROWS[name].make(quick, folder)


def _call(
    name: str, quick: bool, folder: Path, *, peer: bool, judged: bool
) -> tuple[str, Outcome | None, Outcome | None]:
    """In a process of its own: title, what a side finds, and what is stated of a peer."""
    workload = _workload(name, quick, folder)
    side = workload.theirs if peer else workload.ours
    return workload.title, side(judged) if side else None, workload.stated


def _warm_up(names: Sequence[str], folder: Path) -> None:
    """Fill caches of compiled kernels, which last from day to day, with small sizes."""
    with two_processes(_call) as (we, _):
        for name in names:
            try:
                we(name, True, folder, peer=False, judged=False)
            except Exception as error:  # noqa: BLE001
                # The row itself tells.
                progress("warm-up", name, repr(error))


def _run(name: str, quick: bool, folder: Path, processes: tuple[Any, Any]) -> Result:
    row = ROWS[name]
    result = Result(row, row.found())
    we, they = (
        partial(side, name, quick, folder, peer=peer)
        for side, peer in zip(processes, (False, True), strict=True)
    )
    try:
        result.title, result.first, result.stated = we(judged=True)
        beside = result.version is not None
        if beside and row.warm:
            beside = _theirs(result, they, judged=True) is not None
        start = time.perf_counter()
        spent = 0.0
        while len(result.pairs) < (1 if quick else _PAIRS) and (
            not result.pairs
            or spent * (len(result.pairs) + 1) / len(result.pairs) < _BUDGET
        ):
            mine = we(judged=False)[1]
            judged = not row.warm and not result.pairs
            other = _theirs(result, they, judged=judged) if beside else None
            beside = other is not None
            result.pairs.append((mine, other))
            spent = time.perf_counter() - start
    except NoDataError:
        result.no_data = True
    except Exception as error:  # noqa: BLE001
        result.error = _reason(error)
    return result


def _theirs(result: Result, they: Any, *, judged: bool) -> Outcome | None:
    """A call of the peer, None where there is none; that it fails does not end the row."""
    try:
        _, found, _ = they(judged=judged)
    except Exception as error:  # noqa: BLE001
        result.peer_error = _reason(error)
        return None
    if found is not None and judged:
        result.theirs = found.quality
    return found


def _reason(error: Exception) -> str:
    """One line that a table has room for; all of it on stderr."""
    print(f"failed: {error!r}", file=sys.stderr, flush=True)
    text = " ".join(str(error).split()).replace("|", "/")
    return f"{type(error).__name__}: {text[:80]}" if text else type(error).__name__


def compare(
    names: Sequence[str], *, quick: bool, workdir: Path | None, docs: Path | None
) -> tuple[str, bool]:
    """The table, and whether all rows came about."""
    del docs  # nothing but the table goes there
    results = []
    with ExitStack() as stack:
        if workdir is None:
            workdir = Path(stack.enter_context(TemporaryDirectory()))
        folder = workdir / "table" / ("quick" if quick else "full")
        folder.mkdir(parents=True, exist_ok=True)
        if quick:  # imports would take most of the time
            processes = stack.enter_context(two_processes(_call))
        else:
            small = workdir / "table" / "quick"
            small.mkdir(exist_ok=True)
            _warm_up(names, small)
        for name in names:
            with ExitStack() as own:
                if not quick:
                    processes = own.enter_context(two_processes(_call))
                results.append(_run(name, quick, folder, processes))
            progress(*cells(results[-1]))
    size = "\n\n(A quick run: sizes too small to conclude from.)" if quick else ""
    text = f"{provenance()}{size}\n\n{markdown(HEADER, [cells(r) for r in results])}"
    return text, not any(result.failed for result in results)


def provenance() -> str:
    """Machine, day and versions."""
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("jax", "numpy", "scikit-learn")
    )
    return (
        f"*{machine()}; {datetime.now(UTC):%d %B %Y}; Python {platform.python_version()}, "
        f"{versions}; nonneg at commit {deconvolution.commit()}.*"
    )


# --- cells ----------------------------------------------------------------------------

HEADER = [
    "task", "workload", "first call, s (CPU s)", "second call, s (CPU s)",
    "beside", "its second call, s (CPU s)", "ratio (pairs)",
    "memory growth, MB, ours / its", "quality, ours / its",
]  # fmt: skip


def cells(result: Result) -> list[str]:
    """A line of the table."""
    row = result.row
    peer = f"{row.peer} {result.version or ''}".strip()
    if result.error or result.no_data or result.first is None:
        said = "no data" if result.no_data else f"**failed** ({result.error})"
        return [row.task, result.title or said, said, "", peer, "", "", "", ""]
    both = [(mine, other) for mine, other in result.pairs if other is not None]
    others = [other for _, other in both]
    mine = [ours for ours, _ in result.pairs]
    ratio = ""
    if both:
        value = median(b.seconds / a.seconds for a, b in both)
        ratio = (
            f"{value:.2g} ({len(both)})" if value < 10 else f"{value:.0f} ({len(both)})"
        )
    theirs = result.theirs
    if result.stated is not None:
        others, theirs = [result.stated], result.stated.quality
        ratio = (
            f"{result.stated.seconds / median(a.seconds for a in mine):.2g} (stated)"
        )
    if result.peer_error:
        beside = f"**failed** ({result.peer_error})"
    elif result.version is None:
        beside = "not installed"
    else:
        beside = _times(others) if others else "–"
    growth = [_megabytes([result.first, *mine])]
    if others:
        growth.append(_megabytes(others))
    return [
        row.task,
        result.title,
        _times([result.first]),
        _times(mine),
        peer,
        beside,
        ratio,
        " / ".join(growth),
        _quality(result.first.quality, theirs, ratio=row.ratio),
    ]


def _times(calls: Sequence[Outcome]) -> str:
    cpu = [call.cpu for call in calls if call.cpu is not None]
    text = seconds(median(call.seconds for call in calls))
    return f"{text} ({seconds(median(cpu))})" if cpu else text


def seconds(value: float) -> str:
    """Two digits and more."""
    return (
        f"{value:.0f}"
        if value >= 20
        else f"{value:.1f}"
        if value >= 2
        else f"{value:.2f}"
    )


def _megabytes(calls: Sequence[Outcome]) -> str:
    """Of the call that took most."""
    known = [call.growth for call in calls if call.growth is not None]
    return f"{max(known) / 2**20:.0f}" if known else "–"


def _quality(
    ours: Mapping[str, float], theirs: Mapping[str, float], *, ratio: bool
) -> str:
    found = []
    for name, value in ours.items():
        other = theirs.get(name)
        if other is None:
            found.append(f"{name} {value:.4g}")
        elif ratio and other:
            found.append(f"{name}, ratio {value / other:.5f}")
        else:
            found.append(f"{name} {value:.4g} / {other:.4g}")
    return ", ".join(found)
