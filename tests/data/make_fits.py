"""Write ``fits_v1.h5ad``: a fit of every method, in the form of schema 1.

Run it again only for a new schema, under a new name: the files that are there show that
older ones can still be read.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pandas as pd

import nonneg as nng


def main() -> None:
    warnings.simplefilter("ignore")
    nng.settings.progress = False

    adata = nng.datasets.ggblocks(8, 16)
    del adata.uns["truth"], adata.obsm["truth"], adata.varm["truth"]
    adata.obs["batch"] = pd.Categorical(["a", "b"] * (adata.n_obs // 2))
    adata.var["used"] = np.arange(adata.n_vars) % 8 != 0
    adata.obsm["X_pca"] = adata.X[:, :5].toarray()

    nng.tl.nmf(adata, 3, mask_var="used")
    nng.tl.nmf(adata, 2, obsm="X_pca", key_added="nmf_of_obsm")
    nng.tl.seminmf(adata, 3, key_added="seminmf")

    spatial = {"max_iter": 3, "length_scale": 3.0, "temperature": 1.0}
    nng.tl.nsf(adata, 3, amplitude=1.0, **spatial)
    nng.tl.nsfh(adata, 3, n_spatial=2, amplitude=1.0, library_key="batch", **spatial)
    nng.tl.rsf(adata, 2, **spatial)
    nng.tl.fa(adata, 2)
    nng.tl.pnmf(adata, 2, likelihood="negative_binomial", max_iter=3)

    integration = {"batch_key": "batch", "size_factors": "total"}
    nng.tl.inmf(adata, 3, **integration)
    nng.tl.quantile_align(adata, min_cells=2)
    nng.tl.factor_markers(adata, min_cells=2)
    nng.tl.online_inmf(adata, 3, n_epochs=1, key_added="online", **integration)
    nng.tl.centroid_align(adata, key="online")

    with TemporaryDirectory() as folder:
        adata.write_h5ad(Path(folder) / "fits.h5ad")
        # Hundreds of small arrays take half the room in the newer form of HDF5.
        with (
            h5py.File(Path(folder) / "fits.h5ad") as wide,
            h5py.File(
                Path(__file__).with_name("fits_v1.h5ad"), "w", libver="latest"
            ) as compact,
        ):
            compact.attrs.update(wide.attrs)
            for name in wide:
                wide.copy(name, compact)


# Tests of examples import every module here.
if __name__ == "__main__":
    main()
