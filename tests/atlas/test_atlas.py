"""Label volumes with an ontology."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from testing.nonneg import real_data

Atlas = nng.atlas.Atlas
TREE = pd.DataFrame(
    {
        # Not in the order of the tree.
        "id": [30, 1, 10, 20, 11, 12, 21],
        "acronym": ["fiber", "brain", "CTX", "STEM", "MO", "SS", "TH"],
        "name": ["Tracts", "Brain", "Cortex", "Stem", "Motor", "Sensory", "Thalamus"],
        "parent": [1, np.nan, 1, 1, 10, 10, 20],
        "color": ["#CCCCCC", "ffffff", "B0FFB8", "19399", None, "aabbcc", "ff7080"],
    }
)
LABELS = np.array([[0, 11, 12, 12], [10, 11, 21, 20], [30, 30, 21, 0]])
VOLUME = Atlas.from_arrays(np.stack([LABELS, LABELS]), TREE)


@pytest.fixture(scope="module")
def atlas():
    return Atlas.from_arrays(LABELS, TREE, spacing=0.5)


def test_tree(atlas):
    ids = atlas.structures.index
    level = {1: 0, 30: 1, 10: 1, 20: 1, 11: 2, 12: 2, 21: 2}
    assert atlas.structures["level"].to_dict() == level
    assert atlas.ancestors("SS") == [1, 10]
    assert atlas.ancestors(1) == []
    assert sorted(atlas.descendants("brain")) == [10, 11, 12, 20, 21, 30]
    assert atlas.descendants("Cortex") == [11, 12]
    assert atlas.descendants("TH") == []
    assert atlas.children("brain") == [30, 10, 20]
    assert atlas.at_level(1) == [30, 10, 20]
    assert atlas.find("Thalamus") == atlas.find("TH") == atlas.find(21) == 21
    # A part is the descendant of its ancestors, and of nothing else.
    for node in ids:
        below = atlas.descendants(node)
        assert {i for i in ids if node in atlas.ancestors(i)} == set(below)


def test_masks_are_unions(atlas):
    for node in atlas.structures.index:
        expected = np.isin(LABELS, [node, *atlas.descendants(node)])
        np.testing.assert_array_equal(atlas.mask(node), expected)
        assert atlas.structures.loc[node, "n_voxels"] == expected.sum()
    np.testing.assert_array_equal(atlas.rows >= 0, LABELS > 0, strict=True)
    assert len(atlas.present) == 7


def test_group(atlas):
    np.testing.assert_array_equal(
        atlas.group(1), [[0, 10, 10, 10], [10, 10, 20, 20], [30, 30, 20, 0]]
    )
    np.testing.assert_array_equal(atlas.group(0), np.where(LABELS > 0, 1, 0))
    np.testing.assert_array_equal(atlas.group(2), LABELS)
    np.testing.assert_array_equal(
        atlas.group(regions=["CTX", "SS", 21]),
        [[0, 10, 12, 12], [10, 10, 21, 0], [0, 0, 21, 0]],
    )


def test_colors(atlas):
    color = atlas.structures["color"]
    assert color[[30, 1, 10]].tolist() == ["#cccccc", "#ffffff", "#b0ffb8"]
    # Without its leading zero in the table, and without a colour.
    assert color[[20, 11]].tolist() == ["#019399", ""]


def test_frozen(atlas):
    with pytest.raises(dataclasses.FrozenInstanceError):
        atlas.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        atlas.labels[0, 0] = 1
    labels = LABELS.copy()
    made = Atlas.from_arrays(labels, TREE)
    labels[:] = 0
    np.testing.assert_array_equal(made.labels, LABELS)


@pytest.mark.parametrize("form", ["path", "list", "csv", "index"])
def test_forms_of_tables(form, atlas, tmp_path):
    paths = ["/1/30/", "/1/", "/1/10/", "/1/20/", "/1/10/11/", "/1/10/12/", "/1/20/21/"]
    table = TREE.rename(columns={"color": "color_hex_triplet"})
    if form == "path":
        table = table.drop(columns="parent").assign(structure_id_path=paths)
    elif form == "list":
        lists = [[int(i) for i in path.strip("/").split("/")] for path in paths]
        table = table.drop(columns="parent").assign(structure_id_path=lists)
    elif form == "csv":
        table.rename(columns={"parent": "parent_structure_id"}).to_csv(
            tmp_path / "tree.csv", index=False
        )
        table = tmp_path / "tree.csv"
    else:
        table = table.set_index("id")
    again = Atlas.from_arrays(LABELS, table)
    pd.testing.assert_frame_equal(again.structures, atlas.structures)


def test_without_a_tree():
    flat = Atlas.from_arrays(LABELS, TREE[["id", "acronym"]])
    assert (flat.structures["level"] == 0).all()
    assert flat.ancestors("TH") == flat.descendants("CTX") == []
    assert flat.mask("CTX").sum() == 1
    named = Atlas.from_arrays(np.array([[1, 2], [0, 2]]), {1: "a", 2: "b"})
    assert named.find("b") == 2
    bare = Atlas.from_arrays(-LABELS)
    assert bare.structures["acronym"].tolist() == [
        str(i) for i in np.unique(-LABELS) if i
    ]


def test_hemispheres():
    def sides(labels, given):
        return Atlas.from_arrays(labels, hemispheres=given).hemispheres[0].tolist()

    assert sides(LABELS, "left-right") == [1, 1, 2, 2]
    assert sides(LABELS[:, :3], "right-left") == [2, 2, 1]
    assert sides(LABELS, np.ones_like(LABELS)) == [1, 1, 1, 1]
    assert Atlas.from_arrays(LABELS).hemispheres is None


REFUSED = {
    "float": (dict(labels=LABELS * 1.0), TypeError, "must be integers"),
    "line": (dict(labels=LABELS[0]), ValueError, "an image or a volume"),
    "empty": (dict(labels=0 * LABELS), ValueError, "other than 0"),
    "unknown": (
        dict(structures=TREE[:5]),
        ValueError,
        r"2 labels are not .*\[12, 21\]",
    ),
    "no ids": (
        dict(structures=TREE[["name"]]),
        ValueError,
        "must have a column of ids",
    ),
    "repeated": (
        dict(structures=pd.concat([TREE, TREE[:1]])),
        ValueError,
        r"ids that repeat, e.g. \[30\]",
    ),
    "acronyms": (
        dict(structures=TREE.assign(acronym="a")),
        ValueError,
        "acronyms that repeat",
    ),
    "ids": (
        dict(structures=TREE.assign(id=TREE["id"] + 0.5)),
        ValueError,
        "whole numbers",
    ),
    "text ids": (dict(structures=TREE.assign(id="a")), ValueError, "must hold numbers"),
    "parent": (
        dict(structures=TREE.assign(parent=99)),
        ValueError,
        r"parents that are not in the table, e.g. \[99",
    ),
    "cycle": (
        dict(structures=TREE.assign(parent=[1, 30, 1, 1, 10, 10, 20])),
        ValueError,
        "not a tree",
    ),
    "color": (dict(structures=TREE.assign(color="red")), ValueError, "not 'red'"),
    "spacing": (dict(spacing=(1, 2, 3)), ValueError, "one for each of 2 axes"),
    "zero": (dict(spacing=0), ValueError, "positive"),
    "nan": (dict(origin=np.nan), ValueError, "finite"),
    "side": (dict(hemispheres="left"), ValueError, "must be one of"),
    "sides": (dict(hemispheres=np.ones((2, 2))), ValueError, r"shape \(2, 2\), but"),
    "values": (dict(hemispheres=LABELS), ValueError, "1 on the left"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    change, error, match = REFUSED[case]
    arguments = {"labels": LABELS, "structures": TREE} | change
    with pytest.raises(error, match=match):
        Atlas.from_arrays(**arguments)


def test_unknown_nodes(atlas):
    for ask in (atlas.find, atlas.mask, atlas.ancestors, atlas.descendants):
        with pytest.raises(KeyError, match="'XYZ' is neither id, acronym nor name"):
            ask("XYZ")
    with pytest.raises(KeyError, match="99 is neither"):
        atlas.mask(99)
    with pytest.raises(ValueError, match="levels are 0 to 2"):
        atlas.group(3)
    with pytest.raises(ValueError, match="not both"):
        atlas.group(1, ["CTX"])
    with pytest.raises(ValueError, match="regions is empty"):
        atlas.group(regions=[])


@pytest.fixture
def brainglobe(monkeypatch):
    """What is used of BrainGlobe's atlases."""
    structures = [
        dict(
            id=int(row.id),
            acronym=row.acronym,
            name=row.name,
            rgb_triplet=[255, 112, 8],
            structure_id_path=[1] if row.id == 1 else [1, int(row.id)],
        )
        for row in TREE.itertuples(index=False)
    ]

    def open_atlas(name, *, check_latest):
        assert not check_latest
        return SimpleNamespace(
            resolution=(100.0, 50.0, 50.0),
            structures_list=structures,
            # A label that no structure has, as in some atlases.
            annotation=np.stack([LABELS, np.full_like(LABELS, 77)]).astype(np.uint32),
            hemispheres=np.ones((2, *LABELS.shape), np.uint8),
        )

    module = ModuleType("brainglobe_atlasapi")
    module.BrainGlobeAtlas = open_atlas
    monkeypatch.setitem(sys.modules, "brainglobe_atlasapi", module)


