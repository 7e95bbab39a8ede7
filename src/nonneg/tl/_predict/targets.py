"""Where to predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from ..._adata.checks import as_numbers
from ..._adata.coordinates import check_places, point_spacing
from ..._adata.views import PREDICTED
from ..._core.quiet import collected
from ..._core.text import counted
from ..._core.warnings import warn

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..._adata.genes import Genes


# Times the usual distance between locations, that of third neighbours. Inside a lattice
# nothing is farther than .7 of it from the nearest location, and among cells at random
# with a quarter of the usual density, one place in 400 is farther than 3.
_FAR = 3


class Wanted(NamedTuple):
    """The arguments of a prediction."""

    key: str
    coords: NDArray[np.floating[Any]]
    section: str | NDArray[np.str_] | None
    expression: bool
    genes: Genes = None
    interval: float | None = None
    size_factors: float | NDArray[np.floating[Any]] = 1.0

    def sizes(self) -> NDArray[np.float64]:
        """Size factors, one for each of the coordinates, as a column."""
        given = as_numbers(self.size_factors, "size_factors")
        n = len(self.coords)
        if given.shape not in {(), (n,)}:
            msg = (
                f"size_factors must be a number, or {n} of them, one for each of coords, "
                f"but have shape {given.shape}."
            )
            raise ValueError(msg)
        if not (np.isfinite(given) & (given >= 0)).all():
            msg = "size_factors must be finite and not negative."
            raise ValueError(msg)
        return np.broadcast_to(given, n)[:, None]


def not_spatial(key: str, method: str, *, projected: bool = False) -> str:
    """Why nothing can be predicted."""
    if projected:
        return (
            f"key={key!r} holds scores on the loadings of another fit of {method!r}, "
            "from `nonneg.tl.project`, which finds no fields. Predict with the reference "
            "of that projection, in its own coordinates, or fit these data."
        )
    return (
        f"key={key!r} holds {method!r}, which is not a spatial model. Fit one with "
        "`nonneg.tl.nsf`, `nsfh` or `rsf`, or `deconvolve` with coordinates."
    )


def read_targets(
    wanted: Wanted, n_dims: int, sections: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Coordinates, and the section of each; one empty name where there are none."""
    section = wanted.section
    if hasattr(wanted.coords, "obsm"):
        msg = "coords must be an array: pass those of the other object, other.obsm['spatial']."
        raise TypeError(msg)
    xy = as_numbers(wanted.coords, "coords")
    if xy.ndim != 2 or xy.shape[1] != n_dims or len(xy) == 0:
        msg = (
            f"coords must have shape (n, {n_dims}), as those that the model was fitted "
            f"to, but have {xy.shape}."
        )
        raise ValueError(msg)
    check_places(xy, "coords")
    known = [str(name) for name in sections]
    if known == [""]:
        if section is not None:
            msg = f"section={section!r}, but the model was fitted without library_key."
            raise ValueError(msg)
        return xy, np.zeros(len(xy), np.intp)
    if section is None:
        msg = f"Name the section that coords lie in, section={known[0]!r} or another of {known}."
        raise ValueError(msg)
    names = np.asarray(section, str)
    if names.shape not in {(), (len(xy),)}:
        msg = (
            f"section has shape {names.shape}; give one name, or one for each of the "
            f"{len(xy)} coordinates."
        )
        raise ValueError(msg)
    names = np.broadcast_to(names, len(xy))
    missing = sorted(set(names.tolist()) - set(known))
    if missing:
        msg = f"There is no section {missing[0]!r}; there are {known}."
        raise KeyError(msg)
    return xy, np.searchsorted(np.asarray(known), names).astype(np.intp)


def find_outside(
    wanted: tuple[NDArray[np.float64], NDArray[np.intp]],
    fitted: tuple[NDArray[np.float64], NDArray[np.intp]],
    *,
    consequence: str,
    scale: float = 1.0,
) -> dict[str, NDArray[np.bool_]]:
    """Warn of coordinates that are far from all locations of their section, and mark them.

    Both with the section of each, and in units of the coordinates times ``scale``. The mark
    is a column of obs: none in volumes, whose slices are as far apart as they were cut.
    """
    # Comparisons hold out locations of the section itself.
    if collected() is not None:
        return {}
    (xy, label), (sites, site_section) = wanted, fitted
    reach = _reaches(sites, site_section)
    if not any(s in reach for s in np.unique(label)):
        return {}
    far = np.zeros(len(xy), bool)
    limit = 0.0
    for s in np.unique(label):
        if s in reach:
            at, own = label == s, sites[site_section == s]
            far[at] = cKDTree(own).query(xy[at])[0] > reach[s]
            limit = max(limit, reach[s])
    if far.any():
        n, row = int(far.sum()), int(far.argmax())
        warn(
            f"{counted(n, 'place', 'is', of=len(far))} outside of the tissue: farther than "
            f"{limit / scale:.3g} ({_FAR} times the usual distance between neighbours) from all "
            f"locations of the fit, e.g. coords[{row}]. {consequence} They are marked in "
            "`.obs['outside']`."
        )
    return {"outside": far}


def _reaches(sites: NDArray[np.float64], section: NDArray[np.intp]) -> dict[int, float]:
    """How far the tissue reaches from the locations of each section, volumes left out.

    That of the others where a section has a single location.
    """
    found: dict[int, float] = {}
    single = []
    for s in np.unique(section).tolist():
        own = sites[section == s]
        if (np.ptp(own, axis=0) > 0).sum() > 2:
            continue
        if len(np.unique(own, axis=0)) > 1:
            found[s] = _FAR * point_spacing(own)
        else:
            single.append(s)
    if found:
        found |= dict.fromkeys(single, max(found.values()))
    return found


def predicted(
    values: NDArray[np.floating[Any]],
    std: NDArray[np.floating[Any]],
    obs: pd.DataFrame,
    var: pd.DataFrame,
    *,
    xy: NDArray[np.float64],
    key: str,
    library_key: str | None,
) -> AnnData:
    """Factors, or cell types, as plots take them."""
    obsm: dict[str, Any] = {"spatial": xy}
    return AnnData(
        values,
        obs=obs,
        var=var,
        obsm=obsm,
        layers={"std": std},
        uns={PREDICTED: {"key": key, "library_key": library_key}},
    )
