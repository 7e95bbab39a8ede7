from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_hex

import nonneg as nng

pytest.importorskip("squidpy")


def with_factors(coords, scores):
    adata = AnnData(np.ones((len(coords), 3), np.float32))
    adata.obsm["spatial"] = np.asarray(coords, float)
    adata.obsm["X_nmf"] = np.asarray(scores, np.float32)
    adata.varm["nmf"] = np.ones((3, adata.obsm["X_nmf"].shape[1]), np.float32)
    adata.uns["nmf"] = {
        "schema": 1,
        "method": "nmf",
        "obsm_key": "X_nmf",
        "varm_key": "nmf",
        "params": {},
    }
    return adata


@pytest.fixture
def cells():
    """Cells at random places."""
    rng = np.random.default_rng(0)
    return with_factors(rng.random((300, 2)) * [500, 900], rng.gamma(1, 2, (300, 2)))


def points_of(ax):
    return ax.collections[-1]


def diameter(ax):
    """Diameter of the points in the units of the coordinates."""
    ax.figure.draw_without_rendering()
    pixels = np.sqrt(points_of(ax).get_sizes()[0]) * ax.figure.dpi / 72
    unit = ax.transData.transform([(1, 0), (0, 0)])
    return pixels / (unit[0] - unit[1])[0]


def test_one_panel_per_factor(adata):
    axes = nng.pl.factor_maps(adata, "truth")
    assert [ax.get_title() for ax in axes] == [f"truth_{i}" for i in range(4)]
    for ax, scores in zip(axes, adata.obsm["truth"].T, strict=True):
        np.testing.assert_array_equal(points_of(ax).get_array(), scores)
        np.testing.assert_array_equal(
            points_of(ax).get_offsets(), adata.obsm["spatial"]
        )
        assert ax.get_aspect() == 1
        assert not ax.axison
        assert ax.yaxis_inverted()
        assert not ax.xaxis_inverted()


def test_layout(adata):
    axes = nng.pl.factor_maps(adata, "truth", ncols=3, colorbar=False)
    grid = axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 3)
    assert axes[0].figure.axes == axes
    adata.obsm["truth"][:, 0] *= 2
    nng.pl.factor_maps(adata, "truth")
    assert len(plt.gcf().axes) == 8  # with colour bars


def test_panels_with_one_range_share_a_bar(adata):
    nng.pl.factor_maps(adata, "truth", share_scale=True)
    assert len(plt.gcf().axes) == 5
    assert plt.gcf().axes[-1].get_ylabel() == "score"
    adata.obs["section"] = np.where(np.arange(adata.n_obs) < 200, "a", "b")
    adata.obsm["truth"] *= [1, 2, 3, 4]
    nng.pl.factor_maps(adata, "truth", factors=[0, 1], library_key="section")
    assert len(plt.gcf().axes) == 4 + 2


def test_factors_above_their_genes_share_a_bar(adata):
    """One for each row of factors, and none that reaches across genes."""
    adata.obsm["truth"] *= [1, 2, 3, 4]

    def bars(**kwargs):
        axes = nng.pl.factor_maps(adata, "truth", top_gene="loading", **kwargs)
        figure = axes[0].figure
        figure.draw_without_rendering()
        drawn = [ax for ax in figure.axes if ax not in axes]
        return axes, {
            word: [ax.get_position() for ax in drawn if ax.get_ylabel() == word]
            for word in ("score", "expression")
        }

    assert len(bars()[1]["score"]) == 4
    for ncols, n_rows in ((4, 1), (3, 2)):
        axes, found = bars(ncols=ncols, share_scale=True)
        assert (len(found["score"]), len(found["expression"])) == (n_rows, 4)
        for i, box in enumerate(found["score"]):
            row = axes[2 * ncols * i].get_position()
            assert row.y0 <= box.y0 < box.y1 <= row.y1
    adata.obs["section"] = np.where(np.arange(adata.n_obs) < 200, "a", "b")
    _, found = bars(factors=[0, 1], library_key="section", share_scale=True)
    assert (len(found["score"]), len(found["expression"])) == (2, 2)


