"""What follows from compositions of cell types."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nonneg as nng


@pytest.fixture(scope="module")
def fitted():
    adata, reference = nng.datasets.spots(8, 60, 4)
    adata.X = adata.X.multiply((np.arange(64) != 3)[:, None]).tocsr()
    signatures = nng.pp.signatures(reference, "cell_type")
    with pytest.warns(UserWarning, match="1 of 64 locations has no counts"):
        nng.tl.deconvolve(
            adata,
            # One gene is not in the reference.
            signatures[:, signatures.var_names != "gene_7"].copy(),
            graph_weight=10,
            group_weight=0,
            effects=False,
        )
    return adata


@pytest.fixture
def adata(fitted):
    return fitted.copy()


READERS = {
    "dominant_type": nng.get.dominant_type,
    "presence": nng.get.presence,
    "cell_type_counts": lambda adata, key: nng.get.cell_type_counts(
        adata, "type_0", key=key
    ),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_refusals(read, adata):
    with pytest.raises(KeyError, match="stored under key='no'"):
        read(adata, "no")
    adata.uns["deconv"]["method"] = "nmf"
    with pytest.raises(ValueError, match=r"no cell types|no deconvolution"):
        read(adata, "deconv")


def test_dominant_type(adata):
    shares = nng.get.factor_df(adata, "deconv")
    leading = nng.get.dominant_type(adata)
    assert leading.isna().tolist() == (np.arange(64) == 3).tolist()
    known = leading.dropna()
    assert (known == shares.loc[known.index].idxmax(axis=1)).all()
    assert leading.name == "deconv_type"
    assert leading.cat.categories.tolist() == sorted(known.unique())
    rna = nng.get.dominant_type(adata, share="rna").dropna()
    assert (
        rna == np.array(shares.columns)[adata[rna.index].obsm["X_deconv_rna"].argmax(1)]
    ).all()
    sure = nng.get.dominant_type(adata, min_share=0.5)
    np.testing.assert_array_equal(sure.isna(), ~(shares.max(axis=1) >= 0.5).to_numpy())


def test_presence(adata):
    called = nng.get.presence(adata)
    assert called.dtypes.eq(bool).all()
    assert not called.iloc[3].any()
    ratio = adata.obsm["X_deconv"] / adata.obsm["X_deconv_std"]
    threshold = adata.uns["deconv"]["presence"]["threshold"]
    expected = np.nan_to_num(ratio) >= threshold * (1 - 1e-6)
    assert (called.to_numpy() == expected).mean() > 0.99
    with pytest.raises(KeyError, match="no calls of presence"):
        nng.get.presence(adata, "truth")


class TestCellTypeCounts:
    def test_add_up(self, adata):
        parts = [nng.get.cell_type_counts(adata, f"type_{k}") for k in range(4)]
        used = adata.var_names != "gene_7"
        assert parts[0].var_names.tolist() == adata.var_names[used].tolist()
        total = sum(part.X for part in parts)
        np.testing.assert_allclose(
            total.toarray(), adata.X[:, used].toarray(), rtol=1e-5, atol=1e-5
        )
        assert all(part.X.data.min() >= 0 for part in parts)

    def test_formula(self, adata):
        found = nng.get.cell_type_counts(adata, "type_2")
        u = adata.obsm["X_deconv"] * adata.uns["deconv"]["counts_per_cell"]
        b = adata.varm["deconv"]
        mean = u[:, None] * b
        part = np.nan_to_num(mean[..., 2] / mean.sum(-1)) * adata.X.toarray()
        used = adata.var["deconv_used"].to_numpy()
        np.testing.assert_allclose(found.X.toarray(), part[:, used], atol=1e-4)
        # Amounts are those of the fit: they explain as many counts as it says.
        u /= u.sum(1, keepdims=True)
        mass = np.nansum(adata.obs["deconv_depth"].to_numpy()[:, None] * u, axis=0)
        np.testing.assert_allclose(mass, adata.uns["deconv"]["mass"], rtol=0.05)

    def test_truth(self, adata):
        """Known counts of the type, in the mean."""
        found = nng.get.cell_type_counts(adata, "type_1", key="truth")
        mean = adata.obsm["truth"][:, None] * adata.varm["truth"]
        expected = adata.X.toarray() * mean[..., 1] / mean.sum(-1)
        np.testing.assert_allclose(found.X.toarray(), expected, rtol=1e-4, atol=1e-5)

    def test_layer_backed_and_view(self, adata, tmp_path):
        expected = nng.get.cell_type_counts(adata, "type_0").X.toarray()
        adata.layers["doubled"] = 2 * adata.X
        doubled = nng.get.cell_type_counts(adata, "type_0", layer="doubled")
        np.testing.assert_allclose(doubled.X.toarray(), 2 * expected, rtol=1e-5)
        view = nng.get.cell_type_counts(adata[10:20], "type_0")
        np.testing.assert_allclose(view.X.toarray(), expected[10:20], rtol=1e-5)
        adata.write_h5ad(tmp_path / "a.h5ad")
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        found = nng.get.cell_type_counts(backed, "type_0")
        np.testing.assert_allclose(found.X.toarray(), expected, rtol=1e-5)

    def test_leaves_adata_alone(self, adata):
        before = adata.X.copy()
        found = nng.get.cell_type_counts(adata, "type_0")
        found.obs["new"] = 1
        found.X.data[:] = 7
        assert "new" not in adata.obs
        assert (before != adata.X).nnz == 0
        assert "spatial" in found.obsm


class TestConcatenated:
    def joined(self, *parts):
        return ad.concat(parts, merge="same", uns_merge="same")

    def test_parts_of_one_fit(self, adata):
        whole = self.joined(adata[:40], adata[40:])
        for found in (nng.get.factor_df, nng.get.presence, nng.get.dominant_type):
            assert found(whole, "deconv").equals(found(adata, "deconv"))
        assert whole.uns["deconv"]["missing_genes"].shape[1] == 3

    def test_two_fits(self, adata):
        other = adata.copy()
        other.obs_names = [f"other_{name}" for name in adata.obs_names]
        other.uns["deconv"]["presence"]["threshold"] += 1
        other.uns["deconv"]["mass"] = 2 * other.uns["deconv"]["mass"]
        both = self.joined(adata, other)
        assert nng.get.factor_df(both, "deconv").shape[0] == 2 * adata.n_obs
        assert nng.get.dominant_type(both).notna().any()
        with pytest.raises(KeyError, match="each had its own"):
            nng.get.presence(both)


class TestChain:
    """squidpy and SpatialData take what is stored."""

    def test_squidpy(self, adata):
        sq = pytest.importorskip("squidpy")
        adata = adata[adata.obs["deconv_depth"] > 0].copy()
        adata.obs["leading"] = nng.get.dominant_type(adata)
        sq.gr.spatial_neighbors_knn(adata, n_neighs=4)
        sq.gr.nhood_enrichment(adata, "leading", show_progress_bar=False, seed=0)
        n = adata.obs["leading"].cat.categories.size
        assert adata.uns["leading_nhood_enrichment"]["zscore"].shape == (n, n)
        sq.gr.spatial_autocorr(adata, attr="obsm", layer="X_deconv", mode="moran")
        assert len(adata.uns["moranI"]) == 4
        assert (adata.uns["moranI"]["I"] > 0).any()

    def test_spatialdata(self, adata, tmp_path):
        sd = pytest.importorskip("spatialdata")
        table = sd.SpatialData(tables={"table": adata}).tables["table"]
        # Files as well, of which a table is a zarr store.
        table.write_zarr(tmp_path / "table.zarr")
        table = ad.read_zarr(tmp_path / "table.zarr")
        pd.testing.assert_frame_equal(
            nng.get.presence(table), nng.get.presence(adata), check_names=False
        )
        found = nng.get.cell_type_counts(table, "type_1").X
        expected = nng.get.cell_type_counts(adata, "type_1").X
        np.testing.assert_allclose(found.toarray(), expected.toarray(), rtol=1e-5)
