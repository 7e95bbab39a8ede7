"""On a dask cluster: products run on the workers, the result is the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import ARRAY_TYPES, assert_same_fit, counts

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ADATA = counts()
LOSSES = pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])


@pytest.fixture(scope="module")
def cluster():
    """Two workers of one process."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.Client(
            processes=False,
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
        ) as client:
            yield client


ON_CLUSTER = pytest.mark.parametrize(
    "array_type", [t for t in ARRAY_TYPES if t.name.startswith("dask")], ids=str
)


@ON_CLUSTER
@LOSSES
def test_nmf_on_a_cluster(array_type, beta_loss, cluster, tmp_path):
    kwargs = dict(beta_loss=beta_loss, init="random", tol=0, max_iter=4)
    expected = nng.tl.nmf(ADATA, 4, copy=True, **kwargs)
    adata = array_type(ADATA, tmp_path)
    ran = []
    submit = cluster.get
    cluster.get = lambda *args, **kwargs: (ran.append(1), submit(*args, **kwargs))[1]
    try:
        nng.tl.nmf(adata, 4, **kwargs)
    finally:
        del cluster.get
    assert_same_fit(adata, expected)
    # Statistics and at least two products for every iteration ran there.
    assert len(ran) >= 9


@pytest.mark.parametrize(
    "array_type",
    [
        pytest.param(
            t,
            id=str(t),
            marks=[pytest.mark.slow] * (t.name not in {"dask-dense", "dask-csr-array"}),
        )
        for t in ARRAY_TYPES
        if t.name.startswith("dask")
    ],
)
def test_the_others_on_a_cluster(array_type, cluster, tmp_path):
    adata = array_type(ADATA, tmp_path)
    in_memory = ADATA.copy()
    for each in (in_memory, adata):
        nng.tl.seminmf(each, 4, tol=0, max_iter=4)
        nng.tl.project(each, in_memory, key_added="again")
        nng.pp.deviant_genes(each, 12)
    assert_same_fit(adata, in_memory)
    assert_same_fit(adata, in_memory, "again")
    np.testing.assert_allclose(
        adata.var["deviance"], in_memory.var["deviance"], rtol=1e-5
    )
