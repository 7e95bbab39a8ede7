"""Every block of Python in README and documentation runs as it is printed.

The blocks of a page run in order, in one namespace and one folder, with warnings as
errors. What a page leaves to the reader, such as their own files, a function here makes
before each block. Tests of a minute or more are small: kernels are given, and searches
have few samples.
"""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import textwrap
from functools import partial
from itertools import zip_longest
from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import squidpy as sq

import nonneg as nng
from testing.nonneg import needs, real_data

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
KERNEL = dict(length_scale=3, amplitude=1, temperature=1, max_iter=10)
# Defaults that are replaced: what blocks pass stays.
QUICK = {
    "nsf": KERNEL,
    "nsfh": KERNEL,
    "compare": dict(n_splits=1, model_kwargs={"nsf": KERNEL, "nsfh": KERNEL}),
    "stability": dict(n_bootstraps=2),
    "learn_deconvolution": dict(
        n_maps=2, n_validation=1, n_layers=2, max_iter=2, n_genes=200
    ),
    "region_correlation": dict(n_surrogates=9),
}
# Small data and few iterations do not settle.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*(did|has) not converge"),
    pytest.mark.filterwarnings("ignore:Instability is lowest at an end"),
    # squidpy's permutations fork after JAX was used
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
    # genes of simulated types are no sharp markers
    pytest.mark.filterwarnings("ignore:.*marker sets match no type"),
]


def volume_with_regions():
    adata = nng.datasets.atlas_expression((12, 9, 8), 60, 3, missing_planes=0)
    names = adata.obs["region"].astype(str)
    largest = names[adata.obs["region"].notna()].value_counts().index[0]
    adata.obs["region"] = names.where(adata.obs["region"].notna()).replace(
        largest, "Isocortex"
    )
    del adata.uns["region"]
    return adata


def anatomy(page):
    adata = volume_with_regions()
    nng.tl.nmf(adata, 3)
    nng.tl.nmf(adata, 3, rng=1, key_added="nsf")
    page["adata"] = adata
    yield


def stability(page):
    page["adata"] = nng.datasets.quilt(24, 60)
    page["adata"].var["weight"] = 1.0
    scan = nng.tl.stability
    # Every number is compiled anew.
    page["replace"](
        "tl", "stability", lambda adata, numbers: scan(adata, list(numbers)[::8])
    )
    yield


def deconvolution(page):
    spots, cells = nng.datasets.spots(8, 120)
    means = nng.pp.signatures(cells, "cell_type").to_df()
    # Genes that two types have, and others hardly.
    share = means / means.sum()
    names = dict(
        zip(share.loc[means.index[0]].nlargest(2).index, ("PRSS1", "CPA1"), strict=True)
    )
    names |= dict(
        zip(share.loc[means.index[1]].nlargest(2).index, ("KRT19", "CFTR"), strict=True)
    )
    for one in (spots, cells):
        one.var_names = [names.get(name, name) for name in one.var_names]
    page["replace"]("datasets", "spots", lambda: (spots.copy(), cells))
    page["sq"] = sq
    yield
    page["markers"] = {
        name: list(row.nlargest(3).index.map(lambda gene: names.get(gene, gene)))
        for name, row in share.iterrows()
    }
    yield
    yield
    yield
    page["other"] = page["adata"].copy()
    yield


