"""Images brought into the space of an atlas by landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers, check_columns
from .._adata.coordinates import read_coordinates
from .._adata.read import resolve_adata
from .._adata.write import write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of
from .._core.warnings import warn

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    type Landmarks = Mapping[str, Any] | pd.DataFrame

# Of the distance between landmarks: residuals of landmarks that are placed by hand are far
# smaller, and those of exchanged names far larger.
_POOR = 0.25
# Landmarks that a transformation is fitted to: as many as fix it, and exactly.
_FEWEST = {"similarity": 2, "affine": 3}


@checked
@shared_docs
def align(
    adata: AnnData | SpatialData,
    landmarks: Landmarks,
    targets: Landmarks,
    *,
    transform: Literal["similarity", "affine"] = "similarity",
    spatial_key: str = "spatial",
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Bring an image into the space of an atlas by landmarks.

    Finds the transformation that takes landmarks of the image to those of the atlas, by
    least squares :cite:p:`Umeyama1991`, and applies it to the coordinates of pixels. The
    data stay as they are: :func:`nonneg.atlas.annotate` with
    `spatial_key="spatial_ccf"` looks up the region of every pixel. For the dorsal cortex,
    usual landmarks are the left, middle and right of the border between cortex and
    olfactory bulb, bregma, and the base of retrosplenial cortex.

    Parameters
    ----------
    adata
        Annotated data with coordinates x and y.
    landmarks
        Where landmarks are in the image: a mapping from names to x and y, in units of
        `spatial_key`; or a data frame with names as its index, or in a column `name`,
        and columns `x` and `y`.
    targets
        Where they are in the atlas, in mm, in the same form. Those that the image does
        not have are left out.
    transform
        `"similarity"`: rotation, one scale and shift; two landmarks at least. `"affine"`:
        shear and two scales as well; three at least, better five or more.
    spatial_key
        Coordinates in `adata.obsm`.
    key_added
        Name of the new coordinates instead of `spatial_ccf`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.obsm['spatial_ccf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, 2)`)
        x and y in the atlas, in mm.
    `.uns['spatial_ccf' | key_added]` : :class:`dict`
        `matrix` (3, 3), which takes (x, y, 1) to the atlas; `landmarks`, a data frame
        with places in the image, in the atlas, and `residual`, how far from its target
        each one ends, in mm; and `transform`. There is a warning if they do not fit.

    Raises
    ------
    KeyError
        If landmarks of the image are not among the targets, or there are no coordinates.
    ValueError
        If landmarks are too few, on one line or at one place, or not finite.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=50
    ... )
    >>> image = {"bregma": (5.0, 3.0), "left": (2.0, 1.0), "right": (8.0, 1.0)}
    >>> ccf = {"bregma": (0.0, 0.0), "left": (-3.0, -2.0), "right": (3.0, -2.0)}
    >>> nng.atlas.align(adata, image, ccf)
    >>> (adata.obsm["spatial_ccf"] - adata.obsm["spatial"])[0].round(2)
    array([-5., -3.])
    """
    check_one_of(transform, tuple(_FEWEST), "transform")
    key = "spatial_ccf" if key_added is None else key_added
    if not key or "/" in key or key == spatial_key:
        msg = f"key_added={key_added!r} must be a new key, without '/'."
        raise ValueError(msg)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    coords = read_coordinates(target, spatial_key)
    if coords.shape[1] != 2:
        msg = (
            f"adata.obsm[{spatial_key!r}] has {coords.shape[1]} columns; landmarks are "
            "for images, with two."
        )
        raise ValueError(msg)
    here, there = _read(landmarks, "landmarks"), _read(targets, "targets")
    unknown = [name for name in here.index if name not in there.index]
    if unknown:
        msg = f"targets lack the landmarks {unknown}; they hold {list(there.index)}."
        raise KeyError(msg)
    there = there.loc[here.index]
    if len(here) < _FEWEST[transform]:
        msg = (
            f"transform={transform!r} takes at least {_FEWEST[transform]} landmarks, but "
            f"there are {list(here.index)}."
        )
        raise ValueError(msg)
    matrix = _fit(here.to_numpy(), there.to_numpy(), transform)
    residual = np.linalg.norm(
        _apply(matrix, here.to_numpy()) - there.to_numpy(), axis=1
    )
    _check_residuals(residual, there)
    table = pd.DataFrame(
        {
            "x": here["x"],
            "y": here["y"],
            "x_ccf": there["x"],
            "y_ccf": there["y"],
            "residual": residual,
        }
    )
    write_values(
        target,
        {
            ("obsm", key): _apply(matrix, coords),
            ("uns", key): {
                "matrix": matrix,
                "landmarks": table,
                "transform": transform,
                "spatial_key": spatial_key,
            },
        },
    )
    return target if copy else None


