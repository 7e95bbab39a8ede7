"""Plots of what locations are made of."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgba

import nonneg as nng

PLOTS = {
    "deconvolution": nng.pl.deconvolution,
    "type_correlation": nng.pl.type_correlation,
    "presence": nng.pl.presence,
    "missing_type": nng.pl.missing_type,
    "marker_agreement": lambda adata, key, **kwargs: nng.pl.marker_agreement(
        adata, {"type_0": ["gene_0"]}, key=key, **kwargs
    ),
}
EACH = pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)


@pytest.fixture(scope="module")
def fitted():
    adata, reference = nng.datasets.spots(8, 60, 4)
    adata.X = adata.X.multiply((np.arange(64) != 3)[:, None]).tocsr()
    with pytest.warns(UserWarning, match="1 of 64 locations has no counts"):
        nng.tl.deconvolve(
            adata,
            reference,
            cell_type_key="cell_type",
            graph_weight=10,
            group_weight=0,
            effects=False,
        )
    return adata


@pytest.fixture
def adata(fitted):
    return fitted.copy()


def texts(labels):
    return [label.get_text() for label in labels]


def legend_of(ax):
    return ax.figure.legends[0]


def pies_of(ax):
    return [x for x in ax.collections if isinstance(x, PolyCollection)]


@EACH
def test_refusals(plot, adata):
    with pytest.raises(
        KeyError, match=r"No deconvolution .* there are \['truth', 'dec"
    ):
        plot(adata, "no")
    adata.uns["deconv"]["method"] = "nmf"
    with pytest.raises(ValueError, match="method 'nmf', which has no cell types"):
        plot(adata, "deconv")


@pytest.mark.parametrize("name", sorted(set(PLOTS) - {"missing_type"}))
def test_unknown_type(name, adata):
    with pytest.raises(KeyError, match="There is no cell type 'B cell'; there are"):
        PLOTS[name](adata, "deconv", cell_types="B cell")
    with pytest.raises(KeyError, match="There is no cell type 9; there are 0 to 3"):
        PLOTS[name](adata, "deconv", cell_types=9)
    with pytest.raises(ValueError, match="No cell type is selected"):
        PLOTS[name](adata, "deconv", cell_types=[])


class TestFactorMaps:
    def test_types_are_titles(self, adata):
        axes = nng.pl.factor_maps(adata, "deconv")
        assert [ax.get_title() for ax in axes] == [f"type_{k}" for k in range(4)]

    def test_missing_scores_are_grey(self, adata):
        (ax,) = nng.pl.factor_maps(adata, "deconv", factors="type_1")
        points = ax.collections[-1]
        assert len(points.get_offsets()) == 64
        colors = points.to_rgba(points.get_array())
        np.testing.assert_allclose(colors[3], to_rgba("0.7"), atol=0.01)

    def test_share_scale(self, adata):
        def ranges(**kwargs):
            axes = nng.pl.factor_maps(adata, "deconv", **kwargs)
            return [ax.collections[-1].get_clim() for ax in axes]

        own = ranges()
        assert len(set(own)) == 4
        assert set(ranges(share_scale=True)) == {max(own)}

    def test_dark(self, adata):
        with plt.style.context("dark_background"):
            (ax,) = nng.pl.factor_maps(adata, "deconv", factors=0)
            assert ax.collections[-1].get_cmap().name == "magma"

    def test_long_titles_do_not_collide(self, adata):
        names = [f"Ductal_CRISP3_high-centroacinar_like_{k}" for k in range(4)]
        adata.uns["deconv"]["cell_types"] = np.array(names, object)
        axes = nng.pl.factor_maps(adata, "deconv")
        axes[0].figure.draw_without_rendering()
        boxes = [ax.title.get_window_extent() for ax in axes]
        for left, right in itertools.pairwise(boxes):
            assert left.x1 <= right.x0 + 1
        assert boxes[0].x0 >= -1
        assert [ax.get_title().replace("\n", "") for ax in axes] == names


class TestDeconvolution:
    def test_pies(self, adata):
        (ax,) = nng.pl.deconvolution(adata)
        shares = adata.obsm["X_deconv"]
        order = np.argsort(-np.nanmean(shares, axis=0))
        names = [f"type_{k}" for k in order]
        assert texts(legend_of(ax).get_texts()) == [*names, "no counts"]
        assert ax.get_aspect() == 1
        assert ax.yaxis_inverted()
        pies = pies_of(ax)
        assert len(pies) == 4
        # The last type of the first location: from where it begins to the top.
        sizes = shares[0, order]
        for k, pie in enumerate(pies):
            paths = [
                path.vertices
                for path in pie.get_paths()
                if np.allclose(path.vertices[0], adata.obsm["spatial"][0])
            ]
            if sizes[k] < 0.01:
                continue
            (corners,) = paths
            first = corners[1] - corners[0]
            angle = np.arctan2(first[0], -first[1]) % (2 * np.pi)
            before = sizes[:k].sum() / sizes.sum()
            assert angle / (2 * np.pi) == pytest.approx(before % 1, abs=0.02)

    def test_empty_locations_are_rings(self, adata):
        (ax,) = nng.pl.deconvolution(adata)
        (rings,) = [x for x in ax.collections if isinstance(x, EllipseCollection)]
        np.testing.assert_array_equal(rings.get_offsets(), adata.obsm["spatial"][[3]])
        assert rings.get_facecolor().size == 0
        (ax,) = nng.pl.deconvolution(adata[:3])
        assert "no counts" not in texts(legend_of(ax).get_texts())

    def test_others_are_one(self, adata):
        (ax,) = nng.pl.deconvolution(adata, n_types=2)
        labels = texts(legend_of(ax).get_texts())
        assert labels[2:] == ["other (2)", "no counts"]
        assert len(pies_of(ax)) == 3
        (ax,) = nng.pl.deconvolution(adata, cell_types=["type_0", 1, 2])
        assert set(texts(legend_of(ax).get_texts())) == {
            "type_0",
            "type_1",
            "type_2",
            "other (1)",
            "no counts",
        }
        with pytest.raises(ValueError, match="names a type twice"):
            nng.pl.deconvolution(adata, cell_types=["type_0", 0])

    def test_share(self, adata):
        (ax,) = nng.pl.deconvolution(adata, share="rna")
        mean = np.nanmean(adata.obsm["X_deconv_rna"], axis=0)
        names = [f"type_{k}" for k in np.argsort(-mean)]
        assert texts(legend_of(ax).get_texts())[:4] == names
        with pytest.raises(ValueError, match="share"):
            nng.pl.deconvolution(adata, share="protein")

    def test_dominant(self, adata):
        (ax,) = nng.pl.deconvolution(adata, kind="dominant")
        discs = ax.collections[0]
        assert isinstance(discs, EllipseCollection)
        label = dict(
            zip(
                texts(legend_of(ax).get_texts()),
                [to_hex(x.get_facecolor()) for x in legend_of(ax).get_patches()],
                strict=True,
            )
        )
        leading = nng.get.dominant_type(adata).dropna()
        assert [to_hex(x) for x in discs.get_facecolor()] == [
            label[name] for name in leading
        ]

    def test_many_locations(self):
        adata, _ = nng.datasets.spots(72, 5, 2)
        with pytest.warns(UserWarning, match="Pies of 5,184 locations would be too"):
            (ax,) = nng.pl.deconvolution(adata, "truth")
        assert not pies_of(ax)
        (ax,) = nng.pl.deconvolution(adata, "truth", kind="pies")
        assert len(pies_of(ax)) == 2
        (ax,) = nng.pl.deconvolution(adata, "truth", crop_coord=(2, 3, 10, 9))
        assert len(pies_of(ax)[0].get_paths()) <= 9 * 7
        assert ax.get_xlim()[1] < 11
        with pytest.raises(ValueError, match="holds none of the locations"):
            nng.pl.deconvolution(adata, "truth", crop_coord=(-5, -5, -2, -2))

    def test_sections(self, adata):
        adata.obs["section"] = np.where(np.arange(64) % 8 < 4, "left", "right")
        axes = nng.pl.deconvolution(adata, library_key="section")
        assert [ax.get_title() for ax in axes] == ["left", "right"]
        assert len(axes[0].figure.legends) == 1
        with pytest.raises(
            ValueError, match="ax is one Axes, but there are 2 sections"
        ):
            nng.pl.deconvolution(adata, library_key="section", ax=plt.subplot())
        with pytest.raises(ValueError, match="crop_coord is for one section"):
            nng.pl.deconvolution(adata, library_key="section", crop_coord=(0, 0, 1, 1))
        with pytest.raises(ValueError, match="title has 1 entries"):
            nng.pl.deconvolution(adata, library_key="section", title="x")

    def test_ax(self, adata):
        ax = plt.subplot()
        assert nng.pl.deconvolution(adata, ax=ax, title="spots") == [ax]
        assert ax.get_title() == "spots"
        assert len(ax.get_legend().get_texts()) == 5
        (ax,) = nng.pl.deconvolution(adata, legend=False)
        assert not ax.figure.legends

    def test_picture(self, adata):
        adata.obsm["spatial"] = adata.obsm["spatial"] * 100 + 50
        adata.uns["spatial"] = {
            "library": {
                "images": {"hires": np.zeros((90, 100, 3))},
                "scalefactors": {
                    "tissue_hires_scalef": 0.1,
                    "spot_diameter_fullres": 60.0,
                },
            }
        }
        (ax,) = nng.pl.deconvolution(adata, img_alpha=0.5)
        (picture,) = ax.images
        assert tuple(picture.get_extent()) == (0, 1000, 900, 0)
        assert picture.get_alpha() == 0.5
        # The true size.
        assert np.ptp(pies_of(ax)[0].get_paths()[0].vertices[:, 1]) == pytest.approx(
            60, abs=0.5
        )
        assert ax.get_xlim()[1] < 900
        (ax,) = nng.pl.deconvolution(adata, img=False)
        assert not ax.images
        adata.uns["spatial"]["other"] = adata.uns["spatial"]["library"]
        with pytest.raises(ValueError, match="pictures of several sections"):
            nng.pl.deconvolution(adata)


class TestColors:
    def colors(self, adata, **kwargs):
        (ax,) = nng.pl.deconvolution(adata, **kwargs)
        legend = legend_of(ax)
        found = zip(texts(legend.get_texts()), legend.get_patches(), strict=True)
        return {name: to_hex(patch.get_facecolor()) for name, patch in found}

    def test_stored(self, adata):
        wanted = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]
        # Of the column of the reference, of a column of these types, of the fit.
        adata.obs["leading"] = pd.Categorical.from_codes(
            np.zeros(64, int), [f"type_{k}" for k in (3, 2, 1, 0)]
        )
        for key, stored in (
            ("leading", wanted[::-1]),
            ("cell_type", wanted),
            ("deconv", wanted),
        ):
            adata.uns[f"{key}_colors"] = stored
            found = self.colors(adata)
            assert [found[f"type_{k}"] for k in range(4)] == wanted
            del adata.uns[f"{key}_colors"]

    def test_palette(self, adata):
        found = self.colors(adata, palette={"type_1": "red"})
        assert found["type_1"] == "#ff0000"
        assert found["type_0"] != "#ff0000"
        assert self.colors(adata, palette=["red", "k", "w", "b"])["type_0"] == "#ff0000"
        with pytest.raises(KeyError, match=r"palette names the types \['x'\]"):
            self.colors(adata, palette={"x": "red"})
        with pytest.raises(ValueError, match="palette has 1 colours for 4"):
            self.colors(adata, palette=["red"])
        with pytest.raises(ValueError, match="entries that are no colours"):
            self.colors(adata, palette={"type_1": "rouge"})


class TestTypeCorrelation:
    @pytest.mark.parametrize("share", ["cells", "rna"])
    def test_content(self, adata, share):
        ax = nng.pl.type_correlation(adata, share=share, cluster=False)
        key = "X_deconv" if share == "cells" else "X_deconv_rna"
        expected = pd.DataFrame(adata.obsm[key]).corr()
        np.testing.assert_allclose(ax.images[0].get_array(), expected, atol=1e-5)
        assert ax.images[0].get_clim() == (-1, 1)
        names = [f"type_{k}" for k in range(4)]
        assert texts(ax.get_xticklabels()) == texts(ax.get_yticklabels()) == names
        bar = ax.images[0].colorbar
        label = {"cells": "cells", "rna": "RNA"}[share]
        assert (
            bar.ax.get_ylabel().split() == f"correlation of shares of {label}".split()
        )

    def test_clusters(self, adata):
        shares = np.random.default_rng(0).random((64, 4)).astype(np.float32)
        shares[:, 2] = shares[:, 0] + 0.01 * shares[:, 1]
        shares[:, 3] = 0.2
        adata.obsm["X_deconv"] = shares
        ax = nng.pl.type_correlation(adata)
        names = texts(ax.get_yticklabels())
        assert abs(names.index("type_0") - names.index("type_2")) == 1
        # It is the same everywhere.
        assert names[-1] == "type_3"
        assert np.isnan(np.ma.filled(ax.images[0].get_array(), np.nan)[3]).all()

    def test_too_few(self, adata):
        adata.obsm["X_deconv"][1:] = np.nan
        with pytest.raises(ValueError, match="need two locations with shares"):
            nng.pl.type_correlation(adata)


class TestPresence:
    def test_content(self, adata):
        ax = nng.pl.presence(adata)
        called = nng.get.presence(adata)
        count = called.sum().sort_values(ascending=False, kind="stable")
        names = texts(ax.get_yticklabels())
        assert sorted(names) == sorted(called)
        assert [called[name].sum() for name in names] == count.tolist()
        numbers = texts(ax.texts)
        assert numbers[-1] == "present at\nFDR 0.05"
        for name, number in zip(names, numbers[:-1], strict=True):
            n = called[name].sum()
            # Of the locations that have counts.
            assert number.startswith(f"{n:,} (")
            assert f"({n / 63:.0%})" in number
        assert texts(ax.get_legend().get_texts()) == [
            "all locations",
            "where present ± s.e.",
        ]

    def test_nowhere_certain(self, adata):
        adata.uns["deconv"]["presence"]["threshold"] = np.inf
        ax = nng.pl.presence(adata, cell_types=["type_2"])
        assert texts(ax.texts)[0] == "0 (0%)"

    def test_truth_has_no_errors(self, adata):
        with pytest.raises(KeyError, match="has no calls of presence"):
            nng.pl.presence(adata, "truth")


class TestMarkerAgreement:
    def test_content(self, adata):
        markers = {"type_1": ["gene_1", "gene_2"], "type_0": ["gene_3"], "x": ["y"]}
        axes = nng.pl.marker_agreement(adata, markers)
        assert [ax.get_title() for ax in axes] == ["type_0", "type_1"]
        r = nng.metrics.marker_agreement(
            adata.X,
            nng.get.factor_df(adata, "deconv"),
            markers,
            genes=list(adata.var_names),
        )
        for ax, name in zip(axes, ["type_0", "type_1"], strict=True):
            text = ax.texts[0].get_text().replace("\N{MINUS SIGN}", "-")
            assert text.startswith(f"r = {r[name]:.2f}")
        assert axes[1].texts[0].get_text().endswith("2 genes")
        x, y = axes[0].lines[0].get_data()
        depth = adata.X.sum(axis=1).A1
        level = 1e4 * adata.X[:, 3].toarray().ravel() / np.maximum(depth, 1)
        level[3] = np.nan
        np.testing.assert_allclose(x, level, rtol=1e-5)
        np.testing.assert_array_equal(y, adata.obsm["X_deconv"][:, 0])

    def test_refusals(self, adata):
        with pytest.raises(KeyError, match=r"markers name the types \['x'\]"):
            nng.pl.marker_agreement(adata, {"x": ["gene_0"]})
        with pytest.raises(ValueError, match="has a marker among the genes"):
            nng.pl.marker_agreement(adata, {"type_0": ["y"]})
        both = {"type_0": ["gene_0"], "type_1": ["gene_1"]}
        ax = plt.subplot()
        with pytest.raises(ValueError, match="but 2 types have markers"):
            nng.pl.marker_agreement(adata, both, ax=ax)
        assert nng.pl.marker_agreement(adata, both, cell_types=0, ax=ax) == [ax]
        assert ax.get_ylabel() == "share of cells"


def test_the_leading_type_is_that_of_all(adata):
    """Also where all others together are more."""
    panel = nng.pl.deconvolution(adata, kind="dominant", n_types=2)[0]
    leading = nng.get.dominant_type(adata)
    shares = nng.get.factor_df(adata, "deconv")
    shown = shares.mean().nlargest(2).index
    n_other = int((~leading.dropna().isin(shown)).sum())
    colors = panel.collections[0].get_facecolors()
    grey = (colors[:, :3].max(axis=1) - colors[:, :3].min(axis=1)) < 0.02
    assert grey.sum() == n_other


class TestMissingType:
    def test_content(self, adata):
        adata.uns["deconv"]["missing_threshold"] = 0.2
        score = np.linspace(0, 0.5, 64)
        score[3] = np.nan
        adata.obs["deconv_missing"] = score
        tissue, genes = nng.pl.missing_type(adata, n_genes=6)
        assert tissue.get_title() == f"{(score >= 0.2).sum()} of 63 certain"
        table = adata.uns["deconv"]["missing_genes"]
        assert texts(genes.get_yticklabels()) == table["gene"][:6].tolist()
        edges, rest, certain, empty = tissue.collections
        for discs in (edges, certain):
            np.testing.assert_array_equal(
                discs.get_offsets(), adata.obsm["spatial"][score >= 0.2]
            )
        # In units of the coordinates: an edge never hides what is inside.
        assert 0.7 < certain.get_widths()[0] / edges.get_widths()[0] < 0.9
        assert len(rest.get_offsets()) + len(certain.get_offsets()) == 63
        np.testing.assert_array_equal(empty.get_offsets(), adata.obsm["spatial"][[3]])

    def test_nothing_certain(self, adata):
        adata.uns["deconv"]["missing_threshold"] = np.inf
        tissue, _ = nng.pl.missing_type(adata)
        assert tissue.get_title() == "0 of 63 certain"

    def test_sections(self, adata):
        adata.obs["section"] = np.where(np.arange(64) % 8 < 4, "left", "right")
        axes = nng.pl.missing_type(adata, library_key="section")
        assert [ax.get_title().split(":")[0] for ax in axes] == [
            "left",
            "right",
            "its genes",
        ]

    def test_truth_has_none(self, adata):
        with pytest.raises(KeyError, match="has no scores of a missing type"):
            nng.pl.missing_type(adata, "truth")


def test_sections_are_those_of_the_fit():
    """Whoever told the fit need not say it again: they would lie on top of each other."""
    adata, reference = nng.datasets.spots(8, 60)
    adata.obs["section"] = np.where(np.arange(adata.n_obs) < 32, "a", "b")
    nng.tl.deconvolve(
        adata,
        reference,
        cell_type_key="cell_type",
        library_key="section",
        graph_weight=10,
        group_weight=0,
        effects=False,
    )
    assert len(nng.pl.deconvolution(adata)) == 2
    assert len(nng.pl.factor_maps(adata, "deconv", factors=[0])) == 2
    # Two maps, and the genes.
    assert len(nng.pl.missing_type(adata)) == 3
    del adata.obs["section"]
    assert len(nng.pl.deconvolution(adata)) == 1
