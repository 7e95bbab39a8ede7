"""Every verb takes every type of values and of sparse indices.

All entries are 0 or 1, which every type holds exactly: results must agree.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import counts

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    # Batches of cells, which lie anywhere.
    "ignore:Observations with different adata.obs.'batch'.",
)

VALUES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32"),
    *("int64", "uint64", "float16", "float32", "float64", "longdouble"),
]
# Of the pointers and the indices. SciPy itself holds 32 or 64 bits; files and
# hand-made matrices hold others.
INDICES = [
    *(("int32", "int32"), ("int64", "int32"), ("int32", "int64"), ("int64", "int64")),
    *(("uint32", "uint16"), ("uint64", "uint32"), ("int16", "int8")),
]
FORMS = ["csr", "csc", "csr", "dense"]
# Every type of values, every pair of index types and every form in a few matrices.
TYPES = [
    (FORMS[i % len(FORMS)], value, *INDICES[i % len(INDICES)])
    for i, value in enumerate(VALUES)
]


@cache
def data():
    adata = counts(n_vars=30)
    adata.X = np.minimum(adata.X, 1)
    place = np.arange(adata.n_obs)
    adata.obsm["spatial"] = np.stack([place % 12, place // 12], axis=1).astype(float)
    return adata


def hold(form, value, pointer, index):
    """The data with X as CSR, CSC or dense of some types."""
    adata = data().copy()
    if form == "dense":
        adata.X = adata.X.astype(value)
        return adata
    x = (sp.csr_matrix if form == "csr" else sp.csc_matrix)(adata.X)
    # Past the constructor, which would choose types of its own.
    x.data = x.data.astype(value)
    x.indptr, x.indices = x.indptr.astype(pointer), x.indices.astype(index)
    adata.X = x
    return adata


def _fitted(name, **kwargs):
    def fit(adata):
        getattr(nng.tl, name)(adata, 2, tol=0, max_iter=3, **kwargs)
        (key,) = adata.varm
        return adata.varm[key]

    return fit


def _integrated(adata):
    nng.tl.inmf(adata, 2, batch_key="batch", size_factors="total", max_iter=3, tol=0)
    return adata.varm["inmf"]


def _online(adata):
    kwargs = dict(batch_key="batch", size_factors="total", minibatch_size=40)
    nng.tl.online_inmf(adata, 2, n_epochs=1, **kwargs)
    return adata.varm["inmf"]


@cache
def _reference(name):
    adata = data().copy()
    (_integrated if name == "inmf" else _fitted(name))(adata)
    if name == "inmf":
        nng.tl.quantile_align(adata, min_cells=3)
    return adata


def _update(adata):
    reference = _reference("inmf").copy()
    nng.tl.online_inmf_update(reference, adata, batch="c", minibatch_size=40)
    return adata.obsm["X_inmf"]


def _project(adata):
    nng.tl.project(adata, _reference("nmf"))
    return adata.obsm["X_nmf"]


def _project_on_integration(adata):
    nng.tl.project(adata, _reference("inmf"), key="inmf", batch_key="batch")
    return adata.obsm["X_inmf"]


def _markers(adata):
    aligned = _reference("inmf").copy()
    aligned.X = adata.X
    nng.tl.factor_markers(aligned, min_cells=3, max_p=1, min_log_fold_change=0)
    found = aligned.uns["inmf_markers"]
    assert len(found)
    return found[["rank", "weight", "score", "p_adjusted"]]


def _searched(adata):
    kwargs = dict(batch_key="batch", size_factors="total", max_iter=2, tol=0)
    nng.tl.inmf_search(adata, [2], **kwargs)
    return adata.uns["inmf_search"]["table"]["objective"]


def _compared(adata):
    nng.tl.compare(adata, ["intercept", "neighbors"], n_splits=1)
    return adata.uns["comparison"]["deviance"]


def _deviance(adata):
    nng.pp.deviant_genes(adata, 5)
    return adata.var["deviance"]


def _of_factors(metric):
    def measure(adata):
        fit = _reference("nmf")
        return metric(adata.X, fit.obsm["X_nmf"], fit.varm["nmf"])

    return measure


VERBS = {
    "nmf": _fitted("nmf"),
    "nmf, Kullback-Leibler": _fitted("nmf", beta_loss="kullback-leibler"),
    "seminmf": _fitted("seminmf"),
    "project": _project,
    "fa": _fitted("fa"),
    "pnmf": _fitted("pnmf"),
    # No search of the kernel: it sees what all verbs read.
    "rsf": _fitted("rsf", length_scale=3, temperature=1),
    "nsf": _fitted("nsf", length_scale=3, amplitude=1, temperature=1),
    "nsfh": _fitted("nsfh", length_scale=3, amplitude=1, temperature=1, n_spatial=1),
    "compare": _compared,
    "inmf": _integrated,
    "inmf_search": _searched,
    "online_inmf": _online,
    "online_inmf_update": _update,
    "project on an integration": _project_on_integration,
    "factor_markers": _markers,
    "deviant_genes": _deviance,
    "r2": _of_factors(nng.metrics.r2),
    "poisson_deviance": _of_factors(
        lambda x, scores, loadings: nng.metrics.poisson_deviance(
            x, 0.1 + scores @ loadings.T
        )
    ),
}


# All verbs read by the same functions: the first one is given every type, and the others
# a third of them, in turn. The rest is slow.
CASES = [
    pytest.param(verb, *types, marks=[pytest.mark.slow] * (i > 0 and (i + j) % 3 > 0))
    for i, verb in enumerate(VERBS)
    for j, types in enumerate(TYPES)
]


@cache
def expected(verb):
    """What a verb gives for plain float32."""
    found = VERBS[verb](hold("csr", "float32", "int32", "int32"))
    return np.asarray(found, float)


@pytest.mark.parametrize(("verb", "form", "value", "pointer", "index"), CASES)
def test_every_verb(verb, form, value, pointer, index):
    found = np.asarray(VERBS[verb](hold(form, value, pointer, index)), float)
    scale = np.nanmax(np.abs(expected(verb)))
    np.testing.assert_allclose(found, expected(verb), rtol=2e-3, atol=2e-3 * scale)
