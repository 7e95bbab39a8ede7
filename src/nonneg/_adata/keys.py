"""The key rule, as data: where a method's results live in an AnnData."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FactorKeys:
    """Where one factorization is stored.

    Scores in ``obsm[obsm]``, loadings in ``varm[varm]``, everything else in
    ``uns[uns]``.
    """

    obsm: str
    varm: str
    uns: str


def factor_keys(method: str, key_added: str | None = None) -> FactorKeys:
    """Keys of a factorization: scanpy's rule for PCA.

    ``X_<method>`` and ``<method>`` unless ``key_added`` names all three.
    """
    if key_added is None:
        return FactorKeys(obsm=f"X_{method}", varm=method, uns=method)
    if not isinstance(key_added, str) or not key_added or "/" in key_added:
        msg = (
            f"key_added={key_added!r} must be a non-empty string without '/', which "
            "files cannot store."
        )
        raise ValueError(msg)
    return FactorKeys(obsm=key_added, varm=key_added, uns=key_added)
