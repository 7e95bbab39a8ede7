"""Regions of patterns in AnnData: planted ones, what is stored, what is refused."""

from __future__ import annotations

import re
import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter

import nonneg as nng
from nonneg._adata.regions import read_annotation
from testing.nonneg import assert_same, real_data, snapshot

TREE = pd.DataFrame(
    {
        "id": [1, 2, 3, 4, 5, 6, 7],
        "acronym": ["root", "W", "E", "NW", "SW", "NE", "SE"],
        "parent": [0, 1, 1, 2, 2, 3, 3],
    },
    index=list("abcdefg"),
)


def quarters(*, ontology=True, side=12):
    """A square of four regions, in two halves; a row of it has no region."""
    y, x = (axis.ravel() for axis in np.indices((side + 1, side)))
    names = np.array(["NW", "NE", "SW", "SE"], object)
    region = names[(x >= side // 2) + 2 * (y >= side // 2)]
    region[y == side] = None
    adata = ad.AnnData(
        np.ones((x.size, 3), np.float32),
        obs=pd.DataFrame(
            {"region": pd.Categorical(region)}, index=np.arange(x.size).astype(str)
        ),
    )
    adata.obsm["spatial"] = np.stack([x, y], 1) * 0.2
    if ontology:
        adata.uns["region"] = {"structures": TREE}
    noise = np.random.default_rng(0).normal(size=(x.size, 4))
    adata.obsm["maps"] = (
        2
        + 0.3 * noise
        + np.stack(
            [region == "SE", x < side // 2, (y < side // 2) | (region == "SW"), y < 0],
            1,
        )
    )
    return adata


def test_planted_regions_with_their_paths():
    adata = quarters()
    nng.tl.region_correlation(adata, key="maps", n_surrogates=99)
    table = nng.get.region_sets(adata, "maps")
    sets = [set(names) for names in table["regions"]]
    # West is a region; the north and the south west are not, nor are they two.
    assert sets[:2] == [{"SE"}, {"W"}]
    assert sets[2] == {"W", "NE"}
    assert table["path"].tolist()[:2] == [("root > E > SE",), ("root > W",)]
    assert (table["p_value"][:3] == 0.01).all()
    assert table["p_value"].iloc[3] > 0.05
    assert (table["score"][:3] > 0.7).all()
    assert (table["exclusivity"].iloc[[0, 2]] > 0).all()
    assert table.index.tolist() == [f"maps_{i}" for i in range(4)]
    known = adata.obs["region"].notna().to_numpy()
    assert adata.uns["maps_region_correlation"]["params"]["n_obs"] == known.sum()
    west = known & (adata.obsm["spatial"][:, 0] < 1.1)
    expected = np.corrcoef(adata.obsm["maps"][known, 1], west[known])[0, 1]
    assert table["score"].iloc[1] == pytest.approx(expected)
    assert table["n_obs"].iloc[1] == west.sum()


def test_without_an_ontology_there_are_labels_only():
    adata = quarters(ontology=False)
    nng.tl.region_correlation(adata, key="maps", null=None)
    table = nng.get.region_sets(adata, "maps")
    assert set(table["regions"].iloc[1]) == {"NW", "SW"}
    assert set(table["regions"].iloc[2]) == {"NW", "SW", "NE"}
    assert table["path"].tolist() == table["regions"].tolist()
    assert table["p_value"].isna().all()
    # Opposite corners do not touch.
    pairs = nng.get.region_sets(adata, "maps", n_regions=2)["regions"]
    assert not {frozenset(pair) for pair in pairs} & {
        frozenset({"NW", "SE"}),
        frozenset({"NE", "SW"}),
    }


def test_the_negative_of_a_signed_pattern():
    """East is not where a pattern is that is high in the west: its negative is."""
    adata = quarters()
    adata.obsm["maps"] -= adata.obsm["maps"].mean(0)
    nng.tl.region_correlation(adata, key="maps", n_surrogates=39)
    table = nng.get.region_sets(adata, "maps")
    assert table["regions"].tolist()[:3] == [("SE",), ("W",), ("SE",)]
    assert table["sign"].tolist()[:3] == [1, 1, -1]
    assert (table["p_value"][:3] <= 0.05).all()


def test_a_graph_says_who_is_near():
    adata = quarters(ontology=False)
    n = adata.n_obs
    # Only the corners NW and SE are linked.
    link = [0, 6 + 6 * 12], [6 + 6 * 12, 0]
    adata.obsp["spatial_connectivities"] = sp.csr_matrix((np.ones(2), link), (n, n))
    nng.tl.region_correlation(adata, key="maps", max_regions=2, null=None)
    pairs = nng.get.region_sets(adata, "maps", n_regions=2)["regions"]
    assert {frozenset(pair) for pair in pairs} == {frozenset({"NW", "SE"})}
    table = adata.uns["maps_region_correlation"]["sets"]
    assert len(table) == 8


def test_same_rng_same_table():
    adata = quarters()
    tables = []
    for rng in (0, 0, 1):
        nng.tl.region_correlation(adata, key="maps", n_surrogates=20, rng=rng)
        tables.append(adata.uns["maps_region_correlation"]["null"])
    np.testing.assert_array_equal(tables[0], tables[1])
    assert (tables[0] != tables[2]).any()


def test_clusters_and_factors_are_patterns():
    adata = quarters()
    adata.obs["cluster"] = adata.obs["region"].cat.rename_categories(str.lower)
    nng.tl.region_correlation(adata, key="cluster", null=None)
    table = nng.get.region_sets(adata, "cluster")
    assert table.index.tolist() == ["ne", "nw", "se", "sw"]
    assert [names[0].lower() for names in table["regions"]] == table.index.tolist()
    np.testing.assert_allclose(table["score"], 1)
    adata.X = adata.obsm["maps"][:, :3].astype(np.float32)
    nng.tl.nmf(adata, 2, tol=0.1)
    nng.tl.region_correlation(adata, null=None)
    assert nng.get.region_sets(adata).index.tolist() == ["nmf_0", "nmf_1"]
    # They belong to the factors, and go with them.
    nng.tl.nmf(adata, 3, tol=0.1)
    assert "nmf_region_correlation" not in adata.uns


def test_missing_values_are_left_out():
    adata = quarters()
    nng.tl.region_correlation(adata, key="maps", null=None)
    full = nng.get.region_sets(adata, "maps")
    gone = adata.copy()
    gone.obsm["maps"][adata.obs["region"].isna(), 0] = np.nan
    nng.tl.region_correlation(gone, key="maps", null=None)
    assert nng.get.region_sets(gone, "maps").equals(full)


def test_dice_is_of_what_is_above_a_threshold():
    adata = quarters()
    nng.tl.region_correlation(
        adata, key="maps", metric="dice", threshold=2.5, null=None
    )
    table = nng.get.region_sets(adata, "maps")
    known = adata.obs["region"].notna().to_numpy()
    above = (adata.obsm["maps"][:, 0] > 2.5) & known
    inside = (adata.obs["region"] == "SE").to_numpy()
    expected = 2 * (above & inside).sum() / (above.sum() + inside.sum())
    assert table["score"].iloc[0] == pytest.approx(expected)
    # Otsu's threshold is between the two heights.
    nng.tl.region_correlation(adata, key="maps", metric="dice", n_surrogates=19)
    own = nng.get.region_sets(adata, "maps")
    assert own["regions"].iloc[0] == ("SE",)
    assert own["score"].iloc[0] > 0.8


def test_flat_patterns_and_regions_of_one_observation():
    adata = quarters(ontology=False)
    region = adata.obs["region"].cat.add_categories(["one", "none"])
    region.iloc[40] = "one"
    adata.obs["region"] = region
    adata.obsm["maps"][:, 3] = 0.1
    nng.tl.region_correlation(adata, key="maps", n_surrogates=19)
    table = nng.get.region_sets(adata, "maps")
    assert table.iloc[3][["score", "p_value"]].tolist() == [0, 1]
    assert table["regions"].iloc[3] == ()
    assert table["regions"].iloc[0] == ("SE",)
    regions = adata.uns["maps_region_correlation"]["regions"]
    assert dict(zip(regions["region"], regions["n_obs"], strict=True))["one"] == 1
    assert "none" not in set(regions["region"])


@pytest.mark.parametrize("form", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow)])
def test_stored_in_files(tmp_path, form):
    adata = quarters()
    nng.tl.region_correlation(adata, key="maps", n_surrogates=19)
    nng.tl.region_prediction(adata, ["SE", "NE"], key="maps", n_factors=2)
    path = tmp_path / f"a.{form}"
    getattr(adata, f"write_{form}")(path)
    again = getattr(ad, f"read_{form}")(path)
    table = nng.get.region_sets(again, "maps")
    pd.testing.assert_frame_equal(table, nng.get.region_sets(adata, "maps"))
    one, other = (some.uns["maps_region_prediction"] for some in (adata, again))
    assert one["auc"] == other["auc"]
    assert nng.pl.region_prediction(again, "maps")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(key="gone"), KeyError, "No factorization is stored under key='gone'"),
        (dict(region_key="gone"), KeyError, "'gone' is not in adata.obs"),
        (dict(region_key="same"), ValueError, "has 1 region "),
        (dict(region_key="empty"), ValueError, "has 0 regions"),
        (dict(region_key="score"), ValueError, "numbers that are not whole"),
        (dict(max_regions=0), ValueError, "max_regions=0 must be at least 1"),
        (dict(metric="cosine"), ValueError, "metric='cosine' must be one of"),
        (dict(threshold=0.1), ValueError, "is of metric='dice' only"),
        (dict(null="shift"), ValueError, "null='shift' must be one of"),
        (dict(min_gain=-1), ValueError, "min_gain=-1 must be"),
        (dict(spatial_key="gone"), KeyError, "There is no adata.obsp"),
        (dict(spatial_key="scattered"), ValueError, "is not a regular grid"),
        (dict(spatial_key="stacked"), ValueError, "is not a regular grid"),
        (dict(connectivity_key="lonely"), ValueError, "no two observations"),
    ],
)
def test_refused(change, error, message):
    adata = quarters(ontology=False)
    adata.obs["same"] = "here"
    adata.obs["empty"] = np.nan
    adata.obs["score"] = np.linspace(0, 1, adata.n_obs)
    rng = np.random.default_rng(0)
    adata.obsm["scattered"] = rng.uniform(size=(adata.n_obs, 2))
    adata.obsm["stacked"] = adata.obsm["spatial"][::-1] // 0.4
    adata.obsp["lonely"] = sp.csr_matrix((adata.n_obs, adata.n_obs))
    before = snapshot(adata)
    with pytest.raises(error, match=re.escape(message)):
        nng.tl.region_correlation(adata, **{"key": "maps", "null": None} | change)
    assert_same(snapshot(adata), before)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"acronym": ["a", "W", "E", "W", "SW", "NE", "SE"]}, "Names of structures"),
        ({"acronym": ["a", "W", "E", "b", "SW", "NE", "SE"]}, "does not name: ['NW']"),
        ({"parent": [4, 1, 1, 2, 2, 3, 3]}, "has a loop"),
        ({"parent": None}, None),
    ],
)
def test_ontologies_that_do_not_suit(columns, message):
    adata = quarters()
    adata.uns["region"] = {"structures": TREE.assign(**columns)}
    if message is None:
        adata.uns["region"] = {"structures": TREE.drop(columns="parent")}
        message = "lacks ['parent']"
    with pytest.raises(ValueError, match=re.escape(message)):
        nng.tl.region_correlation(adata, key="maps", null=None)


