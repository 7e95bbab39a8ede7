"""Label volumes with an ontology."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers
from .._core.arguments import checked
from ._structures import LEFT, RIGHT, merge_sides, read_structures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False, repr=False)
class Atlas:
    """Regions of a volume or an image, and the ontology that they belong to.

    Make one with :meth:`from_arrays` or :func:`nonneg.atlas.load`, and hand it to
    :func:`nonneg.atlas.annotate`. Structures are named by id, acronym or full name.

    Parameters
    ----------
    labels
        Id of the structure at every position, 0 outside; indexed by z, y, x, or y, x.
        For the Allen atlases that is anterior–posterior, dorsal–ventral, medial–lateral.
    spacing
        Distance between positions along each axis of the array, in mm.
    origin
        Coordinates of the centre of the first position, by axis of the array, in mm.
    structures
        Table of all structures, each followed by its descendants, with `id` as its
        index, and columns `acronym`, `name`, `parent` (0: none), `level` (number of
        ancestors), `color` (`""`: none) and `n_voxels`, descendants included. Not to be
        changed.
    hemispheres
        1 where the position is on the left, 2 on the right; `None`: not known.
    name
        Name of the atlas.

    Examples
    --------
    >>> import nonneg as nng
    >>> import pandas as pd
    >>> tree = pd.DataFrame(
    ...     {
    ...         "id": [1, 2, 3, 4],
    ...         "acronym": ["brain", "CTX", "MO", "TH"],
    ...         "parent": [0, 1, 2, 1],
    ...     }
    ... )
    >>> atlas = nng.atlas.Atlas.from_arrays([[0, 3, 3], [2, 4, 4]], tree)
    >>> atlas
    Atlas of shape (2, 3), 4 structures, 3 labels
    >>> atlas.ancestors("MO")
    [1, 2]
    >>> atlas.mask("CTX").astype(int)
    array([[0, 1, 1],
           [1, 0, 0]])
    """

    labels: NDArray[np.int64]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    structures: pd.DataFrame
    hemispheres: NDArray[np.int8] | None = None
    name: str = ""

    @classmethod
    @checked
    def from_arrays(
        cls,
        labels: ArrayLike,
        structures: pd.DataFrame
        | Mapping[int, str]
        | str
        | PathLike[str]
        | None = None,
        *,
        spacing: float | Sequence[float] = 1.0,
        origin: float | Sequence[float] = 0.0,
        hemispheres: ArrayLike | Literal["left-right", "right-left"] | None = None,
        name: str = "",
    ) -> Atlas:
        """An atlas from an array of labels and a table of structures.

        Parameters
        ----------
        labels
            Id of the structure at every position, 0 outside: a volume or an image. Of
            labels of both signs, as maps of the dorsal cortex have, negative ones are
            the same structures on the right, as in wfield and LocaNMF; or on the left,
            if acronyms in `structures` say so: `{3: "MOp_R", -3: "MOp_L"}`. Acronyms
            lose these marks.
        structures
            A data frame, a CSV file, or a mapping from ids to acronyms. Columns: `id`
            (or `label`, `structure_id`), and if there are, `acronym`, `name`, `parent`
            (or `parent_structure_id`, or `structure_id_path`), `color` (or
            `color_hex_triplet`). Without parents there is no tree: all structures are at
            level 0. `None`: labels are all that is known.
        spacing
            Distance between positions, in mm, or one for each axis of the array.
        origin
            Coordinates of the centre of the first position, in mm, likewise.
        hemispheres
            An array of the same shape, 1 on the left and 2 on the right; or
            `"left-right"` if the first half of the last axis is on the left, as in
            volumes of the Allen Institute, or `"right-left"`. `None`: not known.
        name
            Name of the atlas.

        Returns
        -------
        The atlas.

        Raises
        ------
        TypeError
            If labels are not integers.
        ValueError
            If labels are not in the table, if the table has no ids, ids or acronyms
            that repeat, unknown parents or cycles, or if an array has another shape.
        """
        array = np.asarray(labels)
        if array.dtype.kind not in "iu":
            msg = f"labels must be integers, but their dtype is {array.dtype}."
            raise TypeError(msg)
        if array.ndim not in {2, 3} or not array.any():
            msg = (
                "labels must be an image or a volume with some label other than 0, but "
                f"have shape {array.shape} and {np.count_nonzero(array)} labels."
            )
            raise ValueError(msg)
        # A copy: an atlas does not change with what it was made from.
        array = array.astype(np.int64)
        signed = bool((array < 0).any() and (array > 0).any())
        if signed:
            if hemispheres is not None:
                msg = (
                    "Labels of both signs are two hemispheres, but hemispheres are "
                    "given as well. Take the absolute values of the labels."
                )
                raise ValueError(msg)
            side = np.sign(array)
            array = np.abs(array)
        table = read_structures(structures, array)
        if signed:
            table, positive = merge_sides(table)
            negative = RIGHT if positive == LEFT else LEFT
            hemispheres = np.select([side > 0, side < 0], [positive, negative], 0)
        unknown = np.setdiff1d(np.unique(array), [0, *table.index])
        if unknown.size:
            msg = (
                f"{unknown.size} labels are not in the table of structures, e.g. "
                f"{unknown[:5].tolist()}. Add them, or set them to 0."
            )
            raise ValueError(msg)
        sides = _hemispheres(hemispheres, array.shape)
        for part in (array, sides):
            if part is not None:
                part.flags.writeable = False
        atlas = cls(
            array,
            _per_axis(spacing, array.ndim, "spacing"),
            _per_axis(origin, array.ndim, "origin"),
            table,
            sides,
            name,
        )
        if min(atlas.spacing) <= 0:
            msg = f"spacing={spacing} must be positive."
            raise ValueError(msg)
        own = np.bincount(atlas.rows.ravel() + 1, minlength=len(table) + 1)[1:]
        before = np.concatenate([[0], np.cumsum(own)])
        table["n_voxels"] = before[atlas._stop] - before[:-1]
        return atlas

    def __repr__(self) -> str:
        name = f" {self.name}" if self.name else ""
        n_labels = np.unique(self.labels[self.labels != 0]).size
        return (
            f"Atlas{name} of shape {self.labels.shape}, {len(self.structures)} "
            f"structures, {n_labels} labels"
        )

    @cached_property
    def rows(self) -> NDArray[np.int32]:
        """Row of the table at every position, -1 outside."""
        order = np.argsort(self.structures.index)
        ids = self.structures.index.to_numpy()[order]
        found = np.searchsorted(ids, self.labels).clip(max=ids.size - 1)
        rows = np.where(self.labels == 0, -1, order[found]).astype(np.int32)
        rows.flags.writeable = False
        return rows

    @property
    def present(self) -> pd.DataFrame:
        """The structures that have voxels, of their own or of descendants."""
        return self.structures[self.structures["n_voxels"] > 0]

    @checked
    def find(self, node: int | str) -> int:
        """Id of a structure given by id, acronym or full name."""
        return int(self.structures.index[self._row(node)])

    @checked
    def ancestors(self, node: int | str) -> list[int]:
        """Ids of what a structure is a part of, the root first."""
        row = int(self._parent_row[self._row(node)])
        found = []
        while row >= 0:
            found.append(int(self.structures.index[row]))
            row = int(self._parent_row[row])
        return found[::-1]

    @checked
    def children(self, node: int | str) -> list[int]:
        """Ids of the parts of a structure, one level below it."""
        below = self.structures["parent"] == self.find(node)
        return [int(i) for i in self.structures.index[below]]

    @checked
    def descendants(self, node: int | str) -> list[int]:
        """Ids of all parts of a structure, each followed by its own."""
        row = self._row(node)
        return [int(i) for i in self.structures.index[row + 1 : self._stop[row]]]

    @checked
    def at_level(self, level: int) -> list[int]:
        """Ids of the structures with so many ancestors."""
        found = self.structures.index[self.structures["level"] == operator.index(level)]
        if found.empty:
            deepest = int(self.structures["level"].max())
            msg = f"There is no structure at level={level}; levels are 0 to {deepest}."
            raise ValueError(msg)
        return [int(i) for i in found]

    @checked
    def dorsal(
        self, *, regions: Sequence[int | str] | None = None, axis: int = 1
    ) -> Atlas:
        """The atlas seen from above: an image of what comes first along an axis.

        Parameters
        ----------
        regions
            Structures to be seen, with all their parts, such as `["Isocortex"]`; what
            lies above them is looked through. `None`: all.
        axis
            Axis of the volume along which to look. 1 is dorsal to ventral in Allen's.

        Returns
        -------
        An atlas with two axes.

        Raises
        ------
        ValueError
            If this is an image already, or nothing is to be seen.
        """
        if self.labels.ndim != 3 or axis not in {0, 1, 2}:
            msg = f"There is no view along axis={axis} of shape {self.labels.shape}."
            raise ValueError(msg)
        seen = self.labels != 0
        if regions is not None:
            rows = self._listed(regions)
            ids = self.structures.index[rows]
            seen = np.any([self.mask(int(node)) for node in ids], axis=0)
        first = np.expand_dims(seen.argmax(axis=axis), axis)
        found = seen.any(axis=axis)
        if not found.any():
            msg = f"Nothing is to be seen of regions={regions}."
            raise ValueError(msg)

        def view(volume: NDArray[Any]) -> NDArray[Any]:
            return np.where(
                found, np.take_along_axis(volume, first, axis).squeeze(axis), 0
            )

        return Atlas.from_arrays(
            view(self.labels),
            self.structures.drop(columns="n_voxels"),
            spacing=tuple(np.delete(self.spacing, axis)),
            origin=tuple(np.delete(self.origin, axis)),
            hemispheres=None if self.hemispheres is None else view(self.hemispheres),
            name=self.name,
        )

    @checked
    def mask(self, node: int | str) -> NDArray[np.bool_]:
        """Where a structure is: its own positions and those of all descendants."""
        row = self._row(node)
        return (self.rows >= row) & (self.rows < self._stop[row])

    @checked
    def group(
        self, level: int | None = None, regions: Sequence[int | str] | None = None
    ) -> NDArray[np.int64]:
        """Labels on a coarser scale.

        Parameters
        ----------
        level
            Each label becomes its ancestor with so many ancestors of its own; labels
            above it stay.
        regions
            Each label becomes its nearest ancestor among these structures, itself
            included, and 0 where it has none.

        Returns
        -------
        Labels of the same shape.
        """
        target = self.targets(level, regions)
        ids = np.append(self.structures.index.to_numpy(np.int64), 0)
        return ids[np.append(target, -1)[self.rows]]

    @checked
    def targets(
        self, level: int | None = None, regions: Sequence[int | str] | None = None
    ) -> NDArray[np.intp]:
        """Row that each row of the table becomes on a coarser scale, -1: none."""
        target = np.arange(len(self.structures))
        if level is not None and regions is not None:
            msg = f"Give either level={level} or regions, not both."
            raise ValueError(msg)
        if level is not None:
            self.at_level(level)
            depth = self.structures["level"].to_numpy()
            while (deep := depth[target] > level).any():
                target[deep] = self._parent_row[target[deep]]
        if regions is not None:
            chosen = np.zeros(target.size, bool)
            chosen[self._listed(regions)] = True
            # Parents come before their children.
            for row in np.flatnonzero(~chosen):
                above = self._parent_row[row]
                target[row] = -1 if above < 0 else target[above]
        return target

    @cached_property
    def _parent_row(self) -> NDArray[np.intp]:
        """-1: none."""
        return self.structures.index.get_indexer(pd.Index(self.structures["parent"]))

    @cached_property
    def _stop(self) -> NDArray[np.intp]:
        """Row after the last descendant."""
        level = self.structures["level"].to_numpy()
        stop = np.full(level.size, level.size)
        ahead: list[int] = []
        for row, depth in enumerate(level.tolist()):
            while ahead and level[ahead[-1]] >= depth:
                stop[ahead.pop()] = row
            ahead.append(row)
        return stop

    @cached_property
    def _names(self) -> dict[str, int]:
        """Rows by acronym and by name; acronyms come first."""
        names = dict(zip(self.structures["name"], range(len(self._stop)), strict=True))
        return names | dict(
            zip(self.structures["acronym"], range(len(self._stop)), strict=True)
        )

    def _listed(self, regions: Sequence[int | str]) -> list[int]:
        """Rows of several structures."""
        if isinstance(regions, str):
            # Letters of a name are structures of nobody.
            regions = [regions]
        rows = [self._row(node) for node in regions]
        if not rows:
            msg = "regions is empty."
            raise ValueError(msg)
        return rows

    def _row(self, node: int | str) -> int:
        if isinstance(node, str):
            row = self._names.get(node, -1)
        else:
            row = int(self.structures.index.get_indexer(pd.Index([node]))[0])
        if row < 0:
            examples = self.structures["acronym"].head(5).tolist()
            msg = (
                f"{node!r} is neither id, acronym nor name of one of the "
                f"{len(self.structures)} structures, such as {examples}."
            )
            raise KeyError(msg)
        return row


def _per_axis(given: Any, n_axes: int, name: str) -> tuple[float, ...]:
    try:
        values = np.broadcast_to(as_numbers(given, name), (n_axes,))
    except ValueError as error:
        msg = f"{name}={given} must be a number, or one for each of {n_axes} axes: {error}"
        raise ValueError(msg) from error
    if not np.isfinite(values).all():
        msg = f"{name}={given} must be finite."
        raise ValueError(msg)
    return tuple(float(value) for value in values)


def _hemispheres(given: Any, shape: tuple[int, ...]) -> NDArray[np.int8] | None:
    if given is None:
        return None
    if isinstance(given, str):
        halves = {"left-right": (LEFT, RIGHT), "right-left": (RIGHT, LEFT)}
        if given not in halves:
            msg = f"hemispheres={given!r} must be one of {list(halves)}, or an array."
            raise ValueError(msg)
        # A plane in the middle belongs to the first half.
        first = np.arange(shape[-1]) < (shape[-1] + 1) // 2
        sides = np.where(first, *halves[given]).astype(np.int8)
        return np.array(np.broadcast_to(sides, shape))
    numbers = as_numbers(given, "hemispheres")
    if numbers.shape != shape:
        msg = f"hemispheres have shape {numbers.shape}, but labels {shape}."
        raise ValueError(msg)
    if not np.isin(numbers, (0, LEFT, RIGHT)).all():
        msg = "hemispheres must be 1 on the left, 2 on the right and 0 elsewhere."
        raise ValueError(msg)
    return numbers.astype(np.int8)
