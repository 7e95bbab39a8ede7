"""Compression of recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._adata.checks import check_n_components
from .._adata.read import resolve_adata
from .._adata.video import frame_blocks, read_video
from .._adata.write import keys_to_write, write_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.random import as_seed
from .._core.text import counted
from .._core.validators import check_at_least, check_one_of, check_positive_int
from .._core.warnings import warn
from ..models.video.svd import blockwise_svd, randomized_svd

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.video import Video
    from .._core.random import RNGLike


@checked
@shared_docs
def svd(
    adata: AnnData | SpatialData,
    n_components: int = 200,
    *,
    layer: str | None = None,
    solver: Literal["randomized", "blockwise"] = "randomized",
    n_iter: int = 2,
    n_oversamples: int = 20,
    block_size: int = 16,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Compress a recording into spatial and temporal components.

    The truncated singular value decomposition of pixels x frames, :math:`Y \approx \bar y
    1^\top + U V`, with the mean :math:`\bar y` of every pixel apart. All that follows works
    on it: :func:`nonneg.pp.hemodynamic_correction`, :func:`nonneg.tl.locanmf`. Frames are
    read in blocks; in memory are a block, :math:`U` and :math:`V`.

    Parameters
    ----------
    adata
        Annotated pixels x frames, in memory or as dask arrays.
    n_components
        Number of components, the largest one with `solver="blockwise"`. 200 is common
        for the cortex at 10 to 30 Hz; 500 for fast or fine activity.
    layer
        Channel to compress instead of `adata.X`.
    solver
        `"randomized"` :cite:p:`Halko2011`: `n_iter + 2` passes. `"blockwise"`: two
        passes; squares of neighbouring pixels first, of which what exceeds the noise is
        kept, and so fewer components than `n_components` where there is less to see.
    n_iter
        Power iterations of `"randomized"`. More (e.g. 4) where components have to be
        exact down to the noise.
    n_oversamples
        Components beyond `n_components` that are computed and dropped.
    block_size
        Side of the squares of `"blockwise"`, in pixels.
    chunk_size
        Frames in a block. `None`: as the dask array has, or about 64 MB.
    %(rng)s
    key_added
        Key under which to store the result instead of `svd`, or `svd_<layer>`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.obsm['X_svd' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        :math:`U`, orthonormal columns. The largest entry of each is positive.
    `.varm['svd' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        :math:`V^\top`, mean-free and orthogonal, which carries the singular values.
    `.obs['svd_mean' | key_added + '_mean']` : :class:`pandas.Series`
        Mean of every pixel.
    `.obs['svd_rank' | key_added + '_rank']` : :class:`pandas.Series`
        With `"blockwise"`: number of components of the square that holds the pixel.
    `.uns['svd' | key_added]` : :class:`dict`
        `singular_values`, `total_variance` (the sum over pixels of the variance over
        time, which those are a part of), and `params`. With a `layer` and without
        `key_added`, all names are `svd_<layer>`.

    Raises
    ------
    KeyError
        If observations are not pixels of a video, or a layer or table does not exist.
    TypeError
        If the channel is not dense.
    ValueError
        If entries are NaN or infinite, nothing varies, or an argument does not suit.

    See Also
    --------
    nonneg.io.from_svd : for recordings that were compressed elsewhere
    nonneg.pl.svd_variance_ratio : variance per component

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(shape=(40, 48), n_regions=2, n_frames=100)
    >>> nng.pp.delta_f(adata)
    >>> nng.pp.svd(adata, 20)
    >>> nng.pp.svd(adata, 20, layer="violet")
    >>> adata.obsm["X_svd"].shape, adata.varm["svd_violet"].shape
    ((1360, 20), (100, 20))
    """
    check_one_of(solver, ("randomized", "blockwise"), "solver")
    n_iter = int(n_iter)
    check_at_least(n_iter, 0, "n_iter")
    check_at_least(n_oversamples, 0, "n_oversamples")
    block_size = check_positive_int(block_size, "block_size")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    n_components = check_n_components(n_components, target.shape)
    if key_added is None and layer is not None:
        key_added = f"svd_{layer}"
    keys = keys_to_write(target, "svd", key_added)
    video = read_video(target)
    blocks = frame_blocks(target, layer, chunk_size)
    seed = as_seed(rng)
    side: dict[str, Any] = {}
    variance = _Variance(blocks)
    if solver == "randomized":
        product = randomized_svd(
            variance,
            n_components,
            n_oversamples=int(n_oversamples),
            n_iter=n_iter,
            rng=np.random.default_rng(seed),
        )
    else:
        groups = _squares(video, block_size)
        product, ranks = blockwise_svd(variance, groups, n_components)
        rank = np.empty(target.n_obs, np.int32)
        for group, number in zip(groups, ranks, strict=True):
            rank[group] = number
        side["rank"] = rank
    blocks.warn_saturated()
    found = product.u.shape[1]
    if found == 0:
        msg = f"{blocks.where} does not vary over time" + (
            "." if solver == "randomized" else ", beyond noise."
        )
        raise ValueError(msg)
    if found < n_components and solver == "randomized":
        warn(
            f"{blocks.where} has {counted(found, 'component')}; n_components={n_components}."
        )
    write_factors(
        target,
        keys,
        method="svd",
        scores=product.u,
        loadings=product.v,
        params={
            "n_components": n_components,
            "layer": layer,
            "solver": solver,
            "n_iter": n_iter,
            "n_oversamples": int(n_oversamples),
            "block_size": block_size,
            "seed": seed,
        },
        info={
            "singular_values": product.singular_values,
            "total_variance": variance.total(),
        },
        side={"obs": {"mean": product.mean, **side}},
    )
    return target if copy else None


class _Variance:
    """Blocks that add up their squares in the first pass."""

    def __init__(self, blocks: Any) -> None:
        self.blocks = blocks
        self.shape = blocks.shape
        self._first: NDArray[np.float32] | None = None
        self._sum = np.zeros(self.shape[0])
        self._squares = 0.0
        self._seen = 0

    def __iter__(self) -> Any:
        for part, block in self.blocks:
            if self._seen == part.start:
                if self._first is None:
                    self._first = block.mean(axis=1)
                away = block - self._first[:, None]
                self._sum += away.sum(axis=1, dtype=np.float64)
                self._squares += float(np.vdot(away, away))
                self._seen = part.stop
            yield part, block

    def total(self) -> float:
        """Sum over pixels of the variance over time."""
        n = self.shape[1]
        return float(self._squares / n - ((self._sum / n) ** 2).sum())


def _squares(video: Video, side: int) -> list[NDArray[np.intp]]:
    """Pixels of every square of the image."""
    number = video.pixels.index // side
    _, group = np.unique(number, axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    bounds = np.cumsum(np.bincount(group.ravel()))[:-1]
    return np.split(order, bounds)
