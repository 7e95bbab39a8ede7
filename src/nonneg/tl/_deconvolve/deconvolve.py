"""Cell types in every location."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._adata.read import Read
from ..._adata.write import Write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ...models.deconvolution.choose import Wishes
from ...models.deconvolution.deconvolve import Options
from ...models.deconvolution.fit import Budget
from .choices import Choices
from .free import FreeTypes, find_free_types, free_types
from .front import find_cell_types

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.deconvolution.problem import LikelihoodName


@checked
@shared_docs
def deconvolve(
    adata: AnnData | SpatialData,
    reference: AnnData | pd.DataFrame | None = None,
    *,
    cell_type_key: str | None = None,
    layer: str | None = None,
    reference_layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    n_genes: int | None = 6000,
    likelihood: LikelihoodName = "poisson",
    spatial_key: str | None = "spatial",
    library_key: str | None = None,
    region_key: str | None = None,
    compositions: pd.DataFrame | None = None,
    n_neighbors: int = 6,
    graph_weight: float | None = None,
    group_weight: float | None = None,
    gene_weights: bool = True,
    effects: bool | None = None,
    learned: str | Mapping[str, Any] | None = None,
    n_types: int | None = None,
    markers: Mapping[str, Sequence[str]] | None = None,
    max_types: int | None = None,
    fdr: float = 0.05,
    tol: float = 1e-3,
    max_iter: int = 500,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Estimate the cell types of every location, with single cells or without.

    Counts of location :math:`i` with depth :math:`d_i` are a mixture of the signatures
    :math:`b_k` of cell types,

    .. math::

        y_{ig} \sim \mathrm{Poisson}\Big(d_i \sum_k u_{ik} b_{kg}\Big), \qquad
        \min_{u \ge 0} \; -\log L(u)
        + \frac{\lambda}{2} \sum_{ij} a_{ij} \lVert \sqrt{u_i} - \sqrt{u_j} \rVert^2
        + \kappa \sum_i \lVert \sqrt{u_i} - \sqrt{w} \rVert^2

    where neighbours borrow from each other with the weight :math:`\lambda`, and all
    locations of a region from their common mean :math:`w` with :math:`\kappa`. The
    problem is convex, and no step raises its objective. Both weights, and whether
    signatures differ between reference and tissue, are decided on genes that the fit
    does not see: half of the genes must predict where the counts of the others are.
    Where neighbours have nothing in common, :math:`\lambda` comes out as 0.
    Without a reference, signatures are learned first, from the same counts by the same
    likelihood, and named after `markers`.
    :doc:`/deconvolution` describes the method.

    Parameters
    ----------
    adata
        Annotated locations with counts.
    reference
        Annotated cells, with `cell_type_key`; the result of
        :func:`nonneg.pp.signatures`; or a data frame of cell types x genes with the
        mean counts of a cell. Genes are matched by name. `None`: signatures of
        `n_types` types are learned from `adata`.
    cell_type_key
        Column of `reference.obs` with the type of every cell.
    layer
        Layer with counts instead of `adata.X`.
    reference_layer
        Layer with counts instead of `reference.X`.
    mask_var
        Genes to use: a boolean column of `adata.var`, an array, or their names. Of
        these, the ones that the reference has. Leave out genes that were not measured
        in the section: one without a count speaks against the types that express it.
    n_genes
        Number of genes to use at most, those whose signatures tell types apart best.
        `None`: all.
    likelihood
        `"poisson"`; `"negative_binomial"`, which takes all entries and several times as
        long; `"gaussian"`, least squares over the simplex with a graph Laplacian, for
        values that are not counts, or are nearly without noise: standard errors,
        residuals and a missing type are then NaN, and no type is called present.
    spatial_key
        Element of `adata.obsm` with coordinates. `None`: locations are unrelated.
    library_key
        Column of `adata.obs` that names sections, which have no neighbours in common.
        There is a warning where it seems to be missing, as where many locations have
        the same coordinates.
    region_key
        Column of `adata.obs` with annotated regions: neighbours across a border weigh
        little, and :math:`w` is the mean of a region instead of a section.
    compositions
        Share of the cell types (columns) that is expected in the regions (rows) of
        `region_key`, as of an atlas: :math:`w` is then this instead of a mean. A weight
        that is not given comes out as 0 where held-out genes do not agree.
    n_neighbors
        Number of nearest neighbours, with those that are as far as the last one.
    graph_weight
        :math:`\lambda`, in counts. `None`: chosen.
    group_weight
        :math:`\kappa`, in counts. `None`: chosen; with `likelihood="gaussian"` only
        where `compositions` are given, and 0 otherwise.
    gene_weights
        Let genes count less that scatter more than their signatures explain.
    effects
        Fit factors of genes, and of types' genes, between reference and locations, as
        of another platform. `None`: where held-out genes are predicted better.
    learned
        Result of :func:`nonneg.tl.learn_deconvolution`: its key in `adata.uns`, or what
        another object has there. Weights and widths are then taken from it, and as many
        steps are made as it has layers. Effects are decided as before.
    n_types
        Number of types to learn without a reference. `None`: one for each set of
        `markers`. Try fewer where types are split, more where one stands for several.
    markers
        Names of types, and lists of their marker genes, to name learned types by:
        each type gets the set that stands out most in its signature, one to one. Types
        without one are `factor_1`, …, by their number in order of counts; sets
        without a type are named in a warning. Markers do not change the signatures.
    max_types
        Number of types that a location holds at most, for small bins.
    fdr
        False discovery rate of calls of presence, and of a missing type.
    tol
        Stop when a step lowers the objective by at most `tol` per location. Shares are
        then within 0.01 of the optimum in root mean square, but single ones, which
        counts say little about, may be off by 0.1. Try 1e-4 where each of them matters:
        0.015 at most, in one to two times the time.
    max_iter
        Maximum number of iterations, for amounts alone and then for effects with them.
        Interrupting (Ctrl-C) keeps what has been found so far.
    %(chunk_size)s
    %(rng)s
    key_added
        Key under which to store the result instead of `deconv`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. All locations come back; those without
    a count in any gene used have NaN. Sets:

    `.obsm['X_deconv' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_types)`)
        Share of cells. Columns are named in `.uns`, and by
        :func:`nonneg.get.factor_df`. Without a reference, how much RNA a cell has is not
        known: it is taken to be the same for all types, so that this is the share of
        RNA.
    `.obsm['X_deconv_rna' | key_added + '_rna']`
        Share of RNA.
    `.obsm['X_deconv_std' | key_added + '_std']`
        Standard errors of the share of cells.
    `.varm['deconv' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_types)`)
        Signatures as fitted, with sum 1 per type before effects; NaN for genes that
        were not used.
    `.var['deconv_used']` : :class:`pandas.Series` (dtype `bool`)
        The genes used.
    `.obs['deconv_depth']`, `.obs['deconv_residual']`, `.obs['deconv_missing']`
        Counts of the genes used; mean squared residual over that expected of counts;
        and a score of a type beyond the reference, in standard deviations above
        locations without it, certain from the threshold in `.uns` on. Named after
        `key_added` where that is given.
    `.uns['deconv' | key_added]` : :class:`dict`
        `cell_types`, `library_size`, `params`, `tuning` (what was chosen), `trials`
        (what was tried, and its gain in log likelihood of held-out genes), `presence`
        (`threshold` of share over error, and `fdr`), `missing_threshold`,
        `missing_genes` (genes that the type beyond the reference would have),
        `objective`, `n_iter`, `converged`, `interrupted`; with `markers`, `marker_scores` (a
        z-score of every set of markers in every learned type).

    Raises
    ------
    TypeError
        If the data are not numbers, or the reference or `markers` are of another kind.
    KeyError
        If a layer, mask, table, column or coordinates do not exist.
    ValueError
        If there are no shared genes, no counts, no labels, types or genes
        repeat, a set of markers has no gene, or an argument does not suit, as `effects`
        without a reference.

    See Also
    --------
    nonneg.tl.learn_deconvolution : learns the weights on simulated maps
    nonneg.pp.signatures : signatures from cells, by choice
    nonneg.get.factor_df : shares with the names of the types

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(10, 60)
    >>> nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    >>> nng.get.factor_df(adata, "deconv").shape
    (100, 5)

    Without a reference, with markers of one of the types:

    >>> types = nng.pp.signatures(reference, "cell_type")
    >>> own = types.var_names[types.var["marker_of"] == "type_0"]
    >>> markers = {"type_0": list(own)}
    >>> nng.tl.deconvolve(
    ...     adata, n_types=5, markers=markers, graph_weight=30, key_added="free"
    ... )
    >>> "type_0" in nng.get.factor_df(adata, "free")
    True
    """
    free = FreeTypes(n_types, markers)
    choices = Choices(
        options=Options(
            likelihood=likelihood,
            wishes=Wishes(graph_weight, group_weight, gene_weights, effects),
            max_types=max_types,
            fdr=fdr,
            budget=Budget(tol, max_iter, max_iter),
        ),
        cell_type_key=cell_type_key,
        reference_layer=reference_layer,
        n_genes=n_genes,
        spatial_key=spatial_key,
        library_key=library_key,
        region_key=region_key,
        compositions=compositions,
        n_neighbors=n_neighbors,
        learned=learned,
    )
    read = Read(layer, mask_var=mask_var, chunk_size=chunk_size)
    write = Write(key_added, copy, table_key)
    if free_types(reference, free):
        return find_free_types(adata, free, choices, read=read, write=write, rng=rng)
    return find_cell_types(adata, reference, choices, read=read, write=write, rng=rng)
