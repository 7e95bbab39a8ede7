"""Parameters that many functions share, described once."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_SHARED = {
    "matrix": """
        layer
            Layer to factorize instead of `adata.X`.
        obsm
            Element of `adata.obsm` to factorize instead. Loadings then belong to its
            columns and are stored in `adata.uns`.
        mask_var
            Variables to use: a boolean column of `adata.var`, or an array. The
            loadings of the others are NaN.
        """,
    "max_iter": """
        max_iter
            Most iterations. An interruption keeps what was found so far.
        """,
    "chunk_size": """
        chunk_size
            Rows per block where the matrix is backed by a file. `None`: about 8 MB.
        """,
    "rng": """
        rng
            Seed, or a generator to draw one from. Recorded.
        """,
    "key_added": """
        key_added
            Key under which to store the result instead of `nmf`.
        """,
    "copy": """
        copy
            Return an annotated copy instead of annotating `adata`.
        table_key
            Table to use if `adata` is a :class:`~spatialdata.SpatialData`.
        """,
    "matrix_errors": """
        TypeError
            If the data are not numbers.
        KeyError
            If a layer, mask or table does not exist.
        """,
    "key": """
        adata
            Annotated data with a factorization.
        key
            Key of the factorization.
        """,
    "key_errors": """
        KeyError
            If there is no factorization under the key.
        """,
}


def shared_docs[F: Callable[..., Any]](function: F) -> F:
    """Fill ``%(name)s`` in a docstring with the shared description."""

    def fill(match: re.Match[str]) -> str:
        return textwrap.dedent(_SHARED[match["name"]]).strip()

    function.__doc__ = re.sub(
        r"%\((?P<name>\w+)\)s", fill, inspect.cleandoc(function.__doc__ or "")
    )
    return function
