"""Parameters that many functions share, described once."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


_TABLE_KEY = """
        table_key
            Table to use if `adata` is a :class:`~spatialdata.SpatialData` with several.
        """

_SHARED = {
    "matrix": """
        layer
            Layer to factorize instead of `adata.X`.
        obsm
            Element of `adata.obsm` to factorize instead. Loadings then belong to its
            columns and are stored in `adata.uns`.
        mask_var
            Variables to use: a boolean column of `adata.var`, an array, or their names.
            The loadings of the others are NaN.
        """,
    "max_iter": """
        max_iter
            Maximum number of iterations; raise it if the fit warns that it has not
            converged. Interrupting (Ctrl-C) keeps the best factors so far, and
            `interrupted` tells.
        """,
    "kernel_max_iter": """
        max_iter
            Maximum number of iterations; raise it if the fit warns that it has not
            converged. Interrupting (Ctrl-C) keeps the best factors so far, and while
            kernels are chosen, the best of these and factors after one iteration with
            them; `interrupted` tells.
        """,
    "chunk_size": """
        chunk_size
            Rows per block where the matrix is backed by a file. `None`: about 8 MB.
            Higher values may help on network file systems.
        """,
    "rng": """
        rng
            Seed or :class:`numpy.random.Generator`; the seed used is stored in `params`.
        """,
    "key_added": """
        key_added
            Key under which to store the result instead of `nmf`.
        """,
    "copy": f"""
        copy
            Return an annotated copy instead of annotating `adata`.{_TABLE_KEY}""",
    "table_key": _TABLE_KEY,
    "cluster_columns": """
        cluster_key
            Column of `adata.obs` that names the cluster of every cell; `None`: that of
            :func:`nonneg.tl.quantile_align`, `"inmf_cluster"` for `key="inmf"`.
        batch_key
            Column of `adata.obs` that names the data set; `None`: that of the
            factorization. With both columns named, no factorization is needed.
        """,
    "matrix_errors": """
        TypeError
            If the data are not numbers.
        KeyError
            If a layer, mask or table does not exist.
        """,
    "counts": """
        layer
            Layer to use instead of `adata.X`.
        mask_var
            Variables to use: a boolean column of `adata.var`, an array, or their names.
            The loadings of the others are NaN.
        """,
    "likelihood": """
        likelihood
            `"poisson"`; `"negative_binomial"`, with a dispersion for every gene,
            which takes all entries and several times as long; `"gaussian"`, with a
            variance for every gene, for non-negative real values.
        estimator
            How the expected logarithm of the mean is computed. `"deterministic"`: by
            its bound, which has no noise and reads stored entries only.
            `"monte_carlo"`: by draws, as in the original program; six times as long.
        """,
    "size_factors": """
        size_factors
            Per-observation size factors, by which means are multiplied: `"total"`, the
            total over the variables used, divided by the median; a column of
            `adata.obs`; an array; or `None`, for 1.
        """,
    "space": """
        spatial_key
            Element of `adata.obsm` with coordinates in any unit, 2-D or 3-D. Axes along
            which nothing varies are ignored; observations may share a location.
        library_key
            Column of `adata.obs` that names sections. Each has fields of its own, with
            loadings in common, and one scale for all. There is a warning where it
            seems to be missing, as where many observations share a location.
        """,
    "kernel": """
        kernel
            Covariance: `"matern32"`, the roughest, which suits layers and borders;
            `"matern52"`; or `"rbf"`, the smoothest, for gradients.
        trend
            Mean of the fields: `"linear"` in the coordinates, or `"constant"`, which
            is safer for predictions beyond the tissue.
        """,
    "length_scale": """
        length_scale
            Length scale of the covariance, in units of the coordinates: higher values
            give smoother factors, and values below the distance between neighbours none
            that are spatial. `None`: chosen, which takes most of the time of a fit.
        """,
    "amplitude": """
        amplitude
            Standard deviation of a factor's logarithm: higher values allow stronger
            contrasts between tissue with a factor and without (at 1, a factor of some
            fifty between its extremes). `None`: chosen.
        """,
    "nugget": """
        nugget
            Variance that the logarithm of a factor has at each location for itself,
            relative to the squared amplitude of its field: what neighbours do not share,
            as at the border of a layer, or single cells of another kind. 0: fields only,
            which round borders off.
        """,
    "temperature": """
        temperature
            How little the counts of a location are trusted: the log likelihood is divided
            by it. With 1, factors follow every location; higher values smooth
            over neighbours. `None`: chosen.
        n_inducing
            Number of inducing points. All locations if there are no more; otherwise
            centres of k-means. `None`: all up to 1,500, else 1,000. Time grows with
            the cube: the first thing to lower (e.g. to 300) where a fit is slow.
        """,
    "fit": """
        learning_rate
            How much of the way to new precisions of the factors a step goes, in (0, 1]. How
            far means go is computed, so that there is seldom a reason to change it.
        tol
            Stop when factors would move by at most `tol` in a step, relative to what they
            are: the root of the mean square, weighted by expected counts. 5e-4 takes
            several times as long, and hardly changes predictions.
        """,
    "spatial_errors": """
        TypeError
            If the data are not numbers.
        KeyError
            If a layer, mask, table, column or coordinates do not exist.
        ValueError
            If entries are negative or NaN, coordinates are not finite or all the same,
            or an argument does not suit.
        """,
    "integrated": """
        layer
            Layer to use instead of `adata.X`.
        mask_var
            Genes to use: a boolean column of `adata.var`, an array, or their names.
            The loadings of the others are NaN. Genes that vary in most data sets are
            best, e.g. of :func:`scanpy.pp.highly_variable_genes` with its `batch_key`.
        """,
    "lam": """
        lam
            Weight of the penalty on the specific metagenes, for all data sets or as a
            mapping for each. Higher values (e.g. 5) share more; lower ones (e.g. 1)
            suit replicates.
        dataset_weights
            `"cells"`: all cells weigh the same. `"equal"`: all data sets do, so that
            small ones count; the objective is then that of their means, times the
            number of cells.
        """,
    "scaling": """
        size_factors
            Per-cell size factors, by which counts are divided: `"total"`, the sum of
            all counts of the cell, for raw counts; a column of obs; an array; or
            `None`, for data that are normalised already.
        scale
            Divide every gene by its root mean square in each data set, without
            centring, as LIGER does. Data that are scaled like this already are not
            changed by it. Neither scaling touches the data that are stored.
        """,
    "validation": """
        validation
            Share of the cells of every data set, or a boolean column of obs that names
            cells, which are not fitted. Their objective is computed during the fit, for
            :func:`nonneg.pl.objective`; at the end they are scored like new cells. They
            are in memory: of many, a few thousand tell as much. Genes are scaled by
            their size in the cells that are fitted: leave out genes of a few cells
            first (:func:`scanpy.pp.filter_genes`), of which one can outweigh all others
            in the cells that are not.
        """,
    "validated": """
        `.uns['inmf' | key_added]['validation']` : :class:`pandas.DataFrame`
            With `validation` only. A row for some iterations, or mini-batches, within
            epochs too, fewer and fewer of them: `iteration`, `cells` visited, `seconds`
            without those of looking and compiling, `objective` of the cells that are fitted (of
            mini-batches, of a sample of about 4,000 of them), and `held_out`, of the
            others, both divided by the squared norm of the data. `n_held_out` beside it
            are the cells of each data set that were not fitted.
        """,
    "inmf_fields": """
        `.varm['inmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
            Shared metagenes :math:`W`. NaN outside `mask_var`.
        `.varm['inmf_specific' | key_added + '_specific']` : :class:`numpy.ndarray` (shape `(n_vars, n_batches, n_components)`)
            Those of each data set, :math:`V_d`. Shared plus the mean of these have unit
            2-norm.
        `.varm['inmf_stats' | key_added + '_stats']` : :class:`numpy.ndarray` (shape `(n_vars, n_batches, n_components)`)
            :math:`H_d^T X_d`, the sufficient statistics that, with `gram`, stand for the
            cells in later updates.
        `.varm['inmf_scale' | key_added + '_scale']` : :class:`numpy.ndarray` (shape `(n_vars, n_batches)`)
            Factors that genes were multiplied by.
        """,
    "alignable": """
        adata
            Annotated data with a factorization of all data sets.
        key
            Key of the factorization: of an integration, or of any with non-negative
            scores if `batch_key` is given.
        batch_key
            Column of `adata.obs` that names the data set of every cell. `None`: that of
            the factorization.
        """,
    "n_neighbors": """
        n_neighbors
            Number of neighbours that vote on the cluster of a cell. Lower values (e.g.
            10) keep clusters of few cells.
        """,
    "refine": """
        refine
            Give each cell the most frequent cluster among its neighbours in the same
            data set, found from the scores before alignment.
        """,
    "clusters": """
        `.obs["inmf_cluster"]` : categorical
            Number of the leading factor, from 0, as a string; NaN where all scores are
            zero.
        """,
    "align_errors": """
        KeyError
            If there is no factorization under the key, or no such column.
        """,
    "key": """
        adata
            Annotated data with a factorization.
        key
            Key of the factorization.
        """,
    "compared": """
        adata
            Annotated data with a comparison.
        key
            Key of the comparison in `adata.uns`.
        metric
            Column of the table. Of `"deviance"` and `"rmse"` lower is better.
            `"training_deviance"` beside `"deviance"` tells what is learned by heart;
            `"coverage"` should be near .9.
        models
            Names of the models to look at; `None`: all.
        """,
    "correlated": """
        adata
            Annotated data with a factorization.
        other
            What to correlate with: the key of a factorization, or of an element of
            `adata.obsm`; or a column of `adata.obs`, with labels, of which each is an
            indicator, or with numbers.
        key
            Key of the factorization.
        """,
    "correlation": """
        normalize
            Of the scores, as in :func:`nonneg.get.factors`: `"lda"` for shares, as those
            of cell types are.
        method
            `"pearson"`, or `"spearman"`, of ranks: for scores with few very large values.
        """,
    "correlation_errors": """
        KeyError
            If there is no factorization under the key, or nothing that is called `other`.
        ValueError
            If fewer than three observations have all values, or an argument is not valid.
        """,
    "compared_errors": """
        KeyError
            If there is no comparison under the key, or it lacks a column.
        ValueError
            If the metric or a model is unknown, no model has the metric, or models have no
            split in common.
        """,
    "key_errors": """
        KeyError
            If there is no factorization under the key.
        """,
}


def shared_docs[F: Callable[..., Any]](function: F) -> F:
    """Fill ``%(name)s`` in a docstring with the shared description."""

    def fill(match: re.Match[str]) -> str:
        return textwrap.dedent(_SHARED[match["name"]]).strip()

    function.__doc__ = re.sub(
        r"%\((?P<name>\w+)\)s", fill, inspect.cleandoc(function.__doc__ or "")
    )
    return function
