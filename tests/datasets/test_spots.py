from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import assert_same, snapshot


def test_content():
    adata, reference = nng.datasets.spots(8, 40, 4, cells_per_spot=(3, 6))
    assert adata.shape == (64, 40)
    assert reference.shape == (240, 40)
    assert adata.obs["n_cells"].between(3, 6).all()
    for key in ("truth", "truth_rna"):
        np.testing.assert_allclose(adata.obsm[key].sum(1), 1, rtol=1e-5)
    # Whole cells.
    cells = adata.obsm["truth"] * adata.obs["n_cells"].to_numpy()[:, None]
    np.testing.assert_allclose(cells, np.rint(cells), atol=1e-4)
    frame = nng.get.factor_df(adata, "truth")
    assert list(frame.columns) == list(reference.obs["cell_type"].cat.categories)


def test_counts_are_those_of_the_cells():
    adata, _ = nng.datasets.spots(20, 50, depth=0.5)
    cells = adata.obsm["truth"] * adata.obs["n_cells"].to_numpy()[:, None]
    mean = 0.5 * cells @ adata.varm["truth"].T
    ratio = adata.X.toarray().sum(0) / mean.sum(0)
    np.testing.assert_allclose(ratio, 1, atol=0.1)


def test_platform_and_seed():
    plain, other = (nng.datasets.spots(5, 30, platform=p)[0] for p in (0, 1))
    assert not np.array_equal(plain.X.toarray(), other.X.toarray())
    again = nng.datasets.spots(5, 30)
    assert_same(snapshot(again.adata), snapshot(plain))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (dict(size=0), ValueError),
        (dict(n_types=1.5), TypeError),
        (dict(cells_per_spot=(5, 2)), ValueError),
        (dict(depth=-1), ValueError),
    ],
)
def test_refusals(change, error):
    with pytest.raises(error):
        nng.datasets.spots(**change)
