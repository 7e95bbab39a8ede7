"""Simulated expression volumes of a brain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from .._adata.schema import SCHEMA
from .._adata.volume import BOX, VOXEL, Box
from .._core.arguments import checked
from .._core.random import as_seed
from .._core.validators import check_at_least, check_positive_int
from ..atlas import Atlas, annotate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .._core.random import RNGLike

_SPACING = 0.2  # mm, of the Allen grid
# Standard deviation of smooth patterns, in parts of the box.
_WIDTH = (0.1, 0.16)
# Borders of blocks are smoothed over so many voxels.
_BORDER = 0.7
# Divisions of the volume that is made up, from front to back.
_DIVISIONS = ("forebrain", "midbrain", "hindbrain")
_MIN_SIDE = 6
# Of noise and gains: weaker or stronger ones are no numbers any more.
_WEAKEST = 1e-3


@checked
def atlas_expression(
    labels: tuple[int, int, int] | ArrayLike | Atlas = (24, 18, 16),
    n_genes: int = 400,
    n_components: int = 11,
    *,
    concentration: float = 0.1,
    noise: float = 0.3,
    missing_planes: float = 2.0,
    slice_gain: float = 0.1,
    rng: RNGLike = 0,
) -> AnnData:
    r"""Simulate an in-situ hybridisation atlas: voxels x genes with known patterns.

    Half of the patterns are smooth (Gaussian), the others blocks of neighbouring regions;
    all are the same in both hemispheres and spread over the volume. Genes mix few of them,
    and expression of gene :math:`j` at voxel :math:`s` of plane :math:`p` is

    .. math::

        x_{sj} = c_{pj} \, \varepsilon_{sj} \sum_k d_{sk} a_{kj},

    with Dirichlet weights, larger for smaller patterns, gamma noise :math:`\varepsilon`
    of mean 1, and gains :math:`c` of the coronal planes; a few planes of each gene are
    missing.

    Parameters
    ----------
    labels
        Geometry: the shape of a box, in which an ellipsoid of twelve regions is made up;
        or an array of labels, 0 outside, such as the Allen annotation; or an atlas.
    n_genes
        Number of genes.
    n_components
        Number of patterns.
    concentration
        Of the Dirichlet distribution of weights: with low values (e.g. 0.1) most genes
        have one or two patterns, with 1 many.
    noise
        Coefficient of variation of the gamma noise; 0: none.
    missing_planes
        Mean number of coronal planes that a gene lacks. 0: nothing is missing.
    slice_gain
        Standard deviation of the logarithm of the gains of coronal planes; 0: none.
    rng
        Seed, or a generator to draw one from. Recorded.

    Returns
    -------
    AnnData of the voxels inside x genes, of the form that
    :func:`nonneg.io.read_allen_grid` gives, `float32` with NaN where planes are missing,
    and:

    `.obsm['truth']` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Patterns, 1 at most.
    `.varm['truth']` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Weights, which carry the scale.
    `.varm['truth_gain']`, `.varm['truth_missing']` : :class:`numpy.ndarray` (shape `(n_vars, n_planes)`)
        Gain of every plane of the box, and whether it is missing.
    `.var['pattern']` : :class:`pandas.Series`
        The pattern with the largest weight.
    `.obs['region']`, `.obs['region_id']`, `.obs['hemisphere']`, `.uns['region']`
        As :func:`nonneg.atlas.annotate` writes them.
    `.uns['truth']` : :class:`dict`
        `params`. The entry has the form of a fitted factorization: functions that take a
        `key` take `"truth"`.

    Raises
    ------
    TypeError
        If labels or a number are not integers where they have to be.
    ValueError
        If numbers are out of range, or the box is too small.

    See Also
    --------
    nonneg.pp.impute_knn : fills missing planes, which factorizations refuse
    nonneg.pp.correct_slices : finds the gains

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.atlas_expression((12, 10, 8), 50, 4)
    >>> adata.obsm["truth"].shape[1], adata.n_vars
    (4, 50)
    >>> complete = nng.datasets.atlas_expression((12, 10, 8), 50, 4, missing_planes=0)
    >>> nng.tl.nmf(complete, 4)
    """
    n_genes = check_positive_int(n_genes, "n_genes")
    k = check_positive_int(n_components, "n_components")
    for name, value in (
        ("noise", noise),
        ("missing_planes", missing_planes),
        ("slice_gain", slice_gain),
    ):
        check_at_least(value, 0, name)
    for name, value in (("noise", noise), ("slice_gain", slice_gain)):
        if value != 0 and not _WEAKEST <= value <= 1 / _WEAKEST:
            msg = f"{name}={value} must be 0, or from {_WEAKEST:g} to {1 / _WEAKEST:g}."
            raise ValueError(msg)
    if not 0 < concentration < np.inf:
        msg = f"concentration={concentration} must be positive and finite."
        raise ValueError(msg)
    atlas = _geometry(labels)
    box = Box(atlas.labels.shape, atlas.spacing, atlas.origin)
    voxel = np.flatnonzero(atlas.labels)
    seed = as_seed(rng)
    rng = np.random.default_rng(seed)

    D = _patterns(atlas, voxel, k, rng)
    weights = rng.dirichlet(np.full(k, concentration), n_genes)
    # Small patterns are strong, so that all are as much of the data.
    size = np.linalg.norm(D, axis=0)
    W = weights * rng.gamma(2, 1, (n_genes, 1)) * (size.mean() / size)
    plane = np.unravel_index(voxel, box.shape)[0]
    gain = np.exp(slice_gain * rng.standard_normal((n_genes, box.shape[0])))
    lost = _lost(plane, box.shape[0], n_genes, missing_planes, rng)
    x = (D @ W.T) * gain.T[plane]
    if noise > 0:
        variance = float(noise) ** 2
        x *= rng.gamma(1 / variance, variance, x.shape)
    x[lost.T[plane]] = np.nan

    names = [f"gene_{j}" for j in range(n_genes)]
    adata = AnnData(
        x.astype(np.float32),
        obs=pd.DataFrame({VOXEL: voxel.astype(np.int64)}, index=voxel.astype(str)),
        var=pd.DataFrame(
            {
                "gene": names,
                "pattern": pd.Categorical.from_codes(
                    W.argmax(axis=1), pd.Index([f"truth_{i}" for i in range(k)])
                ),
            },
            index=names,
        ),
        uns={BOX: box.to_uns()},
    )
    adata.obsm["spatial"] = box.coordinates(voxel)
    adata.obsm["truth"] = D.astype(np.float32)
    adata.varm["truth"] = W.astype(np.float32)
    adata.varm["truth_gain"] = gain.astype(np.float32)
    adata.varm["truth_missing"] = lost
    annotate(adata, atlas)
    adata.uns["truth"] = {
        "schema": SCHEMA,
        "method": "atlas_expression",
        "obsm_key": "truth",
        "varm_key": "truth",
        "params": {
            "n_components": k,
            "concentration": float(concentration),
            "noise": float(noise),
            "missing_planes": float(missing_planes),
            "slice_gain": float(slice_gain),
            "seed": seed,
        },
    }
    return adata


def _geometry(labels: Any) -> Atlas:
    if isinstance(labels, Atlas):
        if labels.labels.ndim != 3:
            msg = "The atlas must be a volume, but it is an image."
            raise ValueError(msg)
        return labels
    if not isinstance(labels, tuple):
        array = np.asarray(labels)
        if array.ndim != 3:
            msg = f"labels must be a volume, but have shape {array.shape}."
            raise ValueError(msg)
        return Atlas.from_arrays(array, spacing=_SPACING, hemispheres="left-right")
    if len(labels) != 3:
        msg = f"labels={labels} must be the three sides of a box."
        raise ValueError(msg)
    shape = tuple(check_positive_int(side, "labels") for side in labels)
    if min(shape) < _MIN_SIDE:
        msg = f"labels={labels} must be sides of at least {_MIN_SIDE} voxels."
        raise ValueError(msg)
    # From -1 to 1 along every axis, at the centres of voxels.
    ends = [(2 * np.arange(n) + 1) / n - 1 for n in shape]
    z, y, x = np.meshgrid(*ends, indexing="ij")
    third = np.digitize(z, (-1 / 3, 1 / 3))
    number = 4 * third + 2 * (y > 0) + (np.abs(x) > 0.5)
    # Ids: the whole 1, divisions 2 to 4, their parts from 5 on.
    inside = z**2 + y**2 + x**2 <= 1
    parts = [
        (f"{division}-{side}-{depth}", i + 2)
        for i, division in enumerate(_DIVISIONS)
        for side in ("dorsal", "ventral")
        for depth in ("medial", "lateral")
    ]
    nodes = [("brain", 0), *((name, 1) for name in _DIVISIONS), *parts]
    table = pd.DataFrame(nodes, columns=["acronym", "parent"])
    table["id"] = np.arange(1, len(table) + 1)
    return Atlas.from_arrays(
        np.where(inside, number + 5, 0),
        table,
        spacing=_SPACING,
        hemispheres="left-right",
        name="simulated",
    )


def _patterns(
    atlas: Atlas, voxel: NDArray[np.intp], k: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Smooth and blocky patterns in turn (n_voxels, k), 1 at most."""
    index = np.stack(np.unravel_index(voxel, atlas.labels.shape), axis=1)
    # In parts of the box, one hemisphere folded onto the other.
    place = index / (np.array(atlas.labels.shape) - 1.0)
    place[:, -1] = np.abs(place[:, -1] - place[:, -1].mean())
    _, member = np.unique(atlas.labels.ravel()[voxel], return_inverse=True)
    blocks = _blocks(place, member, k // 2, rng)
    D = np.empty((voxel.size, k))
    for i, regions in enumerate(blocks):
        block = np.zeros(atlas.labels.size)
        block[voxel[np.isin(member, regions)]] = 1
        smooth = gaussian_filter(block.reshape(atlas.labels.shape), _BORDER)
        D[:, 2 * i + 1] = smooth.ravel()[voxel]
    # Smooth ones lie where there are no blocks.
    others = np.setdiff1d(np.arange(k), 2 * np.arange(len(blocks)) + 1)
    taken = np.flatnonzero(np.isin(member, [i for part in blocks for i in part]))
    centres = place[_spread(place, others.size, taken, rng)]
    for number, centre in zip(others.tolist(), centres, strict=True):
        width = rng.uniform(*_WIDTH, 3)
        distance = (((place - centre) / width) ** 2).sum(axis=1)
        D[:, number] = np.exp(-distance / 2)
    return D / D.max(axis=0)


def _blocks(
    place: NDArray[np.float64],
    member: NDArray[np.intp],
    n_blocks: int,
    rng: np.random.Generator,
) -> list[list[int]]:
    """Neighbouring regions, a half of the volume in all; fewer where regions are few."""
    size = np.bincount(member)
    middle = np.stack([np.bincount(member, p) / size for p in place.T], axis=1)
    n_blocks = min(n_blocks, size.size // 2)
    free = np.ones(size.size, bool)
    first = _spread(middle, n_blocks, np.empty(0, np.intp), rng)
    free[first] = False
    blocks = []
    for seed in first.tolist():
        block, n_voxels = [seed], int(size[seed])
        for near in np.argsort(((middle - middle[seed]) ** 2).sum(axis=1)):
            # Up to the number of regions that is nearest to its share.
            if n_voxels + size[near] / 2 > member.size / (2 * n_blocks):
                break
            if free[near]:
                free[near] = False
                block.append(int(near))
                n_voxels += int(size[near])
        blocks.append(block)
    return blocks


def _spread(
    place: NDArray[np.float64],
    number: int,
    taken: NDArray[np.intp],
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Points far from each other: the next one where those before are farthest."""
    distance = np.full(len(place), np.inf)
    if taken.size:
        distance = np.asarray(cKDTree(place[taken]).query(place)[0]) ** 2
    chosen: list[int] = []
    while len(chosen) < number:
        known = chosen or taken.size
        chosen.append(int(distance.argmax() if known else rng.integers(len(place))))
        step = ((place - place[chosen[-1]]) ** 2).sum(axis=1)
        distance = np.minimum(distance, step)
    return np.array(chosen, np.intp)


def _lost(
    plane: NDArray[np.intp],
    n_planes: int,
    n_genes: int,
    mean: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """(n_genes, n_planes): planes that are missing, never all of them."""
    present = np.unique(plane)
    lost = np.zeros((n_genes, n_planes), bool)
    # More than there are cannot be missing.
    number = rng.poisson(min(mean, 100 * n_planes), n_genes)
    number = np.minimum(number, present.size // 2)
    order = rng.permuted(np.tile(present, (n_genes, 1)), axis=1)
    first = np.arange(present.size) < number[:, None]
    lost[np.arange(n_genes)[:, None], order] = first
    return lost
