"""What operators say about a matrix, against NumPy, for each way of holding one."""

from __future__ import annotations

from itertools import pairwise

import dask.array as da
import jax
import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData, read_h5ad
from scipy.special import xlogy

from nonneg.models.factor.start import initialise, right_singular_vectors
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.choose import as_operator, local_operator
from nonneg.operators.csr import CSROperator
from nonneg.operators.dask import LazyOperator
from nonneg.operators.dense import DenseOperator
from nonneg.operators.gather import to_csr
from nonneg.operators.sharded import shard_dense
from nonneg.operators.sparse import SparseOperator
from testing.nonneg import counts, low_rank

# More than one step of a dense operator, which takes 1024 rows at a time.
X = np.asarray(counts(1100, 40).X, np.float64)
X[7] = 0
X[:, 5] = 0


def in_memory(x):
    return local_operator(
        x,
        where="x",
        columns=None,
        dtype=np.dtype(np.float64),
        n_threads=2,
        on_device=False,
    )


def in_blocks(x, bounds=(0, 300, 301, 1100)):
    def open_rows():
        return lambda pieces: x[np.r_[tuple(pieces)]]

    n_vars, dtype = x.shape[1], np.dtype(np.float64)
    return BlockOperator(open_rows, in_memory, np.array(bounds), n_vars, dtype)


def delayed(x, bounds=(0, 500, 1100)):
    import dask

    blocks = [dask.delayed(x[a:b]) for a, b in pairwise(bounds)]
    return LazyOperator(
        blocks,
        np.array(bounds),
        x.shape[1],
        np.dtype(np.float64),
        in_memory,
    )


# No dense delayed blocks: float64 is JAX's per thread, and those of dask are its own.
OPERATORS = {
    "dense": lambda x: as_operator(x, where="X"),
    "csr": lambda x: as_operator(sp.csr_matrix(x), where="X"),
    "sparse-on-device": lambda x: SparseOperator.from_csr(sp.csr_matrix(x)),
    "blocks-dense": in_blocks,
    "blocks-csr": lambda x: in_blocks(sp.csr_array(x)),
    "dask": lambda x: as_operator(da.from_array(x, chunks=(400, 20)), where="X"),
    "delayed-csr": lambda x: delayed(sp.csr_matrix(x)),
}


@pytest.fixture(params=OPERATORS)
def op(request, x64):
    return OPERATORS[request.param](X)


@pytest.fixture
def factors():
    rng = np.random.default_rng(0)
    return rng.random((1100, 3)), rng.random((3, 40))


def close(ours, expected):
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=1e-10, atol=1e-10)


def test_shape(op):
    assert op.shape == (1100, 40)
    assert op.dtype == np.float64


def test_stats(op):
    stats = op.stats()
    assert stats.minimum == 0
    close(stats.sq_norm, np.square(X).sum())
    close(stats.row_sums, X.sum(1))
    close(stats.col_sums, X.sum(0))
    close(stats.total, X.sum())


def test_products(op, factors):
    w, h = factors
    close(op.matmul(h.T), X @ h.T)
    close(op.rmatmul(w), X.T @ w)


def test_ratio_products(op, factors):
    w, h = factors
    close(op.ratio_matmul(w, h), (X / (w @ h)) @ h.T)
    close(op.ratio_rmatmul(w, h), (X / (w @ h)).T @ w)
    close(op.log_ratio(w, h), xlogy(X, X / (w @ h)).sum())


def test_ratios_where_the_mean_is_zero(op, factors):
    w, h = factors
    w[:200] = 0
    w[200:400, 0] = 0
    h[1:, :20] = 0
    assert np.isfinite(op.ratio_matmul(w, h)).all()
    assert np.isfinite(op.ratio_rmatmul(w, h)).all()
    assert np.isfinite(op.log_ratio(w, h))


