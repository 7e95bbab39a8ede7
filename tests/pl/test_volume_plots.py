"""What figures of volumes show."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng


@pytest.fixture(scope="module")
def volume():
    return nng.datasets.atlas_expression((12, 9, 8), 40, 4)


def test_projections(volume):
    panels = nng.pl.volume_maps(volume, "truth", factors=[2, 0])
    assert [ax.get_title() for ax in panels[:3]] == [
        "coronal",
        "horizontal",
        "sagittal",
    ]
    assert [panels[i].get_ylabel() for i in (0, 3)] == ["truth_2", "truth_0"]
    box = nng.get.image(volume, volume.obsm["truth"][:, 2])
    shown = np.asarray(panels[0].images[0].get_array())
    top = np.nanmax(box)
    with np.errstate(all="ignore"):
        expected = np.where(
            np.isnan(box).all(0), np.nan, np.nanmax(np.nan_to_num(box), 0)
        )
    np.testing.assert_allclose(np.ma.filled(shown, np.nan), expected / top, rtol=1e-6)
    # From the side, y is still downwards.
    assert np.asarray(panels[2].images[0].get_array()).shape == (9, 12)


def test_slices(volume):
    panels = nng.pl.volume_maps(
        volume, "truth", factors=1, view="slices", plane="horizontal", n_slices=3
    )
    assert len(panels) == 3
    box = nng.get.image(volume, volume.obsm["truth"][:, 1])
    planes = [np.ma.filled(ax.images[0].get_array(), np.nan) for ax in panels]
    for shown in planes:
        assert any(
            np.allclose(shown * np.nanmax(box), box[:, y], equal_nan=True, rtol=1e-5)
            for y in range(9)
        )


def test_merge(volume):
    panels = nng.pl.factor_merge(volume, "truth", factors=[0, 1, 2])
    assert len(panels) == 3
    legend = panels[0].get_figure().legends[0]
    assert [text.get_text() for text in legend.texts] == [
        "truth_0",
        "truth_1",
        "truth_2",
    ]
    box = nng.get.image(volume, volume.obsm["truth"][:, 0])
    picture = np.asarray(panels[0].images[0].get_array())
    outside = np.isnan(box).all(axis=0)
    assert (picture[outside, 3] == 0).all()
    assert (picture[~outside, 3] == 1).all()


def test_merge_of_an_image():
    adata = nng.datasets.quilt(12, 30)
    (ax,) = nng.pl.factor_merge(adata, "truth", factors=[0, 1])
    picture = np.asarray(ax.images[0].get_array())
    own = nng.get.image(adata, adata.obsm["truth"][:, 0]) > 0
    other = nng.get.image(adata, adata.obsm["truth"][:, 1]) > 0
    red, green = picture[..., 0], picture[..., 1]
    assert red[own & ~other].min() > green[own & ~other].max()
    assert (picture[~own & ~other, :3] == 0).all()


# Of spatialdata, when squidpy is imported for the first time.
@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option")
def test_maps_of_sections_are_not_for_volumes(volume):
    with pytest.warns(UserWarning, match="volume_maps"):
        nng.pl.factor_maps(volume, "truth", factors=[0])


def test_refusals(volume):
    with pytest.raises(ValueError, match="up to 3"):
        nng.pl.factor_merge(volume, "truth", factors=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="must be one of"):
        nng.pl.volume_maps(volume, "truth", plane="axial")
    section = nng.datasets.quilt(12, 30)
    with pytest.raises(KeyError, match="read_allen_grid"):
        nng.pl.volume_maps(section, "truth")