@pytest.mark.usefixtures("brainglobe")
def test_load():
    loaded = nng.atlas.load("example_mouse_100um")
    assert loaded.name == "example_mouse_100um"
    assert loaded.spacing == (0.1, 0.05, 0.05)
    assert loaded.origin == (0.05, 0.025, 0.025)
    np.testing.assert_array_equal(loaded.labels, [LABELS, 0 * LABELS])
    assert loaded.ancestors("TH") == [1]
    assert set(loaded.structures["color"]) == {"#ff7008"}
    assert (loaded.hemispheres == 1).all()


def test_load_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "brainglobe_atlasapi", None)
    with pytest.raises(ImportError, match=r"pip install 'nonneg\[atlas\]'"):
        nng.atlas.load("allen_mouse_100um")


@pytest.mark.data
def test_allen_ontology():
    """649 labels, 843 nodes with voxels."""
    with np.load(real_data("allen_p56_grid.npz")) as stored:
        labels = stored["P56_Mouse_gridAnnotation_gridAnnotation"]
    tree = real_data("allen_structure_tree.csv")
    atlas = Atlas.from_arrays(labels, tree, spacing=0.2)
    assert len(atlas.present) == 843
    assert atlas.structures.loc[997, "n_voxels"] == (labels > 0).sum() == 62529
    table = pd.read_csv(tree).set_index("id")
    for node in ("Isocortex", "TH", "CA1sp", "fiber tracts"):
        i = atlas.find(node)
        path = [
            int(part) for part in table.loc[i, "structure_id_path"].split("/") if part
        ]
        assert [*atlas.ancestors(node), i] == path
        assert atlas.structures.loc[i, "level"] == table.loc[i, "depth"]
        below = table.index[
            table["structure_id_path"].fillna("").str.contains(f"/{i}/")
        ]
        np.testing.assert_array_equal(atlas.mask(node), np.isin(labels, below))


