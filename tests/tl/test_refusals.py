"""What must be refused, with nothing changed, and says what to do."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import assert_same, counts, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FITS = {"nmf": nng.tl.nmf, "seminmf": nng.tl.seminmf}


@pytest.fixture
def adata():
    result = counts(60, 30)
    result.layers["counts"] = sp.csr_matrix(result.X)
    result.obsm["X_pca"] = result.X[:, :5] - 1
    result.var["text"] = "a"
    result.var["none"] = False
    return result


def refused(error, match, call, *objects):
    """The call raises, and the objects are as they were."""
    before = [snapshot(each) for each in objects]
    with pytest.raises(error, match=match):
        call()
    for each, old in zip(objects, before, strict=True):
        assert_same(snapshot(each), old)


BAD_VALUES = {
    "negative": (-1.0, ValueError, r"negative entries \(smallest: -1\).*seminmf"),
    "nan": (np.nan, ValueError, "contains NaN"),
    "inf": (np.inf, ValueError, "infinite"),
    "minus-inf": (-np.inf, ValueError, "infinite"),
}


@pytest.mark.parametrize("bad", BAD_VALUES)
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize("where", ["X", "layer", "obsm"])
def test_entries(adata, bad, convert, where):
    value, error, match = BAD_VALUES[bad]
    x = np.array(adata.X)
    x[-1, -1] = value
    source = {"X": {}, "layer": {"layer": "bad"}, "obsm": {"obsm": "bad"}}[where]
    if where == "X":
        adata.X = convert(x)
    else:
        (adata.layers if where == "layer" else adata.obsm)["bad"] = convert(x)
    refused(error, match, lambda: nng.tl.nmf(adata, 3, **source), adata)
    if where != "obsm":
        refused(error, match, lambda: nng.pp.deviant_genes(adata, 3, **source), adata)
    if bad != "negative":
        refused(error, match, lambda: nng.tl.seminmf(adata, 3, **source), adata)
    reference = nng.tl.nmf(counts(60, 30, seed=1), 3, copy=True)
    if where != "obsm":
        refused(
            error,
            match,
            lambda: nng.tl.project(adata, reference, **source),
            adata,
            reference,
        )


@pytest.mark.parametrize("bad", BAD_VALUES)
def test_entries_of_stored_data(adata, bad, tmp_path):
    value, error, match = BAD_VALUES[bad]
    x = np.array(adata.X)
    x[-1, -1] = value
    adata.X = sp.csr_matrix(x)
    adata.write_h5ad(tmp_path / "bad.h5ad")
    backed = ad.read_h5ad(tmp_path / "bad.h5ad", backed="r")
    refused(error, match, lambda: nng.tl.nmf(backed, 3, chunk_size=25), backed)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("dtype", [object, str, complex])
def test_types_of_entries(adata, fit, dtype):
    adata.layers["other"] = np.asarray(adata.X).astype(dtype)
    refused(
        TypeError,
        r"adata.layers\['other'\] must hold numbers, but its dtype is",
        lambda: fit(adata, 3, layer="other"),
        adata,
    )


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_nothing_to_fit(adata, fit):
    empty = adata[:0].copy()
    refused(ValueError, "0 observations x 30 variables", lambda: fit(empty, 1), empty)
    narrow = adata[:, :0].copy()
    refused(ValueError, "60 observations x 0", lambda: fit(narrow, 1), narrow)
    adata.X = None
    match = r"adata.X is None. Name a layer, one of \['counts'\]"
    refused(ValueError, match, lambda: fit(adata, 3), adata)


def test_all_zero(adata):
    adata.X = np.zeros_like(adata.X)
    refused(ValueError, "all zero", lambda: nng.tl.nmf(adata, 3), adata)
    refused(ValueError, "all zero", lambda: nng.pp.deviant_genes(adata), adata)


ARGUMENTS = {
    "no components": (dict(n_components=0), ValueError, "n_components=0"),
    "negative components": (dict(n_components=-2), ValueError, "n_components=-2"),
    "half a component": (dict(n_components=2.5), TypeError, "must be an integer"),
    "float components": (dict(n_components=2.0), TypeError, "must be an integer"),
    "many components": (
        dict(n_components=31),
        ValueError,
        "exceeds the smaller side of the data, 60 observations x 30",
    ),
    "more than the mask": (
        dict(n_components=28, mask_var="used"),
        ValueError,
        "exceeds the smaller side",
    ),
    "layer": (dict(layer="raw"), KeyError, r"'raw' is not in adata.layers.*counts"),
    "obsm": (dict(obsm="X_um"), KeyError, r"'X_um' is not in adata.obsm.*X_pca"),
    "layer and obsm": (dict(layer="counts", obsm="X_pca"), ValueError, "not both"),
    "mask": (dict(mask_var="unused"), KeyError, r"'unused' is not in adata.var"),
    "genes that nobody chose": (
        dict(mask_var="highly_variable"),
        KeyError,
        "`nonneg.pp.deviant_genes` makes it from counts, as does",
    ),
    "mask of text": (dict(mask_var="text"), ValueError, "30 booleans"),
    "empty mask": (dict(mask_var="none"), ValueError, "selects no variable"),
    "short mask": (dict(mask_var=np.ones(29, bool)), ValueError, r"shape \(29,\)"),
    "mask of numbers": (dict(mask_var=np.ones(30)), ValueError, "dtype float64"),
    "mask of obsm": (dict(obsm="X_pca", mask_var="used"), ValueError, "not columns"),
    "table": (dict(table_key="table"), ValueError, "only applies to a SpatialData"),
    "tol": (dict(tol=-1e-3), ValueError, "tol=-0.001"),
    "tol nan": (dict(tol=np.nan), ValueError, "tol=nan"),
    "tol inf": (dict(tol=np.inf), ValueError, "tol=inf"),
    "key with a slash": (dict(key_added="a/b"), ValueError, "key_added='a/b'"),
    "empty key": (dict(key_added=""), ValueError, "key_added=''"),
    "tol text": (dict(tol="1e-3"), ValueError, "tol='1e-3'"),
    "max_iter": (dict(max_iter=0), ValueError, "max_iter=0"),
    "max_iter float": (dict(max_iter=1e3), TypeError, "max_iter=1000.0"),
    "rng": (dict(rng="seed"), TypeError, "rng='seed' is of type str"),
    "rng float": (dict(rng=1.5), TypeError, "rng=1.5 is of type float"),
    "rng negative": (dict(rng=-1), ValueError, "rng=-1"),
    "rng legacy": (dict(rng=np.random.PCG64(0)), TypeError, "Generator or None"),
    "chunk_size": (dict(chunk_size=0), ValueError, "chunk_size=0"),
    "chunk_size in memory": (dict(chunk_size=10), ValueError, "only applies to backed"),
}
ARGUMENTS_OF_NMF = {
    "solver": (dict(solver="cd"), ValueError, r"solver='cd' must be one of"),
    "init": (dict(init="zeros"), ValueError, "init='zeros' must be one of"),
    "loss": (dict(beta_loss="is"), ValueError, "beta_loss='is' must be one of"),
    "hals for KL": (
        dict(solver="hals", beta_loss="kullback-leibler"),
        ValueError,
        "needs solver='mu'",
    ),
    "anls for KL": (
        dict(solver="anls", beta_loss="kullback-leibler"),
        ValueError,
        "needs solver='mu'",
    ),
    "zeros for mu": (dict(solver="mu", init="nndsvd"), ValueError, "init='nndsvda'"),
    "zeros for KL": (
        dict(beta_loss="kullback-leibler", init="nndsvd"),
        ValueError,
        "init='nndsvda'",
    ),
    "same starts": (dict(n_init=3), ValueError, "only with init='random'"),
    "no start": (dict(n_init=0, init="random"), ValueError, "n_init=0"),
    "alpha_W": (dict(alpha_W=-0.1), ValueError, "alpha_W=-0.1"),
    "alpha_H": (dict(alpha_H=-0.1), ValueError, "alpha_H=-0.1"),
    "alpha nan": (dict(alpha_W=np.nan), ValueError, "alpha_W=nan"),
    "l1_ratio above": (dict(alpha_W=0.1, l1_ratio=1.5), ValueError, "between 0 and 1"),
    "l1_ratio below": (dict(alpha_W=0.1, l1_ratio=-0.5), ValueError, "l1_ratio=-0.5"),
    "l1_ratio of nothing": (dict(l1_ratio=0.5), ValueError, "has no effect"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_arguments(adata, fit, case):
    kwargs, error, match = ARGUMENTS[case]
    refused(error, match, lambda: fit(adata, **{"n_components": 3} | kwargs), adata)


@pytest.mark.parametrize("case", ARGUMENTS_OF_NMF)
def test_arguments_of_nmf(adata, case):
    kwargs, error, match = ARGUMENTS_OF_NMF[case]
    refused(error, match, lambda: nng.tl.nmf(adata, 3, **kwargs), adata)


def test_argument_of_seminmf(adata):
    match = r"nonnegative='both' must be one of \['loadings', 'scores'\]"
    refused(
        ValueError,
        match,
        lambda: nng.tl.seminmf(adata, 3, nonnegative="both"),
        adata,
    )


def test_arguments_of_deviant_genes(adata):
    def call(match, error, **kwargs):
        refused(error, match, lambda: nng.pp.deviant_genes(adata, **kwargs), adata)

    call("n_top_genes=0", ValueError, n_top_genes=0)
    call("n_top_genes=5.5", TypeError, n_top_genes=5.5)
    call("'section' is not in adata.obs", KeyError, batch_key="section")
    call("'raw' is not in adata.layers", KeyError, layer="raw")
    adata.obs["batch"] = adata.obs["batch"].where(np.arange(60) > 4)
    call("is missing for 5 observations", ValueError, batch_key="batch")


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_not_annotated_data(fit):
    with pytest.raises(TypeError, match="Expected an AnnData or a SpatialData"):
        fit(np.ones((10, 5)), 2)


def test_a_view_of_a_file(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    view = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")[:30]
    refused(ValueError, "view of one that is backed", lambda: nng.tl.nmf(view, 3), view)


def test_copy_of_backed_data(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for call in (
        lambda: nng.tl.nmf(backed, 3, copy=True),
        lambda: nng.tl.seminmf(backed, 3, copy=True),
        lambda: nng.pp.deviant_genes(backed, 3, copy=True),
    ):
        refused(ValueError, "copy=True needs the data in memory", call, backed)
    refused(
        ValueError,
        "subset=True cannot change a file.*mask_var",
        lambda: nng.pp.deviant_genes(backed, 3, subset=True),
        backed,
    )


@pytest.fixture(scope="module")
def reference():
    return nng.tl.nmf(counts(60, 30, seed=1), 3, layer=None, copy=True)


class TestProject:
    def test_key(self, adata, reference):
        match = r"under key='pnmf'; there are \['nmf'\]"
        refused(
            KeyError,
            match,
            lambda: nng.tl.project(adata, reference, key="pnmf"),
            adata,
            reference,
        )
        refused(KeyError, "there are", lambda: nng.tl.project(reference, adata), adata)

    @pytest.mark.parametrize("part", ["obsm", "varm"])
    def test_a_part_was_removed(self, adata, reference, part):
        broken = reference.copy()
        del getattr(broken, part)["X_nmf" if part == "obsm" else "nmf"]
        refused(
            KeyError,
            "removed after the fit",
            lambda: nng.tl.project(adata, broken),
            adata,
        )

    def test_no_shared_genes(self, adata, reference):
        adata.var_names = [f"ENSG{j}" for j in range(30)]
        refused(
            ValueError,
            r"share no variable.*ENSG0.*gene_0",
            lambda: nng.tl.project(adata, reference),
            adata,
        )

    def test_only_genes_outside_the_mask_are_shared(self, adata):
        masked = counts(60, 30, seed=1)
        nng.tl.nmf(masked, 3, mask_var="used")
        outside = adata[:, ~masked.var["used"].to_numpy()].copy()
        refused(
            ValueError,
            "share no variable with loadings",
            lambda: nng.tl.project(outside, masked),
            outside,
        )

    @pytest.mark.parametrize("which", ["adata", "reference"])
    def test_repeated_names(self, adata, reference, which):
        objects = {"adata": adata, "reference": reference.copy()}
        names = list(adata.var_names)
        objects[which].var_names = [*names[:-1], names[0]]
        refused(
            ValueError,
            rf"of (the )?{which} are matched by name but repeat, e.g. \['gene_0'\]",
            lambda: nng.tl.project(**objects),
            *objects.values(),
        )

    def test_layer(self, adata, reference):
        refused(
            KeyError,
            "'raw' is not in adata.layers",
            lambda: nng.tl.project(adata, reference, layer="raw"),
            adata,
        )

    def test_width_of_obsm(self, adata):
        adata.obsm["X_pca"] = adata.obsm["X_pca"] + 1
        of_obsm = nng.tl.nmf(adata, 2, obsm="X_pca", copy=True)
        adata.obsm["X_pca"] = adata.obsm["X_pca"][:, :4]
        refused(
            ValueError,
            "has 4 columns, but there are 5 loadings",
            lambda: nng.tl.project(adata, of_obsm),
            adata,
        )

    def test_chunk_size(self, adata, reference):
        refused(
            ValueError,
            "only applies to backed",
            lambda: nng.tl.project(adata, reference, chunk_size=10),
            adata,
        )


def test_unknown_table():
    sd = pytest.importorskip("spatialdata")
    sdata = sd.SpatialData(tables={"table": counts(60, 30), "other": counts(60, 30)})
    with pytest.raises(ValueError, match=r"2 tables, \['table', 'other'\]: name one"):
        nng.tl.nmf(sdata, 3)
    with pytest.raises(KeyError, match=r"table_key='cells' is not in \['table', 'oth"):
        nng.tl.nmf(sdata, 3, table_key="cells")
    assert "nmf" not in sdata.tables["table"].uns
    del sdata.tables["other"]
    nng.tl.nmf(sdata, 3)
    assert "nmf" in sdata.tables["table"].uns


def test_a_warning_as_error_does_not_cost_the_fit(adata):
    """It is raised when everything is stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Warning, match="Not converged"):
            nng.tl.nmf(adata, 3, tol=0, max_iter=2)
    assert nng.get.factor_df(adata).shape == (60, 3)
    assert adata.uns["nmf"]["n_iter"] == 2


@pytest.mark.parametrize("sparse", [False, True])
def test_entries_whose_squares_overflow(sparse):
    adata = counts()
    adata.X[3, 4] = 1e30
    adata.X = sp.csr_matrix(adata.X) if sparse else adata.X
    for fit in (
        lambda: nng.tl.nmf(adata, 3),
        lambda: nng.tl.inmf(adata, 3, batch_key="batch"),
    ):
        with pytest.raises(ValueError, match="squares are in single precision"):
            fit()
