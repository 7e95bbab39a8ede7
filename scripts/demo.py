"""Factorize a spatial transcriptomics section: what ``make demo`` runs.

Without ``--data`` the section is simulated, so that the factors found can be compared
with the true ones.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
import scipy.sparse as sp

import nonneg as nng

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata as ad
    from matplotlib.axes import Axes

_DPI = 200
# Observations with less than this part of the median count say little, and brought to
# the same depth they would be outliers that take a factor for themselves.
_LEAST_DEPTH = 0.01


@dataclass
class Summary:
    """Lines that are printed and stored."""

    lines: list[str] = field(default_factory=list)

    def add(self, text: str = "") -> None:
        print(text, flush=True)
        self.lines.append(text)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    # The results go to a summary; bars would be drawn over it.
    nng.settings.progress = sys.stderr.isatty()
    plt.switch_backend("agg")
    # squidpy's, and not about the data.
    warnings.filterwarnings("ignore", "The method obs_vector", FutureWarning)
    args.output.mkdir(parents=True, exist_ok=True)
    summary = Summary()
    if args.data is None:
        adata = simulate()
        name = "Simulated section (quilt)"
    else:
        adata = read(args.data)
        name = args.data.name
    summary.add(f"{name}: {adata.n_obs} observations x {adata.n_vars} genes")

    adata = prepare(adata, args.n_top_genes, summary)
    n_components = choose_rank(args.n_components, adata, summary)
    started = time.perf_counter()
    nng.tl.nmf(adata, n_components, max_iter=1000)
    describe_fit(adata, time.perf_counter() - started, summary)

    has_coordinates = check_coordinates(adata, summary)
    if has_coordinates:
        add_autocorrelation(adata)
    describe_factors(adata, summary)
    if "truth" in adata.uns:
        compare_with_truth(adata, summary)

    written = draw(adata, args.output, maps=has_coordinates)
    adata.write_h5ad(args.output / "demo.h5ad", compression="gzip")
    summary.add(f"\nWritten to {args.output}/: {', '.join(written)}, demo.h5ad")
    text = "\n".join([*summary.lines, ""])
    (args.output / "summary.txt").write_text(text, encoding="utf-8")
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), help="folder to write to"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="your own .h5ad: counts in X, coordinates in obsm['spatial']",
    )
    parser.add_argument(
        "--n-components",
        type=int,
        help="number of factors (default: 8; as many as simulated without --data)",
    )
    parser.add_argument(
        "--n-top-genes", type=int, default=2000, help="genes to keep (default: 2000)"
    )
    args = parser.parse_args(argv)
    if args.data is not None and not args.data.is_file():
        parser.error(f"--data {args.data}: there is no such file")
    for option in ("n_components", "n_top_genes"):
        value = getattr(args, option)
        if value is not None and value < 1:
            parser.error(f"--{option.replace('_', '-')} must be at least 1")
    return args


# --- data -----------------------------------------------------------------------------


def simulate() -> ad.AnnData:
    """Four overlapping patterns and three factors that are spread at random."""
    return nng.datasets.quilt(
        60, 500, n_nonspatial=3, mixing=0.7, height=10.0, dispersion=0.3
    )


def read(path: Path) -> ad.AnnData:
    try:
        adata = sc.read_h5ad(path)
    except OSError as error:
        sys.exit(f"{path} is not an .h5ad file: {error}")
    if adata.X is None or 0 in adata.shape:
        sys.exit(f"{path} holds no matrix in X: {adata.n_obs} x {adata.n_vars}.")
    adata.var_names_make_unique()
    return adata


def prepare(adata: ad.AnnData, n_top_genes: int, summary: Summary) -> ad.AnnData:
    """Drop what is empty, select genes, normalise counts of tissue."""
    values = np.asarray(adata.X.data if sp.issparse(adata.X) else adata.X)
    if not np.isfinite(values).all() or values.min(initial=0) < 0:
        sys.exit(
            "X has negative or missing entries, e.g. since it is scaled or centred. "
            "Store counts, or normalised values from 0 on, in X."
        )
    is_counts = np.array_equal(values, np.rint(values))
    depth = np.asarray(adata.X.sum(axis=1)).ravel()
    if not depth.any():
        sys.exit("X is all zero.")
    rows = depth > _LEAST_DEPTH * np.median(depth[depth > 0])
    columns = np.asarray(adata[rows].X.sum(axis=0)).ravel() > 0
    if not (rows.all() and columns.all()):
        summary.add(
            f"Left out: {np.sum(~rows)} observations with fewer than "
            f"{_LEAST_DEPTH:.0%} of the median count, {np.sum(~columns)} genes without "
            "any"
        )
    adata = adata[rows, columns].copy()
    enough = adata.n_vars > n_top_genes
    if not is_counts:
        summary.add("X does not hold counts: taken as normalised, and used as it is")
        if enough:
            sc.pp.highly_variable_genes(adata, n_top_genes=n_top_genes, subset=True)
            summary.add(f"Kept {adata.n_vars} highly variable genes")
        return adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.astype(np.float32)
    if enough:
        nng.pp.deviant_genes(adata, n_top_genes, subset=True)
        summary.add(f"Kept the {adata.n_vars} genes of largest deviance")
        adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    else:
        summary.add(f"Kept all {adata.n_vars} genes: they are no more than asked for")
    if "truth" in adata.uns:
        summary.add("Counts are used as they are: all locations have the same depth")
        return adata
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    summary.add("Counts brought to the median depth, then log(1 + x)")
    return adata


def choose_rank(asked: int | None, adata: ad.AnnData, summary: Summary) -> int:
    default = len(adata.uns["truth"]["is_spatial"]) if "truth" in adata.uns else 8
    rank = default if asked is None else asked
    most = min(adata.shape)
    if rank > most:
        summary.add(f"{rank} factors are more than {adata.shape} allows: {most} taken")
    return min(rank, most)


def check_coordinates(adata: ad.AnnData, summary: Summary) -> bool:
    coordinates = adata.obsm.get("spatial")
    if coordinates is None:
        summary.add("\nNo coordinates in obsm['spatial']: no maps, no Moran's I")
        return False
    if not np.isfinite(np.asarray(coordinates, float)).all():
        summary.add("\nobsm['spatial'] has missing values: no maps, no Moran's I")
        return False
    return True


# --- numbers --------------------------------------------------------------------------


def describe_fit(adata: ad.AnnData, seconds: float, summary: Summary) -> None:
    info = adata.uns["nmf"]
    explained = nng.metrics.r2(adata.X, adata.obsm["X_nmf"], adata.varm["nmf"])
    ending = "converged" if info["converged"] else "stopped"
    summary.add(
        f"\nNMF, {info['params']['n_components']} factors of {adata.n_obs} x "
        f"{adata.n_vars}: {ending} after {info['n_iter']} iterations in {seconds:.1f} s "
        "(compilation included)"
    )
    summary.add(
        f"Objective {info['objective'][-1]:.6g}; {explained:.1%} of the sum of squares "
        "explained"
    )


def add_autocorrelation(adata: ad.AnnData) -> None:
    """Moran's I of every factor into ``uns["moranI"]``, by squidpy."""
    import squidpy as sq

    # It says how it makes a graph, in the middle of the summary.
    logging.getLogger("spatialdata._logging").setLevel(logging.WARNING)
    n_neighs = min(6, adata.n_obs - 1)
    sq.gr.spatial_neighbors_knn(adata, n_neighs=n_neighs)
    sq.gr.spatial_autocorr(adata, attr="obsm", layer="X_nmf", mode="moran")


