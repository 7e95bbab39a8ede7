from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import nonneg as nng


def test_content(adata):
    nng.tl.nmf(adata, 4)
    ax = nng.pl.objective(adata)
    info = adata.uns["nmf"]
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, info["iteration"])
    np.testing.assert_array_equal(y, info["objective"])
    assert ax.get_xscale() == "log"
    assert ax.get_title() == f"nmf: converged after {info['n_iter']} iterations"


def test_not_converged(adata):
    nng.tl.nmf(adata, 4)
    adata.uns["nmf"]["converged"] = False
    assert "not converged" in nng.pl.objective(adata).get_title()


def test_ax_and_key(adata):
    nng.tl.nmf(adata, 4, key_added="again")
    ax = plt.subplot()
    assert nng.pl.objective(adata, "again", ax=ax) is ax
    assert ax.get_title().startswith("again:")


def test_fits_of_one_key_are_told_apart(adata, integrated):
    nng.tl.nmf(adata, 4, key_added="fit")
    other = adata.copy()
    nng.tl.nmf(other, 3, key_added="fit (2)")
    nng.tl.nmf(other, 2, key_added="_fit")
    ax = nng.pl.objective(adata, "fit")
    nng.pl.objective(other, "fit (2)", ax=ax)
    for _ in range(2):
        nng.pl.objective(other, "fit", ax=ax)
    nng.pl.objective(other, "_fit", ax=ax)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["fit", "fit (2)", "fit (3)", "fit (4)", "'_fit'"]
    ax = nng.pl.objective(integrated, "online", against="cells")
    nng.pl.objective(integrated, "online", against="cells", ax=ax)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [
        f"online{again}, {part}"
        for again in ("", " (2)")
        for part in ("fitted", "held out")
    ]


def test_a_key_that_is_not_there(adata, integrated):
    """What there is is named; of data that hold no fit, `anndata.concat` may be why."""
    with pytest.raises(KeyError, match=r"Name one of these with `key`") as found:
        nng.pl.objective(integrated)
    assert "'inmf', 'online'" in str(found.value)
    assert "concat" not in str(found.value)
    adata.uns.clear()
    with pytest.raises(KeyError, match=r"there are \[\].*anndata\.concat.*uns_merge"):
        nng.pl.objective(adata)


def test_against_time(adata):
    nng.tl.nmf(adata, 4)
    info = adata.uns["nmf"]
    info["seconds"] = np.linspace(0.1, 2, len(info["objective"]))
    ax = nng.pl.objective(adata, against="time")
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, info["seconds"])
    np.testing.assert_array_equal(y, info["objective"])
    assert ax.get_xscale() == "linear"
    assert ax.get_xlabel() == "seconds without compiling"
    # Several fits on the same Axes can be told apart.
    assert ax.lines[0].get_label() == "nmf"


def test_all_iterations_unless_recorded(adata):
    nng.tl.nmf(adata, 4)
    info = adata.uns["nmf"]
    del info["iteration"]
    x = nng.pl.objective(adata).lines[0].get_xdata()
    np.testing.assert_array_equal(x, np.arange(1, len(info["objective"]) + 1))


def test_refusal(adata):
    with pytest.raises(KeyError, match="records no objective: it holds"):
        nng.pl.objective(adata, "truth")
    nng.tl.nmf(adata, 4)
    with pytest.raises(KeyError, match=r"records no seconds: it holds.*against='iter"):
        nng.pl.objective(adata, against="time")
    with pytest.raises(ValueError, match="against='epoch' must be one of"):
        nng.pl.objective(adata, against="epoch")


@pytest.fixture(scope="module")
def integrated():
    adata = nng.datasets.batches((80, 60), 30, 3)
    given = {"batch_key": "batch", "size_factors": "total"}
    nng.tl.inmf(adata, 3, **given)
    nng.tl.online_inmf(
        adata, 3, minibatch_size=20, validation=0.2, key_added="online", **given
    )
    return adata


