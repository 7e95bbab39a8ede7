"""The data, and their splits into training and held-out observations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from sklearn.model_selection import ShuffleSplit
from sklearn.neighbors import NearestNeighbors

from ..._adata.checks import check_nonnegative, warn_empty
from ..._adata.places import read_places
from ..._adata.read import Read, read_matrix
from ..._adata.size_factors import is_total, read_size
from ..._core.random import as_seed, stream
from ...operators.gather import to_csr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ...operators.stats import MatrixStats


_N_NEIGHBORS = 4


class ComparedData(NamedTuple):
    adata: AnnData
    counts: sp.csr_matrix
    coords: NDArray[np.float64]
    """With a last axis that keeps sections apart."""
    section: NDArray[np.intp]
    stats: MatrixStats
    spatial_key: str
    library_key: str | None

    @staticmethod
    def read(
        adata: AnnData, layer: str | None, spatial_key: str, library_key: str | None
    ) -> ComparedData:
        source = read_matrix(adata, Read(layer), on_cluster=False)
        stats = source.op.stats()
        check_nonnegative(stats, source.where)
        warn_empty(stats, source.where, of_obs=None, of_vars=None)
        # Every split is another copy of most rows: they are read once.
        counts = to_csr(source.op)
        coords, section, _ = read_places(adata, spatial_key, library_key)
        assert coords is not None
        # Farther than anything within a section.
        apart = 10 * (np.ptp(coords, axis=0).max() + 1) * section
        bare = AnnData(
            counts,
            obs=cast("pd.DataFrame", adata.obs),
            var=pd.DataFrame(index=adata.var_names),
        )
        bare.obsm[spatial_key] = adata.obsm[spatial_key]
        return ComparedData(
            bare,
            counts,
            np.column_stack([coords, apart]),
            section,
            stats,
            spatial_key,
            library_key,
        )

    def check(self, largest: int, test_size: float) -> None:
        """Before the first fit, whether every part to be fitted can carry the factors."""
        held = next(self.splits(1, test_size, 0))
        n_train, n_vars = int((~held).sum()), self.counts.shape[1]
        if largest > min(n_train, n_vars):
            msg = (
                f"n_components={largest} exceeds the smaller side of what is fitted: "
                f"{n_train} of {len(held)} observations, the rest being held out, x "
                f"{n_vars} variables. Take fewer factors, or a smaller test_size."
            )
            raise ValueError(msg)

    def splits(
        self, n_splits: int, test_size: float, seed: int
    ) -> Iterator[NDArray[np.bool_]]:
        """Observations that are held out: the same part of the locations of each section.

        All of a location, and never all of a section, of which nothing could be
        predicted then.
        """
        sites, site = np.unique(self.coords, axis=0, return_inverse=True)
        site = site.ravel()
        section = np.zeros(len(sites), np.intp)
        section[site] = self.section
        parts = []
        for s in range(int(section.max()) + 1):
            own = np.flatnonzero(section == s)
            n_held = min(math.ceil(test_size * own.size), own.size - 1)
            if not n_held:
                continue
            state = seed if s == 0 else as_seed(stream(seed, "section", s))
            shuffle = ShuffleSplit(
                n_splits, test_size=n_held, random_state=state % 2**32
            )
            parts.append([own[held] for _, held in shuffle.split(own)])
        if not parts:
            msg = "Every section has one location: there is none to hold out."
            raise ValueError(msg)
        for held in zip(*parts, strict=True):
            yield np.isin(site, np.concatenate(held))


class HoldOut:
    """Training and held-out observations."""

    def __init__(
        self,
        data: ComparedData,
        held: NDArray[np.bool_],
    ) -> None:
        self.whole, self.out, train = data, held, ~held
        totals = np.asarray(data.counts.sum(1), np.float64).ravel()
        seen = totals[train]
        # Of data with empty observations only there is no median.
        size = totals / (np.median(seen[seen > 0]) if seen.any() else 1.0)
        self.train = data.adata[train].copy()
        self.train_counts = data.counts[train]
        self.held = data.counts[held]
        self.held_size = size[held][:, None]
        # That of empty observations is zero, where nothing is expected.
        self.train_size = size[train][:, None]
        # Empty observations would be divided by zero; they have nothing to tell.
        self.train_divisor = np.where(seen > 0, size[train], 1)[:, None]
        total = size[train].sum()
        self.rate = np.asarray(data.counts[train].sum(0)).ravel() / (total or 1.0)
        self.held_section = (
            None
            if data.library_key is None
            else np.asarray(data.adata.obs[data.library_key].astype(str), str)[held]
        )
        self.held_coords = np.asarray(data.adata.obsm[data.spatial_key])[held]
        self.average = averages(
            data.coords[train],
            data.section[train],
            data.coords[held],
            data.section[held],
        )

    def sizes(self, size_factors: Any) -> tuple[Any, Any]:
        """Size factors of both parts, in a fit with these."""
        if size_factors is None:
            return np.ones_like(self.train_size), np.ones_like(self.held_size)
        if is_total(size_factors):
            return self.train_size, self.held_size
        values, _ = read_size(self.whole.adata, size_factors, self.whole.stats)
        return values[~self.out, None], values[self.out, None]


def averages(
    seen: NDArray[np.float64],
    seen_section: NDArray[np.intp],
    held: NDArray[np.float64],
    held_section: NDArray[np.intp],
) -> sp.csr_matrix:
    """What takes means over the nearest training observations of the same section."""
    average = sp.lil_matrix((len(held), len(seen)))
    for s in np.unique(held_section):
        rows = np.flatnonzero(held_section == s)
        own = np.flatnonzero(seen_section == s)
        n = min(_N_NEIGHBORS, own.size)
        finder = NearestNeighbors(n_neighbors=n).fit(seen[own])
        nearest = finder.kneighbors(held[rows], return_distance=False)
        average[rows[:, None], own[nearest]] = 1 / n
    return average.tocsr()
