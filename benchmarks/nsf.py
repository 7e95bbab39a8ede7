"""NSF beside the optimiser of the original program, and at scale."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.sparse as sp
from anndata import AnnData
from sklearn.decomposition import NMF

import nonneg as nng
from nonneg.kernels.covariance import kernel_function

from .measure import in_fresh_process, markdown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    type Floats = NDArray[np.floating[Any]]

nng.settings.progress = False

STEPS = (100, 250)
_N_DRAWS = 3
_JITTER = 1e-5
SIZES = {
    "visium": (2_375, 2_000, 10, 0.25),
    "slide-seq": (36_536, 2_000, 20, 0.03),
    "100k": (100_000, 1_200, 10, 0.03),
    "500k": (500_000, 1_200, 10, 0.03),
}


def compare(*, quick: bool) -> str:
    """Held-out deviance against time: ours, and Adam on draws of the bound."""
    train, test = quilt(12, 60) if quick else quilt(36, 200)
    rows = []
    for name, kwargs in {
        "nonneg": {},
        "nonneg, temperature=1": {"temperature": 1.0},
        "nonneg, 300 inducing points": {"n_inducing": 300},
    }.items():
        begin = time.perf_counter()
        fit(train, 4, size_factors=None, **kwargs)
        seconds = time.perf_counter() - begin
        rows.append([name, f"{seconds:.1f}", f"{held_out_deviance(train, test):.2f}"])
    for steps, seconds, deviance in adam(train, test, 4, (5, 10) if quick else STEPS):
        rows.append(
            [f"Adam, {steps} steps, same machine", f"{seconds:.1f}", f"{deviance:.2f}"]
        )
    return markdown(["quilt, held-out 5 %", "seconds", "deviance"], rows)


def quilt(side: int, n_genes: int) -> tuple[AnnData, AnnData]:
    """The simulation of the article, 5 % of the locations held out."""
    adata = nng.datasets.quilt(side, n_genes)
    order = np.random.default_rng(0).permutation(adata.n_obs)
    n_train = round(0.95 * adata.n_obs)
    return tuple(
        adata[np.sort(part)].copy() for part in (order[:n_train], order[n_train:])
    )


def held_out_deviance(train: AnnData, test: AnnData) -> float:
    """Of counts where nothing was measured, after a fit."""
    found = nng.tl.predict(train, test.obsm["spatial"], expression=True)
    return float(nng.metrics.poisson_deviance(test.X, found.X))


def fit(adata: AnnData, n_components: int, **kwargs: Any) -> None:
    """Fit without remarks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nng.tl.nsf(adata, n_components, **kwargs)


def adam(
    train: AnnData, test: AnnData, rank: int, steps: tuple[int, ...]
) -> list[tuple[int, float, float]]:
    """The original's scheme: full covariances, three draws, dense means, Adam."""
    begin = time.perf_counter()
    y = jnp.asarray(train.X.toarray())
    xy = np.asarray(train.obsm["spatial"], float)
    low, span = xy.min(0), np.ptp(xy, axis=0).mean()
    x, new = (
        jnp.asarray(4 * (np.asarray(a.obsm["spatial"]) - low) / span)
        for a in (train, test)
    )
    z = jnp.asarray(x)
    start = NMF(rank, init="nndsvda", beta_loss="kullback-leibler", solver="mu")
    factors = start.fit_transform(np.asarray(y))
    total = start.components_.sum(1)
    logs = np.log(0.01 + factors * total)
    center = logs.mean(0)
    n_inducing = len(z)
    parameters = {
        "u": jnp.asarray((logs - center).T),
        "half": jnp.tile(0.01 * jnp.eye(n_inducing), (rank, 1, 1)),
        "w": jnp.asarray(start.components_.T / total * np.exp(center)),
        "trend": jnp.zeros(rank),
        "scale": jnp.full((rank, 2), jnp.log(jnp.array([0.4, 1.0]))),
    }

    def field(u: Any, half: Any, trend: Any, scale: Any, at: Any) -> Any:
        length, amplitude = jnp.exp(scale)

        def cov(a: Any, b: Any) -> Any:
            squared = jnp.square(a[:, None] - b).sum(-1)
            r = jnp.sqrt(jnp.maximum(squared, 1e-12)) / length
            return amplitude**2 * kernel_function("matern32", r)

        root = jnp.linalg.cholesky(cov(z, z) + _JITTER * jnp.eye(n_inducing))
        p = jax.scipy.linalg.solve_triangular(root, cov(z, at), lower=True)
        e = jax.scipy.linalg.solve_triangular(root, u - trend, lower=True)
        g = jnp.tril(half)
        var = amplitude**2 - (p**2).sum(0) + ((g.T @ p) ** 2).sum(0)
        logdet = jnp.log(jnp.abs(jnp.diagonal(g))).sum()
        kl = ((e**2).sum() + (g**2).sum() - n_inducing) / 2 - logdet
        return trend + p.T @ e, jnp.maximum(var, 1e-6), kl

    def fields(parameters: Any, at: Any) -> Any:
        one = (parameters[name] for name in ("u", "half", "trend", "scale"))
        return jax.vmap(field, (0, 0, 0, 0, None))(*one, at)

    def loss(parameters: Any, key: Any) -> Any:
        mean, var, kl = fields(parameters, x)
        z_ = jax.random.normal(key, (_N_DRAWS, *mean.shape))
        f = jnp.exp(mean + jnp.sqrt(var) * z_)
        mu = jnp.einsum("sln,jl->snj", f, parameters["w"]) + 1e-8
        return (kl.sum() - (y * jnp.log(mu) - mu).sum((1, 2)).mean()) / len(y)

    optimizer = optax.adam(0.01)
    state = optimizer.init(parameters)

    @jax.jit
    def step(parameters: Any, state: Any, key: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(parameters, key), state)
        parameters = optax.apply_updates(parameters, updates)
        parameters["w"] = jnp.maximum(parameters["w"], 0)
        return parameters, state

    found = []
    keys = jax.random.split(jax.random.key(0), max(steps))
    for i, key in enumerate(keys, 1):
        parameters, state = step(parameters, state, key)
        if i in steps:
            jax.block_until_ready(parameters)
            seconds = time.perf_counter() - begin
            mean, var, _ = fields(parameters, new)
            mu = np.asarray(jnp.exp(mean + var / 2).T @ parameters["w"].T)
            found.append((i, seconds, nng.metrics.poisson_deviance(test.X, mu)))
    return found