def describe_factors(adata: ad.AnnData, summary: Summary) -> None:
    genes = nng.get.top_genes(adata, 8)
    mass = adata.uns["nmf"]["mass"]
    factors = nng.get.factor_df(adata).columns
    summary.add("\nfactor   part  Moran's I  leading genes")
    for i, name in enumerate(factors):
        moran = "-"
        if "moranI" in adata.uns:
            # squidpy sorts by I; the index holds column numbers of X_nmf
            table = adata.uns["moranI"]
            moran = f"{table.loc[table.index.astype(str) == str(i), 'I'].item():.2f}"
        leading = ", ".join(genes.loc[genes["factor"] == name, "gene"])
        part = mass[i] / mass.sum()
        summary.add(f"{name:<8} {part:4.0%}  {moran:>9}  {leading}")


def compare_with_truth(adata: ad.AnnData, summary: Summary) -> None:
    truth, scores = adata.obsm["truth"], adata.obsm["X_nmf"]
    match = nng.metrics.match_factors(truth, scores, metric="pearson")
    spatial = adata.uns["truth"]["is_spatial"]
    summary.add("\nCorrelation of true factors with the ones found")
    for i, j, r in zip(match.matched, match.permutation, match.similarity, strict=True):
        kind = "spatial" if spatial[i] else "not spatial"
        summary.add(f"truth_{i} ({kind}): nmf_{j}, {r:.3f}")


# --- pictures -------------------------------------------------------------------------


def draw(adata: ad.AnnData, folder: Path, *, maps: bool) -> list[str]:
    """Write the figures, and return their names."""
    plots: dict[str, Callable[[], Axes | list[Axes]]] = {
        "loadings.png": lambda: nng.pl.loadings(adata),
        "top_genes.png": lambda: nng.pl.top_genes(adata),
        "objective.png": lambda: nng.pl.objective(adata),
    }
    if maps:
        plots["factor_maps.png"] = lambda: nng.pl.factor_maps(adata)
        if "truth" in adata.uns:
            plots["true_factors.png"] = lambda: nng.pl.factor_maps(adata, "truth")
    for name, plot in plots.items():
        drawn = plot()
        figure = (drawn[0] if isinstance(drawn, list) else drawn).figure
        figure.savefig(folder / name, dpi=_DPI, bbox_inches="tight")
        plt.close(figure)
    return sorted(plots)


if __name__ == "__main__":
    sys.exit(main())
