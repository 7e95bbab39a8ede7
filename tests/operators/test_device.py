"""Operators that JAX can trace, and the devices that settings name."""

from __future__ import annotations

import anndata as ad
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg.operators import place, sparse
from nonneg.operators.choose import as_operator
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator
from nonneg.operators.device import data_budget, selected_devices
from nonneg.operators.sparse import SparseOperator
from testing.nonneg import counts, fitted_mean, on_four_devices

X = np.asarray(counts(120, 40).X, np.float32)
RNG = np.random.default_rng(0)
W = RNG.random((120, 3), dtype=np.float32)
H = RNG.random((3, 40), dtype=np.float32)

KINDS = {
    "dense": DenseOperator,
    "sparse": lambda x: SparseOperator.from_csr(sp.csr_matrix(x)),
}


@pytest.fixture(params=KINDS)
def op(request):
    return KINDS[request.param](X)


def close(ours, expected):
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=1e-4, atol=1e-4)


def test_is_a_tree_of_arrays(op):
    leaves, tree = jax.tree.flatten(op)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    close(jax.tree.unflatten(tree, leaves).matmul(H.T), X @ H.T)


@pytest.mark.parametrize(
    "product", ["ratio_matmul", "ratio_rmatmul", "log_ratio", "allocate"]
)
def test_products_in_jit_are_those_outside(op, product):
    def found(op):
        return getattr(op, product)(W, H)

    outside = found(op)
    # The divergence is added up in double precision, on the host.
    kinds = (jax.Array, float)
    assert all(isinstance(part, kinds) for part in jax.tree.leaves(outside))
    jax.tree.map(close, jax.jit(found)(op), outside)


def test_vmap(op):
    many = RNG.random((5, 120, 3), dtype=np.float32)
    close(jax.vmap(op.rmatmul)(many), np.einsum("ij,bik->bjk", X, many))
    close(jax.vmap(op.square_rmatmul)(many), np.einsum("ij,bik->bjk", X**2, many))


def test_gradient(op):
    """Of the Kullback-Leibler divergence it is the sums less the ratio product."""

    def loss(w):
        return op.log_ratio(w, H) + (w @ H).sum()

    expected = H.sum(1) - (X / (W @ H)) @ H.T
    close(jax.jit(jax.grad(loss))(jnp.asarray(W)), expected)


def test_many_chunks(monkeypatch):
    whole = SparseOperator.from_csr(sp.csr_matrix(X))
    monkeypatch.setattr(sparse, "CHUNK", 64)
    cut = SparseOperator.from_csr(sp.csr_matrix(X))
    assert whole.by_row.data.shape[0] == 1
    assert cut.by_row.data.shape[0] > 10
    close(cut.matmul(H.T), X @ H.T)
    close(cut.rmatmul(W), X.T @ W)
    jax.tree.map(close, cut.allocate(W, H), whole.allocate(W, H))


def test_nothing_stored():
    op = SparseOperator.from_csr(sp.csr_matrix((5, 4), dtype=np.float32))
    assert not np.asarray(op.matmul(np.ones((4, 2), np.float32))).any()
    assert op.stats().total == 0
    assert op.rows(np.array([1, 3])).shape == (2, 4)


@pytest.mark.parametrize(
    ("device", "budget", "kind"),
    [
        (None, 2**30, CSROperator),
        ("cpu", 2**30, CSROperator),
        ("cpu:0", 2**30, DenseOperator),
        ("cpu:0", 0, SparseOperator),
    ],
)
def test_settings_decide_for_sparse_data(device, budget, kind, monkeypatch):
    monkeypatch.setattr(place, "data_budget", lambda _: budget)
    with nng.settings.override(device=device):
        op = as_operator(sp.csr_matrix(X), where="X")
    assert isinstance(op, kind)
    assert op.traceable == (kind is not CSROperator)
    close(op.matmul(H.T), X @ H.T)


def test_memory_that_a_device_has_left():
    class Device:
        def __init__(self, stats):
            self.memory_stats = lambda: stats

    assert data_budget(Device({"bytes_limit": 1000, "bytes_in_use": 500})) == 300
    assert data_budget(Device(None)) == 2 * 2**30


