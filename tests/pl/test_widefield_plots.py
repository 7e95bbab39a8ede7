"""Plots of preprocessing."""

from __future__ import annotations

import matplotlib.pyplot as plt
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


def test_report_without_brightness(session):
    adata = session.copy()
    for name in ("baseline", "mean_frame"):
        if name in adata.obs:
            del adata.obs[name]
    labels = [ax.get_label() for ax in nng.pl.widefield_report(adata)]
    assert "brightness" not in labels
    assert labels[-2:] == ["coefficient", "removed"]


@pytest.mark.parametrize("draw", [nng.pl.motion, nng.pl.widefield_report])
def test_frames_without_a_time(session, draw):
    for time in (np.nan, 3.0):
        adata = session.copy()
        adata.var.loc[adata.var_names[5:7], "time"] = time
        before = plt.get_fignums()
        with pytest.raises(ValueError, match=r"var\['time'\] must hold finite seconds"):
            draw(adata)
        assert plt.get_fignums() == before


def test_svd_variance_ratio(session):
    ax = nng.pl.svd_variance_ratio(session, ["svd", "svd_violet"])
    entry = session.uns["svd"]
    variance = entry["singular_values"] ** 2 / 120
    expected = variance / entry["total_variance"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected, rtol=1e-5)
    assert expected.sum() <= 1
    assert ax.get_ylabel() == "part of variance"
    with pytest.raises(KeyError, match="no singular values"):
        nng.pl.svd_variance_ratio(session, "truth")
    with pytest.raises(ValueError, match="no product"):
        nng.pl.svd_variance_ratio(session, [])


def test_spectra_have_one_scale(session):
    """Of a corrected signal, nobody knows a total: all are in its units."""
    ax = nng.pl.svd_variance_ratio(session, ["svd", "hemo"])
    assert ax.get_ylabel() == "variance per pixel"
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels[0].startswith("svd: ")
    assert labels[1] == "hemo"
    for line, key in zip(ax.lines, ("svd", "hemo"), strict=True):
        movie = session.obsm[f"X_{key}"] @ session.varm[key].T
        assert line.get_ydata().sum() == pytest.approx(
            movie.var(axis=1).mean(), rel=1e-3
        )


def test_hemodynamic_maps(session):
    coefficient, removed = nng.pl.hemodynamic_maps(session)
    shown = np.asarray(coefficient.images[0].get_array())
    expected = nng.get.image(session, "hemo_coef")
    np.testing.assert_allclose(shown, expected)
    assert removed.images[0].get_clim()[1] == 1
    with pytest.raises(KeyError, match="hemodynamic_correction"):
        nng.pl.hemodynamic_maps(session, "svd")
    bar = [text.get_text() for text in coefficient.texts]
    assert any(text.endswith(" mm") for text in bar)


def labels_of(axes):
    return [ax.get_label() for ax in axes]


def test_report(session):
    axes = nng.pl.widefield_report(session)
    panels = ["table", "shifts", "correlation", "variance", "brightness"]
    assert labels_of(axes) == [*panels, "coefficient", "removed"]
    texts = [text.get_text() for text in axes[0].texts]
    numbers = dict(zip(texts[::2], texts[1::2], strict=True))
    assert numbers["pixels × frames"] == f"{session.n_obs:,} × 120"
    far = np.hypot(*session.varm["shifts"].T)
    assert numbers["largest shift"].startswith(f"{far.max():.2f} pixels")
    assert numbers["coefficient, median"] == f"{session.obs['hemo_coef'].median():.2f}"
    np.testing.assert_allclose(
        axes[5].images[0].get_array(), nng.get.image(session, "hemo_coef")
    )


def test_report_of_motion_on_a_circle(session):
    """All frames are as far from the reference, and yet they move."""
    angle = np.linspace(0, 12, session.n_vars)
    part = session.copy()
    part.varm["shifts"] = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    texts = [text.get_text() for text in nng.pl.widefield_report(part)[0].texts]
    step = 2 * np.sin(np.diff(angle)[0] / 2)
    moved = texts[texts.index("from frame to frame") + 1]
    assert moved == f"{step:.3f} pixels, median"


def test_report_of_fewer_steps(session):
    part = session.copy()
    for key in ("hemo", "svd_violet"):
        del part.uns[key]
    del part.varm["shifts"]
    assert labels_of(nng.pl.widefield_report(part)) == [
        "table",
        "variance",
        "brightness",
    ]
    for name in ("svd", "truth"):
        del part.uns[name]
    with pytest.raises(ValueError, match="nothing to report"):
        nng.pl.widefield_report(part)
    del part.uns["video"]
    with pytest.raises(KeyError, match="read_video"):
        nng.pl.widefield_report(part)