def test_tables_that_are_not_there():
    adata = quarters()
    with pytest.raises(KeyError, match="region_correlation"):
        nng.get.region_sets(adata, "maps")
    nng.tl.region_correlation(adata, key="maps", max_regions=2, null=None)
    with pytest.raises(ValueError, match="exceeds the max_regions=2"):
        nng.get.region_sets(adata, "maps", n_regions=3)
    adata.uns["maps_region_correlation"]["schema"] = 99
    with pytest.raises(ValueError, match="another version"):
        nng.get.region_sets(adata, "maps")


def allen():
    """Voxels of the Allen annotation, with its ontology."""
    volumes = np.load(real_data("allen_p56_grid.npz"))
    labels = volumes["P56_Mouse_gridAnnotation_gridAnnotation"]
    tree = pd.read_csv(real_data("allen_structure_tree.csv"))
    tree = tree[tree["id"] > 0].astype({"id": int})
    place = np.argwhere(labels > 0)
    acronym = dict(zip(tree["id"], tree["acronym"], strict=True))
    names = [acronym[i] for i in labels[labels > 0]]
    adata = ad.AnnData(obs=pd.DataFrame(index=np.arange(len(place)).astype(str)))
    adata.obs["region"] = pd.Categorical(names)
    adata.obsm["spatial"] = place[:, ::-1] * 0.2
    tree["parent"] = tree["parent_structure_id"].fillna(0).astype(int)
    structures = tree[["id", "acronym", "parent"]].rename(index=str)
    adata.uns["region"] = {"structures": structures}
    return adata, labels


