"""Recordings that were compressed elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._adata.checks import as_flags, as_numbers
from .._adata.keys import factor_keys
from .._adata.video import new_video
from .._adata.volume import Box
from .._adata.write import write_factors
from .._core.arguments import checked
from .._core.validators import check_image_shape
from ..models.video.low_rank import normal_form

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray


@checked
def from_svd(
    U: ArrayLike,
    SVT: ArrayLike,
    *,
    fs: float,
    shape: tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    time: ArrayLike | None = None,
    spacing: float | None = None,
    channel: str = "blue",
    key_added: str | None = None,
) -> AnnData:
    """Make an object of a recording that was compressed elsewhere.

    Whatever the product is, it is brought into the form of :func:`nonneg.pp.svd`:
    orthonormal U, mean-free V that carries the singular values.

    Parameters
    ----------
    U
        Spatial components: rows x columns x components, or pixels x components. Pixels
        that are NaN, or zero in all components, are left out.
    SVT
        Temporal components x frames, with the singular values.
    fs
        Frames per second.
    shape
        Rows and columns of the image, if `U` has pixels as rows: all of them, in the
        order of rows, or those of `mask`.
    mask
        Image that is true where there are pixels. `None`: all.
    mean
        Image of the mean of every pixel, of which the product does not know. `None`: 0.
    time
        Time of every frame in seconds. `None`: from `fs`.
    spacing
        mm per pixel. `None`: 1, for coordinates in pixels.
    channel
        Name of the channel.
    key_added
        Key under which to store the product instead of `svd`.

    Returns
    -------
    AnnData of pixels x frames without `X`, of the form of
    :func:`nonneg.io.read_video`, and:

    `.obsm['X_svd' | key_added]`, `.varm['svd' | key_added]`, `.obs['svd_mean' | key_added + '_mean']`, `.uns['svd' | key_added]`
        As :func:`nonneg.pp.svd` writes them.

    Raises
    ------
    ValueError
        If shapes do not fit, or values are infinite or NaN.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> U, SVT = rng.normal(size=(20, 30, 5)), rng.normal(size=(5, 100))
    >>> adata = nng.io.from_svd(U, SVT, fs=30)
    >>> adata.shape, adata.obsm["X_svd"].shape
    ((600, 100), (600, 5))
    """
    u, v = _matrix(U, "U"), _matrix(SVT, "SVT")
    if u.ndim == 3:
        image = (u.shape[0], u.shape[1])
        if shape is not None and tuple(shape) != image:
            msg = f"U is of {image} pixels, not of shape={shape}."
            raise ValueError(msg)
        u = u.reshape(-1, u.shape[2])
    elif shape is None:
        msg = f"U has shape {u.shape}: give the shape of the image, as (rows, columns)."
        raise ValueError(msg)
    else:
        image = check_image_shape(shape)
    if u.ndim != 2 or v.ndim != 2 or u.shape[1] != v.shape[0]:
        msg = (
            f"U has {u.shape[-1]} components and SVT {v.shape[0]}; they have shapes "
            f"{u.shape} and {v.shape}."
        )
        raise ValueError(msg)
    voxel, u = _pixels(u, image, mask)
    means = np.zeros(voxel.size, np.float32)
    if mean is not None:
        whole = as_numbers(mean, "mean").astype(np.float32)
        if whole.shape != image:
            msg = f"mean has shape {whole.shape}, but the image {image}."
            raise ValueError(msg)
        means = whole.ravel()[voxel]
    for name, values in (("U", u), ("SVT", v), ("mean", means)):
        if not np.isfinite(values).all():
            msg = f"{name} holds values that are infinite or NaN."
            raise ValueError(msg)
    if not 0 < fs < np.inf:
        msg = f"fs={fs} must be positive and finite, in Hz."
        raise ValueError(msg)
    seconds = _seconds(time, v.shape[1], fs)
    pitch = 1.0 if spacing is None else float(spacing)
    if not 0 < pitch < np.inf:
        msg = f"spacing={spacing} must be positive and finite, in mm."
        raise ValueError(msg)
    box = Box(image, (pitch, pitch), (0.0, 0.0))
    adata = new_video(box, voxel, seconds, fs=fs, channels=(channel,))
    add_product(adata, u, v.T, key=key_added, mean=means)
    return adata


def _seconds(time: ArrayLike | None, n: int, fs: float) -> NDArray[np.float64]:
    """Of every frame."""
    seconds = np.arange(n) / fs if time is None else as_numbers(time, "time").ravel()
    if seconds.size != n:
        msg = f"time has {seconds.size} entries, but SVT {n} frames."
        raise ValueError(msg)
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        msg = "time must be finite and rise from frame to frame."
        raise ValueError(msg)
    return seconds


def add_product(
    adata: AnnData,
    u: NDArray[Any],
    v: NDArray[Any],
    *,
    key: str | None,
    mean: NDArray[Any],
) -> None:
    """Store any product of U (n_pixels, r) and V (n_frames, r)."""
    product = normal_form(u, v)
    rank = product.u.shape[1]
    write_factors(
        adata,
        factor_keys("svd", key),
        method="svd",
        scores=product.u,
        loadings=product.v,
        params={"n_components": rank, "layer": None, "solver": "given"},
        info={"singular_values": product.singular_values},
        side={"obs": {"mean": (product.mean + mean).astype(np.float32)}},
    )


def _matrix(given: Any, name: str) -> NDArray[np.floating[Any]]:
    if getattr(given, "dtype", None) == np.float32 and isinstance(given, np.ndarray):
        # A large array as it is.
        return given
    return as_numbers(given, name).astype(np.float32)


def _pixels(
    u: NDArray[np.floating[Any]], image: tuple[int, int], mask: Any
) -> tuple[NDArray[np.intp], NDArray[np.floating[Any]]]:
    """Positions in the image, and rows of U, of the pixels that there are."""
    n = int(np.prod(image))
    inside = np.ones(image, bool) if mask is None else as_flags(mask, "mask")
    if inside.shape != image:
        msg = f"mask has shape {inside.shape}, but the image {image}."
        raise ValueError(msg)
    voxel = np.flatnonzero(inside)
    if len(u) == n:
        u = u[voxel]
    elif len(u) != voxel.size:
        msg = (
            f"U has {len(u)} pixels, but an image of {image} has {n}, and {voxel.size} "
            "are in the mask."
        )
        raise ValueError(msg)
    known = ~np.isnan(u).any(axis=1) & (u != 0).any(axis=1)
    if not known.any():
        msg = "U is NaN or zero in all pixels."
        raise ValueError(msg)
    return voxel[known], u[known]
