"""Held-out deviance of models and settings."""

from __future__ import annotations

import math
import time
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
from anndata import AnnData
from sklearn.model_selection import ShuffleSplit
from sklearn.neighbors import NearestNeighbors
from tqdm.auto import tqdm

from ..._adata.checks import check_nonnegative
from ..._adata.coordinates import read_coordinates
from ..._adata.keys import side_key
from ..._adata.labels import read_sections
from ..._adata.read import Read, read_matrix, resolve_adata
from ..._adata.views import read_factors
from ..._adata.write import check_replaced, write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.quiet import quietly
from ..._core.random import as_seed, stream
from ..._core.settings import settings
from ..._core.validators import check_one_of, check_positive_int
from ..._core.warnings import warn, warn_of_many
from ...metrics import poisson_deviance
from ...operators.gather import to_csr
from .._nmf.nmf import nmf
from .._predict.predict import predict
from .fa import fa
from .front import FAMILY, FamilyMember
from .nsf import nsf
from .nsfh import nsfh
from .pnmf import pnmf
from .rsf import rsf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.quiet import Told
    from ..._core.random import RNGLike
    from .front import Method


_KEY = "model"

_N_NEIGHBORS = 4

# Of the rate that a gene has in the training data.
_FLOOR = 0.01


class Setting(NamedTuple):
    """One model with its numbers of factors."""

    method: str
    n_components: int | None
    n_spatial: int | None


class _Model(NamedTuple):
    """A row of the table of models: how it is fitted, and what it is called with."""

    mean: Callable[[_Split, Setting, Mapping[str, Any]], NDArray[np.floating[Any]]]
    """Expected counts of held-out observations at size factor 1."""
    fit: Callable[..., Any] | None = None
    """`None`: there is nothing to fit, and there are no factors."""
    spatial: bool = False
    defaults: Mapping[str, Any] = {}
    sized: bool = False
    """Whether size factors are part of the scores."""