@pytest.mark.slow
@pytest.mark.data
def test_allen_annotation():
    """Published numbers, planted regions, and brute force on 1,000 sets."""
    from nonneg.models.anatomy.sets import adjacent_pairs, adjacent_triples
    from nonneg.tl._anatomy.front import plan

    adata, labels = allen()
    annotation = read_annotation(adata, "region")
    made = plan(
        adata,
        np.ones(adata.n_obs, bool),
        region_key="region",
        max_regions=3,
        beam_width=50,
        metric="pearson",
        min_gain=0.01,
        connectivity_key="spatial_connectivities",
        spatial_key="spatial",
    )
    regions = made.regions
    assert annotation.members.shape == (843, 649)
    assert len(adjacent_pairs(regions.adjacent)) == 11_859
    # Outer regions may be nested in the published number.
    assert len(adjacent_triples(regions.adjacent)) == 432_599
    triples = adjacent_triples(regions.adjacent, regions.disjoint)
    assert len(triples) == 391_388
    rng = np.random.default_rng(0)

    def inside(*names):
        rows = [annotation.names.index(name) for name in names]
        return annotation.members[rows].any(0)[annotation.codes]

    def smooth(width):
        field = gaussian_filter(rng.normal(size=labels.shape), width)[labels > 0]
        return field / field.std()

    planted = [
        ("Isocortex",),
        ("TH",),
        ("CP",),
        ("CP", "ACB"),
        ("HPF", "RSP"),
        ("VISp", "RSPd", "VISpm"),
    ]
    maps = [inside(*names) + 0.25 * smooth(3).clip(0) for names in planted]
    maps += [smooth(width) for width in (2, 4, 6, 8)]
    maps += [1 + 0.01 * rng.normal(size=adata.n_obs)]
    adata.obsm["maps"] = np.stack(maps, 1)
    # Compiled before.
    nng.tl.region_correlation(adata, key="maps", null=None)
    start = time.process_time()
    nng.tl.region_correlation(adata, key="maps", null=None)
    assert time.process_time() - start <= 5
    table = nng.get.region_sets(adata, "maps")
    assert [set(names) for names in table["regions"][:6]] == [set(p) for p in planted]
    assert table["score"].iloc[-1] <= 0.02

    sets = adata.uns["maps_region_correlation"]["sets"]
    best = sets["score"].to_numpy().reshape(len(table), 3)
    names = made.annotation.names
    mean, std = adata.obsm["maps"].mean(0), adata.obsm["maps"].std(0)
    z, v = (adata.obsm["maps"] - mean) / std, adata.n_obs
    for row in rng.choice(len(triples), 1000, replace=False):
        own = inside(*(names[r] for r in triples[row]))
        scores = z.T @ (own - own.mean()) / (v * own.std())
        assert (scores <= best[:, 2] + 1e-9).all()
        n = int(regions.size[triples[row]].sum())
        assert n == own.sum()
        formula = z.T @ own / np.sqrt(v * n * (1 - n / v))
        np.testing.assert_allclose(scores, formula, atol=1e-9)
    # And the best one has the score that it is said to have.
    for i, chosen in enumerate(table["regions"]):
        expected = np.corrcoef(adata.obsm["maps"][:, i], inside(*chosen))[0, 1]
        assert table["score"].iloc[i] == pytest.approx(expected, abs=1e-9)


