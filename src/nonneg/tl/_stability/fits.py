"""Fits to samples of the data: side by side, or one after the other by another function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from ..._adata.views import read_factors
from ..._core.quiet import quietly
from ...models.stability.cluster import can_be_sent, fit_on, send
from ...models.stability.components import principal_patterns
from ...models.stability.replicates import (
    Patterns,
    Replicates,
    kept_rows,
    sketch_of,
)
from ...operators.cluster import active_client
from .._inmf.inmf import inmf
from .._nmf.nmf import nmf
from .._nmf.seminmf import seminmf
from .._nsf.fa import fa
from .._nsf.nsf import nsf
from .._nsf.nsfh import nsfh
from .._nsf.pnmf import pnmf
from .._nsf.rsf import rsf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ..._adata.read import MatrixInput
    from ...models.factor.start import Init
    from ...models.stability.draws import Draws
    from ...models.stability.spectra import Spectra, Spectrum
    from ...operators.protocol import MatrixOperator

_KEY = "sample"


class Verb(NamedTuple):
    """A function that factorizes, and what its patterns are like."""

    fit: Callable[..., Any]
    signed: Literal["no", "scores", "both"] = "no"
    """Which side has entries of any sign."""


# Functions that fit a copy of every sample. NMF with a Frobenius loss needs none.
VERBS: dict[str, Verb] = {
    "nmf": Verb(nmf),
    "seminmf": Verb(seminmf, "both"),
    "inmf": Verb(inmf),
    "nsf": Verb(nsf),
    "nsfh": Verb(nsfh),
    "pnmf": Verb(pnmf),
    "rsf": Verb(rsf, "both"),
    "fa": Verb(fa, "both"),
}


class Fits(Protocol):
    """Fits of some numbers of components to samples."""

    def fit(self, rank: int, samples: Sequence[int]) -> Iterator[Patterns]:
        """Patterns of the samples, some at a time."""
        ...


@dataclass
class BatchedFits:
    """NMF with a Frobenius loss: all samples share the data."""

    op: MatrixOperator
    draws: Draws
    compute: Spectra
    init: Init
    max_rank: int
    tol: float
    max_iter: int
    _spectra: dict[int, Spectrum] = field(default_factory=dict)
    _client: Any = None

    def __post_init__(self) -> None:
        sketch = sketch_of(self.op, self.max_rank, self.draws.seed)
        self._replicates = Replicates(
            self.op, self.draws, sketch, self.init, self.tol, self.max_iter
        )
        client = active_client()
        if client is not None and can_be_sent(self.op):
            self._client, self._sent = client, send(client, self._replicates)

    def fit(self, rank: int, samples: Sequence[int]) -> Iterator[Patterns]:
        """Patterns of the samples, some at a time."""
        batches = list(self._replicates.batches(rank, samples))
        if self._client is not None:
            tasks = [(batch, self._starts(batch)) for batch in batches]
            yield from fit_on(self._client, self._sent, rank, tasks)
            return
        for batch in batches:
            yield self._replicates.fit(rank, batch, self._starts(batch))

    def _starts(self, samples: Sequence[int]) -> list[Spectrum] | None:
        """Singular vectors of each sample, for all numbers of components."""
        if self.init == "random":
            return None
        for sample in samples:
            if sample not in self._spectra:
                self._spectra[sample] = self.compute(sample, self.max_rank)
        return [self._spectra[sample] for sample in samples]


@dataclass
class ComponentFits:
    """Principal components: the first of those of the largest number."""

    op: MatrixOperator
    draws: Draws
    compute: Spectra
    max_rank: int
    _vectors: dict[int, NDArray[Any]] = field(default_factory=dict)

    def fit(self, rank: int, samples: Sequence[int]) -> Iterator[Patterns]:
        """Patterns of the samples, one at a time."""
        for sample in samples:
            # Of these, the patterns are one product: they would take much more memory.
            if sample not in self._vectors:
                spectrum = self.compute(sample, self.max_rank, centered=True)
                self._vectors[sample] = spectrum.V
            vectors = np.ascontiguousarray(self._vectors[sample][:, :rank])
            patterns = principal_patterns(self.op, self.draws, sample, vectors)[None]
            # Nothing is iterated until a tolerance is met.
            yield Patterns(
                np.array([sample]), patterns, np.array([1]), np.array([True])
            )


@dataclass
class VerbFits:
    """Any function of the package that factorizes, on a copy of each sample."""

    adata: AnnData
    source: MatrixInput
    draws: Draws
    method: str
    kwargs: Mapping[str, Any]

    def fit(self, rank: int, samples: Sequence[int]) -> Iterator[Patterns]:
        """Patterns of the samples, one at a time."""
        for sample in samples:
            yield self._fit(rank, sample)

    def _fit(self, rank: int, sample: int) -> Patterns:
        drawn = self.draws.index(sample)
        kwargs: dict[str, Any] = dict(self.kwargs)
        weights = self.draws.var_weights
        if weights is not None:
            resampled = self.draws.resample == "var"
            kwargs["var_weights"] = weights[drawn] if resampled else weights
        with quietly():
            part = self._part(drawn)
            VERBS[self.method].fit(
                part,
                rank,
                layer=self.source.source["layer"],
                rng=self.draws.fit_seed(sample),
                key_added=_KEY,
                **kwargs,
            )
        stored = read_factors(part, _KEY)
        if stored.entry.interrupted:
            raise KeyboardInterrupt
        patterns = stored.loadings if self.draws.resample == "obs" else stored.scores
        return Patterns(
            np.array([sample]),
            kept_rows(patterns.T)[None],
            np.array([stored.entry.n_iter or 0]),
            np.array([bool(stored.entry.converged)]),
        )

    def _part(self, drawn: NDArray[np.intp] | None) -> AnnData:
        """A copy of what was drawn, under names that do not repeat."""
        part = self.adata
        if self.source.mask is not None:
            part = part[:, self.source.mask]
        if drawn is not None:
            part = part[drawn] if self.draws.resample == "obs" else part[:, drawn]
        # A copy would warn of the names before they could be replaced.
        layer = self.source.source["layer"]
        obs, var = (
            cast("pd.DataFrame", frame).set_axis(np.arange(len(frame)).astype(str))
            for frame in (part.obs, part.var)
        )
        held = cast("Mapping[str, Any]", part.obsm)
        obsm: dict[str, Any] = {
            key: value.set_axis(obs.index) if isinstance(value, pd.DataFrame) else value
            for key, value in held.items()
        }
        layers = {} if layer is None else {layer: part.layers[layer]}
        x = part.X if layer is None else None
        return AnnData(x, obs=obs, var=var, layers=layers, obsm=obsm)


def fits_of(
    adata: AnnData,
    source: MatrixInput,
    draws: Draws,
    method: str,
    kwargs: Mapping[str, Any],
    *,
    spectra: Spectra,
    options: Mapping[str, Any],
    max_rank: int,
) -> Fits:
    """Side by side where that is possible, by the function of the method if not."""
    if method == "pca":
        return ComponentFits(source.op, draws, spectra, max_rank)
    if method == "nmf" and not kwargs:
        # Samples that are all of the data need starts that differ.
        init: Any = "random" if draws.resample is None else "nndsvda"
        return BatchedFits(source.op, draws, spectra, init, max_rank, **options)
    if method == "nmf":
        kwargs = {**options, **kwargs}
        if draws.resample is None:
            kwargs = {"init": "random", **kwargs}
    return VerbFits(adata, source, draws, method, kwargs)
