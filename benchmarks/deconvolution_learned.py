"""Weights that are trained on simulated maps, beside held-out genes and a search."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from scipy.ndimage import gaussian_filter
from scipy.stats import wilcoxon

import nonneg as nng
from nonneg._adata.read import Read
from nonneg.models.deconvolution.maps import Law
from nonneg.models.deconvolution.train import search
from nonneg.operators.threads import computing
from nonneg.tl._deconvolve.learn_front import Training, prepare

from .deconvolution import provenance
from .deconvolution_sections import DATA, real
from .measure import markdown, progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

nng.settings.progress = False

# The types of the paper's designs; the reference has 3 to 350 cells of each.
TYPES = {
    3: ("Acinar_cells", "Cancer_clone_A", "Cancer_clone_B"),
    5: (
        "Acinar_cells",
        "Cancer_clone_A",
        "Endocrine_cells",
        "Fibroblasts",
        "Ductal_terminal_ductal_like",
    ),
}
_N_GENES, _DEPTH, _SIDE = 800, 2000, 20
_KEY = "cell_type"


@dataclass(frozen=True)
class Design:
    """How a map is made."""

    n_types: int
    noisy: bool
    grid: bool = False
    held_out: bool = False
    """Whether the map is of other cells than the reference."""
    depth: float = 1.0
    platform: float = 0.0
    smooth: bool = False
    """Compositions that vary smoothly instead of by regions."""


DESIGNS = [
    Design(3, noisy=False),
    Design(3, noisy=True),
    Design(5, noisy=False),
    Design(5, noisy=True),
    Design(5, noisy=True, grid=True),
]
LAWS: dict[str, dict[str, Any]] = {
    "the paper's designs": {},
    "other half of the reference": {"held_out": True},
    "depth x 0.2": {"depth": 0.2},
    "platform effect, log-normal 0.3": {"platform": 0.3},
    "unseen compositions: gradients": {"smooth": True},
}
# The law of training is that of the noisy designs; the maps of other laws depart from it.
LAW = Law(
    n_regions=3,
    concentration=(30.0, 50.0),
    cells_per_spot=(100, 200),
    depth=(1.0, 1.0),
    platform=0.3,
    noise=0.25,
)
_CLEAN = "of these, maps without noise"
_NOISY = "of these, noisy maps"


def compare(*, quick: bool, workdir: Path | None = None) -> str:
    """Relative Frobenius errors on 45 maps, and on maps of four other laws."""
    del workdir
    if not (DATA / "pdac_a_scrna.h5ad").exists():
        return f"deconvolution-learned: no PDAC-A in {DATA}; set NONNEG_DATA"
    tissue = real()
    cells, coords = tissue.cells, tissue.spots.obsm["spatial"].astype(float)
    found, table = {}, []
    for k in TYPES:
        trained, searched, row = learn(cells, coords, k, quick=quick)
        found[k] = {"untrained": None, "trained": trained, "search": searched}
        table.append(row)
        progress("deconvolution-learned", *row)
    head = ["types", "training s", "validation error before", "trained", "search"]
    head += ["draws", "trained numbers", "found by search"]
    out = [markdown(head, table)]
    rows = []
    for law, change in LAWS.items():
        errors: dict[str, list[list[float]]] = {}
        for d, design in enumerate(DESIGNS):
            n = 1 if quick else 9 if not change else 2
            for seed in range(n):
                chosen = replace(design, **change)
                score = _scores(cells, coords, chosen, 100 * d + seed, found)
                errors.setdefault(law, []).append(score)
                if not change:
                    kind = _NOISY if design.noisy else _CLEAN
                    errors.setdefault(kind, []).append(score)
        rows += [_row(name, np.array(scores)) for name, scores in errors.items()]
        progress("deconvolution-learned", *rows[-1])
    head = ["maps", "n", "untrained", "trained", "search", "trained / untrained"]
    head += ["p", "trained / search", "p"]
    return "\n\n".join([*out, markdown(head, rows), provenance()])


def learn(
    cells: AnnData, coords: NDArray[Any], k: int, *, quick: bool
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Train on maps of all cells; and search for as long."""
    section, reference = simulate(cells, coords, Design(k, noisy=True), seed=10_000)
    size: dict[str, Any] = (
        {"n_maps": 3, "n_validation": 2, "max_iter": 5} if quick else {}
    )
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nng.tl.learn_deconvolution(
            section,
            reference,
            cell_type_key=_KEY,
            n_genes=_N_GENES,
            **asdict(LAW),
            **size,
        )
    seconds = time.perf_counter() - begin
    trained = section.uns["deconv_learned"]
    size = {"n_maps": 16, "n_validation": 8, "max_iter": 100} | size
    training = Training(
        cell_type_key=_KEY,
        reference_layer=None,
        n_genes=_N_GENES,
        likelihood="poisson",
        spatial_key="spatial",
        library_key=None,
        region_key=None,
        n_neighbors=6,
        gene_weights=True,
        law=LAW,
        compositions=None,
        n_layers=12,
        n_locations=300,
        batch_size=4,
        learning_rate=0.1,
        patience=6,
        **size,
    )
    with warnings.catch_warnings(), computing():
        warnings.simplefilter("ignore")
        begin = time.perf_counter()
        lesson, rng = prepare(
            section, reference, training, read=Read(None, mask_var=None), seed=0
        )
        left = max(seconds - (time.perf_counter() - begin), 1)
        # The validation maps are what both are chosen by.
        values, error, n_drawn = search(
            lesson.network, lesson.validation, list(lesson.start), rng, seconds=left
        )
    searched = {**trained, **values}
    names = ["graph_weight", "group_weight", "width"]
    row = [
        str(k),
        f"{seconds:.0f}",
        f"{trained['start_error']:.4f}",
        f"{trained['validation_error']:.4f}",
        f"{error:.4f}",
        str(n_drawn),
        *(", ".join(f"{d[name]:.2g}" for name in names) for d in (trained, searched)),
    ]
    return trained, searched, row