def integration(page):
    page["sc"] = sc
    whole = nng.datasets.batches((90, 70), 80, 4)
    whole.var["not_in_panel"] = np.arange(80) >= 60
    yield
    page["adata"] = whole.copy()
    yield
    yield
    page["adata"] = whole.copy()
    yield
    page["adata"] = whole.copy()
    yield
    import mudata

    first, second = (
        whole[whole.obs["batch"] == name].copy() for name in ("batch_0", "batch_1")
    )
    page["rna"], page["merfish"] = first, second[:, :60].copy()
    adata = whole.copy()
    adata.obs["batch"] = adata.obs["batch"].cat.rename_categories(
        {"batch_0": "scRNA", "batch_1": "MERFISH"}
    )
    x = adata.X.toarray()
    x[np.ix_(adata.obs["batch"] == "MERFISH", adata.var["not_in_panel"])] = 0
    adata.X = x
    page["adata"] = adata
    genes, peaks = whole[:, :60].copy(), first[:, 60:].copy()
    for modality in (genes, peaks):
        sc.pp.normalize_total(modality)
        sc.pp.log1p(modality)
    page["mdata"] = mudata.MuData({"rna": genes, "atac": peaks})
    page["mdata"].obs["batch"] = whole.obs["batch"].astype(str)
    yield
    first.write_h5ad("control.h5ad")
    second.write_zarr("treated.zarr")
    page["genes"] = list(whole.var_names[:60])
    nng.datasets.batches((50, 40), 80, 4, rng=1).write_h5ad("new_donor.h5ad")
    yield
    yield
    page["cells"] = nng.datasets.batches((20, 20), 80, 4, rng=2)
    page["cells"].obs["batch"] = "control"
    yield
    page["adata"] = whole
    nng.tl.inmf(whole, 4, batch_key="batch", size_factors="total")
    yield


def keys(page):
    page["ad"] = ad
    one = nng.datasets.quilt(12, 30)
    nng.tl.nmf(one, 4)
    page["one"], page["other"] = one[::2].copy(), one[1::2].copy()
    page["one"].obs_names = "one_" + page["one"].obs_names
    yield


def volumes(page):
    allen = runpy.run_path(str(ROOT / "tests" / "io" / "test_read_allen_grid.py"))
    for name, number in (("energy", None), ("74272479", 1), ("71717084", 2)):
        allen["write"](Path(f"{name}.zip"), allen["volume"](), number=number)
    allen["write"](
        Path("P56_Mouse_gridAnnotation.zip"), allen["labels"](), name="gridAnnotation"
    )
    pd.DataFrame(
        {"id": [1, 5, 9], "acronym": ["root", "a", "b"], "parent": [None, 1, 1]}
    ).to_csv("allen_structure_tree.csv", index=False)
    yield


def widefield(page):
    nng.datasets.widefield(
        shape=(32, 40), n_frames=960, n_regions=3, mask=False, tiff="session.tif"
    )
    labels = np.zeros((32, 40), int)
    labels[4:28, 4:20], labels[4:28, 20:36] = 1, -1
    page["dorsal_atlas"] = nng.atlas.Atlas.from_arrays(labels, spacing=0.02)
    page["landmarks"] = {"a": (0.1, 0.1), "b": (0.6, 0.1), "c": (0.1, 0.5)}
    page["atlas_landmarks"] = page["landmarks"]
    yield
    nng.tl.locanmf(page["adata"], key="hemo", r2_threshold=0.2, max_rank=2)
    yield
    for i, name in enumerate(("one", "two", "three", "four")):
        session = nng.datasets.widefield(
            form="svd", shape=(32, 40), n_frames=300, n_regions=3, rng=i
        )
        nng.tl.locanmf(session, min_rank=2, max_rank=2, r2_threshold=0.2)
        session.uns["subject"] = "m1" if i < 2 else "m2"
        page[name] = session
    yield
    times = np.arange(2.0, 16, 2)
    pd.DataFrame({"time": times, "side": "left"}).to_csv("trials.csv", index=False)
    table = pd.DataFrame(
        np.random.default_rng(0).random((6400, 3)),
        columns=pd.MultiIndex.from_tuples(
            [("net", "paw", axis) for axis in ("x", "y", "likelihood")],
            names=["scorer", "bodyparts", "coords"],
        ),
    )
    table.loc[:, ("net", "paw", "likelihood")] = 1.0
    table.to_hdf("faceDLC_resnet50.h5", key="df_with_missing")
    yield
    line = np.zeros(500_000)
    starts = np.sort(np.random.default_rng(0).choice(4900, 60, replace=False)) * 100
    for start in starts:
        line[start : start + 50] = 5.0
    page["analog_line"] = line
    page["frame_triggers"] = starts / 10_000 + 3
    yield


