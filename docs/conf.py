"""Configuration of the documentation."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import metadata

import matplotlib as mpl

mpl.use("agg")

# -- Project ---------------------------------------------------------------------------

info = metadata("nonneg")
project = info["Name"]
author = "nonneg developers"
copyright = f"{datetime.now(tz=UTC):%Y}, {author}"
version = release = info["Version"]
repository_url = "https://github.com/nonneg/nonneg"

# Links into other projects need the internet, and without them every reference to an
# outside object is unresolved. So both the links and the check of references are on where
# they can work, and off by default.
online = bool({"READTHEDOCS", "NONNEG_INTERSPHINX"} & os.environ.keys())

# -- General ---------------------------------------------------------------------------

needs_sphinx = "9.0"
nitpicky = online
templates_path = ["_templates"]  # short titles of the pages of functions
exclude_patterns = [
    "_build",
    "_templates",
    "Thumbs.db",
    ".DS_Store",
    "**.ipynb_checkpoints",
]
default_role = "literal"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",  # after napoleon
    "scanpydoc.definition_list_typed_field",
    "scverse_misc.sphinx_ext",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
if online:
    extensions.append("sphinx.ext.intersphinx")

# autosummary writes its pages with the first suffix, in reStructuredText
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}

autosummary_generate = True
autosummary_imported_members = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # left to sphinx_autodoc_typehints
typehints_defaults = "braces"
always_use_bars_union = True

napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_include_init_with_doc = False
napoleon_use_rtype = True
napoleon_use_param = True

myst_enable_extensions = [
    "amsmath",
    "colon_fence",
    "deflist",
    "dollarmath",
    "html_image",
]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "plain"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

intersphinx_mapping = {
    "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
    "jax": ("https://docs.jax.dev/en/latest/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "mudata": ("https://mudata.readthedocs.io/en/latest/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/pandas-docs/stable/", None),
    "python": ("https://docs.python.org/3", None),
    "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
    "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    "sklearn": ("https://scikit-learn.org/stable/", None),
    "spatialdata": ("https://spatialdata.scverse.org/en/stable/", None),
    "squidpy": ("https://squidpy.readthedocs.io/en/stable/", None),
}

nitpick_ignore: list[tuple[str, str]] = []

# -- HTML ------------------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = project
html_logo = "_static/logo.svg"
html_favicon = "_static/icon.svg"
html_theme_options = {
    "repository_url": repository_url,
    "path_to_docs": "docs",
    "use_repository_button": True,
    # The search field is in the side bar; otherwise there is a bar with another one.
    "navbar_persistent": [],
}
html_static_path = ["_static"]
html_css_files = ["nonneg.css"]