def test_choice_of_factors(adata):
    axes = nng.pl.factor_maps(adata, "truth", factors=["truth_3", 1])
    assert [ax.get_title() for ax in axes] == ["truth_3", "truth_1"]
    np.testing.assert_array_equal(
        points_of(axes[0]).get_array(), adata.obsm["truth"][:, 3]
    )
    (single,) = nng.pl.factor_maps(adata, "truth", factors=2)
    assert single.get_title() == "truth_2"


def test_normalize(cells):
    (ax,) = nng.pl.factor_maps(cells, factors=1, normalize="lda")
    expected = nng.get.factor_df(cells, normalize="lda")["nmf_1"]
    np.testing.assert_array_equal(points_of(ax).get_array(), expected)


def test_color_range(cells):
    cells.obsm["X_nmf"][0, 0] = 1e6
    scores = cells.obsm["X_nmf"][:, 0]
    (ax,) = nng.pl.factor_maps(cells, factors=0)
    low, high = points_of(ax).get_clim()
    assert low == 0
    assert high == pytest.approx(np.percentile(scores, 99.5))
    assert points_of(ax).colorbar.extend == "max"
    (ax,) = nng.pl.factor_maps(cells, factors=0, vmax="p50", vmin=0.5)
    assert points_of(ax).get_clim() == (0.5, pytest.approx(np.median(scores)))
    assert points_of(ax).colorbar.extend == "both"
    (ax,) = nng.pl.factor_maps(cells, factors=0, vmax=2e6)
    assert points_of(ax).get_clim() == (0, 2e6)
    assert points_of(ax).colorbar.extend == "neither"


def test_color_range_of_rare_and_empty_factors(cells):
    cells.obsm["X_nmf"][:] = 0
    cells.obsm["X_nmf"][5, 0] = 3
    axes = nng.pl.factor_maps(cells)
    assert points_of(axes[0]).get_clim() == (0, 3)
    assert points_of(axes[1]).get_clim() == (0, 1)


def test_signed_scores(cells):
    cells.obsm["X_nmf"][:, 0] -= 1
    axes = nng.pl.factor_maps(cells)
    low, high = points_of(axes[0]).get_clim()
    assert low == -high
    assert points_of(axes[0]).get_cmap().name == "RdBu_r"
    assert points_of(axes[1]).get_cmap().name == "magma_r"


def test_colormap_given_is_not_changed(cells):
    cmap = mpl.colormaps["viridis"].with_extremes(bad="red")
    (ax,) = nng.pl.factor_maps(cells, factors=0, cmap=cmap, na_color="lime")
    assert points_of(ax).get_cmap().name == "viridis"
    assert to_hex(cmap.get_bad()) == to_hex("red")


@pytest.mark.parametrize("n", [12, 40])
@pytest.mark.parametrize("spacing", [1, 250.0])
def test_squares_fill_a_grid(n, spacing):
    adata = nng.datasets.quilt(n, 5)
    adata.obsm["spatial"] *= spacing
    (ax,) = nng.pl.factor_maps(adata, "truth", factors=0)
    assert spacing <= diameter(ax) < 1.25 * spacing
    square = points_of(ax).get_paths()[0].get_extents()
    assert len(points_of(ax).get_paths()[0].vertices) == 5
    assert square.width == square.height


