"""What a call costs against observations, genes, components and inducing points.

Iterations are a fixed number, so that cost is told from when a fit stops. For each system
and axis a process makes the data of each size in turn, and calls once for compilation and
then to be measured.
"""

from __future__ import annotations

import io
import math
import time
import warnings
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from anndata import AnnData
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from PIL import Image
from scipy import stats
from scipy.optimize import least_squares

import nonneg as nng
from nonneg.operators.memory import give_back

from . import inmf
from .data import integration_counts, low_rank_counts, low_rank_dense, mosaic_movie
from .measure import in_fresh_process, markdown, progress, timed
from .nsf import fit as fit_nsf
from .nsf import simulate
from .table import provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

# Points of a system on an axis, none where it failed.
type Found = dict[tuple[str, str], list[dict[str, float]]]

AXES = {
    "n": "cells, spots or pixels",
    "genes": "genes (LocaNMF: frames)",
    "k": "components or cell types",
    "M": "inducing points",
}
# Calls after the first one, and CPU seconds after which no further one begins.
_CALLS, _ENOUGH = 5, 1.5
# Seconds of an axis after which no larger size begins, if there are enough for an exponent.
_BUDGET, _FEWEST = 90.0, 4
# Bytes; what is less is pages that happened to be free.
_LEAST_GROWTH = 2**20
# Fits have so many components, data so many true ones, whatever is asked for.
_TRUE = 20


# --- systems --------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """A call, the sizes that are held, and those that are tried on each axis."""

    name: str
    make: Callable[..., tuple[int, Callable[[], Any]]]
    """Of n, genes, k and M: the number of observations, which geometry may round, and a call."""
    held: Mapping[str, int]
    tried: Mapping[str, Sequence[int]]
    fixed: str
    """What else is held, in words."""


def _nmf(n: int, genes: int, k: int) -> tuple[int, Callable[[], Any]]:
    adata = AnnData(low_rank_counts(n, genes, _TRUE))
    return n, lambda: nng.tl.nmf(adata, k, tol=0, max_iter=20)


def _nsf(n: int, genes: int, k: int, M: int) -> tuple[int, Callable[[], Any]]:
    adata = simulate(n, genes, 10, 0.1)
    # A kernel that is given is not searched for; the section is 5,000 wide.
    kernel: dict[str, Any] = {"length_scale": 300.0, "amplitude": 1.0}
    return n, lambda: fit_nsf(
        adata, k, n_inducing=M, temperature=1.0, tol=0, max_iter=5, **kernel
    )


