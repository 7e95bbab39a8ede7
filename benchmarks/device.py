"""Fits on a device beside the host's CPU, and as a share of what the device can do."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from anndata import AnnData

import nonneg as nng

from . import nsf
from .data import low_rank_counts, low_rank_dense
from .measure import markdown

if TYPE_CHECKING:
    from collections.abc import Callable

_ITER = 20
# Shorter calls, the first one and compilation, are taken off.
_FEW = 5


class Work(NamedTuple):
    """A fit, and what its products must move and compute per iteration."""

    title: str
    fit: Callable[[int], Any]
    shape: tuple[int, int]
    rank: int


def _nmf(title: str, x: Any, rank: int, **kwargs: Any) -> Work:
    adata = AnnData(x)

    def fit(max_iter: int) -> None:
        nng.tl.nmf(
            adata, rank, init="random", tol=0, max_iter=max_iter, copy=True, **kwargs
        )

    return Work(title, fit, x.shape, rank)


def _inmf(*, quick: bool) -> Work:
    sizes, n_genes = ((1000, 600), 140) if quick else ((20_000, 12_000), 1400)
    x = low_rank_counts(sum(sizes), n_genes, 20)
    adata = AnnData(x, obs={"batch": np.repeat(["a", "b"], sizes)})

    def fit(max_iter: int) -> None:
        nng.tl.inmf(adata, 20, batch_key="batch", tol=0, max_iter=max_iter, copy=True)

    return Work("iNMF, two data sets", fit, x.shape, 20)


def _nsf(*, quick: bool) -> Work:
    n, n_genes, rank, density = nsf.SIZES["500k"]
    if quick:
        n, n_genes = n // 1000, n_genes // 10
    adata = nsf.simulate(n, n_genes, rank, density)

    def fit(max_iter: int) -> None:
        nng.tl.nsf(adata, rank, tol=0, max_iter=max_iter, copy=True)

    return Work("NSF", fit, (n, n_genes), rank)


def _works(*, quick: bool) -> list[Callable[[], Work]]:
    shape = (1500, 300) if quick else (20_000, 2000)
    large = (3000, 300) if quick else (100_000, 2000)
    kl = {"beta_loss": "kullback-leibler"}
    return [
        lambda: _nmf("dense, Frobenius", low_rank_dense(*shape, 11), 11),
        lambda: _nmf("CSR 5 %, Frobenius", low_rank_counts(*shape, 20), 20),
        lambda: _nmf(
            "CSR 5 %, Kullback-Leibler", low_rank_counts(*shape, 20), 20, **kl
        ),
        lambda: _nmf("CSR 5 %, large", low_rank_counts(*large, 40), 40),
        lambda: _inmf(quick=quick),
        lambda: _nsf(quick=quick),
    ]


def compare(*, quick: bool) -> str:
    """Seconds per iteration on the CPU and on the device, in one run."""
    has_device = jax.default_backend() != "cpu"
    name = jax.default_backend() if has_device else "cpu:0"
    note = (
        f"Device: {jax.devices()[0].device_kind}."
        if has_device
        else "JAX finds no accelerator here: small sizes on cpu:0, which proves that the "
        "device's code runs, and says nothing of its speed."
    )
    quick = quick or not has_device
    bandwidth, flops = _peaks(name, quick=quick)
    rows = []
    for make in _works(quick=quick):
        work = make()
        cpu, device = (_per_iteration(work, where) for where in ("cpu", name))
        n, p = work.shape
        # Two products with the data, as dense rows: each reads them once.
        moved, computed = 2 * 4 * n * p, 2 * 2 * n * p * work.rank
        rows.append(
            [
                f"{work.title}, {n:,} x {p:,}, k = {work.rank}",
                f"{1000 * cpu:.1f}",
                f"{1000 * device:.1f}",
                f"{cpu / device:.1f}",
                f"{100 * moved / device / bandwidth:.0f} %",
                f"{100 * computed / device / flops:.0f} %",
            ]
        )
    header = ["fit", "CPU ms / iteration", f"{name} ms", "ratio", "of bandwidth"]
    peaks = f"Peaks measured: {bandwidth / 1e9:.0f} GB/s, {flops / 1e12:.2f} TFLOP/s."
    return f"{note} {peaks}\n\n" + markdown([*header, "of FLOP/s"], rows)


def _per_iteration(work: Work, device: str) -> float:
    def seconds(max_iter: int) -> float:
        start = time.perf_counter()
        work.fit(max_iter)
        return time.perf_counter() - start

    with nng.settings.override(device=device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work.fit(_FEW)
        few = seconds(_FEW)
        return max(seconds(_FEW + _ITER) - few, 1e-9) / _ITER


def _peaks(name: str, *, quick: bool) -> tuple[float, float]:
    """Bytes per second of a copy and operations per second of a product."""
    n = 1024 if quick else 8192
    device = jax.devices(name.partition(":")[0])[0]
    x = jax.device_put(np.ones((n, n), np.float32), device)

    def fastest(function: Callable[[jax.Array], jax.Array]) -> float:
        jax.block_until_ready(function(x))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            jax.block_until_ready(function(x))
            times.append(time.perf_counter() - start)
        return min(times)

    copy = fastest(jax.jit(lambda x: x + 1))
    product = fastest(jax.jit(lambda x: jnp.dot(x, x, precision="highest")))
    return 2 * x.nbytes / copy, 2 * n**3 / product