@pytest.mark.parametrize("name", ["cpu:99", "cpu:0,0", "cpu:x", "cpu:0,", "cpu:-1"])
def test_devices_that_are_not_there(name):
    with (
        nng.settings.override(device=name),
        pytest.raises(ValueError, match=r"settings.device='cpu:"),
    ):
        selected_devices()


# On a machine with a GPU: `pytest -m gpu`.
EVERY_DEVICE = pytest.mark.parametrize(
    "where", ["cpu:0", pytest.param("gpu", marks=pytest.mark.gpu)]
)
FITS = {
    "nmf": lambda adata: nng.tl.nmf(adata, 4, tol=1e-3, copy=True),
    "nmf-mu": lambda adata: nng.tl.nmf(adata, 4, solver="mu", tol=1e-4, copy=True),
    "nmf-kl": lambda adata: nng.tl.nmf(
        adata, 4, beta_loss="kullback-leibler", tol=1e-3, copy=True
    ),
    "seminmf": lambda adata: nng.tl.seminmf(adata, 4, tol=1e-3, copy=True),
    "inmf": lambda adata: nng.tl.inmf(
        adata, 4, batch_key="batch", size_factors="total", max_iter=10, tol=0, copy=True
    ),
}


@EVERY_DEVICE
@pytest.mark.parametrize("held", ["dense", "sparse-as-dense", "sparse"])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_are_those_of_the_host(where, held, fit, monkeypatch):
    if where == "gpu" and not any(d.platform == "gpu" for d in jax.devices()):
        pytest.skip("JAX finds no GPU")
    monkeypatch.setattr(
        place, "data_budget", lambda _: 0 if held == "sparse" else 2**30
    )
    adata = counts()
    if held != "dense":
        adata.X = sp.csr_matrix(adata.X)
    fits = []
    for device in ("cpu", where):
        with nng.settings.override(device=device):
            fits.append(FITS[fit](adata))
    key = "inmf" if fit == "inmf" else "nmf"
    means = [fitted_mean(one, key) for one in fits]
    assert np.abs(means[1] - means[0]).max() <= 2e-5 * np.abs(means[0]).max()


def test_a_platform_that_is_not_there():
    with (
        nng.settings.override(device="cuda"),
        pytest.raises(ValueError, match=r"'cuda' is not there: JAX finds.*'cpu'"),
    ):
        selected_devices()


@pytest.mark.slow
def test_arrays_of_jax_move_to_the_device_that_is_named():
    code = """
        import jax, jax.numpy as jnp
        import nonneg as nng
        from nonneg.operators.choose import as_operator
        x = jnp.ones((5, 4))
        with nng.settings.override(device="cpu:2"):
            print(as_operator(x, where="X").x.devices())
        print(as_operator(x, where="X").x.devices())
    """
    moved, kept = on_four_devices(code).strip().splitlines()
    assert (moved, kept) == ("{CpuDevice(id=2)}", "{CpuDevice(id=0)}")


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_sums_of_logarithms_are_in_double_precision(kind):
    """Of many large ones, as the bound of deep counts is."""
    rng = np.random.default_rng(0)
    w, h = rng.gamma(2, 30, (3000, 2)), rng.gamma(2, 1, (2, 100))
    x = rng.poisson(w @ h).astype(np.float32)
    exact = (x * np.log(w @ h)).sum(dtype=np.float64)
    with jax.enable_x64(True):
        op = (
            DenseOperator(jnp.asarray(x))
            if kind == "dense"
            else SparseOperator.from_csr(sp.csr_matrix(x))
        )
        found = op.allocate(w.astype(np.float32), h.astype(np.float32)).log_sum
    assert float(found) == pytest.approx(exact, rel=1e-8)


