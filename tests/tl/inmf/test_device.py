"""Integration where arrays stay on a device: a CPU that is named is one."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import on_four_devices

ADATA = nng.datasets.batches((60, 40, 50), 30, 4, specific=1.0)
ADATA.X = np.asarray(ADATA.X.toarray(), np.float64)
COMMON = dict(batch_key="batch", size_factors="total")


def inmf(adata):
    nng.tl.inmf(adata, 4, tol=1e-4, **COMMON)


def multiplicative(adata):
    nng.tl.inmf(adata, 4, solver="mu", n_init=2, tol=1e-3, **COMMON)


def online(adata):
    nng.tl.online_inmf(adata, 4, minibatch_size=50, n_epochs=2, **COMMON)


def updated(adata):
    new = (adata.obs["batch"] == "batch_2").to_numpy()
    first, last = adata[~new].copy(), adata[new].copy()
    nng.tl.online_inmf(first, 4, minibatch_size=50, n_epochs=2, **COMMON)
    nng.tl.online_inmf_update(first, last, batch="batch_2", minibatch_size=20)
    adata.obsm["X_inmf"] = np.zeros((adata.n_obs, 4))
    adata.obsm["X_inmf"][new] = last.obsm["X_inmf"]
    adata.varm.update(last.varm)
    adata.uns.update(last.uns)


def projected(adata):
    nng.tl.inmf(adata, 4, tol=1e-4, **COMMON)
    model = adata[:0].copy()
    nng.tl.project(adata, model, key="inmf", batch_key="batch")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "fit",
    # What is updated was fitted online.
    [
        inmf,
        *(
            pytest.param(fit, marks=pytest.mark.slow)
            for fit in (multiplicative, online, projected, updated)
        ),
    ],
)
def test_same_as_on_the_host(fit, monkeypatch, x64):
    results = []
    for device in (None, "cpu:0"):
        monkeypatch.setattr(nng.settings, "device", device)
        adata = ADATA.copy()
        fit(adata)
        results.append(adata)
    host, device = results
    for name in ("inmf", "inmf_specific", "inmf_stats", "inmf_scale"):
        scale = np.abs(host.varm[name]).max()
        np.testing.assert_allclose(
            device.varm[name], host.varm[name], atol=1e-5 * scale, rtol=1e-5
        )
    scale = host.obsm["X_inmf"].max()
    np.testing.assert_allclose(
        device.obsm["X_inmf"], host.obsm["X_inmf"], atol=1e-5 * scale
    )
    name = "projected_objective" if fit is projected else "objective"
    np.testing.assert_allclose(
        device.uns["inmf"][name], host.uns["inmf"][name], rtol=1e-6
    )


@pytest.mark.slow
def test_search_on_a_device(monkeypatch, x64):
    tables = []
    for device in (None, "cpu:0"):
        monkeypatch.setattr(nng.settings, "device", device)
        adata = ADATA.copy()
        nng.tl.inmf_search(adata, (4,), max_iter=20, **COMMON)
        tables.append(adata.uns["inmf_search"]["table"].drop(columns="seconds"))
    np.testing.assert_allclose(
        tables[1].to_numpy(float), tables[0].to_numpy(float), rtol=1e-5
    )


@pytest.mark.slow
def test_resume_on_a_device(monkeypatch, tmp_path):
    """Bit by bit, in float32 as users have it."""
    monkeypatch.setattr(nng.settings, "device", "cpu:0")
    arguments = dict(minibatch_size=50, **COMMON)
    at_once, first = ADATA.copy(), ADATA.copy()
    path = tmp_path / "state.npz"
    nng.tl.online_inmf(at_once, 4, n_epochs=3, **arguments)
    nng.tl.online_inmf(first, 4, n_epochs=1, checkpoint=path, **arguments)
    nng.tl.online_inmf(first, 4, n_epochs=3, checkpoint=path, **arguments)
    for name in ("inmf", "inmf_specific", "inmf_stats"):
        np.testing.assert_array_equal(first.varm[name], at_once.varm[name])
    np.testing.assert_array_equal(first.obsm["X_inmf"], at_once.obsm["X_inmf"])


ON_FOUR = """
import warnings; warnings.simplefilter("ignore")
import jax, numpy as np, scipy.sparse as sp
import nonneg as nng

assert len(jax.devices()) == 4
# A number of cells that four devices cannot share evenly, and one they can.
simulated = nng.datasets.batches((60, 51, 51), 30, 4, specific=1.0)
fits = {
    "inmf": dict(max_iter=5, tol=1e-12),
    "online_inmf": dict(minibatch_size=50, n_epochs=2),
}
for make in (sp.csr_matrix.toarray, sp.csr_matrix):
    for name, arguments in fits.items():
        results = []
        for device in ("cpu:0", "cpu:*"):
            nng.settings.device = device
            adata = simulated.copy()
            adata.X = make(sp.csr_matrix(adata.X, dtype=np.float32))
            fit = getattr(nng.tl, name)
            fit(adata, 4, batch_key="batch", size_factors="total", **arguments)
            results.append(adata)
        one, four = results
        pairs = [(one.obsm["X_inmf"], four.obsm["X_inmf"])]
        pairs += [(one.varm[key], four.varm[key]) for key in one.varm if "inmf" in key]
        assert len(pairs) == 5
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
        objectives = [fit.uns["inmf"]["objective"] for fit in results]
        np.testing.assert_allclose(*objectives, rtol=1e-5)
"""


@pytest.mark.slow
def test_four_devices_are_as_one():
    on_four_devices(ON_FOUR)