def test_discs_elsewhere(cells):
    rng = np.random.default_rng(0)
    hexagons = np.indices((20, 30)).reshape(2, -1).T[:, ::-1].astype(float)
    hexagons[:, 0] += (hexagons[:, 1] % 2) / 2
    hexagons[:, 1] *= np.sqrt(3) / 2
    jittered = np.indices((15, 15)).reshape(2, -1).T + rng.uniform(-0.1, 0.1, (225, 2))
    for coords in (hexagons, jittered):
        adata = with_factors(coords, rng.random((len(coords), 1)))
        (ax,) = nng.pl.factor_maps(adata)
        assert len(points_of(ax).get_paths()[0].vertices) > 5
        assert diameter(ax) == pytest.approx(1, rel=0.1)
    # At random, as far as in a lattice of this density.
    (ax,) = nng.pl.factor_maps(cells, factors=0)
    assert diameter(ax) == pytest.approx(np.sqrt(500 * 900 / 300), rel=0.15)


def test_points_fit_into_axes_that_are_given(adata):
    _, axes = plt.subplots(1, 2, figsize=(9, 3))
    (ax,) = nng.pl.factor_maps(adata, "truth", factors=0, ax=axes[1])
    assert ax is axes[1]
    assert 1 <= diameter(ax) < 1.25
    assert not axes[0].collections


def test_size_is_kept(cells):
    axes = nng.pl.factor_maps(cells, size=17)
    assert [points_of(ax).get_sizes().tolist() for ax in axes] == [[17], [17]]


def test_one_dimensional_layout():
    adata = with_factors([(2.0 * i, 5.0) for i in range(30)], np.ones((30, 1)))
    (ax,) = nng.pl.factor_maps(adata)
    assert diameter(ax) == pytest.approx(2, rel=0.15)
    assert ax.figure.get_size_inches()[1] < 1


def test_three_dimensional_coordinates(cells):
    cells.obsm["spatial"] = np.c_[cells.obsm["spatial"], np.arange(300)]
    with pytest.warns(UserWarning, match="the first two are drawn"):
        (ax,) = nng.pl.factor_maps(cells, factors=0)
    np.testing.assert_array_equal(
        points_of(ax).get_offsets(), cells.obsm["spatial"][:, :2]
    )


def test_sections(cells):
    cells.obs["slice"] = pd.Categorical(np.repeat(["L1", "L2", "L3"], 100))
    axes = nng.pl.factor_maps(cells, library_key="slice", ncols=2)
    assert [ax.get_title() for ax in axes] == [
        f"nmf_{i} | L{j}" for i in range(2) for j in (1, 2, 3)
    ]
    assert axes[0].get_gridspec().nrows == 4  # two rows for each factor
    for ax, rows in zip(
        axes[:3], (slice(0, 100), slice(100, 200), slice(200, 300)), strict=True
    ):
        np.testing.assert_array_equal(
            points_of(ax).get_array(), cells.obsm["X_nmf"][rows, 0]
        )
        assert points_of(ax).get_clim() == points_of(axes[0]).get_clim()


@pytest.mark.parametrize("grid", [True, False])
@pytest.mark.parametrize("n_spots", [1, 3])
def test_a_section_at_one_place_is_drawn_like_the_others(adata, grid, n_spots):
    if not grid:
        adata.obsm["spatial"] += np.random.default_rng(0).random((adata.n_obs, 2)) / 2
    adata.obsm["spatial"][:n_spots] = [30.0, 7.0]
    adata.obs["slice"] = ["one"] * n_spots + ["other"] * (adata.n_obs - n_spots)
    one, other = nng.pl.factor_maps(adata, "truth", factors=0, library_key="slice")
    assert diameter(one) == pytest.approx(diameter(other), rel=1e-2)
    assert len(points_of(one).get_paths()[0].vertices) == len(
        points_of(other).get_paths()[0].vertices
    )
    for ax in (one, other):
        assert np.ptp(ax.get_xlim()) == pytest.approx(np.ptp(other.get_xlim()))
    assert np.mean(one.get_xlim()) == pytest.approx(30)
    assert np.mean(one.get_ylim()) == pytest.approx(7)


def test_sections_at_one_place_each(adata):
    few = adata[:3].copy()
    few.obs["slice"] = list("abc")
    axes = nng.pl.factor_maps(few, "truth", factors=0, library_key="slice")
    for ax in axes:
        # A disc with room around it.
        assert len(points_of(ax).get_paths()[0].vertices) > 5
        assert np.ptp(ax.get_xlim()) > 3 * diameter(ax)


