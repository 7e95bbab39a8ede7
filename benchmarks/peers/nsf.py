"""Run in the peer's own environment: ``python peers/nsf.py IN.h5ad OUT.npz RANK EPOCHS``.

Needs mofaflex 0.1.2, which wants torch. Fits its preset of NSF, whose prior of loadings its
own classes spell otherwise, on the CPU, and saves the factors, (n_obs, RANK), and the
seconds that the fit took.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import anndata as ad
import mofaflex
import numpy as np
from mofaflex._core.presets import NSF


def main(source: str, target: str, rank: str, epochs: str) -> None:
    adata = ad.read_h5ad(source)
    model, training, smooth = NSF
    data = mofaflex.DataOptions(
        covariates_obsm_key="spatial",
        plot_data_overview=False,
        scale_per_group=False,
        subset_var=None,
    )
    begin = time.perf_counter()
    fitted = mofaflex.MOFAFLEX(
        {"section": {"genes": adata}},
        data,
        replace(model, n_factors=int(rank), weight_prior="Horseshoe"),
        replace(
            training, device="cpu", seed=0, max_epochs=int(epochs), save_path=False
        ),
        smooth,
    )
    seconds = time.perf_counter() - begin
    factors = np.asarray(fitted.get_factors()["section"])
    np.savez(target, factors=factors, seconds=seconds, epochs=len(fitted.training_loss))


if __name__ == "__main__":
    main(*sys.argv[1:])
