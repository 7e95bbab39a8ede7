"""Signatures of cell types."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nonneg as nng


@pytest.fixture
def reference():
    found = nng.datasets.spots(4, 50, 4, cells_per_type=80).reference
    rng = np.random.default_rng(0)
    found.obs["donor"] = rng.choice(["a", "b"], found.n_obs)
    return found


def dense(adata):
    return adata.X.toarray().astype(float), adata.obs["cell_type"].astype(str)


def test_pooled(reference):
    found = nng.pp.signatures(reference, "cell_type")
    x, label = dense(reference)
    for name in found.obs_names:
        np.testing.assert_allclose(
            found[name].X[0], x[label == name].mean(0), rtol=1e-5
        )
    assert (found.obs["n_cells"] == 80).all()
    np.testing.assert_allclose(found.obs["library_size"], found.X.sum(1), rtol=1e-5)


def test_fractions(reference):
    found = nng.pp.signatures(reference, "cell_type", definition="fractions")
    x, label = dense(reference)
    part = x / x.sum(1, keepdims=True)
    for name in found.obs_names:
        mean = part[label == name].mean(0) * x[label == name].sum(1).mean()
        np.testing.assert_allclose(found[name].X[0], mean, rtol=1e-5)


def test_samples(reference):
    found = nng.pp.signatures(reference, "cell_type", sample_key="donor")
    x, label = dense(reference)
    for name in found.obs_names:
        profiles = []
        for donor in "ab":
            cells = x[(label == name) & (reference.obs["donor"] == donor)]
            profiles.append(cells.sum(0) / cells.sum())
        size = x[label == name].sum(1).mean()
        np.testing.assert_allclose(
            found[name].X[0], np.mean(profiles, 0) * size, rtol=1e-5
        )


def test_several_references(reference):
    parts = [reference[reference.obs["donor"] == d].copy() for d in "ab"]
    parts[1] = parts[1][:, ::-1][:, 5:].copy()
    found = nng.pp.signatures(parts, "cell_type")
    assert list(found.var_names) == list(reference.var_names[:-5])
    assert (found.obs["n_cells"] == 80).all()
    single = [nng.pp.signatures(p, "cell_type") for p in parts]
    profiles = [
        s.to_df()[found.var_names].div(s.obs["library_size"], axis=0) for s in single
    ]
    size = (single[0].obs["library_size"] + single[1].obs["library_size"]) / 2
    mean = ((profiles[0] + profiles[1]) / 2).mul(size, axis=0)
    np.testing.assert_allclose(found.X, mean.to_numpy(), rtol=1e-5)


def test_references_count_alike(reference):
    """However deep one of them is: profiles and library sizes are averaged each."""
    parts = [reference[reference.obs["donor"] == d].copy() for d in "ab"]
    parts[1].X = parts[1].X * 20
    found = nng.pp.signatures(parts, "cell_type").to_df()
    single = [nng.pp.signatures(p, "cell_type").to_df() for p in parts]
    profiles = [each.div(each.sum(axis=1), axis=0) for each in single]
    np.testing.assert_allclose(
        found.div(found.sum(axis=1), axis=0), (profiles[0] + profiles[1]) / 2, rtol=1e-5
    )
    sizes = (single[0].sum(axis=1) + single[1].sum(axis=1)) / 2
    np.testing.assert_allclose(found.sum(axis=1), sizes, rtol=1e-5)


def test_few_cells_are_kept(reference):
    few = reference[np.r_[0:1, 80:320]].copy()
    with pytest.warns(UserWarning, match=r"fewer than 25 cells.*'type_0': 1"):
        found = nng.pp.signatures(few, "cell_type")
    assert found.n_obs == 4


def test_cells_without_type_or_counts_are_left_out(reference):
    found = nng.pp.signatures(reference, "cell_type")
    reference.obs["cell_type"] = reference.obs["cell_type"].astype(object)
    extra = reference[:2].copy()
    extra.obs["cell_type"] = [None, "type_0"]
    extra.X = 0 * extra.X
    both = ad.concat([reference, extra], index_unique="-")
    with pytest.warns(UserWarning, match=r"1 of \d+ cells of reference has no type"):
        again = nng.pp.signatures(both, "cell_type")
    np.testing.assert_allclose(again.X, found.X, rtol=1e-5)


def test_markers(reference):
    found = nng.pp.signatures(reference, "cell_type")
    fold = found.layers["log2_fold_change"]
    np.testing.assert_allclose(found.var["log2_fold_change"], fold.max(0))
    assert (fold.max(0)[found.var["informative"]] >= 1).all()
    own = nng.pp.signatures(
        reference, "cell_type", markers={"type_1": ["gene_3", "gene_8"]}
    )
    assert list(own.var_names[own.var["informative"]]) == ["gene_3", "gene_8"]


def test_round_trip(reference, tmp_path):
    found = nng.pp.signatures(reference, "cell_type")
    found.write_h5ad(tmp_path / "types.h5ad")
    again = ad.read_h5ad(tmp_path / "types.h5ad")
    pd.testing.assert_frame_equal(again.to_df(), found.to_df())
    assert again.uns["signatures"]["definition"] == "pooled"


REFUSED = {
    "column": (dict(cell_type_key="kind"), KeyError, "'kind' is not in"),
    "definition": (dict(definition="mean"), ValueError, "must be one of"),
    "type of markers": (dict(markers={"t": ["gene_1"]}), KeyError, r"types \['t'\]"),
    "no marker": (dict(markers=["none"]), KeyError, "No gene of markers"),
    "sample": (dict(sample_key="batch"), KeyError, "'batch' is not in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, reference):
    change, error, match = REFUSED[case]
    with pytest.raises(error, match=match):
        nng.pp.signatures(reference, **{"cell_type_key": "cell_type"} | change)


def test_logarithms_are_refused(reference):
    reference.X = np.log1p(reference.X)
    with pytest.raises(ValueError, match=r"reference.X does not hold counts"):
        nng.pp.signatures(reference, "cell_type")
    with pytest.raises(ValueError, match="empty list"):
        nng.pp.signatures([], "cell_type")