def test_against_cells(integrated):
    ax = nng.pl.objective(integrated, "inmf", against="cells")
    x, y = ax.lines[0].get_data()
    info = integrated.uns["inmf"]
    np.testing.assert_array_equal(x, 140 * np.arange(1, info["n_iter"] + 1))
    whole = info["weight"] @ info["sq_norm"]
    np.testing.assert_allclose(y, info["objective"] / whole)
    assert (ax.get_xlabel(), ax.get_xscale()) == ("cells visited", "log")


def test_fits_of_different_cells_share_a_scale(integrated):
    """With and without validation: all are parts of the squared norm of the data."""
    ax = nng.pl.objective(integrated, "inmf", against="cells")
    nng.pl.objective(integrated, "online", against="cells", ax=ax)
    assert ax.get_ylabel() == "objective / ‖X‖²"
    drawn = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    ends = {name: line.get_ydata()[-1] for name, line in drawn.items()}
    assert list(ends) == ["inmf", "online, fitted", "online, held out"]
    assert ends["online, fitted"] == pytest.approx(ends["inmf"], rel=0.1)
    assert ends["online, held out"] > ends["inmf"]
    # The legend says which is which, and the title of one would be of neither.
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(ends)
    assert ax.get_title() == ""


def test_what_does_not_belong_together(integrated, adata):
    ax = nng.pl.objective(integrated, "inmf")
    n_lines = len(ax.lines)
    with pytest.raises(ValueError, match=r"'iteration'.*'mini-batch' of key='online'"):
        nng.pl.objective(integrated, "online", ax=ax)
    nng.tl.nmf(adata, 4)
    with pytest.raises(
        ValueError, match=r"ax shows 'objective / ‖X‖²'.*'objective' ag"
    ):
        nng.pl.objective(adata, ax=ax)
    assert len(ax.lines) == n_lines


def test_an_update_has_no_curve(integrated):
    """One value is all that is recorded of it."""
    new = nng.datasets.batches((40, 30), 30, 3)
    with pytest.warns(UserWarning, match="`validation` of key='online'"):
        nng.tl.online_inmf_update(integrated, new, batch="new", key="online")
    info = new.uns["online"]
    value = info["objective"].item() / (info["weight"] @ info["sq_norm"])
    with pytest.raises(KeyError, match=rf"{value:.3f} of the squared.*shared_change"):
        nng.pl.objective(new, "online")


@pytest.mark.parametrize(
    ("against", "column", "label"),
    [
        ("iteration", "iteration", "mini-batch"),
        ("cells", "cells", "cells visited"),
        ("time", "seconds", "seconds without compiling"),
    ],
)
def test_held_out_cells(integrated, against, column, label):
    ax = nng.pl.objective(integrated, "online", against=against)
    table = integrated.uns["online"]["validation"]
    lines = [line for line in ax.lines if line.get_marker() == "None"]
    for line, name in zip(lines, ("objective", "held_out"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), table[column])
        np.testing.assert_array_equal(line.get_ydata(), table[name])
    assert [line.get_label() for line in lines] == [
        "online, fitted",
        "online, held out",
    ]
    assert ax.get_xlabel() == label
    assert (
        ax.get_title()
        == f"online: after {integrated.uns['online']['n_iter']} mini-batches"
    )


def test_cells_that_are_not_recorded(adata):
    nng.tl.nmf(adata, 4)
    with pytest.raises(KeyError, match="records no cells: it holds"):
        nng.pl.objective(adata, against="cells")


def test_a_search_before_the_fit_is_told():
    """Otherwise a trace of one iteration looks like a fit that failed."""
    adata = nng.datasets.ggblocks(12, 40)
    nng.tl.nsf(adata, 4, amplitude=1.0, temperature=1.0)
    searched = nng.pl.objective(adata, "nsf").get_title()
    assert "\nbegun by the search of the kernel" in searched
    given = dict(length_scale=2.0, amplitude=1.0, temperature=1.0)
    nng.tl.nsf(adata, 4, max_iter=200, **given)
    assert "search" not in nng.pl.objective(adata, "nsf").get_title()


def test_held_out_cells_that_have_changed(integrated):
    changed = integrated.copy()
    table = changed.uns["online"]["validation"]
    changed.uns["online"]["validation"] = table.drop(columns="held_out")
    with pytest.raises(ValueError, match=r"\['validation'\] has no column 'held_out'"):
        nng.pl.objective(changed, "online")