def _scores(
    cells: AnnData,
    coords: NDArray[Any],
    design: Design,
    seed: int,
    found: dict[int, dict[str, Any]],
) -> list[float]:
    section, reference = simulate(cells, coords, design, seed)
    truth = section.obsm["truth"]
    out = []
    for learned in found[design.n_types].values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nng.tl.deconvolve(
                section,
                reference,
                cell_type_key=_KEY,
                n_genes=_N_GENES,
                learned=learned,
            )
        away = section.obsm["X_deconv_rna"] - truth
        out.append(float(np.linalg.norm(away) / np.linalg.norm(truth)))
    return out


def _row(name: str, errors: NDArray[np.float64]) -> list[str]:
    untrained, trained, searched = errors.T
    row = [name, str(len(errors)), *(f"{e:.4f}" for e in errors.mean(0))]
    for other in (untrained, searched):
        ratio = np.exp(np.log(trained / other).mean())
        p = wilcoxon(trained, other).pvalue if len(errors) > 4 else np.nan
        row += [f"{ratio:.3f}", f"{p:.2g}"]
    return row


def simulate(
    cells: AnnData, coords: NDArray[Any], design: Design, seed: int
) -> tuple[AnnData, AnnData]:
    """A map with its truth (shares of RNA), and the reference."""
    rng = np.random.default_rng(seed)
    types = sorted(TYPES[design.n_types])
    code = pd.Categorical(cells.obs["cell_type"].astype(str), types).codes
    rows = np.flatnonzero(code >= 0)
    in_map = np.ones(rows.size, bool)
    if design.held_out:
        in_map = _half(code[rows], rng)
    made, kept = rows[in_map], rows[~in_map] if design.held_out else rows
    if design.grid:
        coords = np.stack(np.divmod(np.arange(_SIDE**2), _SIDE), 1).astype(float)
    profile = np.stack(
        [_pooled(cells.X, made[code[made] == t]) for t in range(len(types))]
    )
    shares = _compositions(coords, len(types), design, rng)
    depth = design.depth * rng.lognormal(np.log(_DEPTH), 0.5, len(coords))
    mean = depth[:, None] * (shares @ profile)
    mean *= np.exp(design.platform * rng.standard_normal(mean.shape[1]))
    if design.noisy:
        mean *= rng.gamma(4, 0.25, mean.shape)
        mean *= rng.lognormal(0, 0.3, mean.shape[1])
        counts = rng.poisson(mean)
    else:
        counts = np.round(50 * mean)
    section = AnnData(
        sp.csr_matrix(counts, dtype=np.float32), var=pd.DataFrame(index=cells.var_names)
    )
    section.obsm["spatial"] = coords
    section.obsm["truth"] = shares
    reference = cells[kept].copy()
    reference.obs[_KEY] = reference.obs["cell_type"].astype(str)
    return section, reference


def _half(code: NDArray[Any], rng: np.random.Generator) -> NDArray[np.bool_]:
    """One half of the cells of every type, at least one left."""
    half = np.zeros(code.size, bool)
    for inside in _by_type(code):
        half[rng.permutation(inside)[: inside.size // 2]] = True
    return half


def _by_type(code: NDArray[Any]) -> Iterator[NDArray[np.intp]]:
    for t in np.unique(code):
        yield np.flatnonzero(code == t)


def _pooled(x: Any, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    total = np.asarray(x[rows].sum(0), float).ravel()
    return total / total.sum()


def _compositions(
    coords: NDArray[Any], k: int, design: Design, rng: np.random.Generator
) -> NDArray[np.float64]:
    n = len(coords)
    if design.smooth:
        fields = rng.standard_normal((k, 40, 40))
        smooth = np.stack([gaussian_filter(f, 6) for f in fields], -1)
        unit = (coords - coords.min(0)) / np.ptp(coords, axis=0)
        at = np.minimum((unit * 40).astype(int), 39)
        logits = smooth[at[:, 0], at[:, 1]]
        weight = np.exp(2 * logits / logits.std(0))
        return weight / weight.sum(1, keepdims=True)
    if design.grid:
        middle = (_SIDE - 1) / 2
        region = 2 * (coords[:, 0] > middle) + (coords[:, 1] > middle)
    else:
        centre = coords[rng.choice(n, 3, replace=False)]
        for _ in range(20):
            region = ((coords[:, None] - centre) ** 2).sum(-1).argmin(1)
            centre = np.stack([coords[region == r].mean(0) for r in range(3)])
    typical = rng.dirichlet(np.full(k, 0.6), int(region.max()) + 1)
    return np.stack([rng.dirichlet(40 * typical[r] + 0.2) for r in region])
