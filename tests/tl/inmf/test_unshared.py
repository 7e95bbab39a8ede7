"""Integration of data sets that have partly different variables."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.metrics import adjusted_rand_score

import nonneg as nng
from testing.nonneg import assert_same, snapshot

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Few cells, few counts.
    pytest.mark.filterwarnings("ignore:.*zero in all cells:UserWarning"),
]
K, N_SHARED, N_VARS = 4, 24, 40
OWN = {"batch_0": range(24, 32), "batch_1": range(32, 40)}


@pytest.fixture
def parts():
    """Two data sets with 24 genes in common and 8 of their own."""
    adata = nng.datasets.batches((70, 50), N_VARS, K)
    return {
        name: adata[adata.obs["batch"] == name, [*range(N_SHARED), *own]].copy()
        for name, own in OWN.items()
    }


@pytest.fixture
def adata(parts):
    """The same in one object."""
    joined = ad.concat(parts, label="batch", join="outer", fill_value=0)
    return joined[:, [f"gene_{j}" for j in range(N_VARS)]].copy()


UNSHARED = {name: [f"gene_{j}" for j in own] for name, own in OWN.items()}


def fit(data, **kwargs):
    arguments = {"batch_key": "batch", "size_factors": "total", "max_iter": 40}
    return nng.tl.inmf(data, K, **(arguments | kwargs))


def test_mapping_and_mask_agree(parts, adata):
    before = {name: snapshot(one) for name, one in parts.items()}
    joined = fit(parts)
    fit(adata, unshared=UNSHARED)
    assert joined.var_names.equals(adata.var_names)
    assert joined.obs["batch"].astype(str).tolist() == adata.obs["batch"].tolist()
    for attr, key in (
        ("obsm", "X_inmf"),
        ("varm", "inmf"),
        ("varm", "inmf_specific"),
        ("varm", "inmf_scale"),
    ):
        np.testing.assert_array_equal(
            getattr(joined, attr)[key], getattr(adata, attr)[key]
        )
    for name, one in parts.items():
        assert_same(snapshot(one), before[name])


def test_order_of_the_mapping_does_not_matter(parts):
    first = fit(parts)
    second = fit(dict(reversed(parts.items())))
    np.testing.assert_array_equal(first.obsm["X_inmf"], second.obsm["X_inmf"])
    assert first.obs_names.equals(second.obs_names)


def test_without_unshared_variables_nothing_changes(adata):
    shared = adata[:, :N_SHARED].copy()
    fit(shared)
    names = shared.var_names
    joined = fit(
        {
            name: adata[adata.obs["batch"] == name, names].copy()
            for name in ("batch_0", "batch_1")
        }
    )
    np.testing.assert_array_equal(shared.obsm["X_inmf"], joined.obsm["X_inmf"])


def test_what_is_stored(adata):
    """The objective as published, from what is stored and data scaled by hand."""
    fit(adata, unshared=UNSHARED, tol=1e-7, max_iter=200)
    w, v = adata.varm["inmf"], adata.varm["inmf_specific"]
    scale, entry = adata.varm["inmf_scale"], adata.uns["inmf"]
    assert not w[N_SHARED:].any()
    total = 0.0
    for d, name in enumerate(entry["batches"]):
        other = list(OWN[{"batch_0": "batch_1", "batch_1": "batch_0"}[name]])
        assert not v[other, d].any()
        assert not scale[other, d].any()
        rows = adata[adata.obs["batch"] == name]
        x = np.asarray(sp.csr_matrix(rows.X).toarray(), np.float64)
        x = x / x.sum(1, keepdims=True)
        rms = np.sqrt(np.square(x).sum(0) / (len(x) - 1))
        z = np.divide(x, rms, where=rms > 0, out=np.zeros_like(x))
        h = np.asarray(rows.obsm["X_inmf"], np.float64)
        total += np.square(z - h @ (w + v[:, d]).T).sum()
        total += 5 * np.square(h @ v[:, d].T).sum()
    assert entry["objective"][-1] == pytest.approx(total, rel=1e-4)
    assert (np.diff(entry["objective"]) <= 1e-5 * entry["objective"][0]).all()


def test_arrays_and_columns(adata):
    by_names = fit(adata, unshared=UNSHARED, copy=True)
    adata.var["panel"] = adata.var_names.isin(UNSHARED["batch_0"])
    mask = adata.var_names.isin(UNSHARED["batch_1"])
    fit(adata, unshared={"batch_0": "panel", "batch_1": mask})
    np.testing.assert_array_equal(by_names.obsm["X_inmf"], adata.obsm["X_inmf"])


def test_mask_var_and_unshared(parts, adata):
    adata.var["chosen"] = np.arange(N_VARS) % 4 > 0
    for one in parts.values():
        one.var["chosen"] = adata.var["chosen"].reindex(one.var_names)
    fit(adata, mask_var="chosen", unshared=UNSHARED)
    joined = fit(parts, mask_var="chosen")
    out = ~adata.var["chosen"].to_numpy()
    assert np.isnan(adata.varm["inmf"][out]).all()
    assert not adata.varm["inmf"][N_SHARED:][~out[N_SHARED:]].any()
    np.testing.assert_array_equal(adata.obsm["X_inmf"], joined.obsm["X_inmf"])


def test_readers_know_what_is_shared(adata):
    fit(adata, unshared=UNSHARED)
    w, v = adata.varm["inmf"], adata.varm["inmf_specific"]
    size = np.linalg.norm((w[:, None] + v)[:N_SHARED], axis=0)
    found = nng.get.dataset_specificity(adata)
    np.testing.assert_allclose(
        found.iloc[:, 0], 100 * (1 - size[0] / size[1]), atol=1e-3
    )
    nng.tl.quantile_align(adata)
    nng.tl.factor_markers(
        adata, min_cells=3, max_p=1, min_log_fold_change=0, max_specificity=100
    )
    markers = adata.uns["inmf_markers"]
    assert len(markers)
    assert not markers["gene"].isin([*UNSHARED["batch_0"], *UNSHARED["batch_1"]]).any()
    nng.pl.metagenes(adata)


def test_projection_scores_as_the_fit_does(adata):
    fit(adata, unshared=UNSHARED, tol=1e-8, max_iter=400)
    new = adata.copy()
    nng.tl.project(new, adata, key="inmf", batch_key="batch")
    np.testing.assert_allclose(new.obsm["X_inmf"], adata.obsm["X_inmf"], atol=2e-3)


def test_updates_refuse(adata, parts):
    fit(adata, unshared=UNSHARED)
    with pytest.raises(ValueError, match="some data sets lack"):
        nng.tl.online_inmf_update(adata, parts["batch_0"], batch="new")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"unshared": {"batch_9": ["gene_39"]}}, KeyError, "batch_9"),
        ({"unshared": {"batch_0": ["gene_99"]}}, KeyError, "unshared"),
        ({"unshared": {"batch_0": ["gene_0"]}}, ValueError, "has counts of 1 var"),
        (
            {"unshared": {name: ["gene_0"] for name in OWN}},
            ValueError,
            "unshared in all data sets",
        ),
        (
            {"unshared": UNSHARED, "mask_var": UNSHARED["batch_0"]},
            ValueError,
            "No variable is shared",
        ),
    ],
)
def test_refusals(adata, change, error, match):
    before = snapshot(adata)
    with pytest.raises(error, match=match):
        fit(adata, **change)
    assert_same(snapshot(adata), before)


def test_mappings_refuse(parts):
    with pytest.raises(ValueError, match="single AnnData"):
        fit(parts, unshared=UNSHARED)
    apart = {
        name: one[:, one.var_names.isin(UNSHARED[name])] for name, one in parts.items()
    }
    with pytest.raises(ValueError, match="No variable is shared"):
        fit(apart)
    with pytest.raises(TypeError, match="must be an AnnData"):
        fit({"a": 1})
    with pytest.raises(ValueError, match="no cells"):
        fit(parts | {"batch_1": parts["batch_1"][:0]})
    with pytest.raises(ValueError, match="no data set"):
        fit({})


# --- a pair whose own variables tell more than the shared ones ----------------


def informative(seed, sizes=(400, 300), n_shared=40, n_own=200, n_types=6):
    """Kinds of cells that 40 shared genes hardly tell apart, and 200 others do."""
    rng = np.random.default_rng(seed)
    n_vars = n_shared + 2 * n_own
    owner = np.repeat([-1, 0, 1], [n_shared, n_own, n_own])
    profile = rng.exponential(size=(n_vars, n_types)) * (
        rng.random((n_vars, n_types)) > 0.7
    )
    profile += 0.3 * rng.exponential(size=(n_vars, 1))
    parts = {}
    for d, n in enumerate(sizes):
        code = rng.integers(n_types, size=n)
        h = 0.9 * np.eye(n_types)[code] + 0.1 * rng.dirichlet(np.ones(n_types), n)
        genes = np.flatnonzero((owner == -1) | (owner == d))
        mean = h @ (profile * rng.gamma(5, 0.2, (n_vars, 1)))[genes].T
        mean *= 0.5 * genes.size / mean.sum(1, keepdims=True)
        parts["ab"[d]] = ad.AnnData(
            sp.csr_matrix(rng.poisson(mean).astype(np.float32)),
            obs=pd.DataFrame(
                {"type": code.astype(str)}, index=[f"{'ab'[d]}{i}" for i in range(n)]
            ),
            var=pd.DataFrame(index=[f"gene_{j}" for j in genes]),
        )
    return parts, [f"gene_{j}" for j in range(n_shared)]


@pytest.mark.parametrize("seed", [1, 2])
def test_unshared_variables_tell_what_shared_ones_do_not(seed):
    """Clusters of both data sets together, with the default penalty."""
    parts, shared = informative(seed)
    agreement = []
    for data in ({name: one[:, shared] for name, one in parts.items()}, parts):
        joined = nng.tl.inmf(data, 6, batch_key="batch", size_factors="total", n_init=2)
        nng.tl.quantile_align(joined)
        agreement.append(
            adjusted_rand_score(
                joined.obs["type"], joined.obs["inmf_cluster"].astype(str)
            )
        )
    # Seen: .50 to .69, and .99 to 1.
    assert agreement[0] < 0.8
    assert agreement[1] > 0.95


# --- MuData -------------------------------------------------------------------


@pytest.fixture
def mdata(parts):
    """Genes of all cells, and other variables that one data set has."""
    md = pytest.importorskip("mudata")
    shared = [f"gene_{j}" for j in range(N_SHARED)]
    found = md.MuData(
        {
            "rna": ad.concat([one[:, shared] for one in parts.values()]),
            "atac": parts["batch_1"][::-1, UNSHARED["batch_1"]].copy(),
        }
    )
    of = np.isin(found.obs_names, parts["batch_0"].obs_names)
    found.obs["batch"] = np.where(of, "batch_0", "batch_1")
    return found


@pytest.mark.filterwarnings("ignore:.*whole numbers:UserWarning")
@pytest.mark.filterwarnings("ignore:From 0.4:FutureWarning")
class TestMuData:
    def test_the_same_as_in_one_anndata(self, mdata, parts):
        fit(mdata, size_factors=None)
        names = mdata.var_names
        joined = ad.concat(parts, label="batch", join="outer", fill_value=0)
        joined = joined[mdata.obs_names, names].copy()
        fit(joined, size_factors=None, unshared={"batch_1": UNSHARED["batch_1"]})
        for attr, key in (("obsm", "X_inmf"), ("varm", "inmf_specific")):
            np.testing.assert_array_equal(
                getattr(mdata, attr)[key], getattr(joined, attr)[key]
            )

    def test_what_follows(self, mdata, tmp_path):
        import mudata as md

        fit(mdata, size_factors=None)
        nng.tl.quantile_align(mdata)
        aligned = nng.tl.centroid_align(mdata, copy=True)
        assert aligned is not mdata
        assert nng.get.top_genes(mdata, key="inmf")["gene"].isin(mdata.var_names).all()
        nng.pl.metagenes(mdata)
        nng.pl.cluster_composition(mdata)
        mdata.write(tmp_path / "fit.h5mu")
        back = md.read(tmp_path / "fit.h5mu")
        pd.testing.assert_frame_equal(
            nng.get.dataset_specificity(back), nng.get.dataset_specificity(mdata)
        )

    def test_copy(self, mdata):
        copy = fit(mdata, size_factors=None, copy=True)
        assert "X_inmf" in copy.obsm
        assert "X_inmf" not in mdata.obsm

    def test_refusals(self, mdata):
        import mudata as md

        with pytest.raises(ValueError, match="would mix the modalities"):
            fit(mdata)
        with pytest.raises(ValueError, match="single AnnData"):
            fit(mdata, size_factors=None, unshared={})
        mdata.obs["batch"] = ["batch_0", "batch_1"] * (mdata.n_obs // 2)
        with pytest.raises(ValueError, match="in all cells or in none"):
            fit(mdata, size_factors=None)
        with pytest.raises(ValueError, match="is a view"):
            fit(mdata[:50], size_factors=None)
        with pytest.raises(TypeError, match="not a MuData"):
            nng.tl.nmf(mdata, K)
        of_genes = md.MuData({"a": mdata.mod["rna"]}, axis=1)
        with pytest.raises(ValueError, match="share variables rather than cells"):
            fit(of_genes, size_factors=None)


def mosaic(sizes=(120, 100), n_vars=60, own=20):
    """Two data sets, of which the first alone has the last variables."""
    adata = nng.datasets.batches(sizes, n_vars, 4)
    x = adata.X.toarray()
    x[sizes[0] :, -own:] = 0
    adata.X = sp.csr_matrix(x)
    return adata, {"batch_0": adata.var_names[-own:].tolist()}


@pytest.mark.parametrize("backed", [False, True])
def test_online(backed, tmp_path):
    adata, own = mosaic()
    given = {"batch_key": "batch", "size_factors": "total", "unshared": own}
    nng.tl.inmf(adata, 4, tol=1e-7, **given)
    least = adata.uns["inmf"]["objective"][-1]
    if backed:
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    nng.tl.online_inmf(adata, 4, minibatch_size=60, n_epochs=10, **given)
    w, v = adata.varm["inmf"], adata.varm["inmf_specific"]
    assert (w[-20:] == 0).all()
    assert (v[-20:, 1] == 0).all()
    assert v[-20:, 0].max() > 0
    assert adata.uns["inmf"]["objective"][-1] < 1.03 * least


def test_online_from_several_files_is_refused(tmp_path):
    adata, own = mosaic()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    for data in (tmp_path / "cells.h5ad", {"a": adata, "b": adata}):
        key = None if isinstance(data, dict) else "batch"
        with pytest.raises(ValueError, match=r"AnnData, in memory or backed.*tl\.inmf"):
            nng.tl.online_inmf(data, 4, batch_key=key, unshared=own)


def test_search():
    adata, own = mosaic()
    given = {"batch_key": "batch", "size_factors": "total"}
    nng.tl.inmf_search(adata, [3, 4], unshared=own, **given)
    table = adata.uns["inmf_search"]["table"]
    assert table["held_out"].between(0, 1).all()
    with pytest.raises(KeyError, match="unshared names"):
        nng.tl.inmf_search(adata, [3], unshared={"other": own["batch_0"]}, **given)
