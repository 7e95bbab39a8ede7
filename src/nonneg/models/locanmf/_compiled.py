"""Loops over pixels, on the host."""

from __future__ import annotations

from ...operators._numba import compiled

# As a slope: nothing outweighs it.
FORBIDDEN = 1e25


@compiled
def sweep_pixels(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0917
    data, a, slope, distance, region, weight, ridge, gram, step, closed, n_sweeps,
    peak, inside, square, product,
):  # fmt: skip
    """Sweep over the components of some pixels, and sum what the time courses need.

    Minimises ``1/2 a G aᵀ - (slope - weight distance) a`` over ``a >= 0`` for every
    pixel, one component at a time, and ``1/2 ridge a²`` outside of its region; a zero of
    ``step`` holds a component at zero, and if ``closed``, so does a zero of ``a``.
    ``slope`` is overwritten. Most footprints are zero at most pixels, and only those
    that are not, or that move, cost more than a comparison.

    ``peak`` is raised to the largest values; squares inside a component's region are
    added to ``inside``, AᵀA to ``square``, and AᵀM to ``product``.
    """
    n_components = a.shape[1]
    for n in range(a.shape[0]):
        for k in range(n_components):
            away = distance[n, region[k]]
            if closed and a[n, k] == 0:
                slope[n, k] = -FORBIDDEN
            elif away > 0:
                slope[n, k] -= weight[k] * away
        for k in range(n_components):
            value = a[n, k]
            if value != 0:
                for i in range(n_components):
                    slope[n, i] -= value * gram[k, i]
        for _ in range(n_sweeps):
            moved = False
            for k in range(n_components):
                move = slope[n, k] * step[k]
                if ridge[k] > 0 and distance[n, region[k]] > 0:
                    share = ridge[k] * step[k]
                    move = (move - share * a[n, k]) / (1 + share)
                new = a[n, k] + move
                if new < 0 or step[k] == 0:
                    new = 0 * new
                delta = new - a[n, k]
                if delta != 0:
                    a[n, k] = new
                    moved = True
                    for i in range(n_components):
                        slope[n, i] -= delta * gram[k, i]
            if not moved:
                break
        for k in range(n_components):
            value = a[n, k]
            if value > 0:
                peak[k] = max(peak[k], value)
                if distance[n, region[k]] == 0:
                    inside[k] += value * value
                for i in range(n_components):
                    square[k, i] += value * a[n, i]
                for r in range(data.shape[1]):
                    product[k, r] += value * data[n, r]
