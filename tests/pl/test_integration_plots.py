"""Plots of data sets that were factorized together."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgba

import nonneg as nng


@pytest.fixture
def adata():
    result = nng.datasets.batches((30, 20, 10), 40, 4)
    labels = result.obs["cell_type"].cat.codes.astype(str)
    result.obs["truth_cluster"] = labels.astype("category")
    return result


def texts(labels):
    return [label.get_text() for label in labels]


class TestMetagenes:
    def test_content(self, adata):
        axes = nng.pl.metagenes(adata, key="truth", n_genes=3)
        assert [ax.get_title() for ax in axes] == [f"truth_{k}" for k in range(4)]
        W, V = adata.varm["truth"], adata.varm["truth_specific"]
        for k, ax in enumerate(axes):
            genes = [int(name[5:]) for name in texts(ax.get_yticklabels())]
            above, below = genes[:3], genes[3:]
            assert above == np.argsort(-W[:, k])[:3].tolist()
            most = V[:, :, k].max(axis=1)
            most[above] = 0
            assert set(below) == set(np.argsort(-most)[:3].tolist())
            # Data set by data set, and the largest first.
            home = V[below, :, k].argmax(axis=1)
            assert sorted(home) == home.tolist()
            for d in range(3):
                assert (np.diff(most[below][home == d]) <= 0).all()
            largest = (W[:, k, None] + V[:, :, k]).max()
            shared, specific = (mesh.get_array() for mesh in ax.collections[:2])
            np.testing.assert_allclose(shared[:, 0], W[genes, k] / largest, rtol=1e-6)
            np.testing.assert_allclose(specific, V[genes, :, k] / largest, rtol=1e-6)
            assert shared.max() <= 1

    def test_line_and_labels(self, adata):
        axes = nng.pl.metagenes(adata, key="truth", n_genes=2, ncols=3)
        for ax in axes:
            line = ax.collections[2].get_segments()[0]
            assert (line[:, 1] == 2).all()
            # Rows are as high in all panels.
            assert ax.get_ylim() == (4, 0)
        names = ["shared", "batch_0", "batch_1", "batch_2"]
        # Names of columns are beneath the lowest panel of each column.
        assert texts(axes[0].get_xticklabels()) == [""] * 4
        for ax in axes[1:]:
            assert texts(ax.get_xticklabels()) == names

    def test_color_scales(self, adata):
        axes = nng.pl.metagenes(adata, key="truth", cmap="Greys", cmap_specific="Reds")
        shared, specific = axes[0].collections[:2]
        assert shared.get_clim() == (0, 1)
        assert 0 < specific.get_clim()[1] < 1
        assert (shared.get_cmap().name, specific.get_cmap().name) == ("Greys", "Reds")
        # The same in all panels.
        assert {ax.collections[1].get_clim() for ax in axes} == {specific.get_clim()}
        labels = {ax.get_ylabel() for ax in axes[0].figure.axes} - {""}
        assert labels == {"shared weight", "specific weight"}

    def test_selection_and_ax(self, adata):
        ax = plt.subplot()
        assert nng.pl.metagenes(adata, key="truth", factors=2, ax=ax) == [ax]
        axes = nng.pl.metagenes(adata, key="truth", factors=["truth_3", 0])
        assert [ax.get_title() for ax in axes] == ["truth_3", "truth_0"]
        with pytest.raises(ValueError, match="ax is one Axes, but there are 4 factors"):
            nng.pl.metagenes(adata, key="truth", ax=ax)

    def test_few_genes_dead_factors_and_masks(self, adata):
        adata.varm["truth"][:, 0] = 0
        adata.varm["truth_specific"][:, :, 0] = 0
        adata.varm["truth_specific"][:, :, 1] = 0
        for key in ("truth", "truth_specific"):
            adata.varm[key][:5] = np.nan
        axes = nng.pl.metagenes(adata, key="truth", n_genes=4)
        # No gene, shared ones only, and both.
        assert [len(ax.get_yticks()) for ax in axes] == [0, 4, 8, 8]
        masked = {f"gene_{j}" for j in range(5)}
        for ax in axes:
            assert not masked & set(texts(ax.get_yticklabels()))

    def test_nothing_specific(self):
        adata = nng.datasets.batches((9, 9), 20, 2, specific=0)
        axes = nng.pl.metagenes(adata, key="truth", n_genes=2)
        assert [len(ax.get_yticks()) for ax in axes] == [2, 2]

    def test_refusals(self, adata):
        with pytest.raises(ValueError, match="n_genes=0 must be at least 1"):
            nng.pl.metagenes(adata, key="truth", n_genes=0)
        del adata.uns["truth"]["batches"]
        with pytest.raises(ValueError, match="'batches', which knows no data sets"):
            nng.pl.metagenes(adata, key="truth")


class TestClusterComposition:
    def heights(self, ax):
        """Label, to widths of its bars and their colour."""
        return {
            bars.get_label(): (
                [bar.get_width() for bar in bars],
                to_hex(bars[0].get_facecolor()),
            )
            for bars in ax.containers
        }

    def test_content(self, adata):
        ax = nng.pl.cluster_composition(adata, key="truth")
        assert texts(ax.get_yticklabels()) == ["batch_0", "batch_1", "batch_2"]
        assert texts(ax.texts) == ["cells", "30", "20", "10"]
        assert list(self.heights(ax)) == ["0", "1", "2", "3"]
        for label, (widths, _) in self.heights(ax).items():
            for name, width in zip(
                ["batch_0", "batch_1", "batch_2"], widths, strict=True
            ):
                here = adata.obs[adata.obs["batch"] == name]
                assert width == pytest.approx((here["truth_cluster"] == label).mean())
        # Stacked: every bar begins where the last one ends, and all end at 1.
        ends = np.zeros(3)
        for bars in ax.containers:
            np.testing.assert_allclose([bar.get_x() for bar in bars], ends, atol=1e-12)
            ends += [bar.get_width() for bar in bars]
        np.testing.assert_allclose(ends, 1)
        legend = ax.get_legend()
        assert legend.get_title().get_text() == "truth_cluster"
        assert texts(legend.get_texts()) == ["0", "1", "2", "3"]

    def test_unassigned_cells_are_grey_and_last(self, adata):
        labels = adata.obs["truth_cluster"].astype(object)
        labels.iloc[:6], labels.iloc[6:9] = "-1", np.nan
        adata.obs["truth_cluster"] = labels.astype("category")
        found = self.heights(nng.pl.cluster_composition(adata, key="truth"))
        assert list(found)[-1] == "none"
        widths, color = found["none"]
        assert widths == pytest.approx([0.3, 0, 0])
        assert color == to_hex("0.85")
        assert "-1" not in found

    def test_numbers_in_order_and_large_counts(self):
        adata = nng.datasets.batches((1100, 30), 20, 12)
        adata.obs["cluster"] = np.arange(adata.n_obs) % 12
        ax = nng.pl.cluster_composition(adata, key="truth", cluster_key="cluster")
        assert list(self.heights(ax)) == [str(i) for i in range(12)]
        assert texts(ax.texts) == ["cells", "1,100", "30"]

    def test_stored_colors(self, adata):
        adata.uns["truth_cluster_colors"] = ["#110000", "#220000", "#330000", "#440000"]
        found = self.heights(nng.pl.cluster_composition(adata, key="truth"))
        assert [color for _, color in found.values()] == [
            "#110000",
            "#220000",
            "#330000",
            "#440000",
        ]
        # Colours of another clustering are of no use.
        adata.uns["truth_cluster_colors"] = ["#110000"]
        found = self.heights(nng.pl.cluster_composition(adata, key="truth"))
        assert len({color for _, color in found.values()}) == 4
        assert found["0"][1] != "#110000"

    @pytest.mark.parametrize("n", [20, 28, 40, 110])
    def test_many_clusters(self, n):
        adata = nng.datasets.batches((200, 200), 20, 4)
        adata.obs["cluster"] = np.arange(400) % n
        ax = nng.pl.cluster_composition(adata, key="truth", cluster_key="cluster")
        colors = [color for _, color in self.heights(ax).values()]
        assert len(colors) == n
        assert len(set(colors)) == min(n, 102)

    def test_without_a_factorization(self, adata):
        bare = adata.copy()
        del bare.uns["truth"]
        ax = plt.subplot()
        drawn = nng.pl.cluster_composition(
            bare, cluster_key="batch", batch_key="cell_type", ax=ax
        )
        assert drawn is ax
        assert texts(ax.get_yticklabels()) == ["type_0", "type_1", "type_2", "type_3"]

    def test_missing_data_sets_are_left_out(self, adata):
        adata.obs["batch"] = adata.obs["batch"].cat.remove_categories("batch_2")
        ax = nng.pl.cluster_composition(adata, key="truth")
        assert texts(ax.texts) == ["cells", "30", "20"]

    def test_refusals(self, adata):
        with pytest.raises(KeyError, match=r"'none' is not in adata.obs.* `batch_key`"):
            nng.pl.cluster_composition(adata, key="truth", batch_key="none")
        with pytest.raises(KeyError, match=r"'x' is not in adata.obs.*quantile_align"):
            nng.pl.cluster_composition(adata, key="truth", cluster_key="x")
        del adata.obs["truth_cluster"]
        with pytest.raises(KeyError, match=r"'truth_cluster' is not in adata.obs"):
            nng.pl.cluster_composition(adata, key="truth")
        del adata.uns["truth"]["params"]["batch_key"]
        with pytest.raises(ValueError, match=r"knows no data sets.* `batch_key`"):
            nng.pl.cluster_composition(adata, key="truth")


class TestSharedChange:
    @pytest.fixture
    def fitted(self, adata):
        adata.uns["truth"] |= {
            "change": np.array([0.5, 0.1, 0, 0.3, 0.2, 0.1]),
            "change_batch": np.array(["b", "b", "b", "a/1", "a/1", "b"]),
        }
        return adata

    def test_content(self, fitted):
        ax = nng.pl.shared_change(fitted, key="truth")
        assert ax.get_yscale() == "log"
        whole, first, second = (
            line for line in ax.lines if len(np.unique(line.get_xdata())) > 1
        )
        change = fitted.uns["truth"]["change"]
        np.testing.assert_array_equal(whole.get_xdata(), np.arange(1, 7))
        # No change has no place on the scale.
        np.testing.assert_array_equal(
            whole.get_ydata(), np.where(change > 0, change, np.nan)
        )
        np.testing.assert_array_equal(first.get_xdata(), [1, 2, 3, 6])
        np.testing.assert_array_equal(second.get_xdata(), [4, 5])
        np.testing.assert_array_equal(second.get_ydata(), [0.3, 0.2])
        assert first.get_color() != second.get_color()
        assert texts(ax.get_legend().get_texts()) == ["b", "a/1"]
        # Where another data set begins to arrive.
        begins = [
            line.get_xdata()[0]
            for line in ax.lines
            if len(np.unique(line.get_xdata())) == 1
        ]
        assert begins == [3.5, 5.5]

    def test_all_at_once(self, fitted):
        fitted.uns["truth"]["change_batch"] = np.array(["all"] * 6)
        ax = plt.subplot()
        assert nng.pl.shared_change(fitted, key="truth", ax=ax) is ax
        assert ax.get_legend() is None
        assert to_rgba(ax.lines[1].get_color()) == to_rgba("0.3")

    def test_many_data_sets(self, fitted):
        fitted.uns["truth"] |= {
            "change": np.full(60, 0.1),
            "change_batch": np.repeat([f"set {i}" for i in range(15)], 4),
        }
        ax = nng.pl.shared_change(fitted, key="truth")
        colors = {line.get_color() for line in ax.lines if line.get_marker() == "o"}
        assert len(colors) == 15

    def test_refusal(self, adata):
        with pytest.raises(
            KeyError, match=r"no changes of the shared.*`nonneg.tl.online_inmf`"
        ):
            nng.pl.shared_change(adata, key="truth")


class TestSharedHistory:
    @pytest.fixture
    def fitted(self, adata):
        rng = np.random.default_rng(0)
        w = adata.varm["truth"]
        change = rng.uniform(0, 0.1, w.shape)
        adata.varm["truth_history"] = np.stack([w, w, w + change], axis=1)
        adata.uns["truth"]["history_batch"] = np.array(["a + b", "c", "d + e"])
        return adata

    def test_content(self, fitted):
        axes = nng.pl.shared_history(fitted, key="truth")
        titles = ["a\n+ b", "+ c", "+ d\n+ e", "", ""]
        assert [ax.get_title() for ax in axes] == titles
        images = [np.asarray(ax.images[0].get_array()) for ax in axes]
        last = images[2]
        # Genes by their leading component, and in it by weight.
        leading = last.argmax(axis=1)
        assert (np.diff(leading) >= 0).all()
        for k in np.unique(leading):
            assert (np.diff(last[leading == k].max(axis=1)) <= 0).all()
        np.testing.assert_allclose(
            np.sort(last, 0), np.sort(fitted.varm["truth_history"][:, -1], 0)
        )
        assert not images[3].any()
        np.testing.assert_allclose(images[4], images[2] - images[1])
        # One colour scale for all weights, and one for all changes.
        for some in (axes[:3], axes[3:]):
            assert len({ax.images[0].get_clim() for ax in some}) == 1

    def test_long_names_do_not_meet(self, fitted):
        names = ["a", "a donor with a long name", "another donor"]
        fitted.uns["truth"]["history_batch"] = np.array(names, object)
        axes = nng.pl.shared_history(fitted, key="truth")[:3]
        axes[0].figure.draw_without_rendering()
        boxes = [ax.title.get_window_extent() for ax in axes]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))

    def test_few_genes(self, fitted):
        axes = nng.pl.shared_history(fitted, key="truth", n_genes=5)
        image = np.asarray(axes[2].images[0].get_array())
        assert image.shape[0] == 5
        assert image.max() == fitted.varm["truth_history"][:, -1].max()

    def test_refusals(self, adata):
        with pytest.raises(KeyError, match=r"no history.*keep_history=True"):
            nng.pl.shared_history(adata, key="truth")
