"""Rows on four devices: the same products, the same fits, and no copy of the data."""

from __future__ import annotations

import json

import pytest

from testing.nonneg import on_four_devices

PRODUCTS = """
    import re
    import jax, numpy as np, scipy.sparse as sp
    from nonneg.operators.csr import CSROperator
    from nonneg.operators import sharded
    from nonneg.operators.sharded import shard_dense, shard_sparse
    assert len(jax.devices()) == 4
    rng = np.random.default_rng(0)
    # A number of rows that four devices cannot share evenly, and one they can.
    for n_obs in (41, 64):
        x = rng.poisson(0.5, (n_obs, 30)).astype(np.float32)
        w = rng.random((n_obs, 3), dtype=np.float32)
        h = rng.random((3, 30), dtype=np.float32)
        host = CSROperator(sp.csr_matrix(x))
        for op in (
            shard_dense(x, jax.devices()),
            shard_sparse(sp.csr_matrix(x), jax.devices()),
        ):
            close = lambda a, b: np.testing.assert_allclose(
                np.asarray(a), b, rtol=2e-5, atol=1e-4
            )
            assert op.shape == (n_obs, 30)
            close(op.matmul(h.T), x @ h.T)
            close(op.rmatmul(w), x.T @ w)
            close(op.square_rmatmul(w), (x * x).T @ w)
            close(op.ratio_matmul(w, h), host.ratio_matmul(w, h))
            close(op.ratio_rmatmul(w, h), host.ratio_rmatmul(w, h))
            close(op.log_ratio(w, h), host.log_ratio(w, h))
            for ours, theirs in zip(op.allocate(w, h), host.allocate(w, h)):
                close(ours, theirs)
            close(op.entropy(), host.entropy())
            for ours, theirs in zip(op.stats(), host.stats()):
                close(ours, theirs)
            index = np.array([0, 3, 20, 40])
            close(op.rows(index).matmul(h.T), x[index] @ h.T)
            close(np.concatenate([b for _, b in op.dense_blocks()]), x)
            scale = rng.random((n_obs, 1), dtype=np.float32)
            close(op.log1p(scale).matmul(h.T), np.log1p(x * scale) @ h.T)
        if n_obs == 64:
            assert len(op.matmul(h.T).sharding.device_set) == 4
            assert not op.matmul(h.T).sharding.is_fully_replicated
            text = sharded._product.lower(op, "rmatmul", (w,), ()).compile().as_text()
            assert "all-reduce" in text
            assert "all-gather" not in text
    print("equal")
"""

FITS = """
    import json
    import numpy as np, scipy.sparse as sp
    import nonneg as nng
    from nonneg.operators import place
    from testing.nonneg import counts, fitted_mean
    nng.settings.progress = False
    KERNEL = dict(length_scale=3.0, amplitude=1.0, temperature=1.0)
    budget = place.data_budget
    full = counts(121, 40)
    place_of = np.arange(121)
    full.obsm["spatial"] = np.column_stack([place_of // 11, place_of % 11])
    for sparse in (False, True):
        data = full.copy()
        if sparse:
            data.X = sp.csr_matrix(data.X)
        place.data_budget = (lambda device: 0) if sparse else budget
        for name, call in CALLS.items():
            if (name, sparse) not in CASES:
                continue
            fits = []
            for device in ("cpu:0", "cpu:*"):
                with nng.settings.override(device=device):
                    fit = eval("nng.tl." + call)
                fits.append(fitted_mean(fit, next(iter(fit.uns))))
            difference = np.abs(fits[0] - fits[1]).max() / np.abs(fits[0]).max()
            print(json.dumps([name, sparse, float(difference)]))
"""

CALLS = {
    "frobenius": "nmf(data, 4, copy=True, tol=1e-3)",
    "kl": "nmf(data, 4, copy=True, beta_loss='kullback-leibler', tol=1e-3)",
    "seminmf": "seminmf(data, 4, copy=True, tol=1e-3)",
    "nsf": "nsf(data, 4, copy=True, n_inducing=40)",
    "nsfh": "nsfh(data, 4, copy=True, n_spatial=2, max_iter=5, **KERNEL)",
    "rsf": "rsf(data, 4, copy=True, max_iter=5, length_scale=3.0, temperature=1.0)",
    "negative_binomial": (
        "nsf(data, 4, copy=True, likelihood='negative_binomial', max_iter=5, **KERNEL)"
    ),
    "fixed": "nsf(data, 4, copy=True, max_iter=5, **KERNEL)",
}
# Compiling takes most of the time. Beyond the operators, spatial models are the same
# for sparse data, and one search of kernels is enough.
CASES = [
    *((call, False) for call in CALLS if call != "fixed"),
    *((call, True) for call in ("frobenius", "kl", "seminmf", "fixed")),
]


@pytest.mark.slow
def test_products():
    assert on_four_devices(PRODUCTS).strip() == "equal"


@pytest.fixture(scope="module")
def differences():
    """Of fitted means on four devices from those on one; one process for all."""
    code = FITS.replace("CALLS", repr(CALLS)).replace("CASES", repr(CASES))
    lines = on_four_devices(code).strip().splitlines()
    return {(name, sparse): value for name, sparse, value in map(json.loads, lines)}


@pytest.mark.slow
@pytest.mark.parametrize(("call", "sparse"), CASES)
def test_fits(call, sparse, differences):
    # Dispersions follow from differences of large logarithms in single precision.
    tolerance = 5e-3 if call == "negative_binomial" else 1e-5
    assert differences[call, sparse] <= tolerance