def test_allocation(op, factors):
    w, h = factors
    found = op.allocate(w, h)
    ratio = X / (w @ h)
    close(found.rows, w * (ratio @ h.T))
    close(found.columns, h.T * (ratio.T @ w))
    close(found.log_sum, xlogy(X, w @ h).sum())
    # Everything is shared out, nothing twice.
    close(found.rows.sum(1), X.sum(1))
    close(found.columns.sum(1), X.sum(0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_allocation_to_rows_alone(dtype, factors):
    """The same sums; logarithms of means of any size."""
    w, h = (np.asarray(f, dtype) for f in factors)
    w[:100] *= 1e-6
    w[100:200] *= 1e6
    op = CSROperator(sp.csr_matrix(X, dtype=dtype))
    for factor in (h, h + 1):
        rows, log_sum = op.allocate_rows(w, factor)
        whole = op.allocate(w, factor)
        np.testing.assert_allclose(rows, whole.rows, rtol=1e-5)
        assert log_sum == pytest.approx(whole.log_sum, rel=1e-7)
    w[:200] = 0
    rows, log_sum = op.allocate_rows(w, h)
    assert np.isfinite(rows).all()
    assert np.isfinite(log_sum)


def test_allocation_where_the_mean_is_zero(op, factors):
    w, h = factors
    w[:200] = 0
    h[1:, :20] = 0
    found = op.allocate(w, h)
    assert np.isfinite(found.rows).all()
    assert np.isfinite(found.columns).all()
    assert np.isfinite(found.log_sum)
    assert not found.rows[:200].any()


def test_rows(op):
    index = np.array([0, 3, 299, 300, 301, 1024, 1099])
    part = op.rows(index)
    assert part.shape == (7, 40)
    close(part.matmul(np.eye(40)), X[index])


IN_BLOCKS = {
    "blocks": in_blocks,
    "delayed": lambda x: delayed(sp.csr_matrix(x)),
    "sharded": lambda x: shard_dense(x, jax.devices("cpu")[:1]),
}


@pytest.mark.parametrize("name", IN_BLOCKS)
@pytest.mark.parametrize(
    ("index", "error", "match"),
    [
        ([0, 400, 3], ValueError, "ascending order"),
        ([-1, 3], IndexError, "There are 1100 rows, but rows -1 to 3"),
        ([3, 1100], IndexError, "There are 1100 rows, but rows 3 to 1100"),
    ],
)
def test_rows_that_blocks_would_leave_out(name, index, error, match, x64):
    with pytest.raises(error, match=match):
        IN_BLOCKS[name](X).rows(np.array(index))


@pytest.mark.parametrize("name", IN_BLOCKS)
def test_a_row_may_be_asked_for_twice(name, x64):
    index = np.array([3, 3, 700])
    close(IN_BLOCKS[name](X).rows(index).matmul(np.eye(40)), X[index])


def test_dense_blocks(op):
    seen = []
    for rows, x in op.dense_blocks():
        assert isinstance(x, np.ndarray | jax.Array)
        close(x, X[rows])
        assert len(x) == len(X[rows])
        seen.append(np.arange(1100)[rows])
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(1100))


@pytest.mark.parametrize("name", OPERATORS)
def test_whole_numbers(name, x64):
    assert OPERATORS[name](X).stats().integer is True
    x = X.copy()
    x[1050, 3] = 0.5
    assert OPERATORS[name](x).stats().integer is False


def test_entropy(op):
    close(op.entropy(), xlogy(X, X).sum(0))


def test_blocks_are_the_matrix(op):
    seen = []
    for rows, block in op.row_blocks():
        seen.append(rows)
        close(block.matmul(np.eye(40)), X[rows])
    assert [rows.start for rows in seen] == [0, *(rows.stop for rows in seen[:-1])]
    assert seen[-1].stop == 1100


@pytest.mark.parametrize("n_threads", [1, 2, 3, 64])
def test_threads_change_nothing(n_threads, factors):
    from nonneg.operators.csr import CSROperator

    w, h = factors
    op = CSROperator(sp.csr_matrix(X), n_threads=n_threads)
    close(op.matmul(h.T), X @ h.T)
    close(op.rmatmul(w), X.T @ w)
    close(op.ratio_rmatmul(w, h), (X / (w @ h)).T @ w)
    close(op.log_ratio(w, h), xlogy(X, X / (w @ h)).sum())
    close(op.allocate(w, h).rows, w * ((X / (w @ h)) @ h.T))
    close(op.allocate(w, h).columns, h.T * ((X / (w @ h)).T @ w))


def test_little_work_wakes_no_thread(monkeypatch):
    """Whatever the pieces are that rows come from; a number that is asked for is kept."""
    from nonneg.operators import _numba
    from nonneg.operators.blocks import stack
    from nonneg.operators.csr import CSROperator

    monkeypatch.setattr(_numba, "available_cpus", lambda: 4)
    monkeypatch.setattr(_numba, "_WORTH_A_THREAD", 100)

    def parts(op):
        return op._csr.bounds.size - 1

    def ones(n):
        return sp.csr_matrix(np.ones((n, 10)))

    assert [parts(CSROperator(ones(n))) for n in (0, 9, 29, 400)] == [1, 1, 2, 4]
    whole = stack([CSROperator(ones(9)) for _ in range(10)])
    assert parts(whole) == 4
    assert parts(whole.rows(np.arange(5))) == 1
    assert parts(whole.log1p(np.ones((90, 1)))) == 4
    assert parts(CSROperator(ones(9), n_threads=3).rows(np.arange(5))) == 3


def test_operands_may_be_overwritten():
    """While the product may not have been computed yet."""
    rng = np.random.default_rng(0)
    op = as_operator(rng.random((2000, 1500)), where="x")
    for product, shape in ((op.matmul, (1500, 10)), (op.rmatmul, (2000, 10))):
        b = rng.random(shape, np.float32)
        expected = np.asarray(product(b.copy()))
        found = product(b)
        b[:] = 0
        np.testing.assert_array_equal(found, expected)


def test_minimum_of_a_full_sparse_matrix():
    assert as_operator(sp.csr_matrix(X[:50, :4] + 1), where="X").stats().minimum == 1
    assert as_operator(sp.csr_matrix(X[:50] - 1), where="X").stats().minimum == -1


def test_singular_vectors(op):
    v, values = right_singular_vectors(op, 4, np.random.default_rng(0))
    _, expected, vt = np.linalg.svd(X, full_matrices=False)
    np.testing.assert_allclose(values, expected[:4], rtol=1e-3)
    # Up to sign; good to about 1 %, see the kernel.
    assert np.abs((v * vt[:4].T).sum(0)).min() > 0.9999
    close(v.T @ v, np.eye(4))


def test_singular_vectors_of_low_rank_are_exact(x64):
    x = low_rank(60, 40, 4, noise=0)
    v, values = right_singular_vectors(DenseOperator(x), 4, np.random.default_rng(0))
    _, expected, vt = np.linalg.svd(x)
    np.testing.assert_allclose(values, expected[:4], rtol=1e-9)
    np.testing.assert_allclose(np.abs(v.T @ vt[:4].T), np.eye(4), atol=1e-7)


def test_singular_vectors_as_many_as_columns(x64):
    x = low_rank(60, 6, 4, noise=1)
    v, values = right_singular_vectors(DenseOperator(x), 6, np.random.default_rng(0))
    np.testing.assert_allclose(values, np.linalg.svd(x)[1], rtol=1e-8)
    np.testing.assert_allclose(v.T @ v, np.eye(6), atol=1e-10)


@pytest.mark.parametrize("init", ["nndsvda", "nndsvd", "random"])
def test_starts(op, init):
    stats, rng = op.stats(), np.random.default_rng(0)
    w, h = initialise(op, 4, init=init, stats=stats, rng=rng)
    assert w.shape == (1100, 4)
    assert h.shape == (4, 40)
    assert w.dtype == h.dtype == np.float64
    assert w.min() >= 0
    assert h.min() >= 0
    assert ((w == 0).any() and (h == 0).any()) == (init == "nndsvd")
    again = initialise(
        DenseOperator(X), 4, init=init, stats=stats, rng=np.random.default_rng(0)
    )
    # In an empty column a rounding error may stand for zero.
    filled = X.any(0)
    close(w, again[0])
    close(h[:, filled], again[1][:, filled])


def test_nndsvd_is_that_of_scikit_learn(x64):
    from sklearn.decomposition._nmf import _initialize_nmf

    x = low_rank(60, 40, 4, noise=0.02)
    op = DenseOperator(x)
    w, h = initialise(
        op, 4, init="nndsvd", stats=op.stats(), rng=np.random.default_rng(0)
    )
    theirs = _initialize_nmf(x, 4, "nndsvd", random_state=0)
    np.testing.assert_allclose(w @ h, theirs[0] @ theirs[1], rtol=1e-4, atol=1e-4)


def test_random_start_has_the_mean_of_the_data():
    op = as_operator(X, where="X")
    w, h = initialise(
        op, 40, init="random", stats=op.stats(), rng=np.random.default_rng(0)
    )
    # E|z|² of a half-normal is 2/π.
    assert (w @ h).mean() == pytest.approx(X.mean() * 2 / np.pi, rel=0.1)


def test_gathered_from_a_file(tmp_path):
    """Blocks are read into two buffers in turn."""
    adata = AnnData(sp.csr_matrix(X))
    adata.write_h5ad(tmp_path / "x.h5ad")
    stored = read_h5ad(tmp_path / "x.h5ad", backed="r").X
    for chunk_size in (100, 2000):
        op = as_operator(stored, where="X", chunk_size=chunk_size)
        np.testing.assert_array_equal(to_csr(op).toarray(), X)