def _inmf(n: int, genes: int, k: int) -> tuple[int, Callable[[], Any]]:
    data = [inmf.scaled(x) for x in integration_counts((n // 2, n // 2), genes, _TRUE)]
    adata = inmf.joined(data)
    return n, lambda: inmf.fit_batch(adata, k, tol=0, max_iter=20)


def _deconvolution(n: int, genes: int, k: int) -> tuple[int, Callable[[], Any]]:
    drawn, cells = nng.datasets.spots(math.isqrt(n - 1) + 1, genes, k)
    adata = AnnData(drawn.X[:n], var=drawn.var[[]])
    adata.obsm["spatial"] = drawn.obsm["spatial"][:n]
    # Weights that are given are not searched for.
    weights: dict[str, Any] = {"graph_weight": 1.0, "group_weight": 0.1}
    return n, lambda: nng.tl.deconvolve(
        adata, cells, cell_type_key="cell_type", tol=0, max_iter=30, **weights
    )


def _stability(n: int, genes: int, k: int) -> tuple[int, Callable[[], Any]]:
    adata = AnnData(low_rank_dense(n, genes, _TRUE))
    return n, lambda: nng.tl.stability(
        adata, [k], n_bootstraps=8, baseline=False, tol=0, max_iter=20
    )


def _locanmf(n: int, genes: int, k: int) -> tuple[int, Callable[[], Any]]:
    # A disk of 0.96 in a square of 1, in twelve regions.
    adata = mosaic_movie(round(math.sqrt(n / (math.pi * 0.48**2))), genes, 60)
    each = k // 12
    return adata.n_obs, lambda: nng.tl.locanmf(
        adata, min_rank=each, max_rank=each, loc_threshold=0.7, tol=0, max_iter=20
    )


def axes_of(system: System, *, quick: bool) -> list[str]:
    """Those that are tried: in a quick run, where imports take most of the time, few."""
    return [axis for axis in system.tried if not quick or axis in {"n", "M"}]


def _doubled(first: int, times: int = 5) -> tuple[int, ...]:
    return tuple(first * 2**i for i in range(times))


SYSTEMS = {
    "nmf": System(
        "NMF",
        _nmf,
        {"n": 20_000, "genes": 1000, "k": 20},
        {"n": _doubled(5000), "genes": _doubled(250), "k": _doubled(5)},
        "counts with 5 % non-zeros, 20 iterations",
    ),
    "nsf": System(
        "NSF",
        _nsf,
        {"n": 4000, "genes": 500, "k": 10, "M": 300},
        {
            "n": _doubled(1000),
            "genes": _doubled(250),
            "k": _doubled(3),
            "M": _doubled(75),
        },
        "counts with 10 % non-zeros, kernel given, 5 iterations",
    ),
    "inmf": System(
        "iNMF",
        _inmf,
        {"n": 16_000, "genes": 1000, "k": 20},
        {"n": _doubled(4000), "genes": _doubled(250), "k": _doubled(5)},
        "two data sets, counts with 10 % non-zeros, 20 iterations",
    ),
    "deconvolution": System(
        "deconvolution",
        _deconvolution,
        {"n": 4000, "genes": 1000, "k": 10},
        {"n": _doubled(1000), "genes": _doubled(250), "k": _doubled(4)},
        "weights given, 30 iterations",
    ),
    "stability": System(
        "stability",
        _stability,
        {"n": 5000, "genes": 500, "k": 10},
        {"n": _doubled(2000), "genes": _doubled(250), "k": _doubled(4)},
        "dense, 8 samples of one number of components, 20 iterations",
    ),
    "locanmf": System(
        "LocaNMF",
        _locanmf,
        {"n": 10_000, "genes": 2000, "k": 36},
        {"n": _doubled(4000), "genes": _doubled(1000), "k": _doubled(12, 4)},
        "rank 60, 12 regions, 20 iterations",
    ),
}


def measure(system: System, axis: str, *, quick: bool) -> list[dict[str, float]]:
    """In a process of its own: size, CPU seconds and growth of memory, size by size."""
    found: list[dict[str, float]] = []
    start = time.perf_counter()
    for size in system.tried[axis][: 3 if quick else None]:
        if len(found) >= _FEWEST and time.perf_counter() - start > _BUDGET:
            break
        sizes = {**system.held, axis: size}
        if quick:
            sizes["n"] = (size if axis == "n" else system.tried["n"][0]) // 2
        n_obs, run = system.make(**sizes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
            costs = []
            calls, enough = (1, 0.0) if quick else (_CALLS, _ENOUGH)
            while not costs or (
                len(costs) < calls and sum(cost.cpu for cost in costs) < enough
            ):
                # What was freed before would hide what is taken.
                give_back(now=True)
                costs.append(timed(run)[1])
        found.append(
            {
                "size": n_obs if axis == "n" else size,
                "cpu": min(cost.cpu for cost in costs),
                "growth": median(cost.growth for cost in costs),
            }
        )
        del run
    return found


# --- exponents ------------------------------------------------------------------------


class Power(NamedTuple):
    """``offset + factor * x ** exponent``."""

    factor: float
    exponent: float
    offset: float = 0.0

    def __call__(self, x: ArrayLike) -> Any:
        return self.offset + self.factor * np.asarray(x, float) ** self.exponent


def power_law(x: ArrayLike, y: ArrayLike) -> Power | None:
    """Least squares of logarithms, with an offset where that explains clearly more.

    That is where an F test of the offset has p < 0.05, residuals without it are above 2 %,
    and it is a tenth of the smallest value or more. None of fewer than three values.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.size < 3:
        return None
    log_x, log_y = np.log(x), np.log(y)
    exponent, intercept = np.polyfit(log_x, log_y, 1)
    plain = Power(float(np.exp(intercept)), float(exponent))
    left = float(np.square(log_y - np.log(plain(x))).sum())
    spare = x.size - 3
    if spare < 1 or math.sqrt(left / x.size) < 0.02:
        return plain
    # In units of the largest value, so that all three parameters are about 1.
    unit_x, unit_y = x / x.max(), y / y.max()

    def residuals(parameters: Any) -> Any:
        offset, factor, slope = parameters
        return np.log(offset + factor * unit_x**slope) - np.log(unit_y)

    low = float(unit_y.min())
    best = min(
        (
            least_squares(
                residuals,
                (share * low, 1 - share * low, slope),
                bounds=((0, 1e-9, 0), (low, np.inf, 4)),
                xtol=1e-12,
                ftol=1e-12,
                gtol=1e-12,
            )
            for share in (0.1, 0.5, 0.9)
            for slope in (0.5, 1.0, 2.0)
        ),
        key=lambda found: found.cost,
    )
    remaining = max(2 * float(best.cost), 1e-12)
    f = (left - remaining) / (remaining / spare)
    offset, factor, slope = best.x
    if offset < 0.1 * low or stats.f.sf(f, 1, spare) >= 0.05:
        return plain
    scale = float(y.max())
    return Power(
        float(factor * scale / x.max() ** slope), float(slope), float(offset * scale)
    )


# --- table and figure -----------------------------------------------------------------

QUANTITIES = {"cpu": ("CPU seconds of a call", 1.0), "growth": ("memory, MB", 2**20)}


class Curve(NamedTuple):
    """Of one system on one axis."""

    x: list[float]
    y: list[float]
    fit: Power | None


def curve(points: Sequence[Mapping[str, float]], quantity: str) -> Curve:
    """Values that can be told from nothing, and their power law."""
    unit = QUANTITIES[quantity][1]
    kept = [
        (point["size"], point[quantity] / unit)
        for point in points
        if quantity != "growth" or point[quantity] >= _LEAST_GROWTH
    ]
    x, y = [a for a, _ in kept], [b for _, b in kept]
    return Curve(x, y, power_law(x, y))


def compare(
    names: Sequence[str], *, quick: bool, workdir: Path | None, docs: Path | None
) -> tuple[str, bool]:
    """Tables of exponents with the figure, and whether all curves came about.

    The figure goes beside the document, into the nearest ``_static`` above it, else into the
    folder.
    """
    found: Found = {}
    for name in names:
        for axis in axes_of(SYSTEMS[name], quick=quick):
            arguments = {"system": name, "axis": axis, "quick": quick}
            try:
                found[name, axis] = in_fresh_process("cost_along", arguments)
            except RuntimeError as error:
                found[name, axis] = []
                progress(name, axis, f"failed: {error}")
            for point in found[name, axis]:
                values = (f"{key} {value:.4g}" for key, value in point.items())
                progress(name, axis, *values)
    picture = ""
    path = _place(docs, workdir)
    if path is not None:
        draw(found, path)
        if docs is not None:
            relative = path.relative_to(docs.resolve().parent, walk_up=True)
            picture = (
                f"![CPU seconds and memory against sizes]({relative.as_posix()})\n\n"
            )
    size = "\n\n(A quick run: sizes too small to conclude from.)" if quick else ""
    text = f"{provenance()}{size}\n\n{picture}{tables(found, names)}"
    return text, all(found.values())


def _place(docs: Path | None, workdir: Path | None) -> Path | None:
    if docs is not None:
        for parent in docs.resolve().parents:
            if (parent / "_static").is_dir():
                return parent / "_static" / "cost.png"
    return None if workdir is None else workdir / "cost.png"


def tables(found: Found, names: Sequence[str]) -> str:
    """Exponents of all axes, and what was held meanwhile."""
    rows, held = [], []
    for name in names:
        system = SYSTEMS[name]
        for quantity, (title, _) in QUANTITIES.items():
            cells = []
            for axis in AXES:
                points = found.get((name, axis))
                if points is None:
                    cells.append("")
                else:
                    cells.append(
                        _cell(curve(points, quantity)) if points else "**failed**"
                    )
            rows.append([system.name, title, *cells])
        sizes = ", ".join(f"{axis} {size:,}" for axis, size in system.held.items())
        ranges = []
        for axis in AXES:
            points = found.get((name, axis))
            ends = (points[0]["size"], points[-1]["size"]) if points else ()
            ranges.append(" to ".join(f"{end:,.0f}" for end in ends))
        held.append([system.name, sizes, *ranges, system.fixed])
    return "\n\n".join(
        [
            markdown(["exponents of", "", *AXES], rows),
            markdown(["held", "", *AXES, "also"], held),
        ]
    )


def _cell(curve: Curve) -> str:
    if curve.fit is None:
        return "–"
    if curve.fit.offset:
        return f"{curve.fit.exponent:z.2f} + {curve.fit.offset:.2g}"
    return f"{curve.fit.exponent:z.2f}"


# Of Okabe and Ito, which all can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
_MARKERS = "osD^vX"


def draw(found: Found, path: Path) -> None:
    """A panel for each axis and quantity, with exponents under it."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    style = {
        name: {"color": color, "marker": marker}
        for name, color, marker in zip(SYSTEMS, _COLORS, _MARKERS, strict=True)
    }
    with mpl.rc_context({"font.size": 7, "axes.linewidth": 0.6}):
        figure, axes = plt.subplots(
            2, len(AXES), figsize=(7.4, 5.4), sharey="row", layout="constrained"
        )
        for row, (quantity, (title, _)) in zip(axes, QUANTITIES.items(), strict=True):
            for ax, (axis, label) in zip(row, AXES.items(), strict=True):
                for name in SYSTEMS:
                    if found.get((name, axis)):
                        _line(ax, curve(found[name, axis], quantity), name, style[name])
                _finish(ax, label)
            row[0].set_ylabel(title)
        figure.align_ylabels()
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=200, facecolor="white")
        plt.close(figure)
    # Few colours make a small file.
    Image.open(buffer).convert("RGB").quantize(64).save(path, optimize=True)


def _line(ax: Axes, curve: Curve, name: str, style: Mapping[str, str]) -> None:
    label = SYSTEMS[name].name
    if curve.fit is not None:
        exponent = f"{curve.fit.exponent:z.2f}".replace("-", "\N{MINUS SIGN}")
        label += f"  {exponent}" + ("†" if curve.fit.offset else "")
        x = np.geomspace(min(curve.x), max(curve.x))
        ax.plot(x, curve.fit(x), lw=0.9, color=style["color"])
    ax.plot(curve.x, curve.y, ls="", ms=3.2, label=label, **style)


def _finish(ax: Axes, label: str) -> None:
    ax.set(xscale="log", yscale="log", xlabel=label)
    if not ax.lines:
        return
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.yaxis.set_major_formatter("{x:g}")
    for side in (ax.xaxis, ax.yaxis):
        side.set_minor_locator(LogLocator(subs=range(2, 10)))
        side.set_minor_formatter(NullFormatter())
    ax.tick_params(which="both", width=0.5, labelleft=True)
    ax.grid(lw=0.3, color="0.88")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(-0.12, -0.24),
        title="exponent († with an offset)",
        frameon=False,
        handletextpad=0.2,
        borderpad=0,
        labelspacing=0.3,
        alignment="left",
    )
