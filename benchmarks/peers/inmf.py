"""Run in the peers' own environment: ``python peers/inmf.py FOLDER NAME RANK``.

Needs pyliger 0.2.4 and nmf-torch 0.1.1, which want old dependencies. Reads the data
sets that :mod:`benchmarks.inmf` has written to the folder, prints the seconds that the
fit took, and saves W and V there.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy.sparse as sp


def main(folder: str, name: str, rank: str) -> None:
    warnings.simplefilter("ignore")
    data = [sp.load_npz(path) for path in sorted(Path(folder).glob("data_*.npz"))]
    program, mode = name.split()
    run = {"nmf-torch": nmf_torch, "pyliger": pyliger}[program]
    seconds, w, v = run(data, mode, int(rank))
    np.savez(Path(folder) / "peer.npz", W=w, V=np.stack(v), seconds=seconds)


def nmf_torch(data, mode, rank):
    import nmf

    def fit():
        # Its list is overwritten.
        dense = [x.toarray().astype(np.float32) for x in data]
        start = time.perf_counter()
        kwargs = {"algo": "halsvar", "mode": mode, "lam": 5.0, "random_state": 0}
        if mode == "online":
            kwargs |= {"online_max_pass": 5}
        else:
            kwargs |= {"batch_max_iter": 10}
        _, w, v, _ = nmf.integrative_nmf(dense, rank, **kwargs)
        return time.perf_counter() - start, w, v

    fit()  # the second call counts
    return fit()


def pyliger(data, mode, rank):
    import anndata as ad
    import pandas as pd

    # It is imported for clusters, which nothing here asks for, and does not build.
    sys.modules.setdefault("louvain", ModuleType("louvain"))
    from pyliger import Liger, online_iNMF, optimize_ALS

    sets = []
    for i, x in enumerate(data):
        adata = ad.AnnData(
            sp.csr_matrix(x),
            obs=pd.DataFrame(index=pd.Index([f"c{i}_{j}" for j in range(x.shape[0])])),
            var=pd.DataFrame(index=pd.Index([f"g{j}" for j in range(x.shape[1])])),
        )
        adata.layers["scale_data"] = sp.csr_matrix(x)
        adata.uns["sample_name"] = f"d{i}"
        adata.obs.index.name, adata.var.index.name = "barcodes", "genes"
        sets.append(adata)
    liger = Liger(sets)
    liger.var_genes = sets[0].var_names.to_numpy()
    start = time.perf_counter()
    if mode == "anls":
        optimize_ALS(liger, rank, value_lambda=5.0, max_iters=10, rand_seed=1)
    else:
        online_iNMF(liger, k=rank, value_lambda=5.0, max_epochs=5, verbose=False)
    seconds = time.perf_counter() - start
    w = np.asarray(sets[0].varm["W"]).T
    return seconds, w, [np.asarray(adata.varm["V"]).T for adata in sets]


if __name__ == "__main__":
    main(*sys.argv[1:])
