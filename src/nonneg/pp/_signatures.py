"""Signatures of cell types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._adata.signatures import average_cells, warn_few_cells
from .._core.arguments import checked
from .._core.validators import check_at_least, check_one_of
from ..operators.threads import computing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .._adata.signatures import Signatures

# Counts per million that a gene has at least in the type it marks.
_EXPRESSED = 10.0


@checked
def signatures(
    reference: AnnData | Sequence[AnnData],
    cell_type_key: str,
    *,
    layer: str | None = None,
    definition: Literal["pooled", "fractions"] = "pooled",
    sample_key: str | None = None,
    markers: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    min_log2_fold_change: float = 1.0,
) -> AnnData:
    r"""Average the counts of the cells of each type: signatures for deconvolution.

    What :func:`nonneg.tl.deconvolve` explains the counts of locations by. A signature
    is a profile, with sum 1, times the mean library size of the type: profiles decide
    what a location is made of, library sizes turn shares of RNA into shares of cells.

    Parameters
    ----------
    reference
        Annotated cells with counts, or several such objects, whose profiles and library
        sizes are then averaged with equal weights, over the genes that all of them have.
    cell_type_key
        Column of `reference.obs` with the type of every cell. Cells without one are
        left out.
    layer
        Layer with counts instead of `reference.X`.
    definition
        How the profile of a type is made. `"pooled"`: the counts of all its cells
        together, over their sum, so that a cell counts by its library size. This is
        what a location that holds these cells would show. `"fractions"`: the mean of
        each cell's own fractions, so that all cells count alike.
    sample_key
        Column of `reference.obs` that names the sample (donor). Profiles are then taken
        in each sample, and averaged over samples.
    markers
        Genes that are informative by the user's knowledge: a mapping from types to
        names, or names. `None`: by fold change.
    min_log2_fold_change
        Fold change, between a type and the mean of the others, above which a gene
        counts as informative.

    Returns
    -------
    AnnData of cell types x genes, as from :func:`scanpy.get.aggregate`, which can be
    written to a file, looked at and subset like any other:

    `.X` : :class:`numpy.ndarray` (shape `(n_types, n_genes)`)
        Mean counts of a cell.
    `.obs['n_cells']`, `.obs['library_size']`
        Number of cells of each type, and their mean total count, over all genes.
    `.layers['log2_fold_change']`
        Of each type against the mean of the others, of counts per million.
    `.var['log2_fold_change']`, `.var['marker_of']`, `.var['informative']`
        The largest fold change, the type that has it, and whether the gene is
        informative.
    `.uns['signatures']` : :class:`dict`
        The arguments.

    Raises
    ------
    KeyError
        If a column, a layer, a type of `markers` or a gene does not exist.
    ValueError
        If the reference does not hold counts, or gene names repeat.

    See Also
    --------
    nonneg.tl.deconvolve : takes the result as its reference

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(10, 60)
    >>> types = nng.pp.signatures(reference, "cell_type")
    >>> types.shape
    (5, 60)
    """
    check_one_of(definition, ("pooled", "fractions"), "definition")
    check_at_least(min_log2_fold_change, 0, "min_log2_fold_change")
    references = [reference] if isinstance(reference, AnnData) else list(reference)
    if not references:
        msg = "reference is an empty list."
        raise ValueError(msg)
    with computing():
        found = [
            average_cells(
                each,
                cell_type_key,
                layer=layer,
                sample_key=sample_key,
                definition=definition,
                name="reference" if len(references) == 1 else f"reference[{i}]",
            )
            for i, each in enumerate(references)
        ]
    means, obs, genes = _join(found)
    fold = _log2_fold_change(means)
    informative = _informative(fold, means, genes, obs.index, markers)
    if markers is None:
        informative &= fold.max(0) >= min_log2_fold_change
    result = AnnData(
        means,
        obs=obs,
        var=pd.DataFrame(
            {
                "log2_fold_change": fold.max(0),
                "marker_of": pd.Categorical.from_codes(fold.argmax(0), obs.index),
                "informative": informative,
            },
            index=genes,
        ),
        layers={"log2_fold_change": fold},
        uns={
            "signatures": {
                "cell_type_key": cell_type_key,
                "layer": layer,
                "definition": definition,
                "sample_key": sample_key,
                "n_references": len(references),
                "min_log2_fold_change": float(min_log2_fold_change),
            }
        },
    )
    warn_few_cells(obs.index.to_numpy(), obs["n_cells"].to_numpy())
    return result


def _join(
    found: Sequence[Signatures],
) -> tuple[NDArray[np.float64], pd.DataFrame, pd.Index[str]]:
    """Means over the references that have a type."""
    genes = found[0].genes
    for each in found[1:]:
        genes = genes[genes.isin(each.genes)]
    if genes.empty:
        msg = (
            "The references have no gene in common: "
            f"{[list(each.genes[:3]) for each in found]}."
        )
        raise ValueError(msg)
    types = list(dict.fromkeys(name for each in found for name in each.types))
    profiles = np.zeros((len(types), len(genes)))
    table: dict[str, Any] = {
        name: np.zeros(len(types)) for name in ("n_cells", "library_size", "n_found")
    }
    for each in found:
        rows = [types.index(name) for name in each.types]
        # By depth, one reference would speak for all.
        own = each.means / each.library_size[:, None]
        profiles[rows] += own[:, each.genes.get_indexer(genes)]
        table["n_cells"][rows] += each.n_cells
        table["library_size"][rows] += each.library_size
        table["n_found"][rows] += 1
    n_found = table.pop("n_found")
    size = table["library_size"] / n_found
    obs = pd.DataFrame(
        {
            "n_cells": table["n_cells"].astype(np.int64),
            "library_size": size,
        },
        index=pd.Index(types),
    )
    return profiles * (size / n_found)[:, None], obs, genes


def _log2_fold_change(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of counts per million of a type against the mean of the others."""
    scaled = 1e6 * means / np.maximum(means.sum(1, keepdims=True), 1e-300)
    n_others = max(len(means) - 1, 1)
    others = (scaled.sum(0) - scaled) / n_others
    return np.asarray(np.log2((scaled + _EXPRESSED) / (others + _EXPRESSED)))


def _informative(
    fold: NDArray[np.float64],
    means: NDArray[np.float64],
    genes: pd.Index[str],
    types: pd.Index[str],
    markers: Mapping[str, Sequence[str]] | Sequence[str] | None,
) -> NDArray[np.bool_]:
    if markers is None:
        scaled = 1e6 * means / np.maximum(means.sum(1, keepdims=True), 1e-300)
        best = np.take_along_axis(scaled, fold.argmax(0)[None], 0)[0]
        return np.asarray(best >= _EXPRESSED)
    names: list[str]
    if isinstance(markers, Mapping):
        unknown = sorted(set(markers) - set(types))
        if unknown:
            msg = f"markers name the types {unknown}, but there are {list(types)}."
            raise KeyError(msg)
        names = [gene for some in markers.values() for gene in some]
    else:
        names = [str(gene) for gene in markers]
    known = np.asarray(genes.isin(names))
    if not known.any():
        msg = f"No gene of markers is in the reference, e.g. {names[:3]}."
        raise KeyError(msg)
    return known
