"""Recordings of any kind are read as the same pixels x frames."""

from __future__ import annotations

import gc
import logging
import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest
import zarr

import nonneg as nng
from nonneg.io._decoder import Decoder, _Running

SHAPE = (9, 14)
N = 24


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 65535, (N, *SHAPE)).astype(np.uint16)


def write_tiff(path, frames, **options):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, frames, photometric="minisblack", **options)
    return {}


def write_pages(path, frames):
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for frame in frames:
            file.write(frame, contiguous=False, photometric="minisblack")
    return {}


def write_hdf5(path, frames):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "a/movie", data=frames, chunks=(5, *SHAPE), compression=hdf5plugin.Blosc()
        )
        file["other"] = np.arange(3)
    return {}


def write_zarr(path, frames):
    group = zarr.open_group(path, mode="w")
    group.create_array("movie", data=frames)
    group.create_array("mean", data=frames.mean(0))
    return {}


def write_nwb(path, frames):
    pynwb = pytest.importorskip("pynwb")
    from datetime import UTC, datetime

    file = pynwb.NWBFile("a session", "id", datetime(2026, 1, 1, tzinfo=UTC))
    file.add_acquisition(
        pynwb.TimeSeries(name="movie", data=frames, unit="counts", rate=30.0)
    )
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    return {}


def write_raw(path, frames):
    frames.tofile(path)
    return {"shape": SHAPE, "dtype": "uint16"}


def write_numpy(path, frames, **options):
    np.save(path, frames)
    return options


