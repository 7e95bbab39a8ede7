"""Compare with peers, in one run and as ratios: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from nonneg.operators.threads import available_cpus

from . import (
    cost,
    deconvolution,
    deconvolution_learned,
    deconvolution_missing,
    device,
    inmf,
    inmf_epochs,
    inmf_figures,
    locanmf,
    nmf,
    nsf,
    nsf_sections,
    stability,
    streaming,
    table,
)
from .measure import has_block, write_block

_STREAMED = {f"stream-{how}": how for how in streaming.HOW}
_NSF = {"nsf-adam": None, **{f"nsf-{size}": size for size in nsf.SIZES}}
_SECTIONS = {
    "nsf-held-out": nsf_sections.held_out,
    "nsf-recovery": nsf_sections.recovery,
    "nsf-mofaflex": nsf_sections.beside_mofaflex,
}
_INMF = {
    "inmf-peers": inmf.compare,
    "inmf-online": inmf.against_batch,
    "inmf-epochs": inmf_epochs.settle,
    "inmf-disk": inmf.from_disk,
    "inmf-scale": inmf_figures.scale,
    "inmf-unshared": inmf_figures.unshared,
}
_DECONVOLUTION = {
    "deconvolution-learned": deconvolution_learned.compare,
    "deconvolution-missing": deconvolution_missing.compare,
}
_TABLE = {f"table-{name}": name for name in table.ROWS}
_COST = {f"cost-{name}": name for name in cost.SYSTEMS}
_GROUPS = {
    "table": list(_TABLE),
    "cost": list(_COST),
    "inmf": list(_INMF),
    "memory": list(nmf.CASES),
    "stream": list(_STREAMED),
    "nsf": [*_NSF, *_SECTIONS],
    "deconv": list(deconvolution.CASES),
    "stability": list(stability.CASES),
    "widefield": list(locanmf.CASES),
}


def main(argv: list[str] | None = None) -> int:
    names = [
        *nmf.CASES,
        "rcppml",
        *_STREAMED,
        *_NSF,
        *_SECTIONS,
        *_INMF,
        *_DECONVOLUTION,
        *deconvolution.CASES,
        *stability.CASES,
        *locanmf.CASES,
        "device",
        *_TABLE,
        *_COST,
    ]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"what to run: {', '.join([*names, *_GROUPS])} (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, two seeds")
    parser.add_argument("--seeds", type=int, default=5, help="seeds per comparison")
    parser.add_argument(
        "--workdir",
        type=Path,
        help="folder for files to stream and for results of deconv-*, kept and used "
        "again (default: a temporary one; the full sizes need 4 GB)",
    )
    parser.add_argument(
        "--docs",
        type=Path,
        metavar="FILE",
        help="also write what table, cost, and those of cell types and widefield imaging find "
        "between '<!-- NAME -->' and '<!-- end of NAME -->' of a Markdown file, where it has "
        "these lines (of a folder: of its benchmarks.md)",
    )
    args = parser.parse_args(argv)
    if args.docs and args.docs.is_dir():
        args.docs /= "benchmarks.md"
    if args.docs and not args.docs.exists():
        parser.error(f"there is no {args.docs}")
    chosen: list[str] = []
    for name in args.names or names:
        if name not in names and name not in _GROUPS:
            parser.error(f"{name!r} is none of {', '.join([*names, *_GROUPS])}")
        chosen += _GROUPS.get(name, [name])

    for group in ("table", "cost"):
        if args.docs and group in args.names and not has_block(args.docs, group):
            parser.error(
                f"{args.docs} has no lines '<!-- {group} -->', '<!-- end of … -->'"
            )

    print(header(quick=args.quick), flush=True)
    in_memory = [name for name in nmf.CASES if name in chosen]
    if in_memory:
        n_seeds = min(args.seeds, 2) if args.quick else args.seeds
        print("\n" + nmf.compare(in_memory, quick=args.quick, n_seeds=n_seeds))
        sys.stdout.flush()
    if "rcppml" in chosen:
        tables = nmf.beside_rcppml(quick=args.quick, n_seeds=min(args.seeds, 3))
        print(f"\n{tables}", flush=True)
    streamed = [how for name, how in _STREAMED.items() if name in chosen]
    if streamed:
        print(
            "\n" + streaming.compare(streamed, quick=args.quick, workdir=args.workdir)
        )
    if "nsf-adam" in chosen:
        print("\n" + nsf.compare(quick=args.quick), flush=True)
    sizes = [size for name, size in _NSF.items() if size and name in chosen]
    if sizes:
        print("\n" + nsf.scale(sizes, quick=args.quick))
    for name, run in {
        **_SECTIONS,
        **_INMF,
        **_DECONVOLUTION,
        **stability.CASES,
        **locanmf.CASES,
    }.items():
        if name in chosen:
            tables = run(quick=args.quick, workdir=args.workdir)
            print(f"\n{tables}", flush=True)
            if args.docs:
                write_block(args.docs, name, tables)
    cases = [name for name in deconvolution.CASES if name in chosen]
    for name, tables in deconvolution.compare(
        cases, quick=args.quick, n_seeds=args.seeds, workdir=args.workdir
    ):
        print(f"\n{tables}", flush=True)
        if args.docs:
            write_block(args.docs, name, tables)
    if "device" in chosen:
        print("\n" + device.compare(quick=args.quick), flush=True)
    complete = True
    for group, members, run in (
        ("table", _TABLE, table.compare),
        ("cost", _COST, cost.compare),
    ):
        some = [short for name, short in members.items() if name in chosen]
        if not some:
            continue
        # Part of a table would take the place of all of it.
        docs = args.docs if len(some) == len(members) else None
        text, good = run(some, quick=args.quick, workdir=args.workdir, docs=docs)
        print(f"\n{text}", flush=True)
        if docs:
            write_block(docs, group, text)
        complete &= good
    return 0 if complete else 1


def header(*, quick: bool) -> str:
    packages = ("nonneg", "scikit-learn", "jax", "numba", "numpy", "anndata", "zarr")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    size = "quick run: sizes too small to conclude from" if quick else "full sizes"
    return (
        f"## nonneg benchmarks ({size})\n\n"
        f"{platform.system()} {platform.machine()}, {available_cpus()} CPUs, "
        f"Python {platform.python_version()}, {versions}"
    )


if __name__ == "__main__":
    sys.exit(main())
