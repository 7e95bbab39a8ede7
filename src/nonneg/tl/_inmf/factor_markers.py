"""Genes that mark factors, in all data sets or in some."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from ..._adata.checks import check_key, warn_logarithms
from ..._adata.keys import side_key
from ..._adata.labels import read_labels
from ..._adata.read import resolve_adata, select_matrix
from ..._adata.write import write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.validators import check_at_least, check_positive_int
from ...get._dataset_specificity import read_metagenes
from ...operators.validate import canonical_csr

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ...get._dataset_specificity import Metagenes


_COLUMNS = {
    "factor": str,
    "kind": str,
    "dataset": str,
    "gene": str,
    "rank": int,
    "weight": float,
    "score": float,
    "log_fold_change": float,
    "p_adjusted": float,
    "n_datasets": int,
}

# Ours, and what scanpy calls them.
_FIELDS = {
    "gene": ("names", int),
    "score": ("scores", float),
    "log_fold_change": ("logfoldchanges", float),
    "p_adjusted": ("pvals_adj", float),
}


@checked
@shared_docs
def factor_markers(
    adata: AnnData | SpatialData,
    key: str = "inmf",
    *,
    n_genes: int = 30,
    max_specificity: float = 10.0,
    max_p: float = 0.05,
    min_log_fold_change: float = 1.0,
    min_cells: int = 10,
    layer: str | None = None,
    log_normalized: bool = False,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Find the genes that mark factors, in all data sets or in some.

    Cells belong to the factors that they were assigned to by
    :func:`nonneg.tl.quantile_align`. *Shared* markers of a factor are higher in its
    cells than in all others, in every data set: cells are compared within data sets
    only, and the weakest result counts, so that neither technical differences nor a
    different mixture of cells makes a marker. *Specific* markers of a factor are higher in
    its cells from one data set than in its cells from the others
    :cite:p:`Welch2019`. They are looked for in factors that are about as strong in
    all data sets, see :func:`nonneg.get.dataset_specificity`, since others may have
    been given to different cells.

    Tests are those of :func:`scanpy.tl.rank_genes_groups`: Wilcoxon's rank sums with
    correction for ties, and p-values after Benjamini and Hochberg. Genes that pass are
    ranked by their weight in the metagene. As factors were fitted to the same cells,
    p-values order genes rather than prove anything.

    Parameters
    ----------
    %(key)s
    n_genes
        Maximum number of markers per factor, and per factor and data set.
    max_specificity
        Largest specificity, in per cent and either direction, of factors for
        which specific markers are looked for.
    max_p
        Largest adjusted p-value.
    min_log_fold_change
        Smallest base-2 logarithm of the ratio of means: 1 for genes that are twice as
        high. Lower it (e.g. to 0.3) for chromatin and other sparse data.
    min_cells
        Groups with fewer cells are not compared, since tests of them say little.
    layer
        Layer to use instead of `adata.X`.
    log_normalized
        Whether the matrix already is normalised and logarithmic, but not centred or scaled.
        Otherwise totals are made equal and `log(1 + x)` is used.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['inmf_markers' | key + '_markers']` : :class:`pandas.DataFrame`
        One row per marker: `factor`; `kind`, `"shared"` or `"specific"`; `dataset`,
        empty for shared markers; `gene`; `rank`, from 1; `weight`, that of the
        metagene :math:`W + \min_d V_d` for shared and :math:`V_d` for specific
        markers; `score`, `log_fold_change`, `p_adjusted` of the test; `n_datasets`,
        how many data sets had enough cells to compare. The fold change of a gene that
        other cells do not have at all is large, but not of interest.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or cells were not assigned to
        factors.
    TypeError
        If the matrix is not in memory.
    ValueError
        If the factorization knows no data sets, cells are assigned to something else
        than its factors, no cell is of a data set that was fitted, or an argument does
        not suit.

    See Also
    --------
    nonneg.pl.metagenes : shows the weights
    nonneg.get.top_genes : leading genes without a test

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches((300, 200), 100, 3)
    >>> adata.obs["truth_cluster"] = adata.obs["cell_type"].cat.codes.astype(str)
    >>> nng.tl.factor_markers(adata, key="truth", n_genes=1)
    >>> markers = adata.uns["truth_markers"]
    >>> markers.loc[markers["kind"] == "shared", ["factor", "gene"]]
        factor     gene
    0  truth_0  gene_99
    1  truth_1  gene_87
    4  truth_2  gene_17
    """
    n_genes = check_positive_int(n_genes, "n_genes")
    min_cells = check_positive_int(min_cells, "min_cells")
    check_at_least(max_specificity, 0, "max_specificity")
    check_at_least(min_log_fold_change, 0, "min_log_fold_change")
    if not 0 < max_p <= 1:
        msg = f"max_p={max_p!r} must be above 0 and at most 1."
        raise ValueError(msg)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    metagenes = read_metagenes(target, key)
    used = np.isfinite(metagenes.shared).all(axis=1)
    tests = _Tests(
        # What is missing comes before what is wrong with the values.
        factor=_read_clusters(target, key, metagenes.factors.names),
        batch=_read_batches(target, metagenes),
        x=_read_values(target, layer, used, log_normalized=log_normalized),
        metagenes=metagenes,
        used=used,
        # Ranks of one cell are of no use, and scanpy refuses them.
        min_cells=max(min_cells, 2),
    )
    found = pd.concat(
        [tests.shared(), tests.specific(max_specificity)], ignore_index=True
    )
    passed = (
        (found["weight"] > 0)
        & (found["score"] > 0)
        & (found["p_adjusted"] <= max_p)
        & (found["log_fold_change"] >= min_log_fold_change)
    )
    table = _rank(found[passed], n_genes)
    table["gene"] = target.var_names[used].to_numpy()[table["gene"]]
    table["dataset"] = np.array([*metagenes.batches, ""])[table["dataset"]]
    table["factor"] = np.array(metagenes.factors.names)[table["factor"]]
    table = table.astype(_COLUMNS)[list(_COLUMNS)]
    table.index = table.index.astype(str)
    write_values(
        target, {("uns", side_key(metagenes.factors.keys, "uns", "markers")): table}
    )
    return target if copy else None


