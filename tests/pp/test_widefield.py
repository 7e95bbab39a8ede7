"""From counts to the neural signal: each step against the truth, and what is refused."""

from __future__ import annotations

import shutil

import anndata as ad
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.ndimage import shift as spline_shift
from skimage.registration import phase_cross_correlation

import nonneg as nng
from nonneg.models.video import hemodynamics, motion
from testing.nonneg import assert_same, snapshot
from testing.nonneg._disk import FailingDisk

SMALL = dict(shape=(40, 48), n_regions=2, n_frames=160)


def recording(**options):
    return nng.datasets.widefield(**{**SMALL, **options})


def neural(adata):
    return adata.obsm["true_footprints"] @ adata.varm["true_traces"].T


# --- motion -----------------------------------------------------------------


@pytest.mark.parametrize(("shape", "bound"), [((64, 80), 0.05), ((90, 108), 0.015)])
def test_shifts_are_found(shape, bound):
    adata = recording(shape=shape, mask=False, n_frames=60)
    nng.pp.motion_correct(adata)
    for name in ("shifts", "shifts_violet"):
        error = adata.varm[name] - adata.varm["true_shifts"]
        error -= np.median(error, axis=0)
        assert np.abs(error).max() < bound
    # Without motion there is none.
    still = recording(shape=shape, mask=False, n_frames=60, motion=0)
    nng.pp.motion_correct(still)
    assert np.abs(still.varm["shifts"]).max() < bound
    assert (adata.var["motion_correlation"] > 0.9).all()


def test_frames_that_were_moved_exactly():
    """Against splines, which made them, and scikit-image, which finds them too."""
    rng = np.random.default_rng(0)
    base = recording(shape=(72, 90), mask=False, noise=0, motion=0, hemodynamics=0)
    image = base.X[:, 0].reshape(72, 90).astype(np.float64)
    true = rng.uniform(-3, 3, (12, 2))
    frames = np.stack([spline_shift(image, s, order=5, mode="nearest") for s in true])
    window = motion.window_of(np.ones((72, 90), bool))
    target = motion.Target.of(image, window, 8.0)
    found, score = target.shifts(frames.astype(np.float32))
    np.testing.assert_allclose(found, true, atol=0.02)
    assert (score > 0.99).all()
    oracle = np.stack(
        [
            -phase_cross_correlation(
                image * window, f * window, upsample_factor=20, normalization=None
            )[0]
            for f in frames
        ]
    )
    assert np.abs(found - true).max() < np.abs(-oracle - true).max() + 0.02
    moved = target.move(frames.astype(np.float32), -found)
    inner = np.s_[:, 8:-8, 8:-8]
    # Of a dynamic range of some 10,000.
    assert np.abs(moved[inner] - image[None][inner]).max() < 100


def test_motion_is_taken_out_of_the_channels():
    """In memory, lazily and by way of a store the same."""
    pytest.importorskip("dask")
    adata = recording(mask=False)
    before = np.asarray(adata.X, float).std(1).mean()
    dask = recording(mask=False, form="dask")
    nng.pp.motion_correct(adata)
    nng.pp.motion_correct(dask)
    assert adata.X.std(1).mean() < 0.7 * before
    np.testing.assert_allclose(dask.X.compute(), adata.X, rtol=1e-4)
    np.testing.assert_allclose(dask.varm["shifts"], adata.varm["shifts"], atol=1e-4)


def test_store(tmp_path):
    pytest.importorskip("dask")
    plain, stored = (recording(mask=False) for _ in range(2))
    nng.pp.motion_correct(plain, channels=["violet"])
    nng.pp.motion_correct(
        stored, channels=["violet"], store=tmp_path / "a", chunk_size=50
    )
    np.testing.assert_allclose(
        stored.layers["violet"].compute(), plain.layers["violet"], rtol=1e-4
    )
    assert (tmp_path / "a" / "violet").is_dir()
    assert plain.X.dtype == np.uint16


