from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

import nonneg as nng
from nonneg._adata.keys import factor_keys
from nonneg._adata.write import write_factors


def slow(n, k, tau, rng):
    """Independent AR(1) signals that fall to 1/e in tau frames."""
    phi = np.exp(-1 / tau)
    noise = rng.standard_normal((n + 10 * tau, k))
    return lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)[10 * tau :]


def session_of(traces, regions, *, fs=15.0, shape=(8, 10), seed=0):
    """A session with components of one region each, and these time courses."""
    rng = np.random.default_rng(seed)
    n, k = len(traces), traces.shape[1]
    voxel = np.arange(np.prod(shape))
    adata = nng.datasets.widefield(form="svd", shape=(24, 30), n_regions=1, n_frames=2)
    place = {
        "shape": np.array(shape),
        "spacing": np.full(2, 0.1),
        "origin": np.zeros(2),
    }
    y, x = np.divmod(voxel, shape[1])
    adata = type(adata)(
        obs=pd.DataFrame({"voxel": voxel}, index=voxel.astype(str)),
        var=pd.DataFrame({"time": np.arange(n) / fs}, index=np.arange(n).astype(str)),
        uns={"volume": place, "video": {"fs": fs, "channels": np.array(["blue"])}},
        obsm={"spatial": np.stack([x, y], axis=1) * 0.1},
    )
    write_factors(
        adata,
        factor_keys("locanmf"),
        method="widefield",
        scores=rng.uniform(size=(voxel.size, k)),
        loadings=traces,
        params={},
        info={"region": np.array(regions, object)},
    )
    return adata


@pytest.fixture
def session():
    """Three regions of two, three and one components, 600 frames at 15 Hz."""
    rng = np.random.default_rng(0)
    adata = session_of(slow(600, 6, 5, rng), ["a", "a", "b", "b", "b", "c"])
    times = np.arange(2, 38, 1.0)
    adata.uns["events"] = pd.DataFrame(
        {"time": times, "side": np.tile(["left", "right"], 18)}
    ).rename(index=str)
    return adata