def _check_residuals(residual: NDArray[np.float64], there: pd.DataFrame) -> None:
    away = there.to_numpy() - there.to_numpy().mean(axis=0)
    size = np.sqrt(np.mean(np.square(away).sum(axis=1)))
    if np.sqrt(np.mean(np.square(residual))) > _POOR * size:
        worst = int(residual.argmax())
        warn(
            f"The landmarks do not fit: {there.index[worst]!r} ends {residual[worst]:.3g} mm "
            "from its target. Names may be exchanged, such as left and right, or the image "
            "is mirrored, or x and y are rows and columns."
        )


def _read(given: Any, name: str) -> pd.DataFrame:
    """Names and places, finite and each once."""
    if isinstance(given, Mapping):
        places = {}
        for label, place in given.items():
            point = as_numbers(place, f"{name}[{label!r}]").ravel()
            if point.size != 2:
                msg = f"{name}[{label!r}] must be x and y, not {place!r}."
                raise ValueError(msg)
            places[str(label)] = point
        table = pd.DataFrame.from_dict(places, orient="index", columns=["x", "y"])
    elif isinstance(given, pd.DataFrame):
        check_columns(given, name)
        table = given.set_index("name") if "name" in given else given
        missing = [column for column in ("x", "y") if column not in table]
        if missing:
            msg = f"{name} lack the columns {missing}; they have {list(given)}."
            raise ValueError(msg)
        table = pd.DataFrame(
            as_numbers(table[["x", "y"]], name),
            index=table.index.astype(str),
            columns=["x", "y"],
        )
    else:
        msg = f"{name} must be a mapping or a data frame, not a {type(given).__name__}."
        raise TypeError(msg)
    if table.empty:
        msg = f"{name} are empty."
        raise ValueError(msg)
    if table.index.has_duplicates:
        repeated = table.index[table.index.duplicated()].tolist()
        msg = f"{name} name {repeated} more than once."
        raise ValueError(msg)
    bad = table.index[~np.isfinite(table.to_numpy()).all(axis=1)].tolist()
    if bad:
        msg = f"{name} have no finite place for {bad}."
        raise ValueError(msg)
    table.index.name = "name"
    return table


def _fit(
    here: NDArray[np.float64], there: NDArray[np.float64], transform: str
) -> NDArray[np.float64]:
    from skimage.transform import AffineTransform, SimilarityTransform

    kind = SimilarityTransform if transform == "similarity" else AffineTransform
    found = kind.from_estimate(here, there)
    matrix = np.asarray(found.params) if found else np.full((3, 3), np.nan)
    spread = np.linalg.svd(here - here.mean(axis=0), compute_uv=False)
    flat = spread[-1] < 1e-9 * max(spread[0], 1e-30) and transform == "affine"
    if spread[0] == 0 or flat or not np.isfinite(matrix).all():
        msg = (
            f"The landmarks do not fix a transform={transform!r}: they are at one place, "
            "or on one line."
        )
        raise ValueError(msg)
    return matrix


def _apply(
    matrix: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    return points @ matrix[:2, :2].T + matrix[:2, 2]