def _read_clusters(adata: AnnData, key: str, names: list[str]) -> NDArray[np.intp]:
    """The number of every cell's factor; -1: none."""
    column = f"{key}_cluster"
    hint = "Call `nonneg.tl.quantile_align` first."
    labels = read_labels(adata, column, hint=hint)
    known = {name: i for i, name in enumerate(names)}
    known |= {str(i): i for i in range(len(names))}
    # Unassigned.
    known |= {"-1": -1}
    unknown = [label for label in labels.names if label not in known]
    if unknown:
        msg = (
            f"adata.obs[{column!r}] must hold factors of {key!r}, by name or number, "
            f"but holds {unknown[:5]}. {hint}"
        )
        raise ValueError(msg)
    # The last entry is that of missing labels, whose code is -1.
    number = [known[label] for label in labels.names]
    return np.array([*number, -1])[labels.codes]


def _read_batches(adata: AnnData, metagenes: Metagenes) -> NDArray[np.intp]:
    """The number of every cell's data set; -1: not one of those that were fitted."""
    check_key(adata, "obs", metagenes.batch_key)
    labels = pd.Index(adata.obs[metagenes.batch_key].astype(str))
    found = pd.Index(metagenes.batches).get_indexer(labels)
    if (found < 0).all():
        msg = (
            f"No cell is of a data set that was fitted, {list(metagenes.batches)}: "
            f"adata.obs[{metagenes.batch_key!r}] holds {labels.unique().tolist()[:5]}. "
            "Rename its categories back, or fit again."
        )
        raise ValueError(msg)
    return found


def _read_values(
    adata: AnnData,
    layer: str | None,
    used: NDArray[np.bool_],
    *,
    log_normalized: bool,
) -> sp.csr_matrix | NDArray[Any]:
    x, where = select_matrix(adata, layer=layer)
    is_sparse = sp.issparse(x)
    if not (is_sparse or isinstance(x, np.ndarray)):
        msg = (
            f"{where} is a {type(x).__name__}, but tests need it in memory. Call "
            "`adata.to_memory()` first, on as many cells as fit."
        )
        raise TypeError(msg)
    if is_sparse:
        x = canonical_csr(x, None, where)
    # Totals are of all variables, tests of those with loadings.
    x = x[:, used] if log_normalized else x
    _check_values(x.data if is_sparse else x, where)
    if log_normalized:
        return x
    warn_logarithms(x, where, "Without log_normalized=True logarithms are taken again")
    total = np.asarray(x.sum(axis=1), np.float64).ravel()
    seen = total > 0
    scale = np.divide(
        np.median(total[seen]), total, where=seen, out=np.zeros_like(total)
    )
    x = x[:, used]
    if is_sparse:
        return sp.csr_matrix(x.multiply(scale[:, None]).log1p(), dtype=np.float32)
    return np.log1p(x * scale[:, None]).astype(np.float32)


