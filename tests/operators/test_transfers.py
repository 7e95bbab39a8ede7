"""What crosses between host and device in an iteration: nothing as long as the data."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg.models.nsf import ascent, search, start
from nonneg.operators import place
from testing.nonneg import counts

N_OBS = 400
# Like no other number of the tests.
N_INDUCING = 37


@pytest.fixture
def crossings(monkeypatch):
    """Shapes of arrays of observations or inducing points that cross either way.

    Counted where they are converted: transfer guards of JAX do not see a CPU.
    """
    seen = []

    def counted(convert, kind):
        def wrapped(x, *args, **kwargs):
            if isinstance(x, kind) and {N_OBS, N_INDUCING} & set(x.shape):
                seen.append(x.shape)
            return convert(x, *args, **kwargs)

        return wrapped

    for name in ("asarray", "array"):
        monkeypatch.setattr(np, name, counted(getattr(np, name), jax.Array))
        monkeypatch.setattr(jnp, name, counted(getattr(jnp, name), np.ndarray))
    monkeypatch.setattr(jax, "device_put", counted(jax.device_put, np.ndarray))
    return seen


@pytest.mark.parametrize("budget", [2**30, 0], ids=["as-dense", "sparse"])
@pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_nmf(crossings, beta_loss, budget, monkeypatch):
    monkeypatch.setattr(place, "data_budget", lambda _: budget)
    adata = counts(N_OBS, 30)
    adata.X = sp.csr_matrix(adata.X)
    found = []
    for max_iter in (10, 30):
        crossings.clear()
        with nng.settings.override(device="cpu:0"):
            nng.tl.nmf(
                adata, 4, beta_loss=beta_loss, tol=0, max_iter=max_iter, copy=True
            )
        found.append(len(crossings))
    assert 0 < found[0] == found[1]


@pytest.mark.parametrize(
    ("likelihood", "budget"),
    [
        pytest.param("poisson", 2**30, id="poisson-as-dense", marks=pytest.mark.slow),
        pytest.param("poisson", 0, id="poisson-sparse"),
        *(
            pytest.param(
                likelihood, budget, id=f"{likelihood}-{how}", marks=pytest.mark.slow
            )
            for likelihood in ("negative_binomial", "gaussian")
            for how, budget in (("as-dense", 2**30), ("sparse", 0))
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*all zero:UserWarning")
def test_nsf(crossings, likelihood, budget, monkeypatch):
    """Nothing as long as the data, nor the covariances of inducing points."""
    monkeypatch.setattr(place, "data_budget", lambda _: budget)
    adata = nng.datasets.ggblocks(20, 12)
    assert adata.n_obs == N_OBS
    kernel = dict(
        length_scale=3.0, amplitude=1.0, temperature=1.0, n_inducing=N_INDUCING
    )
    found = []
    for max_iter in (3, 12):
        crossings.clear()
        with nng.settings.override(device="cpu:0"):
            nng.tl.nsf(
                adata,
                3,
                likelihood=likelihood,
                tol=0,
                max_iter=max_iter,
                copy=True,
                **kernel,
            )
        found.append(len(crossings))
    assert 0 < found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["deterministic", "monte_carlo"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*all zero:UserWarning")
def test_what_steps_of_nsf_are_given_is_on_the_device(estimator, monkeypatch):
    """Also in the search: an array of the host would cross in every call."""
    seen = []

    def checked(compiled):
        def call(*args):
            seen.append(compiled)
            for leaf in jax.tree.leaves(args):
                assert isinstance(leaf, jax.Array) or np.size(leaf) < 20
            return compiled(*args)

        return call

    for module, name in (
        (ascent, "_compiled_step"),
        (search, "_compiled_score"),
        (start, "_compiled_first_state"),
    ):
        monkeypatch.setattr(module, name, checked(getattr(module, name)))
    adata = nng.datasets.ggblocks(20, 12)
    with nng.settings.override(device="cpu:0"):
        nng.tl.nsf(adata, 3, estimator=estimator, max_iter=3, n_inducing=N_INDUCING)
    assert len(set(seen)) == 3


@pytest.mark.filterwarnings("ignore:.*all zero:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_another_seed_compiles_nothing():
    """Nor does the second step of a fit."""
    adata = nng.datasets.ggblocks(20, 12)
    kwargs = dict(
        length_scale=3.0,
        amplitude=1.0,
        temperature=1.0,
        n_inducing=N_INDUCING,
        estimator="monte_carlo",
        tol=0,
        max_iter=2,
    )
    ascent._compiled_step.clear_cache()
    with nng.settings.override(device="cpu:0"):
        for seed in (0, 1):
            nng.tl.nsf(adata, 3, rng=seed, **kwargs)
            assert ascent._compiled_step._cache_size() == 1
