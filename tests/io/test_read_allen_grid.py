"""Expression volumes of the Allen Institute."""

from __future__ import annotations

import zipfile
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import real_data

SHAPE = (7, 5, 6)
HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = {msb}
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
ElementSpacing = 200 200 200
DimSize = {shape}
ElementType = {kind}
ElementDataFile = {name}.raw
"""
KINDS = {"f4": "MET_FLOAT", "f8": "MET_DOUBLE", "u4": "MET_UINT", "i2": "MET_SHORT"}


def write(path, values, *, name="energy", number=None, change=(), big=False):
    """A volume as the Allen Institute writes it, into a folder or an archive."""
    header = HEADER.format(
        shape=" ".join(map(str, values.shape)),
        kind=KINDS[values.dtype.str[1:]],
        name=name,
        msb=big,
    )
    for old, new in change:
        assert old in header
        header = header.replace(old, new)
    raw = values.astype(values.dtype.newbyteorder(">" if big else "<"))
    files = {f"{name}.mhd": header.encode(), f"{name}.raw": raw.tobytes(order="F")}
    if number is not None:
        files["data_set.xml"] = f"<section-data-set><id>{number}</id>".encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in files.items():
                archive.writestr(file, content)
    else:
        path.mkdir(exist_ok=True)
        for file, content in files.items():
            (path / file).write_bytes(content)
    return path


def volume(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    values = rng.gamma(1, 1, SHAPE)
    values[rng.random(SHAPE) < 0.1] = -1
    return values.astype(dtype)


def labels():
    inside = np.zeros(SHAPE, np.uint32)
    inside[1:6, 1:4, 1:5] = 5
    inside[1:6, 1:4, 3:5] = 9
    return inside


def as_stored(image):
    return np.nan_to_num(image, nan=-1)


@pytest.mark.parametrize("target", ["a.zip", "a", "a/energy.mhd"])
def test_values_and_axes(target, tmp_path):
    write(tmp_path / target.split("/")[0], volume(), number=7)
    adata = nng.io.read_allen_grid(tmp_path / target)
    assert adata.shape == (210, 1)
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(
        as_stored(nng.get.image(adata, adata.var_names[0])), volume()
    )
    assert adata.var["experiment"].tolist() == ["7"]
    # z, y, x of the array are the third, second and first coordinate.
    index = np.stack(np.indices(SHAPE), -1).reshape(-1, 3)
    np.testing.assert_allclose(adata.obsm["spatial"], 0.2 * index[:, ::-1])
    assert adata.uns["volume"]["shape"].tolist() == list(SHAPE)
    assert adata.uns["volume"]["spacing"].tolist() == [0.2, 0.2, 0.2]


@pytest.mark.parametrize("big", [False, True])
def test_number_types_and_byte_order(big, tmp_path):
    path = write(tmp_path / "a.zip", volume(dtype=np.float64), big=big)
    adata = nng.io.read_allen_grid(path)
    np.testing.assert_array_equal(
        as_stored(nng.get.image(adata, "a")),
        volume(dtype=np.float64).astype(np.float32),
    )


def test_annotation_selects_voxels(tmp_path):
    path = write(tmp_path / "a.zip", volume())
    area = write(tmp_path / "area.zip", labels(), name="gridAnnotation")
    adata = nng.io.read_allen_grid(path, annotation=area)
    assert adata.n_obs == (labels() > 0).sum()
    image = nng.get.image(adata, "a")
    assert image.shape == SHAPE
    np.testing.assert_array_equal(
        as_stored(image), np.where(labels() > 0, volume(), -1)
    )
    np.testing.assert_array_equal(
        np.nan_to_num(nng.get.image(adata, "region_id")), labels()
    )
    again = nng.io.read_allen_grid(path, annotation=labels())
    np.testing.assert_array_equal(again.obs["region_id"], adata.obs["region_id"])
    atlas = nng.atlas.Atlas.from_arrays(labels(), {5: "five", 9: "nine"}, spacing=0.2)
    named = nng.io.read_allen_grid(path, annotation=atlas)
    assert named.obs["region"].value_counts().to_dict() == {"five": 30, "nine": 30}


def test_several_experiments(tmp_path):
    files = [write(tmp_path / f"{i}.zip", volume(i), number=100 + i) for i in range(3)]
    adata = nng.io.read_allen_grid({"A": files[0], "B": files[1:]})
    assert adata.var_names.tolist() == ["A", "B-101", "B-102"]
    assert adata.var["gene"].tolist() == ["A", "B", "B"]
    for i, name in enumerate(adata.var_names):
        np.testing.assert_array_equal(
            as_stored(nng.get.image(adata, name)), volume(i), err_msg=name
        )
    # Archives and folders of a folder; others in it are no matter.
    write(tmp_path / "area.zip", labels(), name="gridAnnotation")
    write(tmp_path / "3", volume(3))
    (tmp_path / "notes.txt").write_text("none")
    found = nng.io.read_allen_grid(tmp_path)
    assert found.var_names.tolist() == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(found.X[:, :3], adata.X)


def test_more_volumes_than_a_block(tmp_path):
    path = write(tmp_path / "0.zip", volume())
    files = {f"g{i}": write(tmp_path / f"{i}.zip", volume(i)) for i in range(70)}
    adata = nng.io.read_allen_grid(files)
    assert path.exists()
    for i in (0, 63, 64, 69):
        np.testing.assert_array_equal(
            as_stored(nng.get.image(adata, f"g{i}")), volume(i)
        )


def test_survives_files_and_subsets(tmp_path):
    adata = nng.io.read_allen_grid(write(tmp_path / "a.zip", volume()))
    adata[50:150].copy().write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    image = nng.get.image(again, "a")
    assert image.shape == SHAPE
    np.testing.assert_array_equal(
        as_stored(image).ravel()[50:150], volume().ravel()[50:150]
    )


HEADERS = {
    "field": (("DimSize = 7 5 6\n", ""), "lacks the fields.*DimSize"),
    "type field": (("ElementType = MET_FLOAT\n", ""), "lacks the fields.*ElementType"),
    "axes": (("DimSize = 7 5 6", "DimSize = 7 5"), "three axes"),
    "zero": (("DimSize = 7 5 6", "DimSize = 7 0 6"), "three axes"),
    "text": (("DimSize = 7 5 6", "DimSize = 7 five 6"), "must be numbers"),
    "spacing": (("Spacing = 200 200 200", "Spacing = 200 0 200"), "positive numbers"),
    "type": (("MET_FLOAT", "MET_STRING"), "ElementType MET_STRING"),
    "compressed": (("CompressedData = False", "CompressedData = True"), "only False"),
    "other file": (("energy.raw", "density.raw"), "not beside it"),
    "outside": (("energy.raw", "../energy.raw"), "not beside it"),
    "short": (("DimSize = 7 5 6", "DimSize = 7 5 7"), "truncated: .* 980 bytes.* 840"),
    "long": (("DimSize = 7 5 6", "DimSize = 7 5 5"), "not of this header"),
}


@pytest.mark.parametrize("target", ["a.zip", "a"])
@pytest.mark.parametrize("case", HEADERS)
def test_damaged_headers(case, target, tmp_path):
    change, match = HEADERS[case]
    path = write(tmp_path / target, volume(), change=[change])
    with pytest.raises(ValueError, match=match):
        nng.io.read_allen_grid(path)


def test_damaged_files(tmp_path):
    path = write(tmp_path / "a", volume())
    raw = path / "energy.raw"
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"energy.raw is truncated"):
        nng.io.read_allen_grid(path)
    with pytest.raises(ValueError, match="values only"):
        nng.io.read_allen_grid(raw)
    archive = write(tmp_path / "a.zip", volume())
    content = archive.read_bytes()
    for name, part in (("cut", content[:300]), ("text", b"not an archive")):
        broken = tmp_path / f"{name}.zip"
        broken.write_bytes(part)
        with pytest.raises(ValueError, match="not a zip archive"):
            nng.io.read_allen_grid(broken)
    flipped = bytearray(content)
    flipped[600] ^= 255
    (tmp_path / "flipped.zip").write_bytes(flipped)
    with pytest.raises(ValueError, match="is damaged"):
        nng.io.read_allen_grid(tmp_path / "flipped.zip")
    # The directory of an archive is at its end: how it is packed, and for whom.
    messages = []
    for at in range(len(content) - 260, len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 255
        (tmp_path / "flipped.zip").write_bytes(flipped)
        try:
            nng.io.read_allen_grid(tmp_path / "flipped.zip")
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all("flipped.zip" in message for message in messages)
    (path / "energy.mhd").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not text"):
        nng.io.read_allen_grid(path)
    values = volume()
    values[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        nng.io.read_allen_grid(write(tmp_path / "inf.zip", values))


def test_refusals(tmp_path):
    path = write(tmp_path / "a.zip", volume())
    area = write(tmp_path / "area.zip", labels(), name="gridAnnotation")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        nng.io.read_allen_grid(tmp_path / "none.zip")
    with pytest.raises(ValueError, match="names no experiment"):
        nng.io.read_allen_grid([])
    with pytest.raises(ValueError, match="must be one of"):
        nng.io.read_allen_grid(path, values="intensities")
    with pytest.raises(ValueError, match=r"must hold one header of \['density.mhd'\]"):
        nng.io.read_allen_grid(path, values="density")
    with pytest.raises(ValueError, match="more than once"):
        nng.io.read_allen_grid([path, path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no energy.mhd"):
        nng.io.read_allen_grid(tmp_path / "empty")
    # Experiments and annotations taken for each other.
    whole = write(tmp_path / "whole.zip", labels())
    with pytest.raises(TypeError, match="holds integers"):
        nng.io.read_allen_grid(whole)
    real = write(tmp_path / "real.zip", volume(), name="gridAnnotation")
    with pytest.raises(TypeError, match="must hold integers"):
        nng.io.read_allen_grid(path, annotation=real)
    # Other boxes.
    other = write(tmp_path / "other.zip", volume()[:-1])
    with pytest.raises(ValueError, match="Read experiments of one resolution"):
        nng.io.read_allen_grid([path, other])
    for wrong in (labels()[:-1], labels().T):
        with pytest.raises(ValueError, match=r"annotation has shape"):
            nng.io.read_allen_grid(path, annotation=wrong)
    with pytest.raises(ValueError, match="other than 0"):
        nng.io.read_allen_grid(path, annotation=0 * labels())
    assert area.exists()


@pytest.mark.data
def test_real_volumes():
    """To the bit what was read from the same files by other means."""
    folder = real_data("allen_p56")
    with np.load(real_data("allen_p56_grid.npz")) as expected:
        arrays = dict(expected)
    adata = nng.io.read_allen_grid(folder)
    assert adata.shape == (67 * 41 * 58, 2)
    for name in adata.var_names:
        np.testing.assert_array_equal(
            as_stored(nng.get.image(adata, name)), arrays[f"{name}_energy"]
        )
    assert adata.var["experiment"].tolist() == ["74272479", "71717084"]
    area = Path(folder) / "P56_Mouse_gridAnnotation.zip"
    inside = nng.io.read_allen_grid(folder, annotation=area)
    found = arrays["P56_Mouse_gridAnnotation_gridAnnotation"]
    assert inside.n_obs == 62529
    np.testing.assert_array_equal(
        np.nan_to_num(nng.get.image(inside, "region_id")), found
    )
