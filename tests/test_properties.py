"""What holds of a verb whatever the data: drawn by hypothesis, the same in every run.

Of each: nothing but its keys changes; scores are finite and not negative; the order of
observations does not matter, nor does the way in which a matrix is held, nor its type; and
the same seed gives the same result, to the last bit. All shapes are the same, so that JAX
compiles once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import nonneg as nng
from testing.nonneg import assert_same, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings("ignore")

N_OBS, N_VARS, K = 36, 15, 3
KERNEL: dict[str, Any] = dict(
    length_scale=3.0, amplitude=1.0, temperature=1.0, max_iter=4, tol=0
)
BATCHES: dict[str, Any] = dict(batch_key="batch", size_factors="total")

HOLD: dict[str, Callable[[Any], Any]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "CSR": sp.csr_matrix,
    "CSC": sp.csc_matrix,
    "CSR array": sp.csr_array,
    # Neither C nor Fortran.
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    # Another AnnData has the rows, and some more.
    "view": np.ascontiguousarray,
}
TYPES = (np.float32, np.float64, np.int64, np.uint16)

few = settings(
    max_examples=2,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    # Smaller examples of a failure would take minutes, and all are small.
    phases=[Phase.generate],
)


# --- data, of a seed ----------------------------------------------------------------------


@cache
def counts(seed: int) -> ad.AnnData:
    """Two data sets with places; not to be changed."""
    rng = np.random.default_rng(seed)
    scores, loadings = rng.gamma(0.5, 4, (N_OBS, K)), rng.gamma(0.5, 1, (K, N_VARS))
    # No row and no column is empty.
    x = rng.poisson(scores @ loadings) + (np.arange(N_VARS) == rng.integers(N_VARS))
    x[np.arange(N_VARS), np.arange(N_VARS)] += 1
    adata = ad.AnnData(x.astype(np.float32))
    adata.obs_names = [f"cell_{i}" for i in range(N_OBS)]
    adata.var_names = [f"gene_{j}" for j in range(N_VARS)]
    adata.obs["batch"] = pd.Categorical(np.where(rng.random(N_OBS) < 0.5, "a", "b"))
    place = np.arange(N_OBS)
    adata.obsm["spatial"] = np.stack([place % 6, place // 6], axis=1).astype(float)
    adata.layers["kept"] = adata.X.copy()
    adata.uns["kept"] = {"a": np.arange(3)}
    return adata


@cache
def integrated(seed: int) -> ad.AnnData:
    adata = counts(seed).copy()
    nng.tl.inmf(adata, K, max_iter=5, tol=0, **BATCHES)
    return adata


@cache
def fitted(seed: int) -> ad.AnnData:
    adata = counts(seed + 100).copy()
    nng.tl.nmf(adata, K, max_iter=5, tol=0)
    return adata


@cache
def spots(seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    return nng.datasets.spots(6, 40, 3, rng=seed)


@cache
def movie(seed: int) -> ad.AnnData:
    """Pixels of two regions, and a movie of rank 4."""
    rng = np.random.default_rng(seed)
    place = np.arange(80)
    adata = ad.AnnData(
        obs=pd.DataFrame(index=place.astype(str)),
        var=pd.DataFrame(index=np.arange(30).astype(str)),
    )
    adata.obs["voxel"] = place
    adata.obs["region"] = np.where(place % 10 < 5, "west", "east")
    adata.uns["volume"] = {
        "shape": np.array([8, 10]), "spacing": np.ones(2), "origin": np.zeros(2)
    }  # fmt: skip
    inside = np.stack([place % 10 < 5, place % 10 >= 5] * 2, axis=1)
    a = inside * rng.gamma(2, 1, (80, 4))
    u, s, vt = np.linalg.svd(a @ rng.normal(size=(4, 30)), full_matrices=False)
    product = nng.io.from_svd(u[:, :4], s[:4, None] * vt[:4], fs=10, shape=(8, 10))
    product.obs = adata.obs
    return product


# --- verbs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verb:
    """How one is called for data of a seed, and what it is to leave."""

    run: Callable[[ad.AnnData, int, int], Any]
    """Of data, the seed of these, and a seed."""
    written: set[tuple[str, str]]
    scores: str
    make: Callable[[int], ad.AnnData] = counts
    held: tuple[tuple[str, str | None], ...] = (("layers", None),)
    """The matrices that may be held in any way; other than X, they are dense."""
    types: tuple[Any, ...] = TYPES
    within: str | None = None
    """Column of obs within whose labels observations keep their order: starting values
    are drawn among those of a data set, so that another order is another seed."""
    rtol: float = 2e-3


def written(key: str, *more: tuple[str, str]) -> set[tuple[str, str]]:
    return {("obsm", f"X_{key}"), ("varm", key), ("uns", key), *more}


REAL = (np.float32, np.float64)
VERBS: dict[str, Verb] = {
    "nmf": Verb(
        lambda a, _, seed: nng.tl.nmf(a, K, max_iter=5, tol=0, rng=seed),
        written("nmf"),
        "X_nmf",
    ),
    "nmf of Kullback-Leibler": Verb(
        lambda a, _, seed: nng.tl.nmf(
            a, K, beta_loss="kullback-leibler", max_iter=5, tol=0, rng=seed
        ),
        written("nmf"),
        "X_nmf",
    ),
    "pnmf": Verb(
        lambda a, _, seed: nng.tl.pnmf(a, K, max_iter=4, tol=0, rng=seed),
        written("pnmf", ("obsm", "X_pnmf_std"), ("var", "pnmf_dispersion")),
        "X_pnmf",
    ),
    "nsf": Verb(
        lambda a, _, seed: nng.tl.nsf(a, K, rng=seed, **KERNEL),
        written(
            "nsf",
            ("obsm", "X_nsf_std"),
            ("var", "nsf_dispersion"),
            *((at, f"nsf_spatial_importance{end}")
              for at in ("obs", "var") for end in ("", "_std", "_null")),
        ),
        "X_nsf",
    ),
    "inmf": Verb(
        lambda a, _, seed: nng.tl.inmf(a, K, max_iter=5, tol=0, rng=seed, **BATCHES),
        written("inmf", *(("varm", f"inmf_{x}") for x in ("specific", "stats", "scale"))),
        "X_inmf",
        within="batch",
    ),
    "project": Verb(
        lambda a, data, _: nng.tl.project(a, fitted(data)), written("nmf"), "X_nmf"
    ),
    "stability": Verb(
        lambda a, _, seed: nng.tl.stability(
            a, [2, 3], n_bootstraps=2, max_iter=4, tol=0, rng=seed
        ),
        written("stability"),
        "X_stability",
    ),
    "quantile_align": Verb(
        lambda a, _, seed: nng.tl.quantile_align(a, min_cells=2, rng=seed),
        {("obsm", "X_inmf_aligned"), ("obs", "inmf_cluster"), ("uns", "inmf")},
        "X_inmf_aligned",
        integrated,
        (("obsm", "X_inmf"),),
        REAL,
    ),
    "deconvolve": Verb(
        lambda a, data, seed: nng.tl.deconvolve(
            a,
            spots(data)[1],
            cell_type_key="cell_type",
            graph_weight=1.0,
            group_weight=0.0,
            effects=False,
            max_iter=4,
            tol=0,
            rng=seed,
        ),
        written(
            "deconv",
            *(("obsm", f"X_deconv_{x}") for x in ("std", "rna")),
            *(("obs", f"deconv_{x}") for x in ("depth", "residual", "missing")),
            ("var", "deconv_used"),
        ),
        "X_deconv",
        lambda seed: spots(seed)[0],
    ),
    "locanmf": Verb(
        lambda a, _, seed: nng.tl.locanmf(
            a, max_rank=2, min_pixels=5, max_iter=5, tol=0, rng=seed
        ),
        written("locanmf"),
        "X_locanmf",
        movie,
        (("obsm", "X_svd"), ("varm", "svd")),
        REAL,
    ),
}  # fmt: skip


def hold(adata: ad.AnnData, verb: Verb, how: str, dtype: Any) -> ad.AnnData:
    """The same data, whose matrices are held in another way."""
    found = adata.copy()
    for attr, key in verb.held:
        x = adata.X if key is None else getattr(adata, attr)[key]
        dense = np.asarray(x.toarray() if sp.issparse(x) else x)
        is_dense = key is not None and how.startswith("CS")
        held = HOLD["Fortran" if is_dense else how](dense.astype(dtype))
        if key is None:
            found.X = held
        else:
            getattr(found, attr)[key] = held
    if how != "view":
        return found
    n = found.n_obs
    more = ad.concat([found, found[:3]], merge="same", uns_merge="same")
    more.obs_names_make_unique()
    for key in found.varm:
        more.varm[key] = found.varm[key]
    return more[:n]


def assert_nothing_else_changed(
    before: dict[str, Any], adata: ad.AnnData, verb: Verb
) -> None:
    after = snapshot(adata)
    for part in (before, after):
        for attr, key in verb.written:
            if attr in {"obs", "var"}:
                part[attr] = part[attr].drop(columns=key, errors="ignore")
            else:
                part[attr].pop(key, None)
    assert_same(after, before)


@pytest.mark.parametrize("name", VERBS)
@few
@given(
    data=st.integers(0, 3),
    seed=st.integers(0, 2**40),
    how=st.sampled_from(list(HOLD)),
    dtype=st.sampled_from(range(len(TYPES))),
    order=st.permutations(range(8)),
)
def test_whatever_the_data(name, data, seed, how, dtype, order):
    verb = VERBS[name]
    whole = verb.make(data)
    first = whole.copy()
    before = snapshot(first)
    assert verb.run(first, data, seed) is None
    assert_nothing_else_changed(before, first, verb)
    scores = np.asarray(first.obsm[verb.scores])
    assert scores.shape[0] == whole.n_obs
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert scores.any()

    again = whole.copy()
    verb.run(again, data, seed)
    np.testing.assert_array_equal(np.asarray(again.obsm[verb.scores]), scores)

    largest = scores.max()
    held = hold(whole, verb, how, verb.types[dtype % len(verb.types)])
    verb.run(held, data, seed)
    found = np.asarray(held.obsm[verb.scores])
    np.testing.assert_allclose(found, scores, atol=verb.rtol * largest)

    # Blocks of rows change places, and rows within them.
    rows = np.concatenate([np.arange(b, whole.n_obs, 8)[::-1] for b in order])
    for label in whole.obs[verb.within].unique() if verb.within else ():
        own = np.asarray(whole.obs[verb.within] == label)[rows]
        rows[own] = np.sort(rows[own])
    moved = whole[rows].copy()
    verb.run(moved, data, seed)
    found = np.asarray(moved.obsm[verb.scores])
    np.testing.assert_allclose(found, scores[rows], atol=verb.rtol * largest)
