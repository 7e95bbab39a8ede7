"""Tools: factorizations and what follows from them."""

from __future__ import annotations

from ._compare import compare
from ._fa import fa
from ._nmf import nmf
from ._nsf import nsf
from ._nsfh import nsfh
from ._pnmf import pnmf
from ._predict import predict
from ._project import project
from ._rsf import rsf
from ._seminmf import seminmf

__all__ = [
    "compare",
    "fa",
    "nmf",
    "nsf",
    "nsfh",
    "pnmf",
    "predict",
    "project",
    "rsf",
    "seminmf",
]
