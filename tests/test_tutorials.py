"""Tutorials are as their sources, and run as printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from testing.nonneg import real_data

ROOT = Path(__file__).resolve().parents[1]
CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOURCES = sorted((ROOT / "tutorials").glob("*.md"))
DATA = re.compile(r"`(\w+\.(?:h5ad|csv|npz))`")
each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def read(path):
    return path.read_text(encoding="utf-8")


def printed(source):
    """Code cells of a source, as a notebook has them."""
    return [cell.rstrip("\n") for cell in CELL.findall(read(source))]


@each
def test_notebooks_are_of_their_sources(source):
    """Ran without errors, from the first cell to the last, with the code of today."""
    cells = json.loads(read(source.with_suffix(".ipynb")))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert ["".join(cell["source"]) for cell in code] == printed(source)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "error" not in kinds
    prose = [cell for cell in cells if cell["cell_type"] == "markdown"]
    text = CELL.sub("", read(source)).partition("\n---\n")[2]
    assert "".join("".join("".join(c["source"]).split()) for c in prose) == "".join(
        text.split()
    ).replace("+++", "")


@each
def test_the_site_has_it(source):
    folder = ROOT / "docs" / "tutorials"
    assert (folder / f"{source.stem}.ipynb").resolve() == source.with_suffix(".ipynb")
    assert f"\n{source.stem}\n" in read(folder / "index.md")
    assert f"tutorials/{source.stem}.ipynb" in read(ROOT / "README.md")


@pytest.mark.data
@pytest.mark.slow
@each
def test_it_runs(source, tmp_path):
    """In a process of its own, from real data to the last figure."""
    # All are in one folder; simulated data are in none.
    paths = [real_data(name) for name in DATA.findall(read(source))]
    given = {"NONNEG_DATA": str(paths[0].parent)} if paths else {}
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(printed(source))],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "agg"} | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
