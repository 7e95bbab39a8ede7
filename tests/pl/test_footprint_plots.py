"""Components of movies on the atlas."""

from __future__ import annotations

import re
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

import nonneg as nng
from nonneg._core.text import counted
from nonneg.pl import _film, _movie
from nonneg.pl._colors import strong_palette
from testing.nonneg import real_data


@pytest.fixture
def adata():
    yield nng.datasets.widefield(form="svd", shape=(40, 48), n_regions=2, n_frames=100)
    plt.close("all")


def test_footprints_have_the_colour_of_their_region(adata):
    ax = nng.pl.footprints(adata, "truth", regions=["region_1_left"])
    image = ax.images[0].get_array()
    strong = image[image[..., 3] > 0.9][:, :3]
    assert len(strong)
    assert np.ptp(strong, axis=0).max() < 1e-6
    assert ax.collections  # borders
    with pytest.raises(KeyError, match="no components of"):
        nng.pl.footprints(adata, "truth", regions=["VISp_left"])
    with pytest.raises(ValueError, match="have no regions"):
        nng.pl.footprints(adata, "svd")


def test_traces_of_a_window(adata):
    ax = nng.pl.traces(adata, "truth", window=(1, 3))
    k = adata.varm["true_traces"].shape[1]
    assert len(ax.get_yticks()) == k
    time = ax.lines[0].get_xdata()
    assert 1 <= time.min() <= time.max() <= 3
    with pytest.raises(ValueError, match="no frame"):
        nng.pl.traces(adata, "truth", window=(90, 99))


def test_numbers_of_regions(adata):
    values = {"region_1_left": 1.0, "region_2": 3.0}
    ax = nng.pl.region_map(adata, values, annotate=True, label="rank")
    image = ax.images[1].get_array()
    number = adata.obs["region"].value_counts()
    assert np.sum(image == 1) == number["region_1_left"]
    assert np.sum(image == 3) == number[["region_2_left", "region_2_right"]].sum()
    assert {text.get_text() for text in ax.texts} >= {"1", "3"}
    with pytest.raises(KeyError, match="VISp"):
        nng.pl.region_map(adata, {"VISp": 1.0})
    with pytest.raises(ValueError, match="finite"):
        nng.pl.region_map(adata, {"region_2": np.nan})


def test_numbers_stand_in_their_regions(adata):
    """In each part of regions that have two, and not between them."""
    # Annotated without hemispheres, and without the midline.
    column = adata.obs["voxel"].to_numpy() % 48
    adata = adata[np.abs(column - 23.5) > 2].copy()
    name = adata.obs["region"].astype(str).str.removesuffix("_left")
    adata.obs["both"] = name.str.removesuffix("_right")
    values = {"region_1": 1.0, "region_2": 2.5}
    ax = nng.pl.region_map(
        adata, values, annotate=True, region_key="both", hemisphere_key=None
    )
    image = ax.images[1].get_array()
    texts = [text for text in ax.texts if "mm" not in text.get_text()]
    assert sorted(text.get_text() for text in texts) == ["1", "1", "2.5", "2.5"]
    for text in texts:
        column, row = text.get_position()
        assert image[int(row), int(column)] == float(text.get_text())


def test_one_number_for_all_regions(adata):
    names = ["region_1", "region_2"]
    for value in (1.0, 4.0, 0.7):
        ax = nng.pl.region_map(adata, dict.fromkeys(names, value + 1e-15))
        low, high = ax.images[1].get_clim()
        assert low < value < high
        assert high - low > 0.1


def test_the_bar_has_the_unit_of_pixels(adata):
    def bar():
        return [text.get_text() for text in nng.pl.footprints(adata, "truth").texts]

    assert any(text.endswith(" mm") for text in bar())
    adata.uns["volume"]["spacing"] = np.ones(2)
    assert any(text.endswith(" pixels") for text in bar())


def test_many_regions_have_strong_colours_that_differ():
    from skimage.color import rgb2lab

    colors = np.array([to_rgb(color) for color in strong_palette(66)])
    lab = rgb2lab(colors)
    # Neither pale nor dark: strength says how much of a component is there.
    assert lab[:, 0].max() < 80
    assert np.hypot(lab[:, 1], lab[:, 2]).min() > 20
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1e3 * np.eye(66)
    assert apart.min() > 10
    np.testing.assert_array_equal(strong_palette(30), strong_palette(66)[:30])


def test_nothing_to_show_is_refused(adata):
    for plot in (nng.pl.footprints, nng.pl.traces):
        with pytest.raises(ValueError, match="no component to show"):
            plot(adata, "truth", regions=[])
        with pytest.raises(ValueError, match="no component to show"):
            plot(adata, "truth", components=[0], regions=["region_2_right"])