@pytest.mark.parametrize("n_fail", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_a_store_on_a_full_disk(tmp_path, n_fail):
    adata = nng.datasets.widefield(
        shape=(20, 24), n_regions=2, n_frames=60, mask=False, min_pixels=1
    )
    folder = tmp_path / "disk"
    folder.mkdir()
    store = folder / "new" / "store"
    kwargs = dict(store=store, n_reference=5, chunk_size=30, copy=True)
    disk = FailingDisk(folder, None, n_fail)
    with disk.mounted():
        nng.pp.motion_correct(adata, **kwargs)
    shutil.rmtree(folder / "new")
    before = snapshot(adata)
    for first in disk.places():
        disk = FailingDisk(folder, first, n_fail)
        match = r"store.*could not be written: No space left.*adata is as it was"
        with disk.mounted(), pytest.raises(OSError, match=match):
            nng.pp.motion_correct(adata, **{**kwargs, "copy": False})
        assert list(folder.iterdir()) == []
    assert_same(snapshot(adata), before)


def test_a_simulated_movie_on_a_full_disk(tmp_path):
    kwargs = dict(shape=(20, 24), n_regions=2, n_frames=30, mask=False, min_pixels=1)
    disk = FailingDisk(tmp_path, 2)
    with disk.mounted(), pytest.raises(OSError, match=r"m\.tif' could not be written"):
        nng.datasets.widefield(tiff=tmp_path / "m.tif", **kwargs)
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_not_written_over(tmp_path):
    """It may be what the frames are read from; what failed leaves nothing behind."""
    pytest.importorskip("dask")
    adata = recording(mask=False)
    nng.pp.motion_correct(adata, channels="blue", store=tmp_path)
    kept = adata.X.compute()
    with pytest.raises(ValueError, match="holds 'blue' already"):
        nng.pp.motion_correct(adata, store=tmp_path)
    np.testing.assert_array_equal(adata.X.compute(), kept)
    damaged = recording(mask=False)
    damaged.layers["violet"] = damaged.layers["violet"].astype(np.float32)
    damaged.layers["violet"][3, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        nng.pp.motion_correct(damaged, store=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_pixels_of_a_mask():
    """Less exactly than whole images, but found."""
    adata = recording(shape=(64, 80))
    nng.pp.motion_correct(adata)
    error = adata.varm["shifts"] - adata.varm["true_shifts"]
    error -= np.median(error, axis=0)
    assert error.std() < 0.15
    # Pixels at the edge of the image were out of sight at times.
    whole = recording(mask=False)
    nng.pp.motion_correct(whole)
    outside = nng.get.image(whole, "motion_outside")
    assert outside[0].min() > 0
    assert outside[10:-10, 10:-10].max() == 0


# --- ΔF/F -------------------------------------------------------------------


def test_relative_changes():
    adata = recording(motion=0, noise=0, hemodynamics=0)
    counts = adata.X.astype(float)
    nng.pp.delta_f(adata, channels=["blue"])
    mean = counts.mean(1, keepdims=True)
    np.testing.assert_allclose(adata.X, counts / mean - 1, atol=1e-6)
    np.testing.assert_allclose(adata.obs["baseline"], mean[:, 0], rtol=1e-6)
    assert adata.layers["violet"].dtype == np.uint16
    lit = recording(motion=0, noise=0, hemodynamics=0)
    lit.var["still"] = np.arange(lit.n_vars) < 50
    nng.pp.delta_f(lit, channels=["blue"], baseline_key="still", dark=100)
    level = counts[:, :50].mean(1, keepdims=True) - 100
    np.testing.assert_allclose(lit.X, (counts - 100 - level) / level, atol=1e-5)


def test_baselines_of_trials():
    adata = recording()
    counts = adata.X.astype(float)
    adata.var["trial"] = np.arange(adata.n_vars) // 40
    nng.pp.delta_f(adata, channels=["blue"], trial_key="trial")
    parts = counts.reshape(adata.n_obs, 4, 40)
    expected = parts / parts.mean(2, keepdims=True) - 1
    np.testing.assert_allclose(adata.X, expected.reshape(counts.shape), atol=1e-6)


# --- compression ------------------------------------------------------------


def test_randomized_is_exact_above_the_noise():
    adata = recording(motion=0)
    nng.pp.delta_f(adata)
    x = adata.X.astype(float)
    nng.pp.svd(adata, 12)
    u, v = adata.obsm["X_svd"], adata.varm["svd"]
    exact = np.linalg.svd(x - x.mean(1, keepdims=True), compute_uv=False)
    np.testing.assert_allclose(
        adata.uns["svd"]["singular_values"][:6], exact[:6], rtol=1e-3
    )
    np.testing.assert_allclose(u.T @ u, np.eye(12), atol=1e-5)
    np.testing.assert_allclose(v.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(adata.obs["svd_mean"], x.mean(1), atol=1e-5)
    total = adata.uns["svd"]["total_variance"]
    assert total == pytest.approx(x.var(1).sum(), rel=1e-4)
    error = ((x - x.mean(1, keepdims=True) - u @ v.T) ** 2).sum()
    assert error < 1.02 * (exact[12:] ** 2).sum()


def test_a_product_is_found_exactly():
    """Of rank 5, with means of any size."""
    rng = np.random.default_rng(0)
    adata = recording()
    a = rng.normal(size=(adata.n_obs, 5))
    # Slow: what is as rough as noise is noise to the second solver.
    b = gaussian_filter1d(rng.normal(size=(5, adata.n_vars)), 4)
    mean = rng.uniform(1e3, 1e4, (adata.n_obs, 1))
    adata.X = a @ b + mean
    for solver in ("randomized", "blockwise"):
        nng.pp.svd(adata, 5, solver=solver, block_size=8)
        found = adata.obsm["X_svd"] @ adata.varm["svd"].T
        found += adata.obs["svd_mean"].to_numpy()[:, None]
        # Counts in single precision.
        np.testing.assert_allclose(found, adata.X, atol=0.05)


def test_the_order_of_pixels_and_units_do_not_matter():
    adata = recording(motion=0)
    nng.pp.delta_f(adata)
    nng.pp.svd(adata, 6)
    order = np.random.default_rng(1).permutation(adata.n_obs)
    other = adata[order].copy()
    other.X = other.X * 1000
    nng.pp.svd(other, 6)
    np.testing.assert_allclose(
        np.abs((other.obsm["X_svd"] * adata.obsm["X_svd"][order]).sum(0)), 1, atol=1e-2
    )
    np.testing.assert_allclose(
        other.uns["svd"]["singular_values"],
        1000 * adata.uns["svd"]["singular_values"],
        rtol=1e-3,
    )


def test_blockwise_keeps_what_exceeds_the_noise():
    """Nothing of noise alone; of a signal, about as much as there is."""
    rng = np.random.default_rng(0)
    adata = recording(n_frames=600, motion=0, hemodynamics=0)
    noise = rng.normal(size=adata.shape)
    adata.layers["noise"] = noise.astype(np.float32)
    with pytest.raises(ValueError, match="does not vary over time, beyond noise"):
        nng.pp.svd(adata, 50, layer="noise", solver="blockwise")
    truth = neural(adata)
    adata.layers["signal"] = truth / truth.std() + noise
    nng.pp.svd(adata, 50, layer="signal", solver="blockwise")
    product = adata.obsm["svd_signal"] @ adata.varm["svd_signal"].T
    denoised = ((product - truth / truth.std()) ** 2).mean()
    nng.pp.svd(adata, 50, layer="signal", key_added="plain")
    plain = adata.obsm["plain"] @ adata.varm["plain"].T
    assert denoised < 0.1
    assert denoised < ((plain - truth / truth.std()) ** 2).mean()
    assert adata.obs["svd_signal_rank"].between(0, 8).all()
    assert adata.obsm["svd_signal"].shape[1] <= 50
    # Noise is seen across the borders of blocks too, and of blocks of a frame.
    nng.pp.svd(
        adata, 50, layer="signal", solver="blockwise", chunk_size=1, key_added="single"
    )
    np.testing.assert_array_equal(
        adata.obs["single_rank"], adata.obs["svd_signal_rank"]
    )


@pytest.mark.filterwarnings("error")
def test_blockwise_without_noise():
    """Second differences of ramps are zero."""
    adata = recording(n_frames=60)
    weight = np.linspace(1, 2, adata.n_obs)
    adata.X = np.outer(weight, np.arange(60.0)).astype(np.float32)
    nng.pp.svd(adata, 3, solver="blockwise")
    product = adata.obsm["X_svd"][:, :1] @ adata.varm["svd"][:, :1].T
    centred = adata.X - adata.X.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(product, centred, atol=1e-3)
    adata.X[:] = 3
    with pytest.raises(ValueError, match="does not vary"):
        nng.pp.svd(adata, 3, solver="blockwise")


# --- hemodynamics -----------------------------------------------------------


def test_regression_is_that_of_every_pixel():
    """Without pixels x frames, what regression of pixels x frames gives."""
    rng = np.random.default_rng(0)
    adata = recording(motion=0)
    nng.pp.delta_f(adata)
    nng.pp.svd(adata, 30)
    nng.pp.svd(adata, 25, layer="violet")
    nng.pp.hemodynamic_correction(adata, highpass=None, late=0.0)
    y = (adata.obsm["X_svd"] @ adata.varm["svd"].T).astype(float)
    h = (adata.obsm["svd_violet"] @ adata.varm["svd_violet"].T).astype(float)
    slope = (y * h).sum(1) / (h * h).sum(1)
    np.testing.assert_allclose(adata.obs["hemo_coef"], slope, rtol=2e-3, atol=1e-4)
    left = y - slope[:, None] * h
    explained = 1 - (left**2).sum(1) / (y**2).sum(1)
    np.testing.assert_allclose(adata.obs["hemo_explained"], explained, atol=1e-3)
    # All that is left, where there is room for it.
    nng.pp.hemodynamic_correction(
        adata, highpass=None, late=0.0, n_components=60, key_added="all"
    )
    found = adata.obsm["all"] @ adata.varm["all"].T
    np.testing.assert_allclose(found, left, atol=1e-5)
    for options in ({"late": 2}, {"coef": [1, 2]}, {"n_components": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            nng.pp.hemodynamic_correction(adata, **options)
    # Two references, and given coefficients.
    other = rng.normal(size=(adata.n_vars, 1))
    adata.obsm["third"] = rng.normal(size=(adata.n_obs, 1)).astype(np.float32)
    adata.varm["third"] = (other - other.mean()).astype(np.float32)
    adata.uns["third"] = {**adata.uns["svd"], "obsm_key": "third", "varm_key": "third"}
    nng.pp.hemodynamic_correction(
        adata,
        reference_key=["svd_violet", "third"],
        coef=[0.5, 0.0],
        highpass=None,
        late=0.0,
        n_components=60,
    )
    found = adata.obsm["X_hemo"] @ adata.varm["hemo"].T
    np.testing.assert_allclose(found, y - 0.5 * h, atol=1e-5)


@pytest.mark.parametrize("coef", [1e300, -1e40, np.nan, [0.5, 0.5]])
def test_coefficients_out_of_proportion(coef):
    adata = recording()
    nng.pp.delta_f(adata)
    for layer in (None, "violet"):
        nng.pp.svd(adata, 5, layer=layer)
    before = snapshot(adata)
    with pytest.raises(ValueError, match=r"coef=.* one finite number for each of"):
        nng.pp.hemodynamic_correction(adata, coef=coef)
    assert_same(snapshot(adata), before)


def test_several_references():
    rng = np.random.default_rng(0)
    n, t = 30, 200

    def product(r):
        v = rng.normal(size=(t, r))
        u = rng.normal(size=(n, r)).astype(np.float32)
        return hemodynamics.Product(u, v - v.mean(0))

    signal, one, two = product(4), product(3), product(2)
    found = hemodynamics.coefficients(signal, [one, two])
    dense = [p.u @ p.v.T for p in (signal, one, two)]
    for i in range(n):
        expected = np.linalg.lstsq(
            np.stack([dense[1][i], dense[2][i]], 1), dense[0][i], rcond=None
        )[0]
        np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-5)


def test_causal_filters_do_not_reach_back():
    """A response has no energy before its event; filtered forth and back it has."""
    fs, n, event = 30.0, 3000, 1500
    after = np.maximum(np.arange(n) - event, 0) / fs
    response = (after * np.exp(-after / 0.5))[:, None]
    early = {}
    for causal in (True, False):
        out = hemodynamics.filter_traces(response, fs, highpass=0.1, causal=causal)
        early[causal] = (out[:event] ** 2).sum() / (out**2).sum()
    assert early[True] < 0.01
    assert early[False] > 0.03
    # The two hold back what is slow alike.
    slow = np.sin(2 * np.pi * 0.005 * np.arange(n) / fs)[:, None]
    for causal in (True, False):
        out = hemodynamics.filter_traces(slow, fs, highpass=0.1, causal=causal)
        assert out.std() < 0.05 * slow.std()
    # From half the frame rate on, everything passes.
    same = hemodynamics.filter_traces(response, fs, lowpass=15.0)
    np.testing.assert_array_equal(same, response)


def test_corrected_signals_do_not_anticipate():
    """The same of the whole correction, with twenty events."""
    rng = np.random.default_rng(0)
    fs, n = 30.0, 6000
    event = np.arange(150, n, 300)
    time = np.maximum(np.arange(n)[:, None] - event, 0) / fs
    v = (time * np.exp(-time / 0.3)).sum(1)
    adata = nng.io.from_svd(rng.uniform(0.5, 1, (10, 12, 1)), v[None], fs=fs)
    blood = 0.1 * rng.normal(size=(3, n))
    other = nng.io.from_svd(rng.normal(size=(10, 12, 3)), blood, fs=fs)
    adata.obsm["svd_violet"], adata.varm["svd_violet"] = (
        other.obsm["X_svd"],
        other.varm["svd"],
    )
    names = {"obsm_key": "svd_violet", "varm_key": "svd_violet"}
    adata.uns["svd_violet"] = {**other.uns["svd"], **names}
    early = {}
    for causal in (True, False):
        nng.pp.hemodynamic_correction(adata, causal=causal)
        trace = (adata.obsm["X_hemo"] @ adata.varm["hemo"].T).mean(0)
        trials = np.stack([trace[i - 60 : i + 120] for i in event[:-1]])
        mean = trials.mean(0)
        # Changes before the event: the level is that of one second earlier.
        change = mean[:60] - mean[:30].mean()
        early[causal] = (change[30:] ** 2).sum() / (
            (mean - mean[:30].mean()) ** 2
        ).sum()
    assert early[True] < 0.01
    assert early[False] > 10 * early[True]


def test_half_a_frame_is_made_up_for():
    t = np.arange(400)
    wave = np.sin(2 * np.pi * 0.11 * (t + 0.5))[:, None]
    for causal, bound in ((False, 0.02), (True, 0.1)):
        found = hemodynamics.in_time(wave, 0.5, causal=causal)
        error = found[5:-5, 0] - np.sin(2 * np.pi * 0.11 * t)[5:-5]
        assert np.abs(error).max() < bound


# --- all of it --------------------------------------------------------------


def recovered(adata, product):
    """Part of the neural variance that a reconstruction explains, where it is sharp."""
    truth = neural(adata)
    return 1 - ((product - truth) ** 2).sum() / (truth**2).sum()


@pytest.mark.slow
def test_each_step_brings_it_closer_to_the_truth(tmp_path):
    """From a TIFF of 60 s in two colours, with motion and hemodynamics."""
    pytest.importorskip("dask")
    pytest.importorskip("tifffile")
    truth = nng.datasets.widefield(tiff=tmp_path / "session.tif", mask=False)
    inside = truth.obs["region"].notna().to_numpy()
    movie = nng.io.read_video(
        tmp_path / "session.tif", channels=["blue", "violet"], fs=15, chunk_size=150
    )
    np.testing.assert_array_equal(movie.obs["voxel"], truth.obs["voxel"])
    movie.obsm["true_footprints"] = truth.obsm["true_footprints"]
    movie.varm["true_traces"] = truth.varm["true_traces"]
    score = {}

    def compress(adata):
        brain = adata[inside].copy()
        nng.pp.delta_f(brain)
        nng.pp.svd(brain, 60)
        nng.pp.svd(brain, 60, layer="violet")
        return brain

    raw = compress(movie)
    score["raw"] = recovered(raw, raw.X.compute())
    score["compressed"] = recovered(raw, raw.obsm["X_svd"] @ raw.varm["svd"].T)
    nng.pp.motion_correct(movie, store=tmp_path / "moved.zarr")
    brain = compress(movie)
    score["moved"] = recovered(brain, brain.obsm["X_svd"] @ brain.varm["svd"].T)
    nng.pp.hemodynamic_correction(brain, highpass=None)
    score["corrected"] = recovered(brain, brain.obsm["X_hemo"] @ brain.varm["hemo"].T)
    assert score["raw"] < score["compressed"] < score["moved"] < score["corrected"]
    assert score["corrected"] > 0.9
    # As files can hold it.
    brain.write_h5ad(tmp_path / "brain.h5ad")
    read = ad.read_h5ad(tmp_path / "brain.h5ad")
    np.testing.assert_array_equal(read.obsm["X_hemo"], brain.obsm["X_hemo"])


# --- what is refused --------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "step", ["motion_correct", "delta_f", lambda a: nng.pp.svd(a, 5)]
)
def test_entries_that_are_no_numbers(bad, step):
    adata = recording(mask=False)
    adata.X = adata.X.astype(np.float32)
    adata.X[7, 20:30] = bad
    adata.X[9, 3] = bad
    before = snapshot(adata)
    call = getattr(nng.pp, step) if isinstance(step, str) else step
    with pytest.raises(
        ValueError, match=r"adata\.X holds .* entries: in . of 1920 pix"
    ):
        call(adata)
    assert_same(snapshot(adata), before)


@pytest.mark.filterwarnings("ignore:Received a view:UserWarning")
@pytest.mark.parametrize("form", ["dense", "dask"])
def test_views(form):
    """Pixels that were selected are the same as a copy of them."""
    pytest.importorskip("dask")
    found = []
    for adata in (recording(form=form)[::2], recording(form=form)[::2].copy()):
        nng.pp.delta_f(adata)
        nng.pp.svd(adata, 5)
        found.append(adata.varm["svd"])
    np.testing.assert_array_equal(*found)


def test_frames_that_are_too_far():
    adata = recording(mask=False)
    with pytest.warns(
        UserWarning, match=r"frames of adata\.X .* by max_shift=1 pixels"
    ):
        nng.pp.motion_correct(adata, channels="blue", max_shift=1)
    assert np.abs(adata.varm["shifts"]).max() == 1


def test_frames_that_were_left_out():
    """Filters know the rate of what is there."""
    adata = nng.datasets.widefield(**SMALL, form="svd")
    adata.obsm["svd_violet"], adata.varm["svd_violet"] = (
        adata.obsm["X_svd"],
        adata.varm["svd"],
    )
    adata.uns["svd_violet"] = {
        **adata.uns["svd"],
        "obsm_key": "svd_violet",
        "varm_key": "svd_violet",
    }
    with pytest.raises(ValueError, match=r"fs'\] is 15 Hz.*set it to 7\.5"):
        nng.pp.hemodynamic_correction(adata[:, ::2].copy())
    kept = np.r_[:50, 90:160]
    with pytest.warns(UserWarning, match="is 1 gap between frames"):
        nng.pp.hemodynamic_correction(adata[:, kept].copy())


def test_saturated_frames():
    adata = recording(mask=False)
    adata.X = np.minimum(adata.X, 4095)
    adata.X[:600, 30:40] = 4095
    with pytest.warns(UserWarning, match=r"adata\.X are saturated: .* at 4095"):
        nng.pp.motion_correct(adata)
    assert (adata.var["saturated"].iloc[30:40] > 0.3).all()
    signed = recording(mask=False)
    signed.X = signed.X.astype(np.int16)
    signed.X[:600, 30:40] = 32767
    with pytest.warns(UserWarning, match="saturated: .* at 32767"):
        nng.pp.delta_f(signed, channels="blue")


def test_counts_that_wrapped_around():
    adata = recording()
    adata.X = (adata.X.astype(np.int64) * 6).astype(np.uint16).view(np.int16)
    with pytest.raises(ValueError, match=r"baseline of 0 or less.*read them as uint16"):
        nng.pp.delta_f(adata)
    again = recording()
    nng.pp.delta_f(again)
    with pytest.raises(ValueError, match="relative already"):
        nng.pp.delta_f(again)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda a: nng.pp.motion_correct(a, channels=["red"]), "no channel 'red'"),
        (lambda a: nng.pp.delta_f(a, channels="red"), "no channel 'red'"),
        (lambda a: nng.pp.motion_correct(a, channels=[]), "No channel is selected"),
        (lambda a: nng.pp.motion_correct(a, max_shift=0), "max_shift=0"),
        (lambda a: nng.pp.motion_correct(a, n_reference=0), "n_reference=0"),
        (lambda a: nng.pp.delta_f(a, baseline_key="no"), "'no' is not in adata.var"),
        (lambda a: nng.pp.delta_f(a, baseline_key="time"), "must hold booleans"),
        (lambda a: nng.pp.delta_f(a, dark=1e6), "baseline of 0 or less"),
        (lambda a: nng.pp.svd(a, 10_000), "exceeds the smaller side"),
        (lambda a: nng.pp.svd(a, 3, layer="red"), "'red' is not in adata.layers"),
        (lambda a: nng.pp.svd(a, 3, solver="exact"), "solver='exact'"),
        (lambda a: nng.pp.svd(a, 3, n_iter=-1), "n_iter=-1"),
        (nng.pp.hemodynamic_correction, r"Compress .*svd\(adata\)"),
        (lambda a: nng.pp.hemodynamic_correction(a, highpass=-1), "highpass=-1"),
        (lambda a: nng.pp.hemodynamic_correction(a, highpass=9), "half the frame rate"),
        (
            lambda a: nng.pp.hemodynamic_correction(a, highpass=1e-9),
            "highpass=1e-09 is too low for a filter at",
        ),
        (lambda a: nng.pp.hemodynamic_correction(a, lowpass=0.1), "above highpass=0.1"),
        (
            lambda a: nng.pp.hemodynamic_correction(a, n_components=0, key="truth"),
            "svd_violet",
        ),
        (
            lambda a: nng.pp.hemodynamic_correction(a, reference_key="svd"),
            "must name other products",
        ),
    ],
)
def test_refusals(call, error):
    adata = recording()
    before = snapshot(adata)
    with pytest.raises((ValueError, KeyError), match=error):
        call(adata)
    assert_same(snapshot(adata), before)


def test_objects_that_are_no_videos():
    adata = nng.datasets.quilt(12, 30)
    with pytest.raises(KeyError, match=r"io\.read_video"):
        nng.pp.delta_f(adata)
    empty = nng.datasets.widefield(**SMALL, form="svd")
    with pytest.raises(ValueError, match="X is None"):
        nng.pp.svd(empty, 3)
    flat = recording()
    flat.X = np.ones(flat.shape, np.float32)
    with pytest.raises(ValueError, match="does not vary"):
        nng.pp.svd(flat, 3)


def test_sparse_chunks_are_refused_by_name():
    import dask.array as da
    import scipy.sparse as sp

    adata = recording()
    adata.X = da.from_array(np.ones(adata.shape), chunks=(-1, 40)).map_blocks(
        sp.csr_matrix
    )
    for step in (nng.pp.motion_correct, nng.pp.delta_f, lambda a: nng.pp.svd(a, 3)):
        with pytest.raises(TypeError, match=r"chunks are sparse.*toarray"):
            step(adata)
