"""Numbers of components by stability, against the definition and a known truth."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import NMF

import nonneg as nng
from nonneg.models.stability.draws import Draws
from testing.nonneg import assert_same, snapshot


@pytest.fixture(scope="module")
def volume():
    return nng.datasets.atlas_expression(
        (14, 11, 9), 120, 5, missing_planes=0, slice_gain=0
    )


@pytest.fixture(scope="module")
def scanned(volume):
    return nng.tl.stability(volume, [4, 5, 6], n_bootstraps=6, copy=True)


def test_true_number_is_selected(volume, scanned):
    entry = scanned.uns["stability"]
    table = entry["table"].set_index("n_components")
    assert entry["best"] == 5
    assert table.loc[5, "instability"] < 0.02
    assert (table["instability"].drop(5) > 0.05).all()
    assert table.loc[5, "is_minimum"]
    # Principal components of the same samples.
    assert (table["pca"] > table.loc[5, "instability"]).all()
    assert (table["amari"] <= table["hungarian"] + 1e-6).all()
    found = scanned.obsm["X_stability"]
    match = nng.metrics.match_factors(volume.obsm["truth"], found)
    assert match.similarity.min() > 0.98


def test_a_loop_of_scikit_learn_agrees(volume, scanned):
    """On the same samples, below and above the true number: starts are not shared."""
    table = scanned.uns["stability"]["table"].set_index("n_components")
    draws = Draws(volume.shape, 6, "var", scanned.uns["stability"]["params"]["seed"])
    for k in (4, 5, 6):
        patterns = [
            NMF(k, init="nndsvda", random_state=b, max_iter=1000).fit_transform(
                volume.X[:, draws.index(b)]
            )
            for b in range(6)
        ]
        expected = nng.metrics.instability(patterns)
        assert abs(table.loc[k, "instability"] - expected) <= 0.005


def test_loadings_of_all_variables_fit(volume, scanned):
    """Medians of patterns, with loadings that are best for them."""
    d, a = scanned.obsm["X_stability"], scanned.varm["stability"]
    np.testing.assert_allclose(np.linalg.norm(a, axis=0), 1, rtol=1e-5)
    nng.tl.nmf(volume, 5)
    own = volume.obsm["X_nmf"] @ volume.varm["nmf"].T
    residual = np.linalg.norm(volume.X - d @ a.T) / np.linalg.norm(volume.X - own)
    assert residual < 1.05


def test_patterns_without_structure_select_nothing(volume):
    rng = np.random.default_rng(0)
    shuffled = ad.AnnData(rng.permuted(volume.X, axis=0))
    with pytest.warns(UserWarning, match="No number of components is selected"):
        nng.tl.stability(shuffled, [3, 5], n_bootstraps=4, baseline=False)
    table = shuffled.uns["stability"]["table"]
    assert (table["corrected"] > 0.5).all()
    assert "best" not in shuffled.uns["stability"]


@pytest.mark.parametrize("form", [sp.csr_matrix, np.asfortranarray])
def test_array_types(volume, scanned, form):
    other = volume.copy()
    other.X = form(other.X)
    nng.tl.stability(other, [4, 5, 6], n_bootstraps=6)
    a, b = (x.uns["stability"]["table"] for x in (scanned, other))
    np.testing.assert_allclose(a["instability"], b["instability"], atol=2e-3)


def test_repeats_are_equal_and_orders_of_numbers_do_not_matter(volume, scanned):
    again = nng.tl.stability(volume, [6, 4, 5], n_bootstraps=6, copy=True)
    np.testing.assert_allclose(
        again.uns["stability"]["table"]["instability"],
        scanned.uns["stability"]["table"]["instability"],
        rtol=1e-6,
    )


def test_starts_alone_and_observations(volume):
    small = volume[:, :60].copy()
    for resample in ("obs", None):
        nng.tl.stability(small, [5], n_bootstraps=3, resample=resample, key_added="s")
        assert small.obsm["s"].shape == (small.n_obs, 5)
        assert 0 <= small.uns["s"]["table"]["instability"].iloc[0] < 0.5


def test_another_method(volume):
    small = volume[::4, :30].copy()
    nng.tl.stability(small, [2, 3], n_bootstraps=2, method="pnmf", baseline=False)
    assert small.uns["stability"]["table"]["n_components"].tolist() == [2, 3]


def test_a_scan_goes_on_where_it_was_interrupted(
    volume, scanned, tmp_path, monkeypatch
):
    from nonneg._adata.scan_checkpoint import ScanCheckpoint

    save, saved = ScanCheckpoint.save, []

    def interrupted(self, rank, part):
        save(self, rank, part)
        saved.append(rank)
        if rank == 5:
            raise KeyboardInterrupt

    options = dict(n_bootstraps=6, checkpoint=tmp_path / "scan")
    monkeypatch.setattr(ScanCheckpoint, "save", interrupted)
    first = nng_quietly(volume, [4, 5, 6], options)
    assert first.uns["stability"]["table"]["n_components"].tolist() == [4]
    monkeypatch.setattr(ScanCheckpoint, "save", save)
    whole = nng.tl.stability(volume, [4, 5, 6], copy=True, **options)
    np.testing.assert_allclose(
        whole.uns["stability"]["table"]["instability"],
        scanned.uns["stability"]["table"]["instability"],
        atol=2e-3,
    )
    with pytest.raises(ValueError, match="another"):
        nng.tl.stability(
            volume, [4], n_bootstraps=6, rng=1, checkpoint=tmp_path / "scan"
        )


def nng_quietly(volume, ranks, options):
    with pytest.warns(UserWarning, match="interrupted|Interrupted"):
        return nng.tl.stability(volume, ranks, copy=True, **options)


REFUSED = {
    "twice": (dict(n_components=[3, 3]), ValueError, "more than once"),
    "none": (dict(n_components=[]), ValueError, "is empty"),
    "rank": (dict(n_components=[500]), ValueError, "500"),
    "samples": (dict(n_bootstraps=1), ValueError, "two samples"),
    "method": (dict(method="ica"), ValueError, "must be one of"),
    "resample": (dict(resample="both"), ValueError, "must be one of"),
    "metric": (dict(metric="cosine"), ValueError, "must be one of"),
    "weights": (dict(var_weights=np.ones(3)), ValueError, "one per variable"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, volume):
    options, error, match = REFUSED[case]
    before = snapshot(volume)
    with pytest.raises(error, match=match):
        nng.tl.stability(volume, **{"n_components": [3]} | options)
    assert_same(snapshot(volume), before)


def test_figure(scanned):
    axes = nng.pl.stability(scanned)
    line = axes[0].get_lines()[0]
    np.testing.assert_array_equal(np.sort(line.get_xdata()), [4, 5, 6])