@checked
@shared_docs
def compare(
    adata: AnnData | SpatialData,
    models: str | Sequence[str] = "nsf",
    n_components: int | Sequence[int] = 10,
    *,
    n_spatial: int | Sequence[int] | None = None,
    n_splits: int = 3,
    test_size: float = 0.1,
    layer: str | None = None,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    model_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
    rng: RNGLike = 0,
    key_added: str = "comparison",
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Choose a model and its number of factors by held-out deviance.

    Splits the locations of each section, fits every model with every number of factors to one part, and
    scores how well it predicts the counts of the other, as the benchmark of
    :cite:t:`Townes2023` does but with the Poisson deviance proper. All models are given
    the size factors of held-out observations (total over the median of the training
    part) and no mean below 1 % of a gene's rate in the training part.

    Take the smallest number of factors from which on the deviance no longer falls by
    more than its standard error; for the number of spatial ones of NSFH, the same. Then
    show it with :func:`nonneg.pl.comparison`.

    Parameters
    ----------
    adata
        Annotated data, observations x variables, with counts and coordinates.
    models
        Any of `"nsf"`, `"nsfh"`, `"rsf"`, predicted at held-out locations by
        :func:`nonneg.tl.predict`; `"pnmf"`, `"fa"`, `"nmf"` (with the
        Kullback-Leibler divergence), whose factors are averaged over the 4 nearest
        training observations; `"neighbors"`, the mean of these observations;
        `"intercept"`, the rate of each gene.
    n_components
        Numbers of factors to try.
    n_spatial
        Numbers of spatial factors to try in NSFH; those above `n_components` are left
        out. `None`: half.
    n_splits
        Number of random splits; the same for all models.
    test_size
        Part of the locations to hold out, of each section.
    layer
        Layer with counts instead of `adata.X`.
    %(space)s
    model_kwargs
        Further arguments of models, by name.
    %(rng)s
    key_added
        Key of the result in `adata.uns`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns[key_added]` : :class:`pandas.DataFrame`
        One row for every model, setting and split: `model`, `n_components` and
        `n_spatial` (0 where there are none), `split`, `deviance` (mean Poisson deviance
        of held-out counts), `seconds`. After Ctrl-C, those that were finished, and
        `.attrs["interrupted"]`.

    Raises
    ------
    KeyError
        If a layer, table, column or coordinates do not exist.
    ValueError
        If a model is unknown, or a number does not suit.

    See Also
    --------
    nonneg.pl.comparison : draws the result
    nonneg.metrics.poisson_deviance : the score

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.compare(adata, ["pnmf", "intercept"], [2, 4], n_splits=1)
    >>> adata.uns["comparison"]["n_components"].tolist()
    [2, 4, 0]
    """
    settings_ = _settings(
        [models] if isinstance(models, str) else models, n_components, n_spatial
    )
    check_positive_int(n_splits, "n_splits")
    if not 0 < test_size < 1:
        msg = f"test_size={test_size!r} must be between 0 and 1."
        raise ValueError(msg)
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    check_replaced(target, key_added, "deviance")
    data = _Data.read(target, layer, spatial_key, library_key)
    given = {} if model_kwargs is None else model_kwargs
    rows: list[dict[str, Any]] = []
    told: Told = []
    interrupted = False
    with tqdm(
        total=n_splits * len(settings_), desc="compare", disable=not settings.progress
    ) as bar:
        try:
            for split, out in enumerate(data.splits(n_splits, test_size, seed)):
                part = _Split(data, ~out, out, spatial_key, library_key)
                for setting in settings_:
                    begin = time.perf_counter()
                    kwargs = {**given.get(setting.method, {}), "rng": seed}
                    with quietly() as messages:
                        mean = _MODELS[setting.method].mean(part, setting, kwargs)
                    told += messages
                    rows.append(
                        {
                            "model": setting.method,
                            "n_components": setting.n_components or 0,
                            "n_spatial": setting.n_spatial or 0,
                            "split": split,
                            "deviance": part.score(mean),
                            "seconds": time.perf_counter() - begin,
                        }
                    )
                    bar.update()
        except KeyboardInterrupt:
            if not rows:
                raise
            interrupted = True
    table = pd.DataFrame(rows)
    table.index = table.index.astype(str)
    if interrupted:
        table.attrs["interrupted"] = True
    write_values(target, {("uns", key_added): table})
    warn_of_many(told, len(rows))
    if interrupted:
        n_fits = n_splits * len(settings_)
        warn(f"Interrupted after {len(rows)} of {n_fits} fits, which are stored.")
    return target if copy else None


def _settings(
    models: Sequence[str],
    n_components: int | Sequence[int],
    n_spatial: int | Sequence[int] | None,
) -> list[Setting]:
    sizes = (
        [n_components] if isinstance(n_components, int | np.integer) else n_components
    )
    sizes = [check_positive_int(size, "n_components") for size in sizes]
    spatial: Sequence[int | None]
    if n_spatial is None:
        spatial = [None]
    else:
        spatial = [n_spatial] if isinstance(n_spatial, int | np.integer) else n_spatial
    found = []
    for name in models:
        check_one_of(name, _MODELS, "models")
        model = _MODELS[name]
        if model.fit is None:
            found.append(Setting(name, None, None))
            continue
        hybrid = _member(name).hybrid
        for size, t in product(sizes, spatial if hybrid else [None]):
            if t is not None and t > size:
                continue
            default = -(-size // 2) if hybrid else size
            n = default if t is None else t
            found.append(Setting(name, size, n if model.spatial else None))
    if not found:
        msg = "There is nothing to compare: every n_spatial is above n_components."
        raise ValueError(msg)
    return found


class _Data(NamedTuple):
    adata: AnnData
    counts: sp.csr_matrix
    coords: NDArray[np.float64]
    """With a last axis that keeps sections apart."""
    section: NDArray[np.intp]

    @staticmethod
    def read(
        adata: AnnData, layer: str | None, spatial_key: str, library_key: str | None
    ) -> _Data:
        source = read_matrix(adata, Read(layer), on_cluster=False)
        check_nonnegative(source.op.stats(), source.where)
        # Every split is another copy of most rows: they are read once.
        counts = to_csr(source.op)
        coords = read_coordinates(adata, spatial_key)
        section, _ = read_sections(adata, library_key)
        # Farther than anything within a section.
        apart = 10 * (np.ptp(coords, axis=0).max() + 1) * section
        bare = AnnData(
            counts,
            obs=cast("pd.DataFrame", adata.obs),
            var=pd.DataFrame(index=adata.var_names),
        )
        bare.obsm[spatial_key] = adata.obsm[spatial_key]
        return _Data(bare, counts, np.column_stack([coords, apart]), section)

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


class _Split:
    """Training and held-out observations."""

    def __init__(
        self,
        data: _Data,
        train: NDArray[np.bool_],
        held: NDArray[np.bool_],
        spatial_key: str,
        library_key: str | None,
    ) -> None:
        self.spatial_key, self.library_key = spatial_key, library_key
        totals = np.asarray(data.counts.sum(1), np.float64).ravel()
        seen = totals[train]
        size = totals / np.median(seen[seen > 0])
        self.train = data.adata[train].copy()
        self.train_counts = data.counts[train]
        self.held = data.counts[held]
        self.held_size = size[held][:, None]
        # Empty observations would be divided by zero; they have nothing to tell.
        self.train_size = np.where(seen > 0, size[train], 1)
        self.rate = np.asarray(data.counts[train].sum(0)).ravel() / size[train].sum()
        self.held_section = (
            None
            if library_key is None
            else np.asarray(data.adata.obs[library_key].astype(str), str)[held]
        )
        self.held_coords = np.asarray(data.adata.obsm[spatial_key])[held]
        finder = NearestNeighbors(n_neighbors=min(_N_NEIGHBORS, int(train.sum())))
        self.nearest = finder.fit(data.coords[train]).kneighbors(
            data.coords[held], return_distance=False
        )

    def score(self, mean: NDArray[np.floating[Any]]) -> float:
        """Deviance of held-out counts, given expected counts at size factor 1."""
        mean = np.maximum(mean, _FLOOR * self.rate) * self.held_size
        return poisson_deviance(self.held, mean)

    def average(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Means over the training observations that are nearest."""
        return values[self.nearest].mean(1)


def _rates(
    part: _Split, _: Setting, __: Mapping[str, Any]
) -> NDArray[np.floating[Any]]:
    return np.broadcast_to(part.rate, part.held.shape)


def _neighbors(
    part: _Split, _: Setting, __: Mapping[str, Any]
) -> NDArray[np.floating[Any]]:
    counts = part.train_counts.multiply(1 / part.train_size[:, None]).tocsr()
    return part.average(counts.toarray())


def _predicted(
    part: _Split, setting: Setting, kwargs: Mapping[str, Any]
) -> NDArray[np.floating[Any]]:
    """At the coordinates."""
    own: dict[str, Any] = {
        "spatial_key": part.spatial_key,
        "library_key": part.library_key,
    }
    if _member(setting.method).hybrid:
        own["n_spatial"] = setting.n_spatial
    _fit(part.train, setting, {**kwargs, **own})
    found = predict(
        part.train,
        part.held_coords,
        key=_KEY,
        section=part.held_section,
        expression=True,
    )
    return np.asarray(found.X)


def _averaged(
    part: _Split, setting: Setting, kwargs: Mapping[str, Any]
) -> NDArray[np.floating[Any]]:
    """Of the factors of neighbours."""
    _fit(part.train, setting, kwargs)
    stored = read_factors(part.train, _KEY)
    size = part.train_size[:, None] if _MODELS[setting.method].sized else 1
    mean = part.average(stored.scores / size) @ stored.loadings.T
    if _member(setting.method).linear:
        center = part.train.var[side_key(stored.keys, "var", "center")]
        return np.expm1(mean + center.to_numpy())
    return mean


_MODELS = {
    "nsf": _Model(_predicted, nsf, spatial=True),
    "nsfh": _Model(_predicted, nsfh, spatial=True),
    "rsf": _Model(_predicted, rsf, spatial=True),
    "pnmf": _Model(_averaged, pnmf),
    "fa": _Model(_averaged, fa),
    "nmf": _Model(
        _averaged, nmf, defaults={"beta_loss": "kullback-leibler"}, sized=True
    ),
    "neighbors": _Model(_neighbors),
    "intercept": _Model(_rates),
}


def _member(name: str) -> FamilyMember:
    """What tells a model of the NSF family apart; others have nothing of it."""
    return FAMILY.get(cast("Method", name), FamilyMember())


def _fit(adata: AnnData, setting: Setting, kwargs: Mapping[str, Any]) -> None:
    model = _MODELS[setting.method]
    assert model.fit is not None
    model.fit(
        adata,
        setting.n_components,
        **{**model.defaults, **kwargs, "key_added": _KEY},
    )
    if read_factors(adata, _KEY).entry.interrupted:
        raise KeyboardInterrupt
