"""What benchmarks make of what they measure: exponents, cells, and blocks of documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").is_dir(), reason="benchmarks are in the repository only"
)
SIZES = np.array([100, 200, 400, 800, 1600])


@pytest.fixture(autouse=True)
def repository(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("factor", [1e-6, 2.0])
def test_exact_power_laws(exponent, factor):
    from benchmarks.cost import power_law

    found = power_law(SIZES, factor * SIZES**exponent)
    assert found.offset == 0
    np.testing.assert_allclose(found[:2], [factor, exponent], rtol=1e-6)


@pytest.mark.parametrize("exponent", [1.0, 2.0])
@pytest.mark.parametrize("share", [0.5, 5.0])
@pytest.mark.parametrize("factor", [1e-6, 2.0])
def test_exact_power_laws_with_offset(exponent, share, factor):
    from benchmarks.cost import power_law

    offset = share * factor * SIZES[0] ** exponent
    y = offset + factor * SIZES**exponent
    found = power_law(SIZES, y)
    np.testing.assert_allclose(found, [factor, exponent, offset], rtol=1e-3)
    np.testing.assert_allclose(found(SIZES), y, rtol=1e-4)
    # What a fit without it would say.
    assert np.polyfit(np.log(SIZES), np.log(y), 1)[0] < 0.95 * exponent


def test_noise_is_not_taken_for_an_offset():
    from benchmarks.cost import power_law

    rng = np.random.default_rng(0)
    found = [
        power_law(SIZES, SIZES * np.exp(0.03 * rng.standard_normal(5)))
        for _ in range(40)
    ]
    assert sum(fit.offset > 0 for fit in found) <= 4
    exponents = [fit.exponent for fit in found if not fit.offset]
    np.testing.assert_allclose(exponents, 1, atol=0.1)


def test_two_sizes_have_no_exponent():
    from benchmarks.cost import power_law

    assert power_law([1, 2], [1, 2]) is None


def test_figure_and_tables_of_given_costs(tmp_path):
    from benchmarks import cost
    from PIL import Image

    found = {
        (name, axis): [
            {"size": x, "cpu": 1e-3 * x, "growth": 2**20 * (20 + x)} for x in sizes
        ]
        for name, system in cost.SYSTEMS.items()
        for axis, sizes in system.tried.items()
    }
    found["nmf", "k"] = []
    cost.draw(found, tmp_path / "cost.png")
    with Image.open(tmp_path / "cost.png") as picture:
        assert picture.width > 1000
    assert (tmp_path / "cost.png").stat().st_size < 150_000
    lines = cost.tables(found, list(cost.SYSTEMS)).splitlines()
    assert lines[2].split(" | ")[1:5] == [
        "CPU seconds of a call",
        "1.00",
        "1.00",
        "**failed**",
    ]
    (memory,) = (line for line in lines if line.startswith("| NSF | memory"))
    assert memory.split(" | ")[4:6] == ["1.00 + 20", "1.00 + 20 |"]


def outcome(seconds, **quality):
    from benchmarks.table import Outcome

    return Outcome(seconds, 2 * seconds, 3 * 2**20, quality)


def result(**kwargs):
    from benchmarks.table import Result, Row

    row = Row("task", lambda *_: None, "peer", lambda: "1.0", ratio=True)
    given = {
        "version": "1.0",
        "title": "10 × 10",
        "first": outcome(9.0, objective=1.0),
        "pairs": [(outcome(a), outcome(b)) for a, b in ((1, 4), (2, 4), (1, 3))],
        "theirs": {"objective": 2.0},
    }
    return Result(row, **(given | kwargs))


def test_cells_of_a_row():
    from benchmarks.table import HEADER, cells

    row = dict(zip(HEADER, cells(result()), strict=True))
    assert row["first call, s (CPU s)"] == "9.0 (18.0)"
    assert row["second call, s (CPU s)"] == "1.00 (2.0)"
    assert row["beside"] == "peer 1.0"
    # Of neighbours, and not of medians, which would be 4.
    assert row["ratio (pairs)"] == "3 (3)"
    assert row["memory growth, MB, ours / its"] == "3 / 3"
    assert row["quality, ours / its"] == "objective, ratio 0.50000"


@pytest.mark.parametrize(
    ("given", "column", "said", "failed"),
    [
        ({"error": "ValueError: no"}, 2, "**failed** (ValueError: no)", True),
        ({"no_data": True}, 2, "no data", False),
        ({"version": None, "pairs": []}, 5, "not installed", False),
        ({"peer_error": "OSError"}, 5, "**failed** (OSError)", True),
    ],
)
def test_rows_that_lack_something(given, column, said, failed):
    from benchmarks.table import HEADER, cells

    if "pairs" in given:
        given = given | {"pairs": [(outcome(1), None)], "theirs": {}}
    found = result(**given)
    assert len(cells(found)) == len(HEADER)
    assert cells(found)[column] == said
    assert found.failed is failed


def test_a_block_is_replaced_and_nothing_else(tmp_path):
    from benchmarks.measure import has_block, write_block

    path = tmp_path / "page.md"
    path.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n<!-- y -->\n")
    assert has_block(path, "x")
    assert not has_block(path, "y")
    for text in ("new", "newer"):
        write_block(path, "x", text)
        write_block(path, "y", text)
        page = f"a\n<!-- x -->\n\n{text}\n\n<!-- end of x -->\nb\n<!-- y -->\n"
        assert path.read_text() == page


def test_documents_have_the_lines():
    from benchmarks.measure import has_block

    page = ROOT / "docs" / "dev" / "benchmarks.md"
    assert has_block(page, "table")
    assert has_block(page, "cost")