@pytest.fixture(scope="module")
def fitted():
    adata = nng.datasets.widefield(
        form="svd", shape=(40, 48), n_regions=2, n_frames=200
    )
    nng.tl.locanmf(adata, max_rank=3, loc_threshold=0.7)
    return adata


def test_quality_of_regions(fitted):
    table = fitted.uns["locanmf"]["regions"]
    components, r2, inside = nng.pl.region_quality(fitted)
    assert [text.get_text() for text in components.get_yticklabels()] == [*table.index]
    widths = [[bar.get_width() for bar in ax.patches] for ax in (components, r2)]
    np.testing.assert_allclose(widths, [table["rank"], table["r2"]], rtol=1e-6)
    of_components = np.concatenate([line.get_xdata() for line in inside.lines[1:]])
    assert sorted(of_components) == sorted(fitted.uns["locanmf"]["localization"])
    assert inside.lines[0].get_xdata()[0] == 0.7
    lowest = pd.Series(fitted.uns["locanmf"]["localization"])
    lowest = lowest.groupby(fitted.uns["locanmf"]["region"]).min()
    np.testing.assert_allclose(table["localization"][lowest.index], lowest, rtol=1e-6)
    few = nng.pl.region_quality(fitted, regions=table.index[[2, 0]])
    assert [t.get_text() for t in few[0].get_yticklabels()] == [*table.index[[2, 0]]]
    with pytest.raises(KeyError, match="no regions"):
        nng.pl.region_quality(fitted, regions=["x"])
    one = nng.pl.region_quality(fitted, regions=table.index[1])
    assert [t.get_text() for t in one[0].get_yticklabels()] == [table.index[1]]
    with pytest.raises(ValueError, match="names none"):
        nng.pl.region_quality(fitted, regions=[])
    with pytest.raises(ValueError, match="says nothing of how well"):
        nng.pl.region_quality(fitted, "truth")


def test_quality_of_regions_without_components(fitted):
    few = fitted.copy()
    few.uns["locanmf"]["regions"].loc["nowhere"] = [3, 0, np.nan, np.nan]
    components, _, inside = nng.pl.region_quality(few)
    assert components.patches[-1].get_width() == 0
    assert np.isnan(inside.patches[-1].get_width())


@pytest.mark.filterwarnings("error")
def test_a_movie_without_change(fitted):
    still = fitted.copy()
    still.varm["svd"][:] = 1
    animation = nng.pl.movie(still)
    assert not np.ma.filled(animation._fig.axes[0].images[0].get_array(), 0).any()
    animation._draw_was_started = True


def centred(x):
    return x - x.mean(axis=1, keepdims=True)


