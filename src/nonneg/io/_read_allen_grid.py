"""Expression volumes of the Allen brain atlases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._adata.volume import BOX, VOXEL, Box
from .._core.arguments import checked
from .._core.validators import check_one_of
from ..atlas import Atlas, annotate
from ._meta_image import Folder, read_meta_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    type AnyPath = str | PathLike[str]

_ANNOTATIONS = ("gridAnnotation", "annotation")
_VALUES = ("energy", "density", "intensity")
# Allen's headers give micrometres.
_MM = 1e-3
# Volumes that are turned into columns together: single columns of a matrix that is
# stored by rows are slow to write.
_BLOCK = 64


@checked
def read_allen_grid(
    path: AnyPath | Sequence[AnyPath] | Mapping[str, AnyPath | Sequence[AnyPath]],
    *,
    annotation: AnyPath | ArrayLike | Atlas | None = None,
    values: Literal["energy", "density", "intensity"] = "energy",
) -> AnnData:
    """Read expression volumes of the Allen Mouse Brain Atlas: voxels x experiments.

    For the grid data that the atlas offers for every in-situ hybridisation experiment
    :cite:p:`Lein2007`, as downloaded: a zip archive, or a folder, with `energy.mhd` and
    `energy.raw`. Everything that works on spots then works on voxels. Voxels without
    data, -1 in the files, are NaN: fill them with :func:`nonneg.pp.impute_knn` before a
    factorization. For thousands of genes in one file see :func:`nonneg.io.read_agea`.

    Parameters
    ----------
    path
        A zip archive, a folder with the header, or a header (`.mhd`); a sequence of
        these; a folder of archives and folders; or a mapping from genes to one or several
        of their experiments.
    annotation
        Which voxels to keep, and their regions: an annotation volume of the same box
        (`gridAnnotation.mhd`, also in an archive), an array of labels indexed by
        anterior–posterior, dorsal–ventral and medial–lateral position, or an
        :class:`nonneg.atlas.Atlas`, which gives regions their names. Voxels with label 0
        are outside. `None`: all voxels of the box.
    values
        Which of the volumes to read: expression energy, density or intensity.

    Returns
    -------
    AnnData of voxels x experiments:

    `.X` : :class:`numpy.ndarray` (dtype `float32`)
        Values as stored, NaN where they are missing.
    `.var['gene']`, `.var['experiment']`
        Gene, and number of the experiment. Names of variables are those of the genes,
        with the experiment where a gene has several; without a mapping, names of the
        files stand for genes.
    `.obs['voxel']`
        Position in the flattened box, so that maps return to it:
        :func:`nonneg.get.image` gives the whole box.
    `.obs['region_id']`, `.obs['region']`, `.obs['hemisphere']`
        Label, with an annotation; with an atlas, as :func:`nonneg.atlas.annotate` writes
        them.
    `.obsm['spatial']` : :class:`numpy.ndarray` (shape `(n_obs, 3)`)
        Coordinates in mm: x from left to right, y from dorsal to ventral, z from anterior
        to posterior. The first two are those of a coronal section.
    `.uns['volume']` : :class:`dict`
        `shape`, `spacing` and `origin` of the box, of arrays indexed by z, y, x.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    TypeError
        If an experiment holds integers, or an annotation does not.
    ValueError
        If a file is damaged or truncated, a header lacks fields, or boxes differ.

    See Also
    --------
    nonneg.pp.average_experiments : one variable per gene

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.io.read_allen_grid(
    ...     {"Pdyn": "71717084.zip", "Nrp1": ["74272479.zip", "100144049.zip"]},
    ...     annotation="P56_Mouse_gridAnnotation.zip",
    ... )  # doctest: +SKIP
    """
    check_one_of(values, _VALUES, "values")
    given = list(_experiments(path, values))
    if not given:
        msg = f"path={path!r} names no experiment."
        raise ValueError(msg)
    first, box = _read_expression(given[0][1], values, None)
    n_voxels = int(np.prod(box.shape))
    labels = _labels(annotation, box)
    voxel = np.arange(n_voxels) if labels is None else np.flatnonzero(labels)
    x = np.empty((voxel.size, len(given)), np.float32)
    for start in range(0, len(given), _BLOCK):
        block = given[start : start + _BLOCK]
        rows = np.empty((len(block), voxel.size), np.float32)
        for row, (_, file) in zip(rows, block, strict=True):
            if file is given[0][1]:
                volume = first
            else:
                volume, _ = _read_expression(file, values, box)
            row[:] = volume.reshape(n_voxels)[voxel]
        x[:, start : start + len(block)] = rows.T
    # Allen's mark of what is missing; there is no negative expression.
    x[x < 0] = np.nan
    adata = AnnData(
        x,
        obs=pd.DataFrame({VOXEL: voxel.astype(np.int64)}, index=voxel.astype(str)),
        var=_variables(given),
        uns={BOX: box.to_uns()},
    )
    adata.obsm["spatial"] = box.coordinates(voxel)
    if isinstance(annotation, Atlas):
        annotate(adata, annotation)
    elif labels is not None:
        adata.obs["region_id"] = labels.ravel()[voxel].astype(np.int64)
    return adata


def _experiments(path: Any, values: str) -> Iterator[tuple[str | None, Path]]:
    """Gene, if it was named, and file of every experiment."""
    if isinstance(path, Mapping):
        for gene, files in path.items():
            for _, file in _experiments(files, values):
                yield str(gene), file
        return
    if not isinstance(path, str) and not hasattr(path, "__fspath__"):
        for each in path:
            yield from _experiments(each, values)
        return
    file = Path(path)
    if not file.is_dir() or _holds(file, values):
        yield None, file
        return
    entries = [
        entry
        for entry in sorted(file.iterdir())
        if (entry.is_dir() or entry.suffix.lower() == ".zip") and _holds(entry, values)
    ]
    if not entries:
        msg = (
            f"The folder {file} holds no {values}.mhd, nor archives or folders that do."
        )
        raise ValueError(msg)
    for entry in entries:
        yield None, entry


def _holds(path: Path, values: str) -> bool:
    with Folder(path) as folder:
        return any(PurePosixPath(name).name == f"{values}.mhd" for name in folder.names)


def _read_expression(
    file: Path, values: str, box: Box | None
) -> tuple[NDArray[Any], Box]:
    image = read_meta_image(file, (values,))
    if image.voxels.dtype.kind != "f":
        msg = (
            f"{image.where} holds integers, as annotations do, not expression. Pass "
            "annotations as `annotation`."
        )
        raise TypeError(msg)
    if np.isinf(image.voxels).any():
        msg = f"{image.where} holds infinite values. The file is damaged."
        raise ValueError(msg)
    found = Box(
        image.voxels.shape,
        tuple(_MM * length for length in image.spacing),
        tuple(_MM * length for length in image.offset),
    )
    if box is not None and found != box:
        msg = (
            f"{image.where} has a box of {found}, but the first experiment one of {box}. "
            "Read experiments of one resolution together."
        )
        raise ValueError(msg)
    return image.voxels, found


def _labels(annotation: Any, box: Box) -> NDArray[Any] | None:
    """Labels of the voxels of the box, 0 outside."""
    if annotation is None:
        return None
    if isinstance(annotation, Atlas):
        labels, where = annotation.labels, "The atlas"
    elif isinstance(annotation, str) or hasattr(annotation, "__fspath__"):
        image = read_meta_image(Path(annotation), _ANNOTATIONS)
        labels, where = image.voxels, image.where
    else:
        labels, where = np.asarray(annotation), "annotation"
    if labels.dtype.kind not in "iub":
        msg = (
            f"{where} must hold integers, labels of regions, but holds {labels.dtype}."
        )
        raise TypeError(msg)
    if labels.shape != box.shape:
        msg = (
            f"{where} has shape {labels.shape}, but the experiments {box.shape}, by "
            "anterior–posterior, dorsal–ventral and medial–lateral position."
        )
        raise ValueError(msg)
    if not labels.any():
        msg = f"{where} has no voxel with a label other than 0."
        raise ValueError(msg)
    return labels


def _variables(given: list[tuple[str | None, Path]]) -> pd.DataFrame:
    """Genes and experiments, by name."""
    experiment = [_experiment(file) for _, file in given]
    gene = [name or file.stem for name, file in given]
    repeated = pd.Series(gene).duplicated(keep=False)
    names = [
        f"{name}-{number}" if several else name
        for name, number, several in zip(gene, experiment, repeated, strict=True)
    ]
    if len(set(names)) < len(names):
        msg = f"The same experiment is named more than once: {names}."
        raise ValueError(msg)
    return pd.DataFrame({"gene": gene, "experiment": experiment}, index=names)


def _experiment(file: Path) -> str:
    """Number of an experiment in its description, or the name of its file."""
    folder = file.parent if file.suffix.lower() == ".mhd" else file
    with Folder(folder) as content:
        for name in content.names:
            if PurePosixPath(name).name == "data_set.xml":
                found = re.search(rb"<id>(\d+)</id>", content.read(name))
                if found:
                    return found[1].decode()
    return file.stem