# Those that need no more than they print have nothing here.
PAGES = {
    "README.md": None,
    "docs/index.md": None,
    "docs/anatomy.md": anatomy,
    "docs/deconvolution.md": deconvolution,
    "docs/integration.md": integration,
    "docs/keys.md": keys,
    "docs/large_data.md": None,
    "docs/spatial_models.md": None,
    "docs/stability.md": stability,
    "docs/volumes.md": volumes,
    "docs/widefield.md": widefield,
    "docs/api/index.md": None,
}
SLOW = {
    "README.md",
    "docs/anatomy.md",
    "docs/deconvolution.md",
    "docs/integration.md",
    "docs/large_data.md",
    "docs/spatial_models.md",
    "docs/stability.md",
    "docs/widefield.md",
}
NEEDED = {
    "docs/integration.md": [needs.mudata],
    "docs/widefield.md": [needs.tables, needs.imageio_ffmpeg],
}


def blocks_of(name):
    text = (ROOT / name).read_text()
    found = []
    for block in BLOCK.finditer(text):
        # Errors name the line of the page.
        above = "\n" * text.count("\n", 0, block.start(2))
        found.append(above + textwrap.dedent(block[2]))
    return found


def run(name, monkeypatch, setup=None):
    def replace(module, function, new):
        monkeypatch.setattr(getattr(nng, module), function, new)

    page = {"__name__": "page", "replace": replace}
    steps = iter(setup(page)) if setup else ()
    blocks = blocks_of(name)
    assert blocks
    with mpl.rc_context({"figure.max_open_warning": 0}):
        for block, _ in zip_longest(blocks, steps):
            assert block is not None, "more is prepared than there is to run"
            exec(compile(block, name, "exec"), page)
    return page


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[
                *([pytest.mark.slow] if name in SLOW else []),
                *NEEDED.get(name, ()),
            ],
        )
        for name in PAGES
    ],
)
def test_blocks_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for function, defaults in QUICK.items():
        original = getattr(nng.tl, function)
        monkeypatch.setattr(nng.tl, function, partial(original, **defaults))
    run(name, monkeypatch, PAGES[name])


def test_all_pages_are_known():
    pages = [
        "README.md",
        *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md")),
    ]
    built = ("docs/_build", "docs/api/generated")
    with_blocks = {
        page for page in pages if not page.startswith(built) and blocks_of(page)
    }
    assert with_blocks == set(PAGES)


@pytest.mark.data
def test_first_example_on_a_section(monkeypatch, tmp_path):
    """The factors of README, with the user's file in the first line."""
    block = blocks_of("README.md")[0]
    block, n = re.subn(
        r"nng\.datasets\.quilt\(.*?\)",
        f"sc.read_h5ad({str(real_data('mob.h5ad'))!r})",
        block,
    )
    assert n == 1
    monkeypatch.chdir(tmp_path)
    page = {"__name__": "page"}
    exec(compile(block, "README.md", "exec"), page)
    assert page["adata"].obsm["X_nmf"].shape == (260, 4)
    assert page["adata"].n_vars == 2000


def calls_of(name):
    text = (ROOT / name).read_text()
    return [
        call for call in re.findall(r"`(?:\w+ = )?(nng\.[^`]+\))`", text) if "(" in call
    ]


def test_calls_of_other_programs_fit_ours():
    calls = calls_of("docs/coming_from.md")
    assert len(calls) > 40
    for text in calls:
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        function = nng
        for part in ast.unparse(call.func).split(".")[1:]:
            function = getattr(function, part)
        keywords = {keyword.arg: None for keyword in call.keywords}
        try:
            inspect.signature(function).bind(*call.args, **keywords)
        except TypeError as error:
            pytest.fail(f"{text}: {error}")