@pytest.mark.parametrize("step", [(2.0, 0.0), (0.0, 2.0), (1.2, 1.6)])
def test_two_places(step):
    adata = with_factors([(5.0, 5.0), np.add(5.0, step)], np.ones((2, 1)))
    (ax,) = nng.pl.factor_maps(adata)
    assert diameter(ax) == pytest.approx(2, rel=0.15)


def test_picture_of_the_tissue(cells):
    cells.uns["spatial"] = {
        "section": {
            "images": {"hires": np.ones((90, 50, 3))},
            "scalefactors": {"tissue_hires_scalef": 0.1, "spot_diameter_fullres": 40.0},
        }
    }
    (ax,) = nng.pl.factor_maps(cells, factors=0)
    assert ax.get_title() == "nmf_0"
    assert ax.images[0].get_array().shape[:2] == (90, 50)
    spots = points_of(ax)
    assert isinstance(spots, PatchCollection)
    np.testing.assert_array_equal(spots.get_array(), cells.obsm["X_nmf"][:, 0])
    assert spots.get_paths()[0].get_extents().width == pytest.approx(4)
    (ax,) = nng.pl.factor_maps(cells, factors=0, img=False)
    assert not ax.images
    assert diameter(ax) == pytest.approx(np.sqrt(500 * 900 / 300), rel=0.15)


def test_pictures_of_several_sections_need_their_names(cells):
    entry = {"images": {"hires": np.ones((9, 5, 3))}, "scalefactors": {}}
    cells.uns["spatial"] = {"a": entry, "b": entry}
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*`library_key`"):
        nng.pl.factor_maps(cells)


def test_embedding(adata):
    rng = np.random.default_rng(0)
    adata.obsm["X_umap"] = rng.normal(size=(adata.n_obs, 2))
    axes = nng.pl.factor_maps(adata, "truth", basis="umap")
    assert [ax.get_title() for ax in axes] == [f"truth_{i}" for i in range(4)]
    for ax, scores in zip(axes, adata.obsm["truth"].T, strict=True):
        # scanpy draws large values last
        np.testing.assert_array_equal(points_of(ax).get_array(), np.sort(scores))
        assert points_of(ax).get_clim() == (0, 1)
    # All have the same range, and one bar.
    assert len(axes[0].figure.axes) == 5


def test_arguments_for_squidpy(cells):
    axes = nng.pl.factor_maps(cells, alpha=0.4, title=["one", "two"])
    assert [ax.get_title() for ax in axes] == ["one", "two"]
    assert points_of(axes[0]).get_alpha() == 0.4


def test_nothing_else_changes(adata):
    adata.obs["layer"] = "a"
    adata.obsm["X_umap"] = adata.obsm["spatial"].copy()
    before = adata.copy()
    style = dict(mpl.rcParams)
    nng.pl.factor_maps(adata, "truth")
    nng.pl.factor_maps(adata, "truth", basis="umap")
    assert dict(mpl.rcParams) == style
    assert list(adata.uns) == list(before.uns)
    assert list(adata.obsm) == list(before.obsm)
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    np.testing.assert_array_equal(adata.obsm["truth"], before.obsm["truth"])


