"""Random mistakes, and Ctrl-C at random moments, of all public functions.

Both in short here: thousands of mistakes are made by `scripts/mistakes.py`, 50 interruptions of
each function by `scripts/interruptions.py`.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg._core.arguments import checked
from testing.nonneg import LONGER, Mistakes, interrupt, public_functions
from testing.nonneg._public import public_callables, public_classes

# Of whatever kind, and of other packages as well.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def mistakes():
    return Mistakes()


@pytest.fixture(autouse=True)
def no_window():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("part", range(2))
def test_mistakes_end_in_messages_or_results(mistakes, part):
    outcomes = [mistakes.run(seed) for seed in range(50 * part, 50 * (part + 1))]
    assert not [str(outcome) for outcome in outcomes if outcome.fault is not None]
    # Most are told; the others did not matter.
    assert sum(outcome.error is not None for outcome in outcomes) > 25


QUICK = (
    *("tl.nmf", "tl.inmf_search", "tl.online_inmf"),
    *("tl.locanmf", "tl.quantile_align", "tl.region_cca", "tl.decode_events"),
)


@pytest.mark.parametrize("name", QUICK)
def test_interruptions_leave_nothing_or_a_part_that_says_so(mistakes, name):
    function, make = mistakes.functions[name], mistakes.calls[name]
    assert not interrupt(
        lambda kwargs: function(**kwargs),
        lambda: {**make(), **LONGER.get(name, {})},
        np.random.default_rng(0),
        2,
    )


# Classes of which users make no objects, or whose methods are all that they call.
MADE_ELSEWHERE = {
    "atlas.Atlas": "made by `from_arrays`",
    "datasets.Spots": "returned by datasets.spots",
    "io.Clock": "returned by io.align_clocks",
    "metrics.FactorMatch": "returned by metrics.match_factors",
    "tl.ComponentMatches": "returned by tl.match_components",
    "tl.MapDistances": "returned by tl.map_distances",
}


def test_mistakes_are_about_all_that_is_public(mistakes):
    made = {name.split()[0] for name in mistakes.calls}
    assert made == set(public_callables())
    assert set(public_classes()) == set(MADE_ELSEWHERE)
    # What is left are fields of settings, which pydantic checks.
    with pytest.raises(ValueError, match="n_threads"):
        nng.settings.n_threads = "many"


ADATA = nng.datasets.ggblocks(6, 12)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: nng.tl.nmf(ADATA, 2, copy="no"), "copy='no' is a str.*takes bool"),
        (lambda: nng.get.factors(ADATA, ["truth"]), r"key=\['truth'\] is a list.*str"),
        (lambda: nng.pl.loadings(ADATA, pd.NA), r"key=<NA> is a NAType"),
        (lambda: nng.tl.nmf(ADATA, 2, layer=3), "3"),
        (lambda: nng.metrics.poisson_deviance([[1.0]], [[1.0]], axis="x"), "'x' is a"),
    ],
)
def test_arguments_of_another_kind_are_named(call, match):
    with pytest.raises((TypeError, KeyError), match=match):
        call()


def test_errors_of_ours_are_left_alone():
    """Also those of arguments of another kind: they know more."""

    @checked
    def f(n: int) -> None:
        msg = "ours"
        raise ValueError(msg)

    with pytest.raises(TypeError, match="takes"):
        checked_sum("x")
    with pytest.raises(ValueError, match="ours"):
        f_of_package(f)


def f_of_package(f):
    """Raised in this file, which is not of the package: explained, if there is a reason."""
    f(1)


@checked
def checked_sum(values: list[int]) -> int:
    return np.sum(values) + 1


@pytest.mark.parametrize("public", public_functions(), ids=str)
def test_all_functions_are_checked(public):
    function = public.function
    while hasattr(function, "__wrapped__"):
        if function.__code__.co_name == "call":
            return
        function = function.__wrapped__
    pytest.fail("without `@checked`")
