"""Recordings that were compressed elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nonneg as nng
from nonneg.io import _read_compressed

SHAPE, R, T = (20, 30), 6, 80


@pytest.fixture
def product():
    rng = np.random.default_rng(0)
    return rng.normal(size=(*SHAPE, R)), rng.normal(2, 1, (R, T))


def assert_normal(adata, key="svd"):
    u = adata.obsm["X_svd" if key == "svd" else key]
    v = adata.varm[key]
    np.testing.assert_allclose(u.T @ u, np.eye(u.shape[1]), atol=1e-5)
    np.testing.assert_allclose(v.mean(0), 0, atol=1e-4)
    s = adata.uns[key]["singular_values"]
    np.testing.assert_allclose(v.T @ v, np.diag(s**2), atol=1e-4 * s[0] ** 2)
    assert (np.diff(s) <= 0).all()
    return u @ v.T + adata.obs[f"{key}_mean"].to_numpy()[:, None]


def test_any_product(product):
    u, v = product
    u[3, 4], u[5, 6] = np.nan, 0
    adata = nng.io.from_svd(u, v, fs=30, spacing=0.02)
    assert adata.n_obs == 598
    assert adata.X is None
    expected = (u.reshape(-1, R) @ v)[adata.obs["voxel"]]
    np.testing.assert_allclose(assert_normal(adata), expected, atol=1e-4)
    mask = np.ones(SHAPE, bool)
    mask[:2] = False
    mean = np.full(SHAPE, 100.0)
    part = nng.io.from_svd(
        u.reshape(-1, R)[60:], v, fs=30, shape=SHAPE, mask=mask, mean=mean
    )
    np.testing.assert_allclose(assert_normal(part), expected[60:] + 100, rtol=1e-4)


def test_rank_deficient_products(product):
    u, v = product
    adata = nng.io.from_svd(np.concatenate([u, u], -1), np.concatenate([v, v]), fs=30)
    assert adata.obsm["X_svd"].shape[1] == R
    np.testing.assert_allclose(
        assert_normal(adata), 2 * u.reshape(-1, R) @ v, atol=1e-3
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"SVT": np.zeros((3, 9))}, "6 components and SVT 3"),
        ({"SVT": np.full((R, T), np.inf)}, "SVT holds values that are infinite"),
        ({"U": np.full((*SHAPE, R), np.inf)}, "U holds"),
        ({"U": np.full((*SHAPE, R), np.nan)}, "NaN or zero in all"),
        ({"U": np.ones((600, R))}, "give the shape"),
        ({"U": np.ones((500, R)), "shape": SHAPE}, "500 pixels"),
        ({"shape": (3, 4)}, "not of shape"),
        ({"mask": np.ones((3, 4))}, "mask has shape"),
        ({"mean": np.ones((3, 4))}, "mean has shape"),
        ({"time": np.ones(3)}, "time has 3"),
        ({"fs": 0}, "fs=0"),
        ({"time": np.zeros(T)}, "must be finite and rise"),
        ({"spacing": 0}, "spacing=0 must be positive"),
        ({"U": np.array([["a"]])}, "must hold numbers"),
    ],
)
def test_refusals(change, error, product):
    options = {"U": product[0], "SVT": product[1], "fs": 30, **change}
    with pytest.raises(ValueError, match=error):
        nng.io.from_svd(options.pop("U"), options.pop("SVT"), **options)


def test_wfield(product, tmp_path):
    u, v = product
    np.save(tmp_path / "U.npy", u.reshape(-1, R))
    np.save(tmp_path / "SVT.npy", v)
    np.save(tmp_path / "frames_average.npy", np.full((2, *SHAPE), 500.0))
    marks = {"x": [-1.0, 1.0], "y": [0.0, 0.5], "name": ["OB_left", "OB_right"]}
    marks["color"] = ["#ff0000", "#00ff00"]
    (tmp_path / "dorsal_cortex_landmarks.json").write_text(
        json.dumps(
            {
                "landmarks": marks,
                "landmarks_match": marks,
                "resolution": 0.0194,
                "bregma_offset": [320, 270],
                "transform": np.eye(3).tolist(),
            }
        )
    )
    adata = nng.io.read_wfield(tmp_path, fs=15)
    flat = u.reshape(-1, R)
    np.testing.assert_allclose(assert_normal(adata), flat @ v[:, ::2], atol=1e-4)
    np.testing.assert_allclose(
        assert_normal(adata, "svd_violet"), flat @ v[:, 1::2], atol=1e-4
    )
    assert adata.uns["landmarks"]["match"]["name"].tolist() == ["OB_left", "OB_right"]
    assert adata.uns["landmarks"]["transform"].shape == (3, 3)
    assert adata.uns["volume"]["spacing"][0] == pytest.approx(0.0194)
    assert (adata.obs["mean_frame"] == 500).all()
    adata.write_h5ad(tmp_path / "a.h5ad")
    np.save(tmp_path / "SVTcorr.npy", v[:, ::2] * 3)
    adata = nng.io.read_wfield(tmp_path, fs=15)
    np.testing.assert_allclose(assert_normal(adata), 3 * flat @ v[:, ::2], atol=1e-3)
    assert "svd_violet" not in adata.varm
    np.save(tmp_path / "SVT.npy", v[:, :-1])
    with pytest.raises(ValueError, match="no whole number of cycles"):
        nng.io.read_wfield(tmp_path, fs=15, corrected=False)


def test_wfield_of_what_is_no_number(product, tmp_path):
    """Also in the second channel alone."""
    u, v = product
    np.save(tmp_path / "U.npy", u)
    v = v.copy()
    v[2, 5] = np.nan
    for stored, match in (
        (np.full(v.shape, "x"), r"SVT\.npy must hold numbers"),
        (v.astype(complex), r"SVT\.npy must hold numbers"),
        (v, r"SVT\.npy holds values that are infinite or NaN"),
    ):
        np.save(tmp_path / "SVT.npy", stored)
        with pytest.raises(ValueError, match=match):
            nng.io.read_wfield(tmp_path, fs=15)
    np.save(tmp_path / "SVT.npy", product[1].astype(str))
    found = nng.io.read_wfield(tmp_path, fs=15)
    flat = u.reshape(-1, R)
    np.testing.assert_allclose(
        assert_normal(found, "svd_violet"), flat @ product[1][:, 1::2], atol=1e-4
    )


def test_cortexlab(product, tmp_path):
    u, v = product
    (tmp_path / "blue").mkdir()
    blue = tmp_path / "blue"
    np.save(blue / "svdSpatialComponents.npy", np.asfortranarray(u))
    np.save(blue / "svdTemporalComponents.npy", v.T)
    np.save(blue / "svdTemporalComponents.timestamps.npy", 2 + np.arange(T) / 35)
    np.save(blue / "meanImage.npy", np.full(SHAPE, 900.0))
    adata = nng.io.read_cortexlab(tmp_path, 3)
    assert adata.uns["video"]["fs"] == pytest.approx(35)
    assert adata.var["time"].iloc[0] == 2
    expected = u.reshape(-1, R)[:, :3] @ v[:3] + 900
    np.testing.assert_allclose(assert_normal(adata), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"n_components=9, but .* has 6"):
        nng.io.read_cortexlab(tmp_path, 9)
    with pytest.raises(FileNotFoundError, match="no svdSpatialComponents"):
        nng.io.read_cortexlab(tmp_path / "nowhere")


def test_only_the_first_components_are_read(tmp_path):
    """Bytes, as the system counts them."""
    shape, n, r = (100, 120), 10, 200
    u = np.asfortranarray(np.random.default_rng(0).normal(size=(*shape, r)))
    np.save(tmp_path / "U.npy", u)

    def read_bytes():
        return int(Path("/proc/self/io").read_text().split()[1])

    try:
        before = read_bytes()
    except OSError:
        pytest.skip("the system does not count bytes")
    part = _read_compressed.read_prefix(tmp_path / "U.npy", n)
    read = read_bytes() - before
    np.testing.assert_array_equal(part, u[..., :n])
    assert read <= 1.2 * u.nbytes * n / r
    with (tmp_path / "U.npy").open("r+b") as file:
        file.truncate(u.nbytes // 30)
    with pytest.raises(ValueError, match="cannot be read"):
        _read_compressed.read_prefix(tmp_path / "U.npy", n)


def test_any_version_of_the_format(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 5, 6))
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "x.npy").open("wb") as file:
            np.lib.format.write_array(file, np.asfortranarray(x), version=version)
        found = _read_compressed.read_prefix(tmp_path / "x.npy", 2)
        np.testing.assert_array_equal(found, x[..., :2])


def test_names_of_channels(tmp_path, product):
    u, v = product
    np.save(tmp_path / "U.npy", u)
    np.save(tmp_path / "SVT.npy", v)
    for channels in ([], ["blue", "blue"]):
        with pytest.raises(ValueError, match="names that do not repeat"):
            nng.io.read_wfield(tmp_path, fs=15, channels=channels)
