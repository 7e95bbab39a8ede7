"""Repeats are equal to the last bit, streams of random numbers differ, sums are exact."""

from __future__ import annotations

import itertools

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg._core.random import as_seed, stream
from nonneg.operators import threads
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_streams_of_a_seed_differ():
    purposes = [(), (0,), (0, 0), (1,), ("start",), ("start", 0), ("start", 1), ("a", "b"),
                ("ab",), ("\x01",), ("\x00",), (1, 1), ("data set", "a", 1)]  # fmt: skip
    drawn = [
        tuple(stream(seed, *purpose).integers(2**62, size=2))
        for seed in (0, 1, 2**32, 2**40 + 1)
        for purpose in purposes
    ]
    assert len(set(drawn)) == len(drawn)
    # What the fault was: zeros at the end do not count.
    assert np.random.default_rng([5, 0]).random() == np.random.default_rng(5).random()
    assert stream(5, 0).random() != np.random.default_rng(5).random()
    assert as_seed(stream(2**62, "x", 3)) == as_seed(stream(2**62, "x", 3))


def random_counts(n=4000, p=50):
    x = sp.random(n, p, 0.2, format="csr", random_state=0, dtype=np.float32)
    rng = np.random.default_rng(0)
    return x, rng.random((n, 3), np.float32), rng.random((3, p), np.float32)


def test_totals_do_not_depend_on_the_order_of_threads(monkeypatch):
    x, w, h = random_counts()
    op = CSROperator(x, n_threads=4)
    expected = op.allocate(w, h)

    def backwards(part, bounds):
        jobs = [
            (i, int(a), int(b)) for i, (a, b) in enumerate(itertools.pairwise(bounds))
        ]
        found = {job: part(*job) for job in reversed(jobs)}
        return [found[job] for job in jobs]

    monkeypatch.setattr("nonneg.operators._numba.run_parts", backwards)
    for name, args in [
        ("rmatmul", (w,)),
        ("ratio_rmatmul", (w, h)),
        ("log_ratio", (w, h)),
    ]:
        ours = getattr(op, name)(*args)
        with monkeypatch.context() as patch:
            patch.setattr("nonneg.operators._numba.run_parts", threads.run_parts)
            np.testing.assert_array_equal(ours, getattr(op, name)(*args))
    found = op.allocate(w, h)
    assert found.log_sum == expected.log_sum
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.columns, expected.columns)


FITS = {
    "nmf": dict(max_iter=5),
    "seminmf": dict(max_iter=5),
    "pnmf": dict(max_iter=5),
    "inmf": dict(batch_key="batch", size_factors="total", max_iter=5),
    "online_inmf": dict(batch_key="batch", size_factors="total", n_epochs=2),
}


@pytest.mark.parametrize("verb", FITS)
def test_fits_repeat_to_the_last_bit(verb):
    found = []
    for _ in range(2):
        adata = nng.datasets.ggblocks(12, 40)
        adata.obs["batch"] = np.repeat(["a", "b"], 72)
        # So few entries are not worth a second thread, which is what is tested.
        with nng.settings.override(n_threads=3):
            getattr(nng.tl, verb)(adata, 3, **FITS[verb], key_added="fit")
        found.append(adata.obsm["fit"])
    np.testing.assert_array_equal(*found)


def nearly_exact(noise=4e-4, n=600, p=200, rank=4):
    """Data of which a model leaves about ``noise`` squared."""
    rng = np.random.default_rng(0)
    x = rng.gamma(2.0, 1.0, (n, rank)) @ rng.gamma(0.3, 1.0, (rank, p))
    return np.maximum(x * (1 + noise * rng.standard_normal(x.shape)), 0)


def left_over(x, adata, key):
    fitted = adata.obsm[f"X_{key}"].astype(float) @ adata.varm[key].T.astype(float)
    return np.square(x - fitted).sum()


@pytest.mark.parametrize("form", [np.array, sp.csr_matrix])
@pytest.mark.parametrize("verb", ["nmf", "seminmf"])
def test_objectives_of_nearly_exact_fits(form, verb):
    """Where 1 - R² is about 2e-7: the value that float64 finds, and no rises."""
    x = nearly_exact()
    adata = ad.AnnData(form(x))
    getattr(nng.tl, verb)(adata, 4, tol=0, max_iter=150)
    objective = adata.uns["nmf"]["objective"]
    true = left_over(x, adata, "nmf") / 2
    assert true < 1e-5 * np.square(x).sum()
    assert objective[-1] == pytest.approx(true, rel=1e-4)
    assert (np.diff(objective) <= 1e-5 * objective[1:]).all()


def test_nearly_exact_integration_does_not_stop_on_a_rise():
    x = nearly_exact()
    adata = ad.AnnData(x)
    adata.obs["batch"] = np.repeat(["a", "b"], len(x) // 2)
    nng.tl.inmf(adata, 4, batch_key="batch", size_factors=None, tol=1e-6, max_iter=300)
    objective = adata.uns["inmf"]["objective"]
    assert (np.diff(objective) < 1e-6 * objective[1:]).all()
    # Until then it fell, but for extrapolated steps that are undone.
    assert (np.diff(objective)[:-1] <= 0).all()
    scale = adata.varm["inmf_scale"]
    lam = adata.uns["inmf"]["lam"]
    total = 0.0
    for d, name in enumerate(adata.uns["inmf"]["batches"]):
        rows = (adata.obs["batch"] == name).to_numpy()
        h = adata.obsm["X_inmf"][rows].astype(float)
        v = adata.varm["inmf_specific"][:, d].astype(float)
        both = adata.varm["inmf"] + v
        total += np.square(x[rows] * scale[:, d] - h @ both.T).sum()
        total += lam[d] * np.square(h @ v.T).sum()
    assert objective[-1] == pytest.approx(total, rel=1e-4)


def test_divergence_of_dense_rows_is_added_in_float64():
    """Many rows, each of which adds little to the sum."""
    rng = np.random.default_rng(0)
    w, h = rng.random((20_000, 2), np.float32), rng.random((2, 30), np.float32)
    x = (w @ h) * (1 + 1e-3 * rng.standard_normal((20_000, 30))).astype(np.float32)
    mean = w.astype(float) @ h.astype(float)
    exact = (x.astype(float) * np.log(x / mean)).sum()
    assert DenseOperator(x).log_ratio(w, h) == pytest.approx(exact, rel=1e-4)
