"""Deconvolution without a reference: learn signatures, name them, and go on with these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.checks import check_unique_names
from ..._adata.genes import read_mask
from ..._adata.read import resolve_adata
from ..._adata.signatures import Signatures
from ..._adata.write import keys_to_write
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_positive_int
from ..._core.warnings import warn
from ...models.deconvolution.fit import as_local
from ...models.deconvolution.free import learn_signatures
from ...models.deconvolution.naming import match_markers
from ...models.deviance import column_deviance
from ...operators.threads import computing
from .choices import OwnTypes, check_choices
from .counts import read_counts
from .front import find_cell_types, make_mixture
from .layout import read_layout

if TYPE_CHECKING:
    import scipy.sparse as sp
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.read import Read
    from ..._adata.write import Write
    from ..._core.random import RNGLike
    from .choices import Choices

    type Markers = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class FreeTypes:
    """What the caller says of types that have no reference."""

    n_types: int | None = None
    markers: Markers | None = None


def find_free_types(
    data: AnnData | SpatialData,
    free: FreeTypes,
    choices: Choices,
    *,
    read: Read,
    write: Write,
    rng: RNGLike,
) -> AnnData | None:
    """Learn signatures from the section, then deconvolve it with them."""
    check_choices(choices)
    n_types, sets = _check(free, choices)
    seed = as_seed(rng)
    adata = resolve_adata(data, table_key=write.table_key, copy=False)
    keys_to_write(adata, "deconv", write.key_added)
    check_unique_names(adata.var_names, "Variables")
    layout = read_layout(
        adata, choices.spatial_key, choices.library_key, choices.region_key
    )
    mask = np.ones(adata.n_vars, bool)
    if read.mask_var is not None:
        mask = read_mask(adata, read.mask_var)
    budget = choices.options.budget
    with computing(), progress("learn signatures", None) as callback:
        shared = np.flatnonzero(mask)
        counts = read_counts(adata, read, shared, "poisson")
        used = _varying(counts, choices.n_genes)
        counts, shared = counts[:, used], shared[used]
        kept = np.flatnonzero(np.asarray(counts.sum(1)).ravel() > 0)
        if n_types > min(kept.size, shared.size):
            msg = (
                f"n_types={n_types} is more than adata has to tell them apart: "
                f"{kept.size} locations with counts, in {shared.size} genes."
            )
            raise ValueError(msg)
        genes = adata.var_names[shared]
        known = _known(sets, genes)
        mixture, _ = make_mixture(
            counts[kept],
            np.zeros((n_types, shared.size)),
            layout,
            kept=kept,
            choices=choices,
            learned=None,
        )
        learned = learn_signatures(
            mixture,
            n_types,
            graph_weight=choices.options.wishes.graph_weight,
            budget=budget,
            callback=callback,
        )
    names, table = _name(learned.signatures, known)
    wishes = replace(choices.options.wishes, effects=False)
    result = find_cell_types(
        data,
        Signatures(
            np.asarray(names, object), genes, learned.signatures, np.ones(n_types)
        ),
        replace(
            choices,
            options=replace(choices.options, wishes=wishes),
            own=OwnTypes(n_types, layout, table, learned.trace),
        ),
        read=read,
        write=write,
        rng=seed,
    )
    _report(sets, known, names)
    return result


def _check(free: FreeTypes, choices: Choices) -> tuple[int, Markers]:
    """The number of types and sets of markers, or an error."""
    options = choices.options
    without = {
        "cell_type_key": choices.cell_type_key is not None,
        "reference_layer": choices.reference_layer is not None,
        "learned": choices.learned is not None,
        "compositions": choices.compositions is not None,
        "effects=True": bool(options.wishes.effects),
        f"likelihood={options.likelihood!r}": options.likelihood != "poisson",
    }
    if given := [name for name, is_given in without.items() if is_given]:
        msg = (
            f"{', '.join(given)} cannot be used without a reference: signatures are "
            "learned from the counts of adata, by a Poisson likelihood. Leave it out, or "
            "pass a reference."
        )
        raise ValueError(msg)
    sets: Markers = {}
    if free.markers is not None:
        if not isinstance(free.markers, Mapping):
            msg = (
                "markers must be a dictionary from names of types to lists of genes, not "
                f"a {type(free.markers).__name__}."
            )
            raise TypeError(msg)
        sets = free.markers
        for name, genes in sets.items():
            if isinstance(genes, str):
                msg = f"markers[{name!r}] must be a list of genes, not a string."
                raise TypeError(msg)
    if free.n_types is None and not sets:
        msg = (
            "Without a reference, say how many types to look for: n_types, or markers "
            "of each of them."
        )
        raise ValueError(msg)
    n_types = len(sets) if free.n_types is None else free.n_types
    n_types = check_positive_int(n_types, "n_types")
    if n_types < 2:
        msg = "n_types=1: nothing is mixed. Look for two types or more."
        raise ValueError(msg)
    if same := sorted({str(name) for name in sets} & set(_numbered(n_types))):
        msg = f"markers has {same}, the names of types without markers. Rename them."
        raise ValueError(msg)
    return n_types, sets


def _known(sets: Markers, genes: pd.Index[str]) -> dict[str, NDArray[np.intp]]:
    """Positions of markers among the genes used, or an error if a set has none."""
    known = {
        str(name): np.flatnonzero(genes.isin([str(gene) for gene in markers]))
        for name, markers in sets.items()
    }
    if absent := [name for name, found in known.items() if found.size == 0]:
        some = list(sets[absent[0]])[:3]
        msg = (
            f"No marker of {absent} is among the {len(genes)} genes used, e.g. {some}; "
            f"genes are {list(genes[:3])} …. Remove these types, use more genes, or "
            "correct the names."
        )
        raise ValueError(msg)
    return known


def _varying(counts: sp.csr_matrix, n_genes: int | None) -> NDArray[np.intp]:
    """Genes that are counted; of many, those of largest deviance."""
    counted = np.asarray(counts.sum(0), np.float64).ravel()
    used = np.flatnonzero(counted > 0)
    if n_genes is None or used.size <= n_genes:
        return used
    op = as_local(counts, "the counts")
    deviance = column_deviance(op, op.stats(), np.zeros(counts.shape[0], np.intp))
    return np.sort(used[np.argsort(-deviance[used], kind="stable")[:n_genes]])


def _numbered(n_types: int) -> list[str]:
    """Names of types without markers."""
    return [f"factor_{k}" for k in range(1, n_types + 1)]


def _name(
    signatures: NDArray[np.float64], known: Mapping[str, NDArray[np.intp]]
) -> tuple[list[str], pd.DataFrame | None]:
    """Names of the types, and the scores of the sets of markers."""
    names = _numbered(len(signatures))
    if not known:
        return names, None
    naming = match_markers(signatures, list(known.values()))
    for name, k in zip(known, naming.factor, strict=True):
        if k >= 0:
            names[k] = name
    # Names may have a slash, which files take as values but not as columns.
    table = pd.DataFrame(
        {
            "markers": np.repeat(np.asarray(list(known), object), len(names)),
            "cell_type": np.tile(np.asarray(names, object), len(known)),
            "score": naming.scores.ravel(),
        }
    )
    return names, table


def _report(
    sets: Markers, known: Mapping[str, NDArray[np.intp]], names: Sequence[str]
) -> None:
    """Warn about sets that name nothing."""
    if unmatched := [name for name in known if name not in names]:
        warn(
            f"{len(unmatched)} of {len(sets)} marker sets match no type of their own: "
            f"{unmatched}. Their genes do not stand out, or another set matches better; "
            "see `uns` for the scores, or look for more types."
        )


def free_types(reference: Any, free: FreeTypes) -> bool:
    """Whether signatures are to be learned, or an error if both are described."""
    if reference is None:
        return True
    given = [name for name in ("n_types", "markers") if getattr(free, name) is not None]
    if given:
        msg = (
            f"{given} are for sections without a reference. Leave them out, or pass "
            "reference=None."
        )
        raise ValueError(msg)
    return False
