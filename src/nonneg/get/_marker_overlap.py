"""Factors against sets of marker genes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, hypergeom, rankdata

from .._adata.checks import check_columns, check_some
from .._adata.tables import read_table
from .._adata.views import normalised_loadings, read_factors, shares, variable_names
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def marker_overlap(
    adata: AnnData | SpatialData,
    markers: Mapping[str, Sequence[str]] | pd.DataFrame,
    *,
    key: str = "nmf",
    n_genes: int = 50,
    table_key: str | None = None,
) -> pd.DataFrame:
    """Compare factors with sets of marker genes, as of cell types or pathways.

    Two questions per factor and set: whether the genes in which the factor has the
    largest shares hold more of the set than chance would (hypergeometric test), and,
    over all genes, how often a gene of the set has a larger share than another one
    (area under the curve, which needs no `n_genes`). Shares are those of
    :func:`nonneg.get.top_genes` with `method="specificity"`, of patterns with a maximum
    of 1.

    Parameters
    ----------
    adata
        Annotated data with a factorization.
    markers
        Genes of every set, by its name; or a data frame with the columns `group` and
        `names`, as from :func:`scanpy.get.rank_genes_groups_df` with `group=None`: cut
        it to the genes that you believe in.
    key
        Key of the factorization.
    n_genes
        Number of leading genes of each factor in the test.
    %(table_key)s

    Returns
    -------
    Data frame with a row per factor and set, the best set of each factor first:
    `factor`, `set`, `n_set` (genes of the set that the factorization has), `n_shared`,
    `fold` (over the number expected by chance), `p`, `p_adjusted` (Benjamini and
    Hochberg, over all pairs), `auc`, and `genes`, those shared, separated by commas.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or no gene of any set is in it.
    TypeError
        If `markers` is neither a mapping nor a data frame.
    ValueError
        If a data frame lacks the columns, or `n_genes` does not suit.

    See Also
    --------
    scanpy.tl.marker_gene_overlap : the same for clusters

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> sets = {"a": ["gene_0", "gene_4"], "b": ["gene_1", "gene_2"]}
    >>> table = nng.get.marker_overlap(adata, sets, key="truth", n_genes=5)
    >>> table.columns[:4].tolist()
    ['factor', 'set', 'n_set', 'n_shared']
    """
    adata = read_table(adata, table_key)
    n_genes = check_positive_int(n_genes, "n_genes")
    sets = _sets(markers)
    stored = read_factors(adata, key)
    check_some(adata, "observations")
    used = np.isfinite(stored.loadings).all(axis=1)
    genes = variable_names(adata, stored)[used]
    size = np.nanmax(np.abs(stored.scores), axis=0)
    share = shares(normalised_loadings(stored, None)[used] * size)
    known = {name: np.asarray(genes.isin(some)) for name, some in sets.items()}
    known = {name: member for name, member in known.items() if member.any()}
    if not known:
        some = next(iter(sets.values()), [])[:3]
        msg = (
            f"No gene of markers is among those of key={key!r}, e.g. {list(some)}; there "
            f"are {list(genes[:3])} …."
        )
        raise KeyError(msg)
    n_genes = min(n_genes, len(genes))
    rows = []
    for factor, own in zip(stored.names, share.T, strict=True):
        leading = np.argsort(-own, kind="stable")[:n_genes]
        rank = rankdata(own)
        for name, member in known.items():
            n_set = int(member.sum())
            shared = leading[member[leading]]
            chance = n_set * n_genes / len(genes)
            n_others = len(genes) - n_set
            area = rank[member].sum() - n_set * (n_set + 1) / 2
            rows.append(
                {
                    "factor": factor,
                    "set": name,
                    "n_set": n_set,
                    "n_shared": shared.size,
                    "fold": shared.size / chance,
                    "p": hypergeom.sf(shared.size - 1, len(genes), n_set, n_genes),
                    "auc": area / (n_set * n_others) if n_others else np.nan,
                    "genes": ", ".join(genes[shared]),
                }
            )
    table = pd.DataFrame(rows)
    table.insert(6, "p_adjusted", false_discovery_control(table["p"]))
    order = table["factor"].map({name: i for i, name in enumerate(stored.names)})
    table = table.assign(order=order).sort_values(
        ["order", "p", "auc"], ascending=[True, True, False], kind="stable"
    )
    return table.drop(columns="order").reset_index(drop=True)


def _sets(
    markers: Mapping[str, Sequence[str]] | pd.DataFrame,
) -> dict[str, list[str]]:
    if isinstance(markers, pd.DataFrame):
        missing = [name for name in ("group", "names") if name not in markers]
        if missing:
            msg = (
                f"markers lacks the columns {missing}; it has {list(markers)}. Take "
                "`scanpy.get.rank_genes_groups_df(adata, group=None)`."
            )
            raise ValueError(msg)
        check_columns(markers, "markers")
        groups = markers.groupby("group", observed=True, sort=False)["names"]
        return {str(name): [str(g) for g in some] for name, some in groups}
    if not isinstance(markers, Mapping):
        msg = f"markers must be a mapping or a data frame, not a {type(markers).__name__}."
        raise TypeError(msg)
    if lone := [name for name, some in markers.items() if isinstance(some, str)]:
        msg = f"markers[{lone[0]!r}] must be a list of genes, not a string."
        raise TypeError(msg)
    return {str(name): [str(g) for g in some] for name, some in markers.items()}
