"""Importing is cold, silent and leaves nothing behind; layers keep apart."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

import nonneg

PACKAGE = Path(nonneg.__file__).parent
BELOW = {"_core", "operators", "kernels", "models"}
CONTAINERS = {"anndata", "scanpy", "squidpy", "spatialdata"}

PROBE = """
import sys
import nonneg as nng
import json, pathlib
from jax._src import xla_bridge
pathlib.Path(sys.argv[1]).write_text(json.dumps({
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    "backends": list(xla_bridge._backends),
    "shape": list(nng.datasets.ggblocks(6, 5).shape),
}))
"""


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """What an import in a new process in an empty home does."""
    home, report = (tmp_path_factory.mktemp(name) for name in ("home", "report"))
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        # Matplotlib keeps its list of fonts, whoever imports it.
        "MPLCONFIGDIR": mpl.get_cachedir(),
        "JAX_PLATFORMS": "nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE, str(report / "probe.json")],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    left = [str(path.relative_to(home)) for path in home.rglob("*")]
    assert process.returncode == 0, process.stderr
    return process, left, json.loads((report / "probe.json").read_text())


def test_silent(cold):
    process, _, _ = cold
    assert (process.stdout, process.stderr) == ("", "")


def test_nothing_is_left_behind(cold):
    _, left, _ = cold
    assert left == []


def test_no_backend_is_started(cold):
    """On a platform that does not exist, starting one would fail."""
    _, _, found = cold
    assert found["backends"] == []
    assert found["shape"] == [36, 5]


def test_heavy_packages_are_not_imported(cold):
    _, _, found = cold
    assert {"jax", "anndata", "nonneg"} <= set(found["modules"])
    assert not {"scanpy", "squidpy", "spatialdata", "torch"} & set(found["modules"])


def imports(path):
    """Absolute names of everything that a module imports, at any depth."""
    package = ["nonneg", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            parts = [*base, *(node.module or "").split(".")]
            name = ".".join(part for part in parts if part)
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def modules(*folders):
    """Modules in these folders below the wall, or all those above it."""
    names = {path: path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))}
    return [
        pytest.param(path, id=str(name))
        for path, name in names.items()
        if (name.parts[0] in folders if folders else name.parts[0] not in BELOW)
    ]


@pytest.mark.parametrize("path", modules(*BELOW))
def test_no_containers_below_the_wall(path):
    for name in imports(path):
        top, *rest = name.split(".")
        assert top not in CONTAINERS
        # Nothing of the package but what is below as well.
        assert top != "nonneg" or not rest or rest[0] in BELOW, name


@pytest.mark.parametrize("path", modules("kernels"))
def test_kernels_know_no_operators_and_no_models(path):
    known = {"nonneg", "nonneg.kernels", "nonneg._core"}
    for name in imports(path):
        if name.startswith("nonneg"):
            assert ".".join(name.split(".")[:2]) in known, name


@pytest.mark.parametrize("path", modules())
def test_no_jax_above_the_wall(path):
    tops = {name.partition(".")[0] for name in imports(path)}
    assert not tops & {"jax", "jaxlib", "jaxtyping", "optax"}


def written(path):
    """Names of the AnnData of a user whose contents a module assigns or deletes."""
    held = {"X", "obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns"}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            continue
        place = node.value if isinstance(node, ast.Subscript) else node
        match place:
            case ast.Attribute(ast.Name(name), attribute) if attribute in held:
                yield name


@pytest.mark.parametrize(
    "path", modules("_adata", "tl", "pp", "pl", "get", "metrics", "atlas")
)
def test_one_module_writes_to_what_a_user_gave(path):
    """So that all of a result is written, or nothing."""
    assert not {"adata", "target", "reference", "data"} & set(written(path))


def test_writes_are_seen(tmp_path):
    path = tmp_path / "module.py"
    for line in ("adata.obs['a'] = 1", "del adata.uns['a']", "adata.X = 1"):
        path.write_text(line)
        assert list(written(path)) == ["adata"]


def test_the_wall_has_two_sides():
    assert len(modules("kernels")) >= 7
    assert len(modules("models")) >= 5
    assert len(modules()) >= 30
    assert "jax" in set(imports(PACKAGE / "operators" / "choose.py"))
    assert "nonneg.kernels.nnls.nnls" in set(
        imports(PACKAGE / "models" / "factor" / "alternate.py")
    )
