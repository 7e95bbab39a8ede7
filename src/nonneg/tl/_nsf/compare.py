"""Held-out deviance of models and settings."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from sklearn.model_selection import ShuffleSplit
from sklearn.neighbors import NearestNeighbors
from tqdm.auto import tqdm

from ..._adata.checks import check_nonnegative
from ..._adata.coordinates import read_coordinates
from ..._adata.keys import side_key
from ..._adata.labels import read_sections
from ..._adata.read import Read, read_matrix, resolve_adata
from ..._adata.size_factors import is_total, read_size
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
from ...models.nsf.counts import Rates, part_inside, row_blocks
from ...operators.gather import to_csr
from .._nmf.nmf import nmf
from .._predict.predict import predict
from .fa import fa
from .front import FAMILY, FamilyMember
from .nsf import nsf
from .nsfh import nsfh
from .pnmf import pnmf
from .predict import expression_of
from .rsf import rsf
from .store import share_of_zeros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.schema import ProbabilisticEntry
    from ..._core.quiet import Told
    from ..._core.random import RNGLike
    from ...operators.stats import MatrixStats
    from .front import Method
    from .predict import Expression


_KEY = "model"

_N_NEIGHBORS = 4

# Of intervals whose coverage is measured.
_LEVEL = 0.9

# Of the rate that a gene has in the training data.
_FLOOR = 0.01


class Setting(NamedTuple):
    """One model with its numbers of factors."""

    name: str
    """What it is called in the table."""
    method: str
    kwargs: Mapping[str, Any]
    """Further arguments."""
    n_components: int | None
    n_spatial: int | None


class _Model(NamedTuple):
    """A row of the table of models: how it is fitted, and what it is called with."""

    fit: Callable[..., Any] | None = None
    """`None`: there is nothing to fit, and there are no factors."""
    spatial: bool = False
    defaults: Mapping[str, Any] = {}
    sized: bool = False
    """Whether size factors are part of the scores."""


class _Expected(NamedTuple):
    """What a model expects of some observations."""

    scores: Any
    """(n, k): factors at size factor 1, or weights of observations."""
    loadings: Any
    """(n_vars, k)"""
    size: NDArray[np.float64]
    """(n, 1)"""
    std: NDArray[np.floating[Any]] | None = None
    """Of the factors; `None`: the model says nothing of it."""
    how: Expression | None = None
    """What makes counts of factors; `None`: their products with the loadings."""

    def rates(self, rows: slice) -> Rates:
        """Of a block of observations."""
        scores, size = self.scores[rows], self.size[rows]
        std = np.zeros(scores.shape) if self.std is None else self.std[rows]
        if self.how is not None:
            return self.how.rates(scores, std, size)
        # Of neighbours, both are sparse.
        found: Any = scores @ self.loadings.T
        mean = size * (found.toarray() if hasattr(found, "toarray") else found)
        return Rates(mean, np.zeros_like(mean))

    @property
    def counts(self) -> bool:
        """Whether it has a distribution of counts."""
        return self.how is None or self.how.counts


class _Outcome(NamedTuple):
    """What is scored of a model."""

    held: _Expected
    seen: _Expected | None
    """Of the training part; `None`: there is no fit that could be too close."""
    sparsity: float


@checked
@shared_docs
def compare(
    adata: AnnData | SpatialData,
    models: str | Sequence[str] | Mapping[str, Mapping[str, Any]] = "nsf",
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
    """Choose a model, its settings and its number of factors by held-out deviance.

    Splits the locations of each section, fits every model with every number of factors to one part, and
    scores how well it predicts the counts of the other, as the benchmark of
    :cite:t:`Townes2023` does but with the Poisson deviance proper. All models are given
    the size factors of held-out observations (total over the median of the training
    part; those of the fit where it has others) and no mean below 1 % of a gene's rate in
    the training part.

    Variants of one model stand side by side where they have names: likelihoods, kernels,
    numbers of inducing points.

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
        `"intercept"`, the rate of each gene. Or a mapping of names to arguments, of which
        `model` is one of these: `{"NSF": {"model": "nsf"}, "NB": {"model": "nsf",
        "likelihood": "negative_binomial"}}`. Variants with other `size_factors` (`None`,
        or a column of `adata.obs`) are given other things about held-out observations
        than the rest, and are to be compared among themselves.
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
        Further arguments of models, by their names (`"nsf"`), for all variants that do not
        have others.
    %(rng)s
    key_added
        Key of the result in `adata.uns`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns[key_added]` : :class:`pandas.DataFrame`
        One row for every model, setting and split. `model`: its name, and `method`: which
        one it is. `n_components` and `n_spatial`: 0 where there are none. `split`.
        `deviance`: mean Poisson deviance of held-out counts. `training_deviance`: of those
        that were fitted, at the factors of the fit. `rmse`: root of the mean squared error
        of held-out counts. `coverage`: share of held-out counts inside intervals of 90 %
        (see below). `sparsity`: share of zero loadings. `seconds`. NaN where a model does
        not have it. After Ctrl-C, those that were finished, and `.attrs["interrupted"]`.

    Raises
    ------
    KeyError
        If a layer, table, column or coordinates do not exist.
    ValueError
        If a model or an argument of it is unknown, or a number does not suit.

    Notes
    -----
    Intervals are those of :func:`nonneg.tl.predict`: what is unknown of the factors, and
    the noise of counting. Models that say nothing of what they do not know (all but
    `"nsf"` and `"nsfh"`) have the noise only; `"rsf"`, `"fa"` and real values have no
    distribution of counts. Whole numbers cannot have exactly 10 % outside: of a count at
    the end of an interval, the part inside is counted, so that .9 is right whatever the
    size of the counts :cite:p:`Czado2009`.

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
    >>> variants = {"nmf": {}, "squares": {"model": "nmf", "beta_loss": "frobenius"}}
    >>> nng.tl.compare(adata, variants, 2, n_splits=1, key_added="variants")
    >>> adata.uns["variants"]["model"].tolist()
    ['nmf', 'squares']
    """
    settings_ = _settings(
        _variants(models, {} if model_kwargs is None else model_kwargs),
        n_components,
        n_spatial,
    )
    check_positive_int(n_splits, "n_splits")
    if not 0 < test_size < 1:
        msg = f"test_size={test_size!r} must be between 0 and 1."
        raise ValueError(msg)
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    check_replaced(target, key_added, "deviance")
    data = _Data.read(target, layer, spatial_key, library_key)
    data.check(settings_, test_size)
    rows: list[dict[str, Any]] = []
    told: Told = []
    interrupted = False
    with tqdm(
        total=n_splits * len(settings_), desc="compare", disable=not settings.progress
    ) as bar:
        try:
            for split, out in enumerate(data.splits(n_splits, test_size, seed)):
                part = _Split(data, out, spatial_key, library_key)
                for setting in settings_:
                    begin = time.perf_counter()
                    with quietly() as messages:
                        outcome = _run(part, setting, seed)
                    told += messages
                    rows.append(
                        {
                            "model": setting.name,
                            "method": setting.method,
                            "n_components": setting.n_components or 0,
                            "n_spatial": setting.n_spatial or 0,
                            "split": split,
                            **part.score(outcome),
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


# Arguments of a model that `compare` gives itself, and where they belong.
_RESERVED = {
    "n_components": "pass it to `compare`",
    "n_spatial": "pass it to `compare`",
    "layer": "pass it to `compare`",
    "spatial_key": "pass it to `compare`",
    "library_key": "pass it to `compare`",
    "table_key": "pass it to `compare`",
    "rng": "pass it to `compare`",
    "obsm": "counts of variables are compared",
    "mask_var": "subset `adata` to the variables first: all models are scored on the same",
    "key_added": "fits are not kept",
    "copy": "fits are not kept",
}


def _variants(
    models: str | Sequence[str] | Mapping[str, Mapping[str, Any]],
    common: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, model and arguments of everything to be compared."""
    if isinstance(models, Mapping):
        named = [(name, dict(own)) for name, own in models.items()]
    else:
        names = [models] if isinstance(models, str) else models
        named = [(name, {}) for name in names]
    if not named:
        msg = f"models={models!r} names no models. There are {list(_MODELS)}."
        raise ValueError(msg)
    found = []
    for name, own in named:
        given = name if "model" not in own else own.pop("model")
        check_one_of(given, _MODELS, f"models[{name!r}]" if given != name else "models")
        found.append((str(name), given, {**common.get(given, {}), **own}))
    for name in common:
        check_one_of(name, _MODELS, "model_kwargs")
    for name, method, kwargs in found:
        _check_kwargs(name, method, kwargs)
    return found


def _check_kwargs(name: str, method: str, kwargs: Mapping[str, Any]) -> None:
    """Before the first fit, whether a model takes its arguments."""
    fit = _MODELS[method].fit
    taken = [] if fit is None else list(inspect.signature(fit).parameters)[1:]
    for argument, value in kwargs.items():
        if argument in _RESERVED:
            msg = (
                f"{argument!r} is no argument of model {name!r}: {_RESERVED[argument]}."
            )
            raise ValueError(msg)
        if argument not in taken:
            own = [one for one in taken if one not in _RESERVED]
            msg = (
                f"Model {name!r} has no argument {argument!r}; {method!r} takes {own}."
            )
            raise ValueError(msg)
        if argument == "size_factors" and not isinstance(value, str | None):
            msg = (
                f"size_factors of model {name!r} is an array, but fits are to parts of the "
                "observations: store it in adata.obs and name the column."
            )
            raise ValueError(msg)


def _settings(
    variants: Sequence[tuple[str, str, Mapping[str, Any]]],
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
    for name, method, kwargs in variants:
        model = _MODELS[method]
        if model.fit is None:
            found.append(Setting(name, method, kwargs, None, None))
            continue
        hybrid = _member(method).hybrid
        for argument, given, n in (
            ("n_components", n_components, len(sizes)),
            ("n_spatial", n_spatial, len(spatial) if hybrid else 1),
        ):
            if not n:
                msg = f"{argument}={given!r} must hold a number for model {name!r}."
                raise ValueError(msg)
        for size, t in product(sizes, spatial if hybrid else [None]):
            if t is not None and t > size:
                continue
            default = -(-size // 2) if hybrid else size
            n = default if t is None else t
            n_spatial_ = n if model.spatial else None
            found.append(Setting(name, method, kwargs, size, n_spatial_))
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
    stats: MatrixStats

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
        return _Data(
            bare, counts, np.column_stack([coords, apart]), section, source.op.stats()
        )

    def check(self, settings_: Sequence[Setting], test_size: float) -> None:
        """Before the first fit, whether every part to be fitted can carry the factors."""
        held = next(self.splits(1, test_size, 0))
        n_train, n_vars = int((~held).sum()), self.counts.shape[1]
        largest = max((one.n_components or 0 for one in settings_), default=0)
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


class _Split:
    """Training and held-out observations."""

    def __init__(
        self,
        data: _Data,
        held: NDArray[np.bool_],
        spatial_key: str,
        library_key: str | None,
    ) -> None:
        self.spatial_key, self.library_key = spatial_key, library_key
        self.whole, self.out, train = data, held, ~held
        totals = np.asarray(data.counts.sum(1), np.float64).ravel()
        seen = totals[train]
        # Of data with empty observations only there is no median.
        size = totals / (np.median(seen[seen > 0]) if seen.any() else 1.0)
        self.train = data.adata[train].copy()
        self.train_counts = data.counts[train]
        self.held = data.counts[held]
        self.held_size = size[held][:, None]
        # Empty observations would be divided by zero; they have nothing to tell.
        self.train_size = np.where(seen > 0, size[train], 1)[:, None]
        total = size[train].sum()
        self.rate = np.asarray(data.counts[train].sum(0)).ravel() / (total or 1.0)
        self.held_section = (
            None
            if library_key is None
            else np.asarray(data.adata.obs[library_key].astype(str), str)[held]
        )
        self.held_coords = np.asarray(data.adata.obsm[spatial_key])[held]
        self.average = _averages(
            data.coords[train],
            data.section[train],
            data.coords[held],
            data.section[held],
        )

    def score(self, outcome: _Outcome) -> dict[str, float]:
        """The numbers of a row of the table."""
        seen = outcome.seen
        return {
            **self._score(
                self.held, outcome.held, self.held_size, intervals=outcome.held.counts
            ),
            "training_deviance": np.nan
            if seen is None
            else self._score(self.train_counts, seen, self.train_size)["deviance"],
            "sparsity": outcome.sparsity,
        }

    def _score(
        self,
        counts: sp.csr_matrix,
        expected: _Expected,
        size: NDArray[np.float64],
        *,
        intervals: bool = False,
    ) -> dict[str, float]:
        """Deviance, error, coverage: block by block, because means are dense."""
        n, n_vars = counts.shape
        deviance = squares = inside = 0.0
        dispersion = 0.0 if expected.how is None else expected.how.dispersion
        for rows in row_blocks(n, n_vars):
            found = expected.rates(rows)
            floor = _FLOOR * self.rate * size[rows]
            found = found._replace(mean=np.maximum(found.mean, floor))
            y = counts[rows]
            deviance += poisson_deviance(y, found.mean) * y.shape[0] / n
            dense = y.toarray()
            squares += float(np.square(dense - found.mean).sum()) / (n * n_vars)
            if intervals:
                part = part_inside(dense, found, dispersion, _LEVEL)
                inside += float(part.sum()) / (n * n_vars)
        return {
            "deviance": deviance,
            "rmse": math.sqrt(squares),
            "coverage": inside if intervals else np.nan,
        }

    def sizes(self, size_factors: Any) -> tuple[Any, Any]:
        """Size factors of both parts, in a fit with these."""
        if size_factors is None:
            return np.ones_like(self.train_size), np.ones_like(self.held_size)
        if is_total(size_factors):
            return self.train_size, self.held_size
        values, _ = read_size(self.whole.adata, size_factors, self.whole.stats)
        return values[~self.out, None], values[self.out, None]


def _averages(
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


def _run(part: _Split, setting: Setting, seed: int) -> _Outcome:
    """Fit a model to the training part, and what it expects of both."""
    model = _MODELS[setting.method]
    if model.fit is None:
        return _BASELINES[setting.method](part)
    kwargs = {**model.defaults, **setting.kwargs, "rng": seed}
    seen_size, held_size = part.sizes(kwargs.get("size_factors", "total"))
    if model.spatial:
        kwargs |= {"spatial_key": part.spatial_key, "library_key": part.library_key}
        if _member(setting.method).hybrid:
            kwargs["n_spatial"] = setting.n_spatial
    model.fit(part.train, setting.n_components, **kwargs, key_added=_KEY)
    stored = read_factors(part.train, _KEY)
    if stored.entry.interrupted:
        raise KeyboardInterrupt
    if model.sized:
        w = stored.loadings
        scores = stored.scores / part.train_size
        seen = _Expected(scores, w, part.train_size)
        held = _Expected(part.average @ scores, w, part.held_size)
        return _Outcome(held, seen, share_of_zeros(w))
    how = expression_of(part.train, stored)
    w = stored.loadings
    std = np.asarray(part.train.obsm[side_key(stored.keys, "obsm", "std")])
    seen = _Expected(stored.scores, w, seen_size, std, how)
    if model.spatial:
        found = predict(
            part.train, part.held_coords, key=_KEY, section=part.held_section
        )
        at, spread = np.asarray(found.X), np.asarray(found.layers["std"])
        held = _Expected(at, w, held_size, spread, how)
    else:
        # Averages of neighbours have no distribution of their own.
        held = _Expected(part.average @ stored.scores, w, held_size, None, how)
    entry = cast("ProbabilisticEntry", stored.entry)
    return _Outcome(held, seen, float(cast("float", entry.sparsity)))


def _rates(part: _Split) -> _Outcome:
    seen, held = (
        _Expected(np.ones(size.shape), part.rate[:, None], size)
        for size in (part.train_size, part.held_size)
    )
    return _Outcome(held, seen, np.nan)


def _neighbors(part: _Split) -> _Outcome:
    counts = part.train_counts.multiply(1 / part.train_size).tocsr()
    return _Outcome(
        _Expected(part.average, counts.T.tocsr(), part.held_size), None, np.nan
    )


_BASELINES: dict[str, Callable[[_Split], _Outcome]] = {
    "neighbors": _neighbors,
    "intercept": _rates,
}

_MODELS = {
    "nsf": _Model(nsf, spatial=True),
    "nsfh": _Model(nsfh, spatial=True),
    "rsf": _Model(rsf, spatial=True),
    "pnmf": _Model(pnmf),
    "fa": _Model(fa),
    "nmf": _Model(nmf, defaults={"beta_loss": "kullback-leibler"}, sized=True),
    **dict.fromkeys(_BASELINES, _Model()),
}


def _member(name: str) -> FamilyMember:
    """What tells a model of the NSF family apart; others have nothing of it."""
    return FAMILY.get(cast("Method", name), FamilyMember())
