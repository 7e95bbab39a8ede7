"""Plots of preprocessing."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng


@pytest.fixture(scope="module")
def session():
    adata = nng.datasets.widefield(
        shape=(40, 48), n_regions=2, n_frames=120, mask=False
    )
    nng.pp.motion_correct(adata)
    brain = adata[adata.obs["region"].notna()].copy()
    nng.pp.delta_f(brain)
    nng.pp.svd(brain, 20)
    nng.pp.svd(brain, 20, layer="violet")
    nng.pp.hemodynamic_correction(brain)
    return brain


def test_motion(session):
    above, below = nng.pl.motion(session)
    np.testing.assert_allclose(
        above.lines[0].get_ydata(), session.varm["shifts"][:, 0], rtol=1e-6
    )
    np.testing.assert_allclose(
        below.lines[0].get_ydata(), session.var["motion_correlation"]
    )
    violet = nng.pl.motion(session, channel="violet")[0]
    np.testing.assert_allclose(
        violet.lines[1].get_ydata(), session.varm["shifts_violet"][:, 1], rtol=1e-6
    )
    with pytest.raises(KeyError, match="no channel 'red'"):
        nng.pl.motion(session, channel="red")
    with pytest.raises(KeyError, match="motion_correct"):
        nng.pl.motion(nng.datasets.widefield(form="svd", n_frames=50))


def test_svd_variance_ratio(session):
    ax = nng.pl.svd_variance_ratio(session, ["svd", "hemo"])
    entry = session.uns["svd"]
    expected = entry["singular_values"] ** 2 / 120 / entry["total_variance"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected, rtol=1e-5)
    assert expected.sum() <= 1
    assert [t.get_text() for t in ax.get_legend().get_texts()][1] == "hemo"
    with pytest.raises(KeyError, match="no singular values"):
        nng.pl.svd_variance_ratio(session, "truth")


def test_hemodynamic_maps(session):
    coefficient, removed = nng.pl.hemodynamic_maps(session)
    shown = np.asarray(coefficient.images[0].get_array())
    expected = nng.get.image(session, "hemo_coef")
    np.testing.assert_allclose(shown, expected)
    assert removed.images[0].get_clim()[1] == 1
    with pytest.raises(KeyError, match="hemodynamic_correction"):
        nng.pl.hemodynamic_maps(session, "svd")
