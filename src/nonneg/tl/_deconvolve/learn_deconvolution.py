"""Weights of a deconvolution, learned on simulated maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._adata.read import Read
from ..._adata.write import Write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ...models.deconvolution.maps import Law
from .learn_front import Training, learn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.deconvolution.network import Unrolled


@checked
@shared_docs
def learn_deconvolution(
    adata: AnnData | SpatialData,
    reference: AnnData,
    *,
    cell_type_key: str,
    layer: str | None = None,
    reference_layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    n_genes: int = 1000,
    likelihood: Unrolled = "poisson",
    spatial_key: str = "spatial",
    library_key: str | None = None,
    region_key: str | None = None,
    n_neighbors: int = 6,
    gene_weights: bool = True,
    n_regions: int = 4,
    compositions: pd.DataFrame | None = None,
    concentration: tuple[float, float] = (5.0, 60.0),
    cells_per_spot: tuple[int, int] = (5, 20),
    depth: tuple[float, float] = (0.5, 2.0),
    platform: float = 0.2,
    noise: float = 0.2,
    n_layers: int = 12,
    n_maps: int = 16,
    n_validation: int = 8,
    n_locations: int = 300,
    batch_size: int = 4,
    learning_rate: float = 0.1,
    max_iter: int = 100,
    patience: int = 6,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Learn the weights of a deconvolution on maps simulated from the reference.

    Maps have the coordinates and depths of the locations, and cells of the reference:
    one half of the cells of every type gives the signatures, the other half is in the
    locations; types with fewer than 20 cells are not split. `n_layers` steps of :func:`nonneg.tl.deconvolve`, the very same ones, are
    a network :cite:p:`Hershey2014` whose few parameters, the weights :math:`\lambda` of
    neighbours and :math:`\kappa` of regions and the widths of affinities, are trained
    with Adam :cite:p:`Kingma2015` to lower

    .. math::

        \lVert \hat V - V \rVert_F / \lVert V \rVert_F

    between shares of RNA found and true. What is kept is best on maps that are not
    trained on. :doc:`/deconvolution` says how it compares with weights that are chosen
    on held-out genes.

    Parameters
    ----------
    adata
        Annotated locations with counts. Their coordinates and depths are used, not what
        they hold.
    reference
        Annotated cells with counts. Genes are matched by name.
    cell_type_key
        Column of `reference.obs` with the type of every cell.
    layer
        Layer with counts instead of `adata.X`.
    reference_layer
        Layer with counts instead of `reference.X`.
    mask_var
        Genes to use: a boolean column of `adata.var`, an array, or their names.
    n_genes
        Number of genes at most, those whose signatures tell types apart best.
    likelihood
        `"poisson"`, or `"gaussian"` for the published layers of least squares.
    spatial_key
        Element of `adata.obsm` with coordinates.
    library_key
        Column of `adata.obs` that names sections.
    region_key
        Column of `adata.obs` with annotated regions. `None`: every map has regions of
        its own.
    n_neighbors
        Number of nearest neighbours, with those that are as far as the last one.
    gene_weights
        Let genes count less that scatter more than their signatures explain.
    n_regions
        Number of regions in a map, without `region_key`.
    compositions
        Share of the cell types (columns) in the regions (rows) of `region_key`.
        `None`: drawn anew for each map.
    concentration
        How firmly locations hold to the composition of their region, as that of a
        Dirichlet distribution: each map draws a number between these two.
    cells_per_spot
        Smallest and largest number of cells in a location.
    depth
        Depths over those of the locations: each map draws a factor between these two.
    platform
        Standard deviation of the logarithm of genes' factors between reference and
        locations.
    noise
        Variance of a factor of every count beyond Poisson noise.
    n_layers
        Number of layers, and of the steps that `learned=` makes: a step lowers the
        objective twice and extrapolates, so that a dozen is near convergence.
    n_maps, n_validation
        Number of maps to train on, and to decide with.
    n_locations
        Number of locations of a map at most: a patch of one section.
    batch_size
        Maps in each step of the training.
    learning_rate
        Step size of Adam, for the logarithms of the parameters. Lower it where `curve`
        jumps up and down.
    max_iter
        Maximum number of steps. Interrupting (Ctrl-C) keeps the best numbers so far.
    patience
        Stop after so many looks at the validation maps, one in five steps, without an
        improvement.
    %(rng)s
    key_added
        Key of `.uns` under which to store the result instead of `deconv_learned`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['deconv_learned' | key_added]` : :class:`dict`
        `graph_weight`, `group_weight`, `width`, `label_width`, `n_layers` and what they
        are for, which `learned=` of :func:`nonneg.tl.deconvolve` takes, also for other
        sections; `curve` (errors on training and validation maps); `start_error` and
        `validation_error`; `n_iter`, `interrupted`, `params`.

    Raises
    ------
    TypeError
        If the data are not numbers, or the reference is of another kind.
    KeyError
        If a layer, mask, table, column or coordinates do not exist.
    ValueError
        If there are no shared genes, no counts, labels are missing, or an argument does
        not suit.

    See Also
    --------
    nonneg.tl.deconvolve : takes the result as `learned=`

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(6, 40)
    >>> nng.tl.learn_deconvolution(
    ...     adata,
    ...     reference,
    ...     cell_type_key="cell_type",
    ...     n_maps=2,
    ...     n_validation=1,
    ...     max_iter=5,
    ... )
    >>> nng.tl.deconvolve(
    ...     adata, reference, cell_type_key="cell_type", learned="deconv_learned"
    ... )
    """
    return learn(
        adata,
        reference,
        Training(
            cell_type_key=cell_type_key,
            reference_layer=reference_layer,
            n_genes=n_genes,
            likelihood=likelihood,
            spatial_key=spatial_key,
            library_key=library_key,
            region_key=region_key,
            n_neighbors=n_neighbors,
            gene_weights=gene_weights,
            law=Law(n_regions, concentration, cells_per_spot, depth, platform, noise),
            compositions=compositions,
            n_layers=n_layers,
            n_maps=n_maps,
            n_validation=n_validation,
            n_locations=n_locations,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_iter=max_iter,
            patience=patience,
        ),
        read=Read(layer, mask_var=mask_var, chunk_size=None),
        write=Write(key_added, copy, table_key),
        rng=rng,
    )