def test_refusals(adata, cells):
    with pytest.raises(KeyError, match="no factor 'nmf_9'; there are"):
        nng.pl.factor_maps(cells, factors="nmf_9")
    with pytest.raises(KeyError, match="no factor 4; there are 0 to 3"):
        nng.pl.factor_maps(adata, "truth", factors=[4])
    with pytest.raises(ValueError, match="No factor is selected"):
        nng.pl.factor_maps(adata, "truth", factors=[])
    with pytest.raises(ValueError, match=r"4 panels \(4 factors in 1 sections\)"):
        nng.pl.factor_maps(adata, "truth", ax=plt.subplot())
    with pytest.raises(ValueError, match="title has 1 entries, but there are 4 panels"):
        nng.pl.factor_maps(adata, "truth", title="one")
    with pytest.raises(ValueError, match="vmax='high' must be a number, or a perc"):
        nng.pl.factor_maps(adata, "truth", vmax="high")
    with pytest.raises(KeyError, match="'X_tsne' is not in adata"):
        nng.pl.factor_maps(adata, "truth", basis="tsne")
    with pytest.raises(KeyError, match="'slice' is not in"):
        nng.pl.factor_maps(adata, "truth", library_key="slice")
    del adata.obsm["spatial"]
    with pytest.raises(KeyError, match=r"'spatial' is not in .* embedding as `basis`"):
        nng.pl.factor_maps(adata, "truth")


def test_square_roots_and_leading_genes(adata):
    """Factors in rows, their genes beneath, and colours by the root."""
    from matplotlib.colors import PowerNorm

    axes = nng.pl.factor_maps(
        adata, "truth", top_gene="loading", scale="sqrt", ncols=3, size=10
    )
    top = nng.get.top_genes(adata, 1, key="truth").set_index("factor")["gene"]
    names = list(top.index)
    order = [*names[:3], *top.iloc[:3], names[3], top.iloc[3]]
    assert [ax.get_title() for ax in axes] == order
    for ax in axes:
        points = ax.collections[-1]
        assert isinstance(points.norm, PowerNorm)
        assert points.norm.gamma == 0.5
        name = ax.get_title()
        values = (
            adata.obsm["truth"][:, names.index(name)]
            if name in names
            else adata[:, name].X.toarray().ravel()
        )
        np.testing.assert_allclose(np.sort(points.get_array()), np.sort(values))
    # A gene is beneath its factor.
    boxes = [ax.get_subplotspec().get_position(ax.figure) for ax in axes]
    assert boxes[0].x0 == boxes[3].x0
    assert boxes[0].y0 > boxes[3].y0
    assert (boxes[6].x0, boxes[7].x0) == (boxes[0].x0, boxes[0].x0)


def test_refusals_of_roots_and_genes(adata):
    with pytest.raises(ValueError, match="scale='log'"):
        nng.pl.factor_maps(adata, "truth", scale="log")
    with pytest.raises(ValueError, match=r"2 panels .* with a gene beneath each"):
        nng.pl.factor_maps(
            adata, "truth", factors=0, top_gene="loading", ax=plt.figure().subplots()
        )
    with pytest.raises(ValueError, match="values of at least 0, but vmin=-1"):
        nng.pl.factor_maps(adata, "truth", scale="sqrt", vmin=-1)
    adata.obsm["truth"] = adata.obsm["truth"] - 0.5
    with pytest.raises(ValueError, match="at least 0, but 'truth_0' has negative ones"):
        nng.pl.factor_maps(adata, "truth", scale="sqrt")


def test_range_that_is_none(adata):
    with pytest.raises(ValueError, match="'truth_0' would go from vmin=5 to vmax=1"):
        nng.pl.factor_maps(adata, "truth", vmin=5)


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"colour": "x", "alpha": 0.5}, "colour='x'"),
        ({"alpha": "x"}, "alpha='x'"),
        ({"vcenter": "x"}, "vcenter='x'"),
    ],
)
def test_arguments_that_squidpy_does_not_take(cells, kwargs, named):
    match = rf"pl\.factor_maps passes {named} to squidpy\.pl\.spatial_scatter, which"
    with pytest.raises(TypeError, match=match):
        nng.pl.factor_maps(cells, **kwargs)


def test_arguments_that_scanpy_does_not_take(cells):
    cells.obsm["X_umap"] = cells.obsm["spatial"]
    with pytest.raises(TypeError, match=r"colour='x' to scanpy\.pl\.embedding, which"):
        nng.pl.factor_maps(cells, basis="umap", colour="x")
