"""What must be refused, with nothing changed, and says what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from testing.nonneg import assert_same, snapshot


def ensembl(adata, reference):
    adata.var_names = [f"ENSG{j}" for j in range(adata.n_vars)]


def negative(adata, reference):
    adata.X.data[0] = -1


def logarithms(adata, reference):
    adata.X = np.log1p(adata.X)


def normalised_reference(adata, reference):
    reference.X = reference.X / 7


def repeated_genes(adata, reference):
    adata.var_names = ["gene_0", *adata.var_names[:-1]]


def no_counts(adata, reference):
    adata.X = np.zeros(adata.shape, np.float32)


def no_coordinates(adata, reference):
    del adata.obsm["spatial"]


def no_region(adata, reference):
    adata.obs["region"] = adata.obs["region"].astype(object)
    adata.obs.iloc[0, adata.obs.columns.get_loc("region")] = None


def one_type(adata, reference):
    reference._inplace_subset_obs(reference.obs["cell_type"] == "type_0")


CASES = {
    "no shared genes": (ensembl, ValueError, "share no gene.*ENSG0.*gene_0.*symbols"),
    "negative": (negative, ValueError, "negative entries"),
    "logarithms": (logarithms, ValueError, "not hold counts.*gaussian"),
    "normalised reference": (normalised_reference, ValueError, "reference.X.*counts"),
    "repeated genes": (repeated_genes, ValueError, "repeat.*gene_0"),
    "no counts": (no_counts, ValueError, "all zero"),
    "no coordinates": (no_coordinates, KeyError, "spatial_key=None"),
    "no region": (no_region, ValueError, "missing for 1 observation: NaN"),
    "one type": (one_type, ValueError, "one cell type"),
}


@pytest.mark.parametrize("case", CASES)
def test_data(case, tissue, quick):
    change, error, match = CASES[case]
    change(*tissue)
    before = [snapshot(each) for each in tissue]
    with pytest.raises(error, match=match):
        nng.tl.deconvolve(*tissue, region_key="region", **quick)
    for each, old in zip(tissue, before, strict=True):
        assert_same(snapshot(each), old)


def without_gene(table):
    table.iloc[0] = 0


def twice(table):
    table.index = ["type_1", *table.index[1:]]


def signed(table):
    table.iloc[0, 0] = -1


TABLES = {
    "zero row": (without_gene, "zero in all genes used"),
    "type twice": (twice, r"\['type_1'\] repeat"),
    "negative": (signed, "negative"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables(case, tissue):
    table = nng.pp.signatures(tissue.reference, "cell_type").to_df()
    change, match = TABLES[case]
    change(table)
    before = snapshot(tissue.adata)
    with pytest.raises(ValueError, match=match):
        nng.tl.deconvolve(tissue.adata, table)
    assert_same(snapshot(tissue.adata), before)


ARGUMENTS = {
    "likelihood": (dict(likelihood="normal"), ValueError, "must be one of"),
    "graph_weight": (dict(graph_weight=-1), ValueError, "at least 0"),
    "fdr": (dict(fdr=1), ValueError, "below 1"),
    "one gene": (dict(n_genes=1), ValueError, "one gene does not tell"),
    "max_types": (dict(max_types=0), ValueError, "at least 1"),
    "n_neighbors": (dict(n_neighbors=1.5), TypeError, "integer"),
    "no regions": (
        dict(compositions=pd.DataFrame()),
        ValueError,
        "pass region_key",
    ),
    "other regions": (
        dict(compositions=pd.DataFrame(index=["1"]), region_key="region"),
        ValueError,
        r"lacks the regions",
    ),
    "no space": (dict(spatial_key=None), ValueError, "needs coordinates"),
    "effects": (
        dict(likelihood="gaussian", effects=True),
        ValueError,
        "likelihood='poisson'",
    ),
    "cell_type_key": (dict(cell_type_key=None), ValueError, "name the column"),
    "unknown column": (dict(cell_type_key="type"), KeyError, "'type' is not in"),
    "library": (dict(library_key="slice"), KeyError, "'slice' is not in"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(case, tissue, quick):
    change, error, match = ARGUMENTS[case]
    before = snapshot(tissue.adata)
    with pytest.raises(error, match=match):
        nng.tl.deconvolve(*tissue, **quick | change)
    assert_same(snapshot(tissue.adata), before)


def test_reference_of_another_kind(tissue):
    with pytest.raises(TypeError, match="not a dict"):
        nng.tl.deconvolve(tissue.adata, {})
    with pytest.raises(ValueError, match="for a reference of cells"):
        nng.tl.deconvolve(
            tissue.adata, pd.DataFrame(np.ones((2, 3))), cell_type_key="cell_type"
        )


def test_names_of_another_kind_are_suspected(tissue, quick):
    adata, reference = tissue
    adata.var_names = [
        name.upper() if j % 3 else name for j, name in enumerate(adata.var_names)
    ]
    with pytest.warns(UserWarning, match=r"share 50 genes, of 150 and 150.*case"):
        nng.tl.deconvolve(adata, reference, **quick)


def test_names_of_another_case_are_told(tissue, quick):
    adata, reference = tissue
    adata.var_names = [
        f"G{name[1:]}" if j < 3 else name for j, name in enumerate(adata.var_names)
    ]
    with pytest.warns(
        UserWarning, match=r"3 more differ in upper and lower case.*'Gene_0'"
    ):
        nng.tl.deconvolve(adata, reference, **quick)


def test_normalised_tables_are_suspected(tissue, quick):
    types = nng.pp.signatures(tissue.reference, "cell_type").to_df()
    del quick["cell_type_key"]
    with pytest.warns(UserWarning, match="same total, as after normalisation"):
        nng.tl.deconvolve(tissue.adata, types.div(types.sum(axis=1), axis=0), **quick)


def test_data_that_are_no_counts_any_more(tissue, quick):
    nng.tl.deconvolve(*tissue, **quick)
    adata = tissue.adata
    adata.layers["counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X)
    with pytest.raises(ValueError, match=r"not hold counts any more.*`layer`"):
        nng.get.cell_type_counts(adata, "type_0")
    with pytest.raises(ValueError, match=r"not hold counts any more.*`layer`"):
        nng.pl.marker_agreement(adata, {"type_0": ["gene_0"]})
    found = nng.get.cell_type_counts(adata, "type_0", layer="counts")
    assert found.X.sum() > 0


def test_types_of_few_cells_are_named(tissue, quick):
    """As `pp.signatures` does: they are kept."""
    adata, reference = tissue
    first = np.flatnonzero(reference.obs["cell_type"] == "type_0")
    few = reference[np.setdiff1d(np.arange(reference.n_obs), first[3:])].copy()
    with pytest.warns(UserWarning, match=r"fewer than 25 cells.*'type_0': 3"):
        nng.tl.deconvolve(adata, few, **quick)
    assert adata.uns["deconv"]["cell_types"].tolist()[0] == "type_0"


def table_of(tissue):
    return nng.pp.signatures(tissue.reference, "cell_type").to_df()


ANSWERS = {
    "layer of the reference": (
        lambda t: nng.tl.deconvolve(
            t.adata, t.reference, cell_type_key="cell_type", reference_layer="raw"
        ),
        KeyError,
        "'raw' is not in reference.layers",
    ),
    "changed places": (
        lambda t: nng.tl.deconvolve(t.reference, t.adata, cell_type_key="cell_type"),
        ValueError,
        "the section comes first",
    ),
    "signatures and their column": (
        lambda t: nng.tl.deconvolve(
            t.adata,
            nng.pp.signatures(t.reference, "cell_type"),
            cell_type_key="cell_type",
        ),
        ValueError,
        "without cell_type_key",
    ),
    "signatures of signatures": (
        lambda t: nng.pp.signatures(
            nng.pp.signatures(t.reference, "cell_type"), "cell_type"
        ),
        ValueError,
        "holds signatures already",
    ),
    "genes in rows": (
        lambda t: nng.tl.deconvolve(t.adata, table_of(t).T),
        ValueError,
        r"pass `reference\.T`",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_mistakes_are_told(case, tissue):
    call, error, match = ANSWERS[case]
    before = snapshot(tissue.adata)
    with pytest.raises(error, match=match):
        call(tissue)
    assert_same(snapshot(tissue.adata), before)


def test_what_to_do_with_missing_regions_and_signs(tissue, quick):
    no_region(*tissue)
    with pytest.raises(ValueError, match=r"adata\[adata.obs\['region'\].notna\(\)\]"):
        nng.tl.deconvolve(*tissue, region_key="region", **quick)
    negative(*tissue)
    with pytest.raises(ValueError, match=r"negative entries.*Use counts"):
        nng.tl.deconvolve(*tissue, **quick)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_normalised_reference_of_a_gaussian(tissue, quick):
    """Profiles do not depend on the unit of cells of one depth."""
    for cells in tissue:
        cells.X = cells.X / 7
    nng.tl.deconvolve(*tissue, likelihood="gaussian", max_iter=20, **quick)
    shares = tissue.adata.obsm["X_deconv"]
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-4)