def _check_values(entries: NDArray[Any], where: str) -> None:
    """Of centred or scaled values, shares and fold changes mean nothing."""
    if not entries.size:
        return
    low, high = entries.min(), entries.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        msg = f"{where} contains NaN or infinite entries. Fill or remove them first."
        raise ValueError(msg)
    if low < 0:
        msg = (
            f"{where} contains negative entries (smallest: {low:g}). Name a layer from "
            "before values were centred or scaled: counts, or normalised logarithms with "
            "log_normalized=True."
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class _Tests:
    """Tests of all genes, with factors, data sets and genes by number."""

    x: Any
    """Normalised and logarithmic, (n_obs, genes with weights)."""
    factor: NDArray[np.intp]
    batch: NDArray[np.intp]
    metagenes: Metagenes
    used: NDArray[np.bool_]
    """Which genes have weights."""
    min_cells: int

    def shared(self) -> pd.DataFrame:
        """Cells of a factor against all others: the weakest result of data sets."""
        n_batches = len(self.metagenes.batches)
        parts = [
            self._compare(self.factor, (self.batch == d) & (self.factor >= 0))
            for d in range(n_batches)
        ]
        tests = (
            pd.concat(parts)
            .groupby(["group", "gene"], as_index=False)
            .agg(
                score=("score", "min"),
                log_fold_change=("log_fold_change", "min"),
                p_adjusted=("p_adjusted", "max"),
                n_datasets=("score", "size"),
            )
            .rename(columns={"group": "factor"})
        )
        weight = self.metagenes.total[self.used].min(axis=1)
        return tests.assign(
            kind="shared",
            # The number of no data set.
            dataset=n_batches,
            weight=weight[tests["gene"], tests["factor"]],
        )

    def specific(self, max_specificity: float) -> pd.DataFrame:
        """Cells of a factor from one data set against those from all others."""
        specificity = self.metagenes.specificity()
        if len(specificity) == 2:
            # Of the first against the second, as in LIGER.
            specificity = specificity[:1]
        alike = (np.abs(specificity) <= max_specificity).all(axis=0)
        tests = pd.concat(
            [_no_tests().assign(factor=0)]
            + [
                self._compare(
                    self.batch, (self.factor == k) & (self.batch >= 0)
                ).assign(factor=k)
                for k in np.flatnonzero(alike)
            ]
        ).rename(columns={"group": "dataset"})
        # Others differ between data sets because some lack them.
        measured = self.metagenes.measured[self.used, None, None]
        weight = self.metagenes.specific[self.used] * measured
        return tests.assign(
            kind="specific",
            weight=weight[tests["gene"], tests["dataset"], tests["factor"]],
        )

    def _compare(
        self, label: NDArray[np.intp], cells: NDArray[np.bool_]
    ) -> pd.DataFrame:
        """Every group of cells against the rest of them."""
        import scanpy as sc

        groups, size = np.unique(label[cells], return_counts=True)
        enough = (size >= self.min_cells) & (size.sum() - size >= self.min_cells)
        groups = groups[enough]
        if not groups.size:
            return _no_tests()
        # Numbers instead of names: scanpy takes some names for something else.
        part = AnnData(
            self.x[cells],
            obs=pd.DataFrame(
                {"group": pd.Categorical(label[cells].astype(str))},
                index=np.flatnonzero(cells).astype(str),
            ),
            var=pd.DataFrame(index=np.arange(self.x.shape[1]).astype(str)),
        )
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            # Columns of many groups make a data frame that pandas calls fragmented.
            warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
            sc.tl.rank_genes_groups(
                part,
                "group",
                groups=groups.astype(str).tolist(),
                method="wilcoxon",
                tie_correct=True,
            )
        result = part.uns["rank_genes_groups"]
        return pd.concat(
            pd.DataFrame(
                {
                    "group": group,
                    **{
                        name: result[field][str(group)].astype(dtype)
                        for name, (field, dtype) in _FIELDS.items()
                    },
                    "n_datasets": len(groups),
                }
            )
            for group in groups
        )


def _no_tests() -> pd.DataFrame:
    columns = ("group", "gene", "score", "log_fold_change", "p_adjusted", "n_datasets")
    whole = {"group", "gene", "n_datasets"}
    return pd.DataFrame(
        {name: np.empty(0, int if name in whole else float) for name in columns}
    )


def _rank(tests: pd.DataFrame, n_genes: int) -> pd.DataFrame:
    """The markers of largest weight of every factor, shared ones first."""
    groups = ["factor", "kind", "dataset"]
    table = tests.sort_values(
        [*groups, "weight", "score"], ascending=[True] * 3 + [False] * 2
    )
    table["rank"] = table.groupby(groups).cumcount() + 1
    return table[table["rank"] <= n_genes].reset_index(drop=True)
