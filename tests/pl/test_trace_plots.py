"""Plots of time courses, events and behaviour."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng


@pytest.fixture(scope="module")
def session():
    """A simulated session with everything that is drawn."""
    adata = nng.datasets.widefield(form="svd", shape=(40, 48), n_regions=3, rng=1)
    nng.tl.region_cca(adata, key="truth", n_shifts=40)
    nng.tl.seed_correlation(adata, [10, 400], key="truth")
    column = "label"
    window = (-0.5, 1.0)
    nng.tl.event_average(adata, key="truth", by=column, window=window)
    nng.tl.demixed_pca(adata, column, key="truth", window=window)
    nng.tl.decode_events(adata, column, key="truth", window=window, n_null=9)
    nng.tl.decode_behavior(adata, "behavior", key="truth", n_null=9)
    return adata


def test_map_of_correlations(session):
    found = session.uns["truth_region_cca"]
    names = found["regions"].tolist()
    ax = nng.pl.region_cca(session, "truth", regions=names[::-1])
    assert [label.get_text() for label in ax.get_xticklabels()] == names[::-1]
    image = ax.images[0].get_array()
    assert image[0, 1] == pytest.approx(found["r_held_out"][-1, -2])
    assert image.mask.diagonal().all()
    insignificant = np.nansum(found["p_adjusted"] > 0.05)
    drawn = sum(len(c.get_offsets()) for c in ax.collections)
    assert drawn == insignificant
    clustered = nng.pl.region_cca(session, "truth", values="excess", order="cluster")
    labels = {label.get_text() for label in clustered.get_xticklabels()}
    assert labels == set(names)
    with pytest.raises(KeyError, match="no regions"):
        nng.pl.region_cca(session, "truth", regions=["x"])
    with pytest.raises(ValueError, match="regions is empty"):
        nng.pl.region_cca(session, "truth", regions=[])
    with pytest.raises(KeyError, match=r"nonneg.tl.region_cca\(adata, …, key='svd'\)"):
        nng.pl.region_cca(session, "svd")


def test_canonical_pair(session):
    one, two = session.uns["truth_region_cca"]["regions"][:2]
    ax = nng.pl.canonical_pair(session, one, two, key="truth", interval=(5, 20))
    lines = [line.get_ydata() for line in ax.lines]
    assert [line.get_label() for line in ax.lines] == [one, two]
    assert len(lines[0]) == 226
    r = session.uns["truth_region_cca"]["r"][0, 1]
    assert ax.get_title(loc="left").startswith(f"r = {r:.2f}")
    with pytest.raises(ValueError, match="No frame"):
        nng.pl.canonical_pair(session, one, two, key="truth", interval=(500, 600))


@pytest.mark.parametrize("n_components", [0, -1, 1.5, True])
def test_canonical_pair_of_no_components(session, n_components):
    one, two = session.uns["truth_region_cca"]["regions"][:2]
    with pytest.raises((ValueError, TypeError), match="n_components"):
        nng.pl.canonical_pair(session, one, two, key="truth", n_components=n_components)


def test_seeds(session):
    axes = nng.pl.seed_correlation(session, "truth")
    image = axes[1].images[0].get_array()
    assert image.shape == (40, 48)
    row, column = np.divmod(session.obs["voxel"].iloc[400], 48)
    assert image[row, column] == pytest.approx(1)
    cross = axes[1].lines[0]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (column, row)


def test_averages(session):
    axes = nng.pl.event_average(session, "truth", components=[0, 3])
    assert len(axes) == 2
    found = session.uns["truth_event_average"]
    line = axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(line, found["mean"][0, :, 3])
    n_regions = len(set(session.uns["truth"]["region"]))
    assert len(nng.pl.event_average(session, "truth", center="median")) == n_regions


def test_demixed_components(session):
    axes = nng.pl.demixed_pca(session, "truth", n_components=2)
    assert 3 <= len(axes) <= 4
    assert "time" in axes[0].get_ylabel()
    assert len(axes[0].lines) == 3  # two conditions and the event


def test_decoding(session):
    ax = nng.pl.decoding(session, "truth")
    best = (
        session.uns["truth_decode_events"]["table"].set_index("rank").loc[1, "region"]
    )
    assert ax.get_yticklabels()[0].get_text() == best
    ax = nng.pl.decoding(session, "truth", of="decode_behavior", n_regions=2)
    assert len(ax.get_yticks()) == 2


def test_decoded_trace(session):
    ax = nng.pl.decoded_trace(session, key="truth")
    assert ax.get_ylabel() == "behavior"
    measured = ax.lines[0].get_ydata()
    assert set(measured) <= set(session.var["behavior"])
    with pytest.raises(KeyError, match="no region 'x'"):
        nng.pl.decoded_trace(session, "x", key="truth")


def test_distances_of_maps():
    table = pd.DataFrame(
        {"same_subject": [True] * 3 + [False] * 9, "distance": np.arange(12.0)}
    )
    found = nng.tl.MapDistances(table, 5.0, np.zeros(9), 0.1, ["a", "b"])
    ax = nng.pl.map_distances(found)
    assert "9 pairs" in ax.get_xticklabels()[1].get_text()
    assert "0.1" in ax.get_title()


def test_seeds_after_pixels_were_sorted_or_left_out(session):
    """The cross is where the correlation is 1, whatever the order of pixels."""
    sorted_ = session[::-1].copy()
    for adata in (session, sorted_):
        for ax in nng.pl.seed_correlation(adata, "truth"):
            ((x,), (y,)) = ax.lines[0].get_data()
            assert ax.images[0].get_array()[int(y), int(x)] == pytest.approx(
                1, abs=1e-5
            )
    with pytest.raises(ValueError, match="is not among the 5 pixels"):
        nng.pl.seed_correlation(session[:5].copy(), "truth")


def test_results_that_have_changed_since(session):
    adata = session.copy()
    adata.uns["truth_demixed_pca"]["variance"] = {"other": 1}
    match = (
        r"uns\['truth_demixed_pca'\]\['variance'\] is no table, .* changed since. "
        "Call `nonneg.tl.demixed_pca` again"
    )
    with pytest.raises(ValueError, match=match):
        nng.pl.demixed_pca(adata, "truth")
    # What is wrong with arguments is said of them.
    with pytest.raises(TypeError, match="n_components="):
        nng.pl.demixed_pca(session, "truth", n_components="many")
