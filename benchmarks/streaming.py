"""NMF of files that are read in blocks of rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from .data import open_stored, write_stored
from .measure import in_fresh_process, markdown, progress
from .tasks import streamed_fit

_SIZES = (200_000, 1_000_000)
_QUICK_SIZES = (20_000, 60_000)
_N_VARS = 2000
_RANK = 20
_MAX_ITER = 10
HOW = ("h5ad", "zarr", "lazy")
_LABELS = {
    "h5ad": "backed .h5ad",
    "zarr": "zarr, `sparse_dataset`",
    "lazy": "`read_lazy` of .h5ad",
}


def _path(folder: Path, how: str, n_obs: int, n_vars: int) -> Path:
    suffix = "zarr" if how == "zarr" else "h5ad"
    return folder / f"counts-{n_obs}x{n_vars}.{suffix}"


def compare(how: list[str], *, quick: bool, workdir: Path | None) -> str:
    """Tables of speed and memory, and of the difference from a fit in memory."""
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="nonneg-bench-") as folder:
            return compare(how, quick=quick, workdir=Path(folder))
    workdir.mkdir(parents=True, exist_ok=True)
    n_vars, rank = (300, 5) if quick else (_N_VARS, _RANK)
    sizes = _QUICK_SIZES if quick else _SIZES
    rows = []
    for n_obs in sizes:
        for way in how:
            path, small = (
                _path(workdir, way, n, n_vars) for n in (n_obs, sizes[0] // 10)
            )
            for file, n in ((path, n_obs), (small, sizes[0] // 10)):
                write_stored(file, n, n_vars, rank)
            result = in_fresh_process(
                "measure_stream",
                {
                    "path": str(path.resolve()),
                    "warmup": str(small.resolve()),
                    "how": way,
                    "rank": rank,
                    "max_iter": _MAX_ITER,
                    "difference": n_obs == sizes[0],
                },
            )
            rows.append(_row(f"{_LABELS[way]}, {n_obs} x {n_vars}", result))
            progress(*rows[-1])
    note = (
        "Memory is the peak resident size above that of a process that has done a "
        f"streamed fit of {sizes[0] // 10} rows. A pass reads the matrix once."
    )
    return "\n\n".join(
        [
            f"### Streamed fits, k = {rank}, {_MAX_ITER} iterations",
            note,
            markdown(
                [
                    "input",
                    "fit, s",
                    "passes",
                    "rows/s of a pass",
                    "peak growth, MB",
                    "opened AnnData, MB",
                    "result (n_obs x k), MB",
                    "growth of the fit without both, MB",
                    "matrix in memory, MB",
                    "difference of WH from the fit in memory",
                    "time / fit in memory",
                ],
                rows,
            ),
        ]
    )


def _row(label: str, result: dict[str, Any]) -> list[str]:
    difference, ratio = result["difference"], result["seconds_ratio"]
    return [
        label,
        f"{result['seconds']:.1f}",
        str(result["passes"]),
        f"{result['rows_per_second']:.0f}",
        *(
            f"{result[name] / 2**20:.0f}"
            for name in ("growth", "opened", "scores", "fit", "matrix")
        ),
        "-" if difference is None else f"{difference:.1e}",
        "-" if ratio is None else f"{ratio:.1f}",
    ]


# --- asv ------------------------------------------------------------------------------


class Streamed:
    params = (list(HOW),)
    param_names = ("how",)
    rounds = 1
    repeat = 3
    number = 1
    timeout = 600

    def setup(self, how: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="nonneg-bench-")
        self.path = _path(Path(self.folder.name), how, 50_000, _N_VARS)
        write_stored(self.path, 50_000, _N_VARS, _RANK)

    def teardown(self, how: str) -> None:
        self.folder.cleanup()

    def time_fit(self, how: str) -> None:
        streamed_fit(open_stored(self.path, how), _RANK, _MAX_ITER)

    def peakmem_fit(self, how: str) -> None:
        streamed_fit(open_stored(self.path, how), _RANK, _MAX_ITER)
