"""Pixels, regions and low-rank movies: what components near regions are fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt

from .._core.text import counted
from .checks import as_numbers, check_key
from .labels import read_labels
from .views import read_factors
from .volume import read_volume

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .schema import LocaNMFEntry
    from .views import Factors
    from .volume import Volume

# Column of obs that functions look for unless they are told another one.
_HEMISPHERE = "hemisphere"
# Of pixels on a side of the coarse grid that a search is made on.
_COARSE_PIXELS = 8000
# Coarse pixels of the smallest region, for every component that it may have.
_PIXELS_PER_COMPONENT = 2


@dataclass(frozen=True)
class LowRankMovie:
    """A movie as a product, without its mean."""

    u: NDArray[np.floating[Any]]
    """(n_obs, R)"""
    traces: NDArray[np.floating[Any]]
    """(n_vars, R)"""
    mean: NDArray[np.float64] | None
    """(n_obs,): over time, where it is known."""
    where: str


def read_movie(adata: AnnData, key: str) -> LowRankMovie:
    """U and V that are stored under a key, finite."""
    if key not in adata.uns:
        msg = (
            f"There is no movie under key={key!r} in adata.uns, which holds "
            f"{list(adata.uns)}. Make one with `nonneg.pp.svd` or `nonneg.io.from_svd`."
        )
        raise KeyError(msg)
    found = read_factors(adata, key)
    for values, where, hint in (
        (
            found.scores,
            f"adata.obsm[{found.keys.obsm!r}]",
            "pixels. Leave them out, e.g. `adata[np.isfinite(adata.obsm[key]).all(1)]`.",
        ),
        (found.loadings, f"adata.varm[{found.keys.varm!r}]", "frames. Leave them out."),
    ):
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            msg = (
                f"{where} has NaN or infinite values in {int(bad.sum())} {hint} The "
                f"first is row {int(np.flatnonzero(bad)[0])}."
            )
            raise ValueError(msg)
    if not found.scores.any() or not found.loadings.any():
        msg = f"The movie of key={key!r} is all zero."
        raise ValueError(msg)
    mean = None
    if f"{key}_mean" in adata.obs:
        mean = as_numbers(adata.obs[f"{key}_mean"], f"adata.obs['{key}_mean']")
    return LowRankMovie(found.scores, found.loadings, mean, f"adata.uns[{key!r}]")


@dataclass(frozen=True)
class Parcellation:
    """Pixels in regions."""

    volume: Volume
    codes: NDArray[np.intp]
    """(n_obs,): -1 for pixels without a region."""
    names: list[str]

    @property
    def size(self) -> NDArray[np.intp]:
        """Pixels of each region."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    def keep(self, kept: NDArray[np.intp]) -> Parcellation:
        """Some of the regions; pixels of others have none."""
        position = np.full(len(self.names) + 1, -1)
        position[kept] = np.arange(kept.size)
        return Parcellation(
            self.volume, position[self.codes], [self.names[i] for i in kept]
        )

    @property
    def order(self) -> NDArray[np.intp]:
        """Pixels by region, and by position: the same however the rows are sorted."""
        return np.lexsort((self.volume.voxel, self.codes))

    @property
    def region_size(self) -> float:
        """Side of a square, or cube, as large as regions are on average."""
        spacing = self.volume.box.spacing
        return float((self.size.mean() * np.prod(spacing)) ** (1 / len(spacing)))

    def distances(self) -> NDArray[np.float32]:
        """(n_obs, n_regions): from every pixel to the nearest one of each region."""
        index = self.volume.index
        low = index.min(axis=0)
        place = tuple((index - low).T)
        labels = np.full(index.max(axis=0) - low + 1, -1)
        labels[place] = self.codes
        out = np.empty((index.shape[0], len(self.names)), np.float32)
        for j in range(len(self.names)):
            away = distance_transform_edt(labels != j, sampling=self.volume.box.spacing)
            out[:, j] = away[place]
        return out

    def cells(self, coarse: int) -> NDArray[np.intp]:
        """Coarse pixel of every pixel: ``coarse`` of them along each axis."""
        shape = tuple(-(-n // coarse) for n in self.volume.box.shape)
        return np.ravel_multi_index(tuple((self.volume.index // coarse).T), shape)

    def choose_coarse(self, max_rank: int) -> int:
        """Pixels along each axis to take together, so that a search is quick."""
        n_axes = len(self.volume.box.shape)
        ratio = self.codes.size / _COARSE_PIXELS
        most = max(1, round(ratio ** (1 / n_axes)))
        for coarse in range(most, 1, -1):
            inside = self.codes >= 0
            pairs = np.unique(
                np.stack([self.codes[inside], self.cells(coarse)[inside]]), axis=1
            )
            if np.bincount(pairs[0]).min() >= _PIXELS_PER_COMPONENT * max_rank:
                return coarse
        return 1


def read_parcellation(
    adata: AnnData, region_key: str, hemisphere_key: str | None
) -> Parcellation:
    """Regions of pixels, those of both hemispheres apart."""
    volume = read_volume(adata)
    codes, names = sided_regions(adata, region_key, hemisphere_key)
    if not names:
        msg = f"adata.obs[{region_key!r}] names no region."
        raise ValueError(msg)
    return Parcellation(volume, codes, names)


def sided_regions(
    adata: AnnData, region_key: str, hemisphere_key: str | None
) -> tuple[NDArray[np.intp], list[str]]:
    """Region of every pixel, and names, with the hemisphere behind them.

    Names that end with their hemisphere already stay as they are.
    """
    hint = "Regions of pixels come from `nonneg.atlas.annotate`."
    regions = read_labels(adata, region_key, hint=hint)
    names = [str(name) for name in regions.names]
    if "nan" in names:
        n = int((regions.codes == names.index("nan")).sum())
        msg = (
            f"adata.obs[{region_key!r}] names the region of {counted(n, 'pixel')} 'nan', which is what "
            "`astype(str)` of NumPy makes of pixels without a region. Make them NaN again, "
            f"e.g. `adata.obs[{region_key!r}].replace('nan', None)`."
        )
        raise ValueError(msg)
    if hemisphere_key is None:
        return regions.codes, names
    if hemisphere_key not in adata.obs and hemisphere_key == _HEMISPHERE:
        # Not asked for by name: an atlas without sides.
        return regions.codes, names
    check_key(
        adata, "obs", hemisphere_key, hint="hemisphere_key=None: regions as they are."
    )
    sides = read_labels(adata, hemisphere_key)
    pairs = pd.DataFrame({"region": regions.codes, "side": sides.codes})
    pairs.loc[pairs["region"] < 0, "side"] = -1
    known = np.unique(pairs[pairs["region"] >= 0].to_numpy(), axis=0)
    lookup = {tuple(pair): i for i, pair in enumerate(known.tolist())}
    codes = np.array(
        [lookup.get(pair, -1) for pair in pairs.itertuples(index=False, name=None)],
        np.intp,
    )
    sided = [_sided(names[r], sides.names, s) for r, s in known.tolist()]
    # Pixels of an unknown hemisphere whose region names it are of that region.
    found = list(dict.fromkeys(sided))
    position = np.array([*(found.index(name) for name in sided), -1], np.intp)
    return position[codes], found


def _sided(name: str, sides: NDArray[Any], side: int) -> str:
    if side < 0 or name.endswith(f"_{sides[side]}"):
        return name
    return f"{name}_{sides[side]}"


def read_components(adata: AnnData, key: str) -> tuple[Factors, LocaNMFEntry]:
    """Components with regions, of a fit or of a simulation."""
    found = read_factors(adata, key)
    entry = found.entry
    if getattr(entry, "region", None) is None:
        msg = (
            f"The components of key={key!r} have no regions: it was made by "
            f"{entry.method!r}. Fit `nonneg.tl.locanmf` or `nonneg.tl.region_traces`."
        )
        raise ValueError(msg)
    return found, entry  # type: ignore[return-value]