WRITERS = {
    "contiguous.tif": write_tiff,
    "big_endian.tif": lambda p, x: write_tiff(p, x, byteorder=">"),
    "compressed.tiff": lambda p, x: write_tiff(p, x, compression="zlib"),
    "pages.btf": write_pages,
    "of.ome.tif": lambda p, x: write_tiff(
        p,
        x.reshape(-1, 2, *SHAPE),
        metadata={"axes": "TCYX", "PhysicalSizeX": 20.0, "PhysicalSizeXUnit": "µm"},
    ),
    "imagej.tif": lambda p, x: pytest.importorskip("tifffile").imwrite(
        p, x, imagej=True
    ),
    "raw.dat": write_raw,
    "c.npy": write_numpy,
    "fortran.npy": lambda p, x: write_numpy(p, np.asfortranarray(x)),
    "of_matlab.npy": lambda p, x: write_numpy(p, x.transpose(1, 2, 0), axes="YXT"),
    "channels.npy": lambda p, x: write_numpy(p, x.reshape(-1, 2, *SHAPE)),
    "blosc.h5": write_hdf5,
    "movie.zarr": write_zarr,
    "movie.nwb": write_nwb,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("lazy", [True, False])
def test_files(name, lazy, frames, tmp_path):
    options = WRITERS[name](tmp_path / name, frames) or {}
    if lazy:
        pytest.importorskip("dask")
    adata = nng.io.read_video(
        tmp_path / name,
        channels=["blue", "violet"],
        fs=15,
        lazy=lazy,
        chunk_size=5,
        **options,
    )
    assert adata.shape == (9 * 14, N // 2)
    for i, x in enumerate((adata.X, adata.layers["violet"])):
        assert x.dtype == np.uint16
        values = x.compute() if lazy else x
        np.testing.assert_array_equal(values, frames[i::2].reshape(N // 2, -1).T)
    np.testing.assert_allclose(adata.var["time"], np.arange(N // 2) / 15)
    spacing = 0.02 if name == "of.ome.tif" else 1
    np.testing.assert_allclose(adata.uns["volume"]["spacing"], spacing)
    np.testing.assert_allclose(adata.obsm["spatial"][15], [spacing, spacing])
    assert adata.uns["video"]["channels"].tolist() == ["blue", "violet"]


def write_avi(path, frames):
    """Without loss, so that it can be compared."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    kind = "gray" if frames.dtype == np.uint8 else "gray16le"
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    given = ["-f", "rawvideo", "-pix_fmt", kind, "-s", size, "-r", "30", "-i", "-"]
    subprocess.run(
        [ffmpeg.get_ffmpeg_exe(), *given, "-c:v", "ffv1", path],
        input=frames.tobytes(),
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_compressed_video(tmp_path, dtype):
    top = np.iinfo(dtype).max
    frames = np.random.default_rng(0).integers(0, top, (20, 32, 48)).astype(dtype)
    write_avi(tmp_path / "a.avi", frames)
    adata = nng.io.read_video(
        tmp_path / "a.avi", channels=["a", "b"], chunk_size=3, dtype=dtype
    )
    assert adata.uns["video"]["fs"] == 15
    np.testing.assert_array_equal(
        adata.layers["b"].compute(), frames[1::2].reshape(10, -1).T
    )
    again = pickle.loads(pickle.dumps(adata.X))
    np.testing.assert_array_equal(again.compute(), frames[::2].reshape(10, -1).T)


@pytest.fixture
def counted(monkeypatch):
    """Number of frames that were decoded."""
    decoded = []
    read = _Running.read

    def counting(self):
        decoded.append(self.next)
        return read(self)

    monkeypatch.setattr(_Running, "read", counting)
    return decoded


def test_a_pass_decodes_each_frame_once(tmp_path, counted):
    frames = np.random.default_rng(0).integers(0, 255, (60, 8, 12)).astype(np.uint8)
    write_avi(tmp_path / "a.avi", frames)
    adata = nng.io.read_video(tmp_path / "a.avi", channels=["a", "b"], chunk_size=5)
    for start in range(0, 30, 5):
        part = slice(start, start + 5)
        # Both channels are in the same frames.
        for i, x in enumerate((adata.X, adata.layers["b"])):
            expected = frames[i::2][part].reshape(5, -1).T
            np.testing.assert_array_equal(x[:, part].compute(), expected)
    assert counted == list(range(60))
    # All blocks at once, by threads.
    np.testing.assert_array_equal(adata.X.compute(), frames[::2].reshape(30, -1).T)
    assert len(counted) <= 60 + 2 * 60
    # From the start again.
    for frame in (29, 0, 12):
        np.testing.assert_array_equal(
            adata.X[:, frame].compute(), frames[2 * frame].ravel()
        )


def test_no_process_outlives_a_video(tmp_path):
    frames = np.zeros((50, 64, 64), np.uint8)
    write_avi(tmp_path / "a.avi", frames)
    decoder = Decoder(tmp_path / "a.avi", (64, 64), np.dtype(np.uint8))
    decoder.read(0, 2)
    process = decoder._running._process
    assert process.poll() is None
    del decoder
    gc.collect()
    assert process.poll() is not None


def test_a_video_that_ends_early(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (40, 32, 48)).astype(np.uint8)
    write_avi(tmp_path / "a.avi", frames)
    adata = nng.io.read_video(tmp_path / "a.avi", chunk_size=10)
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.avi cannot be read from frame \d+ on"):
        adata.X.compute()
    # Frames before are there.
    np.testing.assert_array_equal(
        adata.X[:, :10].compute(), frames[:10].reshape(10, -1).T
    )


def write_stamped_nwb(path, frames, **options):
    pynwb = pytest.importorskip("pynwb")
    from datetime import UTC, datetime

    file = pynwb.NWBFile("a session", "id", datetime(2026, 1, 1, tzinfo=UTC))
    file.add_acquisition(
        pynwb.TimeSeries(name="movie", data=frames, unit="counts", **options)
    )
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)


@pytest.mark.filterwarnings("ignore:TimeSeries 'movie'")
def test_time_stamps_of_another_number(tmp_path, frames):
    write_stamped_nwb(tmp_path / "a.nwb", frames[:20], timestamps=np.arange(20) / 10)
    # No library writes this, but a recording that was cut off has it.
    with h5py.File(tmp_path / "a.nwb", "a") as file:
        series = file["acquisition/movie"]
        del series["data"]
        series["data"] = frames
        series["data"].attrs["unit"] = "counts"
    with (
        pytest.warns(UserWarning, match="20 time stamps for 24 frames"),
        pytest.raises(ValueError, match="give fs, in Hz, or time"),
    ):
        nng.io.read_video(tmp_path / "a.nwb")
    with pytest.warns(UserWarning, match="20 time stamps for 24 frames"):
        adata = nng.io.read_video(tmp_path / "a.nwb", fs=10)
    np.testing.assert_allclose(adata.var["time"], np.arange(24) / 10)


@pytest.mark.parametrize(
    "options",
    [{"rate": 10.0, "starting_time": 3.0}, {"timestamps": np.arange(12) / 10 + 3}],
)
def test_times_of_channels_that_have_an_axis(tmp_path, frames, options):
    """Rates and time stamps are of cycles then."""
    stack = frames.reshape(12, 2, *SHAPE)
    write_stamped_nwb(tmp_path / "a.nwb", stack, **options)
    adata = nng.io.read_video(tmp_path / "a.nwb", channels=["blue", "violet"])
    np.testing.assert_allclose(adata.var["time"], 3 + np.arange(12) / 10)
    assert adata.uns["video"]["fs"] == pytest.approx(10)


def test_the_file_says_when(tmp_path, frames):
    write_nwb(tmp_path / "a.nwb", frames)
    adata = nng.io.read_video(tmp_path / "a.nwb", channels=["a", "b", "c"], lazy=False)
    assert adata.uns["video"]["fs"] == pytest.approx(10)
    np.testing.assert_allclose(adata.var["time"], np.arange(8) / 10)


def test_binning_and_mask(frames):
    mask = np.ones(SHAPE, bool)
    mask[0, :3] = False
    adata = nng.io.read_video(
        frames, fs=30, binning=2, mask=mask, spacing=0.01, lazy=False
    )
    # Rows and columns that are left over are not used; sums do not overflow.
    means = frames[:, :8].reshape(N, 4, 2, 7, 2).astype(float).mean((2, 4))
    expected = means.reshape(N, -1)[:, 2:]
    np.testing.assert_allclose(adata.X, expected.T, rtol=1e-6)
    assert adata.obs["voxel"].tolist() == list(range(2, 28))
    np.testing.assert_allclose(adata.obsm["spatial"][0], [0.045, 0.005])
    assert nng.get.image(adata, adata.X[:, 0]).shape == (4, 7)


def test_several_files_and_channels_apart(tmp_path, frames):
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.npy")
        np.save(paths[-1], frames[8 * i : 8 * (i + 1)])
    joined = nng.io.read_video(paths, fs=30, lazy=False, chunk_size=5)
    np.testing.assert_array_equal(joined.X, frames.reshape(N, -1).T)
    apart = nng.io.read_video(
        {"blue": frames[::2], "violet": frames[1::2]}, fs=15, lazy=False
    )
    np.testing.assert_array_equal(
        apart.layers["violet"], frames[1::2].reshape(N // 2, -1).T
    )
    with pytest.raises(ValueError, match="same number and size"):
        nng.io.read_video({"a": frames, "b": frames[1:]}, fs=15)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["TCYX", "CTYX"])
def test_channels_that_a_tiff_names(axes, compression, frames, tmp_path):
    """In turn, or all frames of one and then those of the other."""
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "movie.ome.tif"
    stack = frames.reshape(-1, 2, *SHAPE)
    stored = stack if axes == "TCYX" else stack.swapaxes(0, 1)
    tifffile.imwrite(path, stored, metadata={"axes": axes}, compression=compression)
    adata = nng.io.read_video(path, channels=["blue", "violet"], fs=10, chunk_size=5)
    for i, x in enumerate((adata.X, adata.layers["violet"])):
        np.testing.assert_array_equal(x.compute().T.reshape(-1, *SHAPE), stack[:, i])
    with pytest.raises(ValueError, match=r"has 2 channels, but 1 is named: \['blue'\]"):
        nng.io.read_video(path, channels="blue", fs=10)


def test_channels_of_an_array(frames):
    stack = frames.reshape(-1, 2, *SHAPE)
    with pytest.raises(ValueError, match="The array has 2 channels, but 1 is named"):
        nng.io.read_video(stack, fs=10)
    one = nng.io.read_video(frames, channels="blue", fs=10)
    assert one.n_vars == N
    assert one.uns["video"]["channels"].tolist() == ["blue"]


def test_lost_frames(frames):
    """Channels stay what they are after a frame was lost."""
    lost = [5, 12]
    there = np.delete(np.arange(N), lost)
    with pytest.warns(UserWarning, match="2 cycles .* left out"):
        adata = nng.io.read_video(
            frames[there], channels=["a", "b"], fs=10, dropped=lost, lazy=False
        )
    kept = np.delete(np.arange(12), [2, 6])
    np.testing.assert_array_equal(adata.X, frames[::2][kept].reshape(10, -1).T)
    np.testing.assert_array_equal(
        adata.layers["b"], frames[1::2][kept].reshape(10, -1).T
    )
    np.testing.assert_allclose(adata.var["time"], kept / 10)
    time = there / 20
    with pytest.warns(UserWarning, match="2 frames come more than half a frame late"):
        nng.io.read_video(frames[there], time=time, lazy=False)


def test_an_odd_number_of_frames(frames):
    with pytest.raises(ValueError, match=r"23 frames .* 2 channels .*dropped=\[23\]"):
        nng.io.read_video(frames[:-1], channels=["a", "b"], fs=10)
    with pytest.warns(UserWarning, match="1 cycles"):
        adata = nng.io.read_video(
            frames[:-1], channels=["a", "b"], fs=10, dropped=[23], lazy=False
        )
    assert adata.n_vars == 11


@pytest.mark.parametrize("name", ["contiguous.tif", "compressed.tiff", "pages.btf"])
def test_truncated_tiff(name, frames, tmp_path, caplog):
    WRITERS[name](tmp_path / name, frames)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(0.6 * len(whole))])
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(ValueError, match=r"damaged or truncated|corrupted"),
    ):
        nng.io.read_video(tmp_path / name, fs=10)


def test_truncated_imagej(frames, tmp_path):
    WRITERS["imagej.tif"](tmp_path / "a.tif", frames)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: int(0.6 * len(whole))])
    with pytest.raises(ValueError, match="damaged or truncated"):
        nng.io.read_video(tmp_path / "a.tif", fs=10)


def damaged(path, name):
    (path / name).write_bytes(b"not what it says" * 10)
    return path / name


@pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.h5", "a.nwb", "a.avi"])
def test_damaged_files(name, tmp_path):
    if name == "a.avi":
        pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(ValueError, match=name):
        nng.io.read_video(damaged(tmp_path, name), fs=10)


def test_raw_files(frames, tmp_path):
    frames.tofile(tmp_path / "a.dat")
    read = nng.io.read_video
    with pytest.raises(ValueError, match="no header: give the shape"):
        read(tmp_path / "a.dat", fs=10)
    with pytest.raises(ValueError, match="no whole number of frames of 10 x 14"):
        read(tmp_path / "a.dat", fs=10, shape=(10, 14), dtype="uint16")
    with pytest.raises(ValueError, match="no whole number of frames"):
        read(tmp_path / "a.dat", fs=10, shape=(9, 13), dtype="uint16")
    with pytest.raises(TypeError, match="complex"):
        read(np.zeros((2, 3, 4), complex), fs=10)


def test_files_that_shrink(frames, tmp_path):
    """After they were opened."""
    pytest.importorskip("dask")
    frames.tofile(tmp_path / "a.dat")
    adata = nng.io.read_video(tmp_path / "a.dat", fs=10, shape=SHAPE, dtype="uint16")
    (tmp_path / "a.dat").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.dat cannot be read from frame 0"):
        adata.X.compute()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"fs": None}, "give fs, in Hz"),
        ({"fs": -1}, "fs=-1"),
        ({"time": np.arange(3.0)}, "time has shape"),
        ({"time": np.zeros(N)}, "must rise"),
        ({"mask": np.ones((3, 3), bool)}, "mask has shape"),
        ({"mask": np.zeros(SHAPE, bool)}, "keeps no pixel"),
        ({"mask": np.full(SHAPE, 7)}, "true or false everywhere, but holds 7"),
        ({"binning": 20}, "binning=20"),
        ({"spacing": 0.0}, "spacing=0"),
        ({"axes": "TY"}, "axes='TY'"),
        ({"channels": ["a", "a"]}, "do not repeat"),
        ({"dropped": [-1]}, "counted from 0"),
        ({"dropped": [90]}, "names frame 90"),
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"shape": SHAPE, "source": "a.npy"}, "for raw files"),
        ({"axes": "TYC", "channels": "a"}, "three or four"),
    ],
)
def test_refusals(change, error, frames, tmp_path):
    np.save(tmp_path / "a.npy", frames)
    source = tmp_path / "a.npy" if "source" in change else frames
    options = {"fs": 10.0, **change}
    options.pop("source", None)
    with pytest.raises(ValueError, match=error):
        nng.io.read_video(source, **options)


def test_unknown_files_and_datasets(tmp_path, frames):
    with pytest.raises(FileNotFoundError, match=r"no\.tif"):
        nng.io.read_video(tmp_path / "no.tif", fs=10)
    (tmp_path / "a.doc").touch()
    with pytest.raises(ValueError, match="unknown kind"):
        nng.io.read_video(tmp_path / "a.doc", fs=10)
    write_hdf5(tmp_path / "a.h5", frames)
    with pytest.raises(KeyError, match="a/movie"):
        nng.io.read_video(tmp_path / "a.h5", fs=10, dataset="b")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("a.tif", "tifffile", "widefield"), ("a.nwb", "pynwb", "nwb")],
)
def test_missing_libraries(name, module, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'nonneg\[{extra}\]'"):
        nng.io.read_video(damaged(tmp_path, name), fs=10)


def test_types_that_there_are_not(tmp_path):
    np.zeros(96, np.uint8).tofile(tmp_path / "frames.dat")
    with pytest.raises(ValueError, match="dtype='spatial' is no type of numbers"):
        nng.io.read_video(tmp_path / "frames.dat", fs=1, shape=(4, 4), dtype="spatial")