def test_frames_of_the_movie(fitted):
    animation = nng.pl.movie(fitted, window=(2, 4), step=3, limit=0.1)
    data, components, residual = (ax.images[0] for ax in animation._fig.axes[:3])
    fs, place = 15, fitted.obs["voxel"].to_numpy()
    index = np.stack(np.unravel_index(place, (40, 48)))
    index = tuple(index - index.min(axis=1, keepdims=True) + 1)
    movie = centred(fitted.obsm["X_svd"] @ fitted.varm["svd"].T)
    a, c = fitted.obsm["X_locanmf"], centred(fitted.varm["locanmf"].T)
    for i in (0, 5):
        animation._func(i)
        frame = 2 * fs + 3 * i
        np.testing.assert_allclose(data.get_array()[index], movie[:, frame], atol=1e-6)
        left = movie[:, frame] - a @ c[:, frame]
        np.testing.assert_allclose(residual.get_array()[index], left, atol=1e-6)
        strength = np.minimum(np.abs(a @ c[:, frame]) / 0.1, 1)
        shown = components.get_array()[index]
        np.testing.assert_allclose(shown[:, 3], strength, atol=1e-4)
        # Grey where it is negative, and only there.
        grey = np.ptp(shown[:, :3], axis=1) < 1e-6
        np.testing.assert_array_equal(grey, a @ c[:, frame] < 0)
    assert data.get_clim() == residual.get_clim() == (-0.1, 0.1)
    stamps = [text.get_text() for ax in animation._fig.axes for text in ax.texts]
    assert "3.00 s" in stamps
    assert animation._save_count == 11
    animation._draw_was_started = True


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_movies_are_written(name, fitted, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    nng.pl.movie(fitted, path=tmp_path / name, window=(0, 1), speed=2, dpi=40)
    n_frames, seconds = ffmpeg.count_frames_and_secs(tmp_path / name)
    assert n_frames == 16
    assert seconds == pytest.approx(16 / 30, abs=0.04)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_movies_without_ffmpeg(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(_film, "_has_ffmpeg", lambda: False)
    nng.pl.movie(fitted, path=tmp_path / "a.gif", window=(0, 0.5), dpi=40)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 8
    with pytest.raises(ImportError, match=r"nonneg\[widefield\].*or write a .gif"):
        nng.pl.movie(fitted, path=tmp_path / "a.mp4")


def test_movies_that_cannot_be_made(fitted, tmp_path):
    for options, error, match in (
        (dict(path="a.png"), ValueError, r"one of \.mp4, \.gif"),
        (dict(path=tmp_path / "no" / "a.gif"), ValueError, "no folder"),
        (dict(window=(90, 99)), ValueError, "no frame"),
        (dict(step=0), ValueError, "step=0"),
        (dict(speed=0), ValueError, "speed=0"),
        (dict(limit=-1), ValueError, "limit=-1"),
        (dict(key="truth"), KeyError, "data_key"),
        (dict(key="svd"), ValueError, "have no regions"),
        (dict(data_key="other"), KeyError, "no movie"),
    ):
        with pytest.raises(error, match=match):
            nng.pl.movie(fitted, **options)
    assert not list(tmp_path.iterdir())


def test_a_movie_that_is_interrupted_leaves_no_file(fitted, tmp_path, monkeypatch):
    calls = iter(range(3))

    def failing(self, frame, limit):
        next(calls)
        return images(self, frame, limit)

    images = _movie._Frames.images
    monkeypatch.setattr(_movie._Frames, "images", failing)
    with pytest.raises((StopIteration, RuntimeError)):
        nng.pl.movie(fitted, path=tmp_path / "a.gif", window=(0, 1), dpi=40)
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_real_atlases(tmp_path):
    """Two hemispheres with 66 signed areas, and one image of 33 in both."""
    stored = np.load(real_data("dorsal_cortex_atlases.npz"), allow_pickle=True)
    ids, names = stored["locanmf_area_ids"].tolist(), stored["locanmf_area_names"]
    atlas = nng.atlas.Atlas.from_arrays(
        stored["locanmf_540x540"][::4, ::4],
        dict(zip(ids, names, strict=True)),
        spacing=0.08,
    )
    adata = nng.datasets.widefield("paper", regions=atlas, n_frames=60, min_pixels=20)
    nng.tl.region_traces(adata)
    table = adata.uns["region_traces"]["regions"]
    assert len(table) > 50
    ax = nng.pl.footprints(adata, "truth")
    image = ax.images[0].get_array()
    strong = image[image[..., 3] > 0.95][:, :3]
    # No pale colours among so many regions.
    assert np.ptp(strong, axis=1).min() > 0.2
    axes = nng.pl.region_quality(adata, "region_traces")
    assert len(axes[0].patches) == len(table)
    ax = nng.pl.region_map(adata, table["n_pixels"], annotate=True)
    shown = {text.get_text() for text in ax.texts}
    assert f"{table.loc['MOs1_left', 'n_pixels']:.3g}" in shown
    nng.pl.movie(
        adata, "truth", tmp_path / "a.gif", data_key="svd", window=(0, 0.1), dpi=30
    )
    assert (tmp_path / "a.gif").stat().st_size > 0


def test_frames_go_to_the_file_one_by_one(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    figure = plt.figure(figsize=(4, 3), dpi=50)

    def grown(n):
        tracemalloc.start()
        _film.write_film(tmp_path / "a.mp4", figure, lambda _: None, n, 10)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    grown(5)
    # A frame has 200 x 150 x 4 bytes.
    assert grown(200) - grown(5) < 10 * 120e3


def test_movies_of_what_is_no_movie(fitted):
    for key in ("locanmf", "truth"):
        match = rf"data_key='{key}' holds components of regions, not the movie"
        with pytest.raises(ValueError, match=match):
            nng.pl.movie(fitted, data_key=key)


@pytest.mark.parametrize(("dpi", "size"), [(2, "18 x 6 pixels"), (10**6, "9000000 x")])
def test_movies_of_absurd_sizes(fitted, dpi, size):
    with pytest.raises(ValueError, match=rf"dpi={dpi} makes frames of {size}") as found:
        nng.pl.movie(fitted, dpi=dpi)
    low, high = map(int, re.findall(r"dpi from (\d+) to (\d+)", str(found.value))[0])
    assert 2 < low < 100 < high
    # The bound is one that is drawn.
    animation = nng.pl.movie(fitted, dpi=low)
    assert min(animation._fig.canvas.get_width_height()) >= 64
    animation._draw_was_started = True


def test_figures_of_absurd_sizes(adata):
    with (
        plt.rc_context({"figure.dpi": 20_000}),
        pytest.raises(ValueError, match=r"no side can be above 3\. Show a part"),
    ):
        nng.pl.traces(adata, "truth")


def test_numbers_of_regions_in_words(adata):
    ax = nng.pl.footprints(adata, "truth", components=[0])
    assert ax.get_title() == "1 component of 1 region"
    assert counted(2, "region", "has") == "2 regions have"


def test_traces_without_frames(adata):
    with pytest.raises(ValueError, match=r"at least two frames|no variables"):
        nng.pl.traces(adata[:, :0].copy(), "truth")