@pytest.mark.data
def test_dorsal_cortex():
    """Images, tables without a tree, signed labels."""
    with np.load(real_data("dorsal_cortex_atlases.npz"), allow_pickle=True) as stored:
        wfield, signed = stored["wfield_1320x1140"], stored["locanmf_540x540"]
        names = dict(
            zip(
                stored["locanmf_area_ids"].tolist(),
                stored["locanmf_area_names"],
                strict=True,
            )
        )
    areas = Atlas.from_arrays(
        wfield, real_data("dorsal_cortex_wfield_labels.csv"), spacing=0.01
    )
    assert len(areas.present) == 33
    assert areas.find("MOs") == 4
    both = Atlas.from_arrays(signed, names)
    assert both.mask("VISp1").any()
    # The front of the image is up, so that the left is on the left.
    assert (both.hemispheres[:, :250] < 2).all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda a: a.mask(["MO"]), r"node=\['MO'\] is a list.*Atlas\.mask takes int"),
        (lambda a: a.find(np.zeros(2)), "node=.* is a ndarray"),
        (lambda a: a.at_level(np.arange(7)), "level=.* is a ndarray.*takes int"),
        (lambda a: a.group(level=1.5), "level=1.5 is a float"),
        (lambda a: a.targets(regions=5), "regions=5 is a int"),
        (lambda _: VOLUME.dorsal(axis=[1]), r"axis=\[1\] is a list"),
        (lambda _: Atlas.from_arrays(LABELS, 3), "structures=3 is a int"),
    ],
)
def test_arguments_of_another_kind(atlas, call, match):
    with pytest.raises(TypeError, match=match):
        call(atlas)


def test_one_region_by_name(atlas):
    np.testing.assert_array_equal(
        atlas.group(regions="CTX"), atlas.group(regions=["CTX"])
    )


def test_tables_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*tree\.csv.*structures"):
        Atlas.from_arrays(LABELS, tmp_path / "tree.csv")
    (tmp_path / "tree.csv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"tree\.csv cannot be read"):
        Atlas.from_arrays(LABELS, tmp_path / "tree.csv")


def test_load_of_an_unknown_name(monkeypatch):
    def opened(name, *, check_latest):
        raise ValueError(name)

    module = ModuleType("brainglobe_atlasapi")
    module.BrainGlobeAtlas = opened
    monkeypatch.setitem(sys.modules, "brainglobe_atlasapi", module)
    with pytest.raises(
        ValueError, match=r"offers no atlas name='nope'.*brainglobe list"
    ):
        nng.atlas.load("nope")
    with pytest.raises(TypeError, match="name=3 must be text"):
        nng.atlas.load(3)
