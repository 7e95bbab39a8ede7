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


# What may be stored beside scores and loadings: by the attribute of the AnnData and by
# kind, what the name ends in. It begins with the key of the scores in obsm, of the
# loadings in varm, and of the entry elsewhere.
SIDE_KEYS: dict[str, dict[str, str]] = {
    "obsm": {
        # posterior standard deviations of factors (NSF family)
        "std": "_std",
        # scores after tl.quantile_align or tl.centroid_align
        "aligned": "_aligned",
        # deconvolution: shares of RNA instead of cells
        "rna": "_rna",
        # tl.seed_correlation
        "seed_correlation": "_seed_correlation",
    },
    "varm": {
        # integrations: metagenes of data sets, sums over cells, scales of genes
        "specific": "_specific",
        "stats": "_stats",
        "scale": "_scale",
        # … and shared metagenes after every data set that arrived
        "history": "_history",
        # tl.decode_behavior: held-out predictions of regions
        "decoded": "_decoded",
    },
    "var": {
        # rsf, fa: means of genes after normalisation
        "center": "_center",
        # nsf, nsfh, pnmf: of counts, overdispersion of genes
        "dispersion": "_dispersion",
        "importance": "_spatial_importance",
        "importance_std": "_spatial_importance_std",
        "importance_null": "_spatial_importance_null",
        # nmf, stability: weights of squared errors
        "weight": "_weight",
        # deconvolution: genes that were used
        "used": "_used",
        # tl.gene_importance
        "gene_importance": "_importance",
        "assignment": "_assignment",
        "n_factors": "_n_factors",
        "reconstruction": "_reconstruction",
    },
    "obs": {
        "importance": "_spatial_importance",
        "importance_std": "_spatial_importance_std",
        "importance_null": "_spatial_importance_null",
        # leading factor of each cell, by an alignment
        "cluster": "_cluster",
        # deconvolution: counts of the genes used, misfit, share of an unknown type
        "depth": "_depth",
        "residual": "_residual",
        "missing": "_missing",
        # pp.svd: mean of every pixel over time
        "mean": "_mean",
        # … and components of the square around it
        "rank": "_rank",
        # pp.hemodynamic_correction
        "coef": "_coef",
        "explained": "_explained",
    },
    # tl.coexpression_network
    "varp": {"coexpression": "_coexpression"},
    "uns": {
        # tl.factor_markers
        "markers": "_markers",
        "region_correlation": "_region_correlation",
        "region_prediction": "_region_prediction",
        # genes of tl.coexpression_network
        "coexpression": "_coexpression",
        # of time courses: verbs of the same names
        "region_cca": "_region_cca",
        "event_average": "_event_average",
        "demixed_pca": "_demixed_pca",
        "decode_events": "_decode_events",
        "decode_behavior": "_decode_behavior",
        "seed_correlation": "_seed_correlation",
    },
}


def side_key(keys: FactorKeys, attr: str, kind: str) -> str:
    """Name of what is stored beside a factorization."""
    begin = {"obsm": keys.obsm, "varm": keys.varm}.get(attr, keys.uns)
    return begin + SIDE_KEYS[attr][kind]


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
