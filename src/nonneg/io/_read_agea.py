"""The whole in-situ hybridisation atlas in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._adata.checks import as_numbers
from .._adata.volume import BOX, VOXEL, Box
from .._core.arguments import checked
from .._core.text import counted
from ..atlas import Atlas, annotate
from ..atlas._structures import read_structure_file
from ..operators.validate import reading
from ._parquet import read_parquet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import NDArray

_DTYPE = np.dtype("<f2")
_SPACING = 0.2  # mm
# Volumes that are turned into columns together, as in `read_allen_grid`.
_BLOCK = 64


@checked
def read_agea(
    folder: str | PathLike[str],
    *,
    genes: Sequence[str] | None = None,
    structures: pd.DataFrame | str | PathLike[str] | None = None,
    processed: bool = False,
    lazy: bool = True,
) -> AnnData:
    """Read the Allen expression atlas as iblatlas stores it: voxels x experiments.

    4,345 coronal experiments :cite:p:`Lein2007,Ng2009` in one file, which
    `iblatlas.genomics.agea.load()` downloads into a folder: `gene-expression.bin`,
    `gene-expression.pqt`, `label.npy`. The file has one volume after the other, so that a
    gene costs the bytes of one gene (0.3 MB), however many there are.

    Parameters
    ----------
    folder
        The folder with the three files.
    genes
        Genes to read, with all their experiments. `None`: all.
    structures
        Table that the numbers in `label.npy` count the rows of, `void` being row 0:
        `allen_structure_tree.csv` of iblatlas. Numbers beyond its last row are the left
        hemisphere. `None`: numbers are kept as they are.
    processed
        Read `gene-expression-processed.bin`, in which hemispheres were averaged, missing
        voxels imputed, and slices brought to one level.
    lazy
        `X` is a dask array with one chunk for each experiment, which is read when it is
        needed; load what you want to factorize with `adata[:, genes].to_memory()`.
        `False`: `X` is in memory, and nothing else of its size was on the way.

    Returns
    -------
    AnnData of the voxels whose label is not 0 x experiments, with the fields that
    :func:`nonneg.io.read_allen_grid` describes. Names of variables are those of the
    genes, with the number of the experiment where a gene has several. Without
    `structures`, `.obs['label']` holds the number of the region; with it,
    `.obs['region']`, `.obs['region_id']` and `.obs['hemisphere']` are as
    :func:`nonneg.atlas.annotate` writes them.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    KeyError
        If a gene is not in the table.
    ValueError
        If the size of the file does not match the table and the labels, or labels are
        beyond the structures.

    See Also
    --------
    nonneg.io.read_allen_grid : single experiments, as the Allen Institute offers them

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.io.read_agea("agea")  # doctest: +SKIP
    >>> some = adata[:, ["Pdyn", "Nrp1"]].to_memory()  # doctest: +SKIP
    """
    folder = Path(folder)
    kind = "-processed" if processed else ""
    paths = [
        folder / name
        for name in (
            f"gene-expression{kind}.bin",
            "gene-expression.pqt",
            "label.npy",
        )
    ]
    absent = [path.name for path in paths if not path.is_file()]
    if absent:
        msg = (
            f"{folder} lacks {absent}. `iblatlas.genomics.agea.load()` downloads them."
        )
        raise FileNotFoundError(msg)
    labels = _read_labels(paths[2])
    table = _read_table(paths[1])
    voxel = np.flatnonzero(labels)
    volumes = _Volumes(paths[0], labels.shape, voxel)
    n_bytes = len(table) * labels.size * _DTYPE.itemsize
    size = paths[0].stat().st_size
    if size != n_bytes:
        msg = (
            f"{paths[0]} has {size} bytes, but {len(table)} experiments of "
            f"{labels.shape[::-1]} voxels in half precision are {n_bytes}. It is "
            "truncated, or does not belong to the table and the labels beside it."
        )
        raise ValueError(msg)
    rows = np.arange(len(table))
    if genes is not None:
        wanted = pd.Index(list(genes))
        if wanted.empty:
            msg = f"genes={genes!r} names no genes. None reads all of them."
            raise ValueError(msg)
        unknown = wanted[~wanted.isin(table["gene"])].tolist()
        if unknown:
            msg = (
                f"{counted(len(unknown), 'gene', 'is')} not in the atlas, e.g. {unknown[:3]}; it has "
                f"{table['gene'].iloc[:3].tolist()} …."
            )
            raise KeyError(msg)
        rows = np.flatnonzero(table["gene"].isin(wanted))
    box = Box(labels.shape, (_SPACING,) * 3, (0.0,) * 3)
    adata = AnnData(
        volumes.lazy(rows) if lazy else volumes.load(rows),
        obs=pd.DataFrame({VOXEL: voxel}, index=voxel.astype(str)),
        var=table.iloc[rows],
        uns={BOX: box.to_uns()},
    )
    adata.obsm["spatial"] = box.coordinates(voxel)
    if structures is None:
        adata.obs["label"] = labels.ravel()[voxel]
    else:
        annotate(adata, _atlas(labels, structures, box))
    return adata


@dataclass(frozen=True)
class _Volumes:
    """Experiments in a file: some voxels of each."""

    path: Path
    shape: tuple[int, ...]
    """Of the box: z, y, x. In the file, x comes first."""
    voxel: NDArray[np.intp]

    def lazy(self, rows: NDArray[np.intp]) -> Any:
        """Voxels x experiments, one chunk for each of these."""
        try:
            import dask.array as da
        except ImportError as error:
            msg = (
                "Lazy reading needs dask. Install it with `pip install 'nonneg[dask]'`, or "
                "pass lazy=False."
            )
            raise ImportError(msg) from error
        columns = da.from_array(rows[None], chunks=(1, 1))
        return columns.map_blocks(
            self._column,
            dtype=np.float32,
            chunks=((self.voxel.size,), (1,) * rows.size),
            meta=np.empty((0, 0), np.float32),
        )

    def load(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The same in memory."""
        x = np.empty((self.voxel.size, rows.size), np.float32)
        for start in range(0, rows.size, _BLOCK):
            block = rows[start : start + _BLOCK]
            x[:, start : start + block.size] = np.stack(
                [self.read(int(row)) for row in block], axis=1
            )
        return x

    def _column(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return self.read(int(rows[0, 0]))[:, None]

    def read(self, row: int) -> NDArray[np.float32]:
        """One experiment, NaN where it is missing."""
        size = int(np.prod(self.shape))
        # Not mapped into memory: the kernel would read more than is asked for.
        stored = np.fromfile(
            self.path, _DTYPE, size, offset=row * size * _DTYPE.itemsize
        )
        volume = stored.reshape(self.shape[::-1]).T
        values = volume.reshape(-1)[self.voxel].astype(np.float32)
        values[values < 0] = np.nan
        return values


def _read_labels(path: Path) -> NDArray[np.int64]:
    """Numbers of regions, by z, y, x."""
    with reading(str(path)):
        labels = np.load(path)
    numbers = as_numbers(labels, str(path))
    if labels.ndim != 3 or not (np.isfinite(numbers) & (numbers >= 0)).all():
        msg = (
            f"{path} must hold a volume of whole numbers, not negative, but its shape is "
            f"{labels.shape} and its dtype {labels.dtype}."
        )
        raise ValueError(msg)
    whole = numbers.astype(np.int64)
    if (whole != numbers).any() or not whole.any():
        msg = f"{path} must hold whole numbers, some of which are not 0."
        raise ValueError(msg)
    return whole.T


def _read_table(path: Path) -> pd.DataFrame:
    """Gene and number of every experiment."""
    table = read_parquet(path)
    if not {"id", "gene"} <= set(table):
        msg = f"{path} must have the columns id and gene, but has {list(table)}."
        raise ValueError(msg)
    gene = table["gene"].astype(str)
    number = table["id"].astype(str)
    several = gene.duplicated(keep=False)
    return pd.DataFrame(
        {"gene": gene.to_numpy(object), "experiment": number.to_numpy(object)},
        index=gene.where(~several, gene + "-" + number).to_numpy(object),
    )


def _atlas(labels: NDArray[np.int64], structures: Any, box: Box) -> Atlas:
    """Numbers as ids of structures, and sides."""
    table = structures
    if not isinstance(structures, pd.DataFrame):
        table = read_structure_file(structures)
    ids = as_numbers(table.get("id", []), "column 'id' of structures")
    if not ids.size or ids[0] != 0 or not np.isfinite(ids).all():
        msg = "structures must have a column id, whose first entry is 0, of void."
        raise ValueError(msg)
    ids = ids.astype(np.int64)
    # Structures are listed twice, void once: on the right and on the left.
    n_structures = ids.size - 1
    if labels.max() > 2 * n_structures:
        msg = (
            f"label.npy counts to {labels.max()}, but there are {n_structures} structures "
            "on each side."
        )
        raise ValueError(msg)
    left = labels > n_structures
    return Atlas.from_arrays(
        ids[np.where(left, labels - n_structures, labels)],
        table,
        spacing=box.spacing,
        origin=box.origin,
        hemispheres=np.select([labels == 0, left], [0, 1], 2),
        name="AGEA",
    )