# --- at scale ---------------------------------------------------------------


def simulate(n: int, n_genes: int, rank: int, density: float, seed: int = 0) -> AnnData:
    """Positions in a disk, smooth random fields, sparse loadings."""
    rng = np.random.default_rng(seed)
    radius, angle = np.sqrt(rng.random(n)), 2 * np.pi * rng.random(n)
    xy = 2500 * np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    factors = np.empty((n, rank), np.float32)
    for j in range(rank):
        waves = rng.standard_normal((64, 2)) / rng.uniform(150, 500)
        phases = 2 * np.pi * rng.random(64)
        field = np.cos(xy @ waves.T + phases).sum(1)
        factors[:, j] = np.exp(1.3 * np.sqrt(2 / 64) * field)
    loadings = rng.gamma(0.2, 1, (n_genes, rank)).astype(np.float32)
    loadings /= loadings.sum(0)
    depth = rng.lognormal(0, 0.5, n).astype(np.float32)
    sample = depth[:400, None] * (factors[:400] @ loadings.T)
    low, high = 1e-3, 1e6
    for _ in range(50):
        middle = np.sqrt(low * high)
        if (1 - np.exp(-middle * sample)).mean() > density:
            high = middle
        else:
            low = middle
    blocks = [
        sp.csr_matrix(
            rng.poisson(
                middle
                * depth[i : i + 2000, None]
                * (factors[i : i + 2000] @ loadings.T)
            ),
            dtype=np.float32,
        )
        for i in range(0, n, 2000)
    ]
    adata = AnnData(sp.vstack(blocks, format="csr"))
    adata.obsm["spatial"] = xy
    return adata


def scale(names: list[str], *, quick: bool) -> str:
    """Time and memory of whole calls, compilation included, in fresh processes."""
    rows = []
    for name in names:
        n, n_genes, rank, density = SIZES[name]
        if quick:
            n, n_genes = n // 50, n_genes // 10
        found = in_fresh_process(
            "fit_nsf",
            {
                "n": n,
                "n_genes": n_genes,
                "rank": rank,
                "density": density,
                "max_iter": 100,
            },
        )
        rows.append(
            [
                f"{n:,} x {n_genes:,}, {found['nonzeros'] / 1e6:.1f} M, {rank} factors",
                f"{found['seconds']:.0f}",
                f"{found['cpu_seconds']:.0f}",
                f"{found['n_iter']}" + ("" if found["converged"] else ", stopped"),
                f"{found['peak'] / 1e9:.1f}",
            ]
        )
    return markdown(
        [
            "locations x genes, non-zeros",
            "seconds",
            "of CPU",
            "iterations",
            "peak GB",
        ],
        rows,
    )