@pytest.mark.data
@pytest.mark.slow
def test_p_values_on_the_geometry_of_the_brain():
    """60 smooth maps that know nothing of regions, cut from larger fields."""
    from scipy.stats import kstest

    adata, labels = allen()
    rng = np.random.default_rng(0)
    mask, margin = labels > 0, 12
    shape = tuple(side + 2 * margin for side in labels.shape)
    inner = (slice(margin, -margin),) * 3
    maps = []
    for i in range(60):
        width = (2, 4, 6)[i % 3]
        noise = rng.normal(size=shape).astype(np.float32)
        field = gaussian_filter(noise, width, truncate=2.5)[inner][mask]
        field /= field.std()
        maps.append((field, np.exp(field), field.clip(0.5))[i // 3 % 3])
    adata.obsm["maps"] = np.stack([*maps, rng.normal(size=adata.n_obs)], 1)
    nng.tl.region_correlation(adata, key="maps", n_surrogates=39)
    p = nng.get.region_sets(adata, "maps")["p_value"].to_numpy()
    assert kstest(p[:60], "uniform").pvalue > 0.01
    assert (p[:60] <= 0.05).mean() <= 0.12
    assert p[60] > 0.05


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:adata.X has 1 observation :UserWarning")
def test_layers_of_the_olfactory_bulb():
    adata = ad.read_h5ad(real_data("mob.h5ad"))
    nng.pp.deviant_genes(adata, 1000, subset=True)
    adata.X.data = np.log1p(adata.X.data)
    nng.tl.nmf(adata, 6, tol=1e-3)
    nng.tl.region_correlation(adata, region_key="layer", n_surrogates=99)
    table = nng.get.region_sets(adata)
    assert adata.uns["nmf_region_correlation"]["params"]["n_obs"] == 260
    assert (table["p_adjusted"] <= 0.05).sum() >= 4
    singles = {names[0] for names in table["regions"] if len(names) == 1}
    assert len(singles) >= 3
    assert table["score"].max() > 0.8
