"""Least squares and CARD's model, written out: shares of RNA and of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .deconvolution_sections import Floats, Section


def both_shares(rna: Floats, library_size: Floats) -> tuple[Floats, Floats]:
    """Of a method that returns shares of RNA, also those of cells."""
    rna = unit(np.maximum(rna, 0))
    return rna, unit(rna / library_size)


def unit(values: Floats) -> Floats:
    """Rows with sum one; equal shares where there is nothing."""
    total = values.sum(1, keepdims=True)
    return np.where(
        total > 0, values / np.where(total > 0, total, 1), 1 / len(values.T)
    )


def least_squares(found: Section) -> tuple[Floats, Floats]:
    """Non-negative least squares, location by location."""
    y, b, library_size = found.shared()
    profiles = b / b.sum(1, keepdims=True)
    q, r = np.linalg.qr(profiles.T)
    y = y / np.maximum(y.sum(1, keepdims=True), 1)
    shares = np.stack([nnls(r, row)[0] for row in y @ q])
    return both_shares(shares, library_size)


def card(found: Section) -> tuple[Floats, Floats]:
    """CARD's model, by the updates of its article, from its choice of genes on.

    Types have conditional autoregressive priors with variance λ_k and mean b_k; the
    parameter φ is the one of its grid with the largest objective.
    """
    y, b, library_size = found.shared()
    keep = _card_genes(found, b)
    x = y[:, keep].T
    x = x / np.maximum(x.sum(0), 1)
    sizes = b.sum(1, keepdims=True)
    basis = (b / sizes * library_size[:, None])[:, keep].T
    x *= 0.1 / x.mean()
    basis *= 0.1 / basis.mean()
    coords = np.asarray(found.spots.obsm["spatial"], float)
    coords = coords - coords.min(0)
    coords /= coords.max()
    distance = np.square(coords[:, None] - coords).sum(-1)
    near = np.exp(-distance / (2 * 0.1**2))
    np.fill_diagonal(near, 0)
    rng = np.random.default_rng(20200107)
    begin = rng.dirichlet(np.full(b.shape[0], 10.0), x.shape[1]).T
    best, value = begin, -np.inf
    for phi in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        fitted, objective = _card_fit(x, basis, near, phi, begin)
        if objective > value:
            best, value = fitted, objective
    cells = unit(best.T)
    return unit(cells * library_size), cells


def _card_genes(found: Section, b: Floats) -> NDArray[np.bool_]:
    """Log fold change above 1.25 in some type, the most dispersed 1 % left out."""
    mean = b / b.sum(1, keepdims=True)
    others = (mean.sum(0) - mean) / (len(mean) - 1)
    keep = np.asarray((np.log(mean + 1e-6) - np.log(others + 1e-6)).max(0) > 1.25)
    if keep.sum() < 10 * len(b):  # a panel: all genes
        return np.ones_like(keep)
    x, labels = found.cells.X, found.cells.obs["cell_type"].to_numpy(str)
    dispersion = np.zeros(x.shape[1])
    for name in found.types:
        part = x[labels == name]
        middle = np.asarray(part.mean(0)).ravel()
        square = np.asarray(part.multiply(part).mean(0)).ravel()
        dispersion += (square - middle**2) / np.maximum(middle, 1e-12)
    dispersion = dispersion[found.cells.var_names.get_indexer(found.genes())]
    return keep & (dispersion <= np.quantile(dispersion[keep], 0.99))


def _card_fit(
    x: Floats, b: Floats, near: Floats, phi: float, v: Floats, tol: float = 1e-4
) -> tuple[Floats, float]:
    n, m = x.shape
    degree = near.sum(1)
    gram, projected, norm = b.T @ b, b.T @ x, np.vdot(x, x)
    alpha, beta = 1.0, m / 2
    laplacian_ones = degree - phi * near.sum(1)
    total, old = laplacian_ones.sum(), -np.inf
    for _ in range(1000):
        mean = v @ laplacian_ones / total
        centred = v - mean[:, None]
        quadratic = (centred * (centred * degree - phi * (centred @ near))).sum(1)
        spread = (quadratic / 2 + beta) / (m / 2 + alpha + 1)
        residual = norm - 2 * np.vdot(projected, v) + np.vdot(gram @ v, v)
        noise = max(residual, 1e-300) / (n * m)
        up = spread[:, None] * projected
        up += noise * (phi * (v @ near) + mean[:, None] * degree)
        down = spread[:, None] * (gram @ v)
        down += noise * (v * degree + phi * mean[:, None] * degree)
        v = v * up / np.maximum(down, 1e-300)
        objective = -n * m / 2 * (np.log(noise) + 1) - np.sum(
            m / 2 * np.log(spread)
            + quadratic / (2 * spread)
            + (alpha + 1) * np.log(spread)
            + beta / spread
        )
        if objective > old and (objective - old) * 2 < tol * abs(objective + old):
            break
        old = objective
    return v, float(objective)
