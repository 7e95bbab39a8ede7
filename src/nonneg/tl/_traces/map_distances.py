"""Maps of several sessions and animals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from ..._adata.checks import as_numbers
from ..._adata.sessions import read_sessions, read_subjects
from ..._adata.traces import read_result
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.validators import check_one_of, check_positive_int
from ...models.traces.labels import subject_test

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._core.random import RNGLike


class MapDistances(NamedTuple):
    """How far maps of sessions are from each other."""

    table: pd.DataFrame
    """A row for every pair of sessions: `session`, `other`, `subject`, `other_subject`,
    `same_subject`, `distance`."""
    statistic: float
    """Mean distance between subjects less that within them."""
    null: NDArray[np.float64]
    """The same of permuted subjects."""
    p_value: float
    """Share of permutations with a statistic as large."""
    regions: list[str]
    """Regions that all sessions have."""


@checked
@shared_docs
def map_distances(
    sessions: Mapping[str, AnnData],
    key: str = "locanmf",
    *,
    subjects: Mapping[str, str] | Sequence[str] | None = None,
    values: Literal["r", "r_held_out"] = "r",
    n_permutations: int = 9999,
    rng: RNGLike = 0,
) -> MapDistances:
    """Ask whether maps of canonical correlations are particular to animals.

    The distance of two maps is the mean squared difference over pairs of regions
    :cite:p:`Saxena2020`. If maps are particular to animals, sessions of the same one are
    closer than those of two. Every session is in many distances, which therefore are no
    independent observations, as a t-test takes them to be: here, animals of
    sessions are permuted instead.

    Parameters
    ----------
    sessions
        Mapping from the name of a session to its annotated data, each with the result
        of :func:`nonneg.tl.region_cca`.
    key
        Key of the components.
    subjects
        Animal of each session, as a mapping or in the order of the sessions. `None`:
        `.uns['subject']` of each.
    values
        Which correlations: `"r"`, in-sample, for which sessions should be of equal
        length and regions have as many components (`n_components` there); or
        `"r_held_out"`.
    n_permutations
        Number of permutations; the smallest p-value is `1 / (1 + n_permutations)`.
    rng
        Seed or :class:`numpy.random.Generator`.

    Returns
    -------
    :class:`~nonneg.tl.MapDistances`: `table`, `statistic`, `null`, `p_value`, `regions`.

    Raises
    ------
    KeyError
        If a session has no map, or its animal is not known.
    TypeError
        If `sessions` is not a mapping to AnnData objects.
    ValueError
        If sessions have fewer than two regions in common, or no animal has two
        sessions, or all have the same one.

    See Also
    --------
    nonneg.pl.map_distances : violins

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> sessions = {}
    >>> for seed in range(4):
    ...     adata = nng.datasets.quilt(12, 400, rng=seed)
    ...     adata.var["time"] = np.arange(400) / 10
    ...     adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    ...     nng.tl.region_cca(adata, key="truth", n_shifts=0)
    ...     sessions[f"session {seed}"] = adata
    >>> found = nng.tl.map_distances(
    ...     sessions, key="truth", subjects=["A", "A", "B", "B"], n_permutations=99
    ... )
    >>> len(found.table)
    6
    """
    check_one_of(values, ("r", "r_held_out"), "values")
    n_permutations = check_positive_int(n_permutations, "n_permutations")
    seed = as_seed(rng)
    each = read_sessions(sessions)
    animals = read_subjects(each, subjects)
    _, codes, counts = np.unique(animals, return_inverse=True, return_counts=True)
    if counts.size < 2 or counts.max() < 2:
        msg = (
            "There must be two animals, and one of them must have two sessions, but "
            f"sessions are of {sorted(set(animals.tolist()))}."
        )
        raise ValueError(msg)
    maps, regions = _common_maps(each, key, values)
    pairs = np.triu_indices(len(regions), 1)
    flat = np.stack([x[pairs] for x in maps])
    known = np.isfinite(flat).all(axis=0)
    if not known.any():
        msg = "No pair of regions has a correlation in all sessions."
        raise ValueError(msg)
    flat = flat[:, known]
    distance = ((flat[:, None] - flat) ** 2).mean(axis=2)
    test = subject_test(
        distance,
        codes,
        n_permutations=n_permutations,
        rng=np.random.default_rng(seed),
    )
    names = np.array(list(each), object)
    i, j = np.triu_indices(names.size, 1)
    table = pd.DataFrame(
        {
            "session": names[i],
            "other": names[j],
            "subject": animals[i].astype(object),
            "other_subject": animals[j].astype(object),
            "same_subject": animals[i] == animals[j],
            "distance": distance[i, j],
        }
    )
    return MapDistances(table, test.statistic, test.null, test.p_value, regions)


def _common_maps(
    sessions: Mapping[str, AnnData], key: str, values: str
) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Maps of the regions that all sessions have."""
    found = {}
    for name, adata in sessions.items():
        try:
            found[name] = read_result(adata, key, "region_cca", {"r", "r_held_out"})
        except KeyError as error:
            msg = f"Session {name!r}: {error.args[0]}"
            raise KeyError(msg) from None
    lists = {
        name: [str(region) for region in np.ravel(one["regions"])]
        for name, one in found.items()
    }
    first = next(iter(lists.values()))
    regions = [r for r in first if all(r in others for others in lists.values())]
    if len(regions) < 2:
        msg = f"Sessions have fewer than two regions in common: {regions}."
        raise ValueError(msg)
    maps = []
    for name, one in found.items():
        order = [lists[name].index(region) for region in regions]
        n = len(lists[name])
        whole = as_numbers(one[values], f"{values!r} of session {name!r}")
        if whole.shape != (n, n):
            msg = (
                f"Session {name!r} has {values!r} of shape {whole.shape} for {n} regions: "
                "it has changed. Call `nonneg.tl.region_cca` again."
            )
            raise ValueError(msg)
        maps.append(whole[np.ix_(order, order)])
    return maps, regions
