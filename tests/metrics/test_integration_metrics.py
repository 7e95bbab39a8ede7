"""Alignment, agreement and purity, against loops over cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics.cluster import contingency_matrix

from nonneg.metrics import agreement, alignment, purity


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def nearest(x, i, k):
    """Nearest cells to cell i, which is left out."""
    distance = ((x - x[i]) ** 2).sum(axis=1)
    distance[i] = np.inf
    return distance.argsort(kind="stable")[:k]


def slow_alignment(x, batches, k):
    same = [np.sum(batches[nearest(x, i, k)] == batches[i]) for i in range(len(x))]
    n_batches = len(set(batches))
    return 1 - (np.mean(same) - k / n_batches) / (k - k / n_batches)


class TestAlignment:
    @pytest.mark.parametrize("n_batches", [2, 3])
    @pytest.mark.parametrize("k", [1, 7, 30])
    def test_loop(self, rng, n_batches, k):
        batches = rng.permutation(np.repeat(list("abc")[:n_batches], 40))
        x = rng.normal(size=(len(batches), 4)) + (batches == "a")[:, None]
        found = alignment(x, batches, n_neighbors=k)
        assert found == pytest.approx(slow_alignment(x, batches, k), abs=1e-12)

    @pytest.mark.parametrize(("n", "k"), [(50, 10), (700, 14), (5, 9)])
    def test_default_neighbours(self, rng, n, k):
        """1 % of all cells, at least 10, and no more than there are."""
        x = rng.normal(size=(2 * n, 3))
        batches = np.repeat([0, 1], n)
        assert alignment(x, batches) == alignment(x, batches, n_neighbors=k)
        assert alignment(x, batches) != alignment(x, batches, n_neighbors=k - 1)

    def test_default_neighbours_count_all_cells(self, rng):
        """Also those that are not drawn."""
        x = rng.normal(size=(1500, 3))
        batches = np.repeat(["a", "b"], [1460, 40])
        assert alignment(x, batches) == alignment(x, batches, n_neighbors=15)

    def test_limits(self, rng):
        x = rng.random((200, 3))
        batches = np.repeat(["a", "b"], 100)
        apart = x + 10.0 * (batches == "b")[:, None]
        assert alignment(apart, batches) == 0
        # All neighbours in the other data set: two places, one cell of each.
        pairs = np.repeat(np.arange(100.0), 2)[:, None]
        of_pairs = np.tile(["a", "b"], 100)
        assert alignment(pairs, of_pairs, n_neighbors=1) == 2
        mixed = [
            alignment(rng.random((600, 3)), rng.permutation(np.repeat([0, 1], 300)))
            for _ in range(10)
        ]
        # With the cell itself left out, 299 of 599 are of its own data set, not half.
        expected = 1 - (299 / 599 - 0.5) / 0.5
        assert np.mean(mixed) == pytest.approx(expected, abs=0.01)

    def test_largest_is_thinned_out(self, rng):
        """Otherwise neighbours from a large data set would be common by chance."""
        x = rng.random((2200, 2))
        batches = np.repeat(["a", "b"], [2000, 200])
        assert alignment(x, batches) == pytest.approx(1, abs=0.05)
        assert slow_alignment(x, batches, 22) < 0.5
        draws = {alignment(x, batches, rng=seed) for seed in range(3)}
        assert len(draws) == 3
        assert alignment(x, batches, rng=1) == alignment(x, batches, rng=1)

    def test_duplicates(self):
        """Cells at the same place are neighbours, a cell is not its own."""
        x = np.zeros((40, 2))
        batches = np.repeat(["a", "b"], 20)
        # All others are neighbours: 19 of 39 are of the same data set.
        expected = 1 - (19 - 19.5) / 19.5
        assert alignment(x, batches, n_neighbors=39) == pytest.approx(expected)

    def test_labels_of_any_kind(self, rng):
        x = rng.random((90, 3))
        batches = rng.permutation(np.repeat(["a", "b"], [50, 40]))
        expected = alignment(x, batches)
        for same in (
            batches.tolist(),
            pd.Series(batches, index=np.arange(90)[::-1]),
            pd.Categorical(batches, categories=["b", "a", "unused"]),
            (batches == "b").astype(int),
        ):
            assert alignment(x, same) == expected

    @pytest.mark.parametrize(
        ("x", "batches", "kwargs", "match"),
        [
            (np.zeros((4, 2)), ["a"] * 4, {}, r"one data set only, \['a'\]"),
            (np.zeros((4, 2)), ["a", "b", None, np.nan], {}, "missing for 2 cells"),
            (np.zeros((4, 2)), ["a", "b"], {}, "4 cells, but batches has 2"),
            (np.full((4, 2), np.nan), list("abab"), {}, "4 cells with NaN"),
            (np.zeros(4), list("abab"), {}, r"not \(4,\)"),
            (np.zeros((5, 2)), list("aaabb"), {"n_neighbors": 4}, "below the 4 cells"),
            (np.zeros((4, 2)), list("aaab"), {}, r"\['b'\] have one cell"),
        ],
    )
    def test_refusals(self, x, batches, kwargs, match):
        with pytest.raises(ValueError, match=match):
            alignment(x, batches, **kwargs)


class TestAgreement:
    def test_loop(self, rng):
        batches = rng.permutation(np.repeat(["b", "a", "c"], [30, 25, 40]))
        x = rng.normal(size=(95, 4))
        references = {b: rng.normal(size=((batches == b).sum(), 6)) for b in "abc"}
        # Related, so that the number is not just chance.
        references["c"][:, :4] += 2 * x[batches == "c"]
        found = agreement(x, references, batches, n_neighbors=6)
        jaccard = []
        for b in "abc":
            joint = x[batches == b]
            for i in range(len(joint)):
                one = set(nearest(joint, i, 6))
                two = set(nearest(references[b], i, 6))
                jaccard.append(len(one & two) / len(one | two))
        assert found == pytest.approx(np.mean(jaccard), abs=1e-12)

    def test_limits(self, rng):
        x = rng.normal(size=(400, 3))
        batches = np.repeat(["a", "b"], 200)
        alone = {"a": x[:200], "b": x[200:]}
        # Shifts, rotations and scales of single data sets change nothing.
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        moved = np.concatenate([3 * x[:200] @ rotation, x[200:] + 100])
        assert agreement(moved, alone, batches) == 1
        chance = agreement(rng.permuted(x, axis=0), alone, batches)
        assert chance == pytest.approx(15 / (400 - 15), rel=0.15)

    def test_refusals(self, rng):
        x, batches = rng.random((40, 2)), np.repeat(["a", "b"], [30, 10])
        alone = {"a": x[:30], "b": x[30:]}
        with pytest.raises(KeyError, match=r"data sets \['b'\]; there are \['a'\]"):
            agreement(x, {"a": x[:30]}, batches)
        with pytest.raises(ValueError, match="'b' has 10"):
            agreement(x, alone, batches)
        with pytest.raises(ValueError, match="has 40 cells, but x has 10"):
            agreement(x, alone | {"b": x}, batches, n_neighbors=3)
        with pytest.raises(
            ValueError, match=r"references\['b'\] has 10 cells with NaN"
        ):
            agreement(x, alone | {"b": x[30:] * np.nan}, batches, n_neighbors=3)


class TestPurity:
    def test_contingency(self, rng):
        clusters, labels = rng.integers(7, size=200), rng.choice(list("abcd"), 200)
        table = contingency_matrix(clusters, labels)
        expected = table.max(axis=1).sum() / 200
        assert purity(clusters, labels) == pytest.approx(expected, abs=1e-12)

    def test_limits(self):
        labels = np.repeat(["a", "b", "c"], [50, 30, 20])
        assert purity(labels, labels) == 1
        assert purity(np.arange(100), labels) == 1
        assert purity(np.zeros(100), labels) == 0.5

    @pytest.mark.parametrize("kind", ["list", "categorical", "series"])
    def test_missing_are_not_counted(self, kind):
        clusters, labels = ["0", "0", "0", None, "1"], ["a", "a", "b", "b", np.nan]
        make = {
            "list": list,
            "categorical": pd.Categorical,
            "series": lambda x: pd.Series(x, index=range(5, 0, -1)),
        }[kind]
        assert purity(make(clusters), make(labels)) == pytest.approx(2 / 3)

    def test_refusals(self):
        with pytest.raises(ValueError, match="3 clusters, but 2 labels"):
            purity([0, 0, 1], ["a", "b"])
        with pytest.raises(ValueError, match="No cell has both"):
            purity([0, None], [None, "a"])
