"""Variables are selected in one way by everything that takes a mask."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg._adata.genes import read_mask
from testing.nonneg import counts

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Interrupted"),
]


@pytest.fixture
def adata():
    result = counts()
    used = result.var["used"].to_numpy()
    result.var["nullable"] = pd.array(used, "boolean")
    result.var["objects"] = used.astype(object)
    result.var["gappy"] = pd.array([None, *used[1:]], "boolean")
    result.var["gappy_objects"] = np.array([np.nan, *used[1:]], object)
    result.var["numbers"] = used.astype(int)
    return result


def selected(adata):
    return adata.var["used"].to_numpy()


FORMS = {
    "column": lambda adata: "used",
    "nullable column": lambda adata: "nullable",
    "column of objects": lambda adata: "objects",
    "array": selected,
    "list": lambda adata: selected(adata).tolist(),
    "series": lambda adata: adata.var["used"],
    "nullable series": lambda adata: adata.var["nullable"],
    "nullable array": lambda adata: adata.var["nullable"].array,
    "array of objects": lambda adata: selected(adata).astype(object),
    "names": lambda adata: adata.var_names[selected(adata)],
    "list of names": lambda adata: adata.var_names[selected(adata)].tolist(),
    "names in another order": lambda adata: adata.var_names[selected(adata)][::-1],
    "series of names": lambda adata: pd.Series(adata.var_names[selected(adata)]),
    "set of names": lambda adata: set(adata.var_names[selected(adata)]),
    "array of names": lambda adata: adata.var_names[selected(adata)].to_numpy(str),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(adata, form):
    mask = read_mask(adata, FORMS[form](adata))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, selected(adata))


VERBS = {
    "nmf": lambda adata, mask: nng.tl.nmf(adata, 2, mask_var=mask, max_iter=2),
    "seminmf": lambda adata, mask: nng.tl.seminmf(
        adata, 2, mask_var=mask, max_iter=2, key_added="seminmf"
    ),
    "pnmf": lambda adata, mask: nng.tl.pnmf(adata, 2, mask_var=mask, max_iter=2),
    "fa": lambda adata, mask: nng.tl.fa(adata, 2, mask_var=mask, max_iter=2),
    "inmf": lambda adata, mask: nng.tl.inmf(
        adata, 2, mask_var=mask, max_iter=2, batch_key="batch", size_factors="total"
    ),
}


@pytest.fixture(scope="module")
def expected():
    """Loadings of every verb for a column of booleans."""
    adata = counts()
    for verb in VERBS.values():
        verb(adata, "used")
    return {name: adata.varm[name] for name in VERBS}


@pytest.mark.parametrize("form", ["nullable column", "list of names"])
@pytest.mark.parametrize("verb", VERBS)
def test_verbs(adata, expected, verb, form):
    VERBS[verb](adata, FORMS[form](adata))
    np.testing.assert_array_equal(adata.varm[verb], expected[verb])


BAD = {
    "unknown column": ("nothing", KeyError, "'nothing' is not in adata.var"),
    "missing": ("gappy", ValueError, r"var\['gappy'\] is missing for 1 var.*fillna"),
    "missing objects": (
        "gappy_objects",
        ValueError,
        r"var\['gappy_objects'\] is missing for 1 var",
    ),
    "numbers": ("numbers", ValueError, "40 booleans.*dtype int64"),
    "short": (np.ones(39, bool), ValueError, r"40 booleans.*shape \(39,\)"),
    "matrix": (np.ones((40, 1), bool), ValueError, r"shape \(40, 1\)"),
    "unknown names": (
        ["gene_0", "nowhere"],
        KeyError,
        r"1 unknown variables, e.g. \['nowhere'\]",
    ),
    "nothing": (np.zeros(40, bool), ValueError, "selects no variable"),
    "no names": ([], ValueError, "selects no variable"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(adata, case):
    mask, kind, match = BAD[case]
    for verb in VERBS.values():
        with pytest.raises(kind, match=match):
            verb(adata, mask)


def test_a_mask_of_two_dimensions():
    adata = counts()
    with pytest.raises(ValueError, match=r"mask_var must be 40 booleans.*\(40, 1\)"):
        nng.tl.nmf(adata, 2, mask_var=np.ones((40, 1), bool))
