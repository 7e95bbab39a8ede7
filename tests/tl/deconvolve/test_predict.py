"""Cell types where nothing was measured."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng


@pytest.fixture
def fitted(tissue, quick):
    nng.tl.deconvolve(*tissue, **quick)
    return tissue.adata


def test_locations_left_out(tissue, quick, rmse):
    """Nearer to the truth than the mean of the section."""
    adata, reference = tissue
    out = np.zeros(adata.n_obs, bool)
    out[np.random.default_rng(0).choice(adata.n_obs, 30, replace=False)] = True
    kept, rest = adata[~out].copy(), adata[out]
    nng.tl.deconvolve(kept, reference, **quick)
    found = nng.tl.predict(kept, rest.obsm["spatial"], key="deconv")
    assert list(found.var_names) == list(kept.uns["deconv"]["cell_types"])
    np.testing.assert_allclose(found.X.sum(1), 1, rtol=1e-5)
    mean = np.broadcast_to(kept.obsm["X_deconv"].mean(0), found.shape)
    truth = rest.obsm["truth"]
    assert rmse(found.X, truth) < 0.9 * rmse(mean, truth)
    assert (found.layers["std"] >= 0).all()


def test_empty_locations_have_no_say(fitted):
    xy = fitted.obsm["spatial"][:5] + 0.2
    fitted.obsm["X_deconv"][50:60] = np.nan
    assert np.isfinite(nng.tl.predict(fitted, xy, key="deconv").X).all()


def test_sections(tissue, quick):
    adata, reference = tissue
    adata.obs["slice"] = np.repeat(["a", "b"], adata.n_obs // 2)
    nng.tl.deconvolve(adata, reference, library_key="slice", **quick)
    xy = adata.obsm["spatial"][:3]
    found = [nng.tl.predict(adata, xy, key="deconv", section="a")]
    with pytest.warns(
        UserWarning, match="3 of 3 places are outside .* the nearest ones"
    ):
        found.append(nng.tl.predict(adata, xy, key="deconv", section="b"))
    assert not np.allclose(found[0].X, found[1].X)
    assert [x.obs["outside"].all() for x in found] == [False, True]
    titles = [ax.get_title() for ax in nng.pl.factor_maps(found[0], "deconv")]
    assert titles == [f"{name} | a" for name in adata.uns["deconv"]["cell_types"]]
    assert (found[1].obs["slice"] == "b").all()
    with pytest.raises(ValueError, match="Name the section"):
        nng.tl.predict(adata, xy, key="deconv")


def test_refusals(fitted, tissue, quick):
    xy = fitted.obsm["spatial"][:3]
    for change, match in (
        (dict(coords=xy[:, :1]), "shape"),
        (dict(coords=xy * np.nan), "without finite coordinates"),
        (dict(expression=True), "no depth"),
        (dict(section="a"), "without library_key"),
    ):
        with pytest.raises(ValueError, match=match):
            nng.tl.predict(fitted, **dict(coords=xy, key="deconv") | change)
    alone = quick | {"graph_weight": None, "spatial_key": None}
    nng.tl.deconvolve(*tissue, key_added="alone", **alone)
    with pytest.raises(ValueError, match="not a spatial model"):
        nng.tl.predict(fitted, xy, key="alone")