FIXED = dict(length_scale=3.0, amplitude=1.0, temperature=1.0, tol=0, max_iter=5)
SPATIAL_FITS = {
    # Kernels are searched, and locations have several inducing points each.
    "nsf": ("nsf", dict(n_inducing=40)),
    "private": ("nsf", dict(FIXED, shared_kernel=False, length_scale=None, max_iter=2)),
    "negative_binomial": ("nsf", dict(FIXED, likelihood="negative_binomial")),
    "gaussian": ("nsf", dict(FIXED, likelihood="gaussian")),
    "monte_carlo": ("nsf", dict(FIXED, estimator="monte_carlo")),
    "nsfh": ("nsfh", dict(FIXED, n_spatial=2)),
    "rsf": ("rsf", dict(length_scale=3.0, temperature=1.0, tol=0, max_iter=5)),
}
# Dispersions follow from differences of large logarithms in single precision.
SPATIAL_TOLERANCE = {"negative_binomial": 1e-3}


@EVERY_DEVICE
@pytest.mark.parametrize(
    ("fit", "held"),
    [
        # Of all that they compile, the hybrid and real values have most.
        *(
            pytest.param(fit, "as-dense", marks=[pytest.mark.slow] * (fit != "rsf"))
            for fit in SPATIAL_FITS
        ),
        pytest.param("nsf", "sparse", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*all zero:UserWarning")
def test_spatial_fits_are_those_of_the_host(where, fit, held, monkeypatch):
    if where == "gpu" and not any(d.platform == "gpu" for d in jax.devices()):
        pytest.skip("JAX finds no GPU")
    budget = 0 if held == "sparse" else 2**30
    monkeypatch.setattr(place, "data_budget", lambda _: budget)
    method, kwargs = SPATIAL_FITS[fit]
    # A fifth of the locations is a whole number: folds of one shape compile once.
    adata = nng.datasets.ggblocks(10, 15)
    fits = []
    for device in ("cpu", where):
        with nng.settings.override(device=device):
            fits.append(getattr(nng.tl, method)(adata, 3, copy=True, **kwargs))
    means = [fitted_mean(one, method) for one in fits]
    tolerance = SPATIAL_TOLERANCE.get(fit, 2e-5)
    assert np.abs(means[1] - means[0]).max() <= tolerance * np.abs(means[0]).max()
    stds = [one.obsm[f"X_{method}_std"] for one in fits]
    np.testing.assert_allclose(stds[1], stds[0], rtol=1e-2, atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*all zero:UserWarning")
def test_spatial_models_of_streamed_data_say_what_stays_on_the_host(tmp_path):
    adata = nng.datasets.ggblocks(8, 12)
    expected = nng.tl.nsf(adata, 3, copy=True, **FIXED)
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with (
        nng.settings.override(device="cpu:0"),
        pytest.warns(UserWarning, match="is streamed: .* factors stay on the host"),
    ):
        nng.tl.nsf(backed, 3, **FIXED)
    means = [fitted_mean(fit, "nsf") for fit in (backed, expected)]
    assert np.abs(means[0] - means[1]).max() <= 2e-5 * np.abs(means[1]).max()


class _FakeCupy:
    """A CuPy array, as far as we look at one; its memory is the host's."""

    __module__ = "cupy"

    def __init__(self, x):
        self._x, self.shape, self.dtype = x, x.shape, x.dtype

    def __dlpack__(self, **kwargs):
        return self._x.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._x.__dlpack_device__()


def test_cupy_needs_a_device():
    with pytest.raises(TypeError, match=r"anndata_to_CPU.*\.get\(\)"):
        as_operator(_FakeCupy(X), where="X")


def test_cupy():
    with nng.settings.override(device="cpu:0"):
        op = as_operator(_FakeCupy(X), where="X")
    assert isinstance(op, DenseOperator)
    close(op.matmul(H.T), X @ H.T)


def test_sparse_cupy():
    csr = sp.csr_matrix(X)

    class Sparse(_FakeCupy):
        __module__ = "cupyx.scipy.sparse"
        format = "csr"

        def __init__(self):
            self.shape, self.dtype = csr.shape, csr.dtype
            parts = (csr.data, csr.indices, csr.indptr)
            self.data, self.indices, self.indptr = map(_FakeCupy, parts)

    with nng.settings.override(device="cpu:0"):
        op = as_operator(Sparse(), where="X")
    close(op.matmul(H.T), X @ H.T)
