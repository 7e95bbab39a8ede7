"""Hemodynamics in fluorescence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.checks import as_numbers, check_key
from .._adata.read import resolve_adata
from .._adata.video import read_video
from .._adata.views import read_factors
from .._adata.write import keys_to_write, write_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ..models.video.hemodynamics import (
    Product,
    coefficients,
    filter_traces,
    in_time,
    power,
    without,
)
from ..models.video.low_rank import normal_form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike
    from spatialdata import SpatialData

    from .._adata.video import Video


@checked
@shared_docs
def hemodynamic_correction(
    adata: AnnData | SpatialData,
    key: str = "svd",
    *,
    reference_key: str | Sequence[str] = "svd_violet",
    coef: float | ArrayLike | None = None,
    highpass: float | None = 0.1,
    lowpass: float | None = None,
    causal: bool = False,
    late: float | ArrayLike | None = None,
    n_components: int | None = None,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Remove what a reference channel predicts of the signal.

    The violet channel (405 nm) sees blood, which absorbs, but not activity; of every pixel
    the signal is regressed on it :cite:p:`Saxena2020`:

    .. math::

        \tilde y_n = y_n - b_n h_n, \qquad b_n = \frac{y_n^\top h_n}{h_n^\top h_n},

    with mean-free :math:`y` and :math:`h`. Both are known as :math:`U V`, and the regression
    is done there, without pixels x frames.

    For indicators whose excitation is not absorbed alike, such as red ones, hemodynamics are
    computed from reflectance at one or two wavelengths instead: with
    :math:`F = F_0 \, R_1^{w_1} R_2^{w_2}`, to first order
    :math:`\Delta F / F - w_1 \Delta R_1 / R_1 - w_2 \Delta R_2 / R_2`. Name these channels as
    references, and give the exponents, which follow from path lengths and absorption, as
    `coef`. All channels have to be relative changes (:func:`nonneg.pp.delta_f`) then.

    Parameters
    ----------
    adata
        Annotated pixels x frames, with both channels compressed.
    key
        Key of the signal.
    reference_key
        Key of the reference, or of several.
    coef
        Coefficients of the references, in place of regression. `None`: regression.
    highpass
        Slower fluctuations than this are removed first, from both, in Hz. `None`: none.
        Bleaching is slow; so is arousal.
    lowpass
        Faster fluctuations of the reference are removed first, in Hz, which keeps its
        noise out of the signal, and heart beat in. `None`: none; wfield has 14 Hz.
    causal
        Filter forwards in time only. Otherwise filters run forth and back, which keeps
        peaks in their place, but a response then reaches to frames *before* its cause,
        and looks like anticipation.
    late
        By which part of a frame references were taken after the signal. They are
        interpolated. `None`: as channels follow each other in `adata.uns['video']`.
    n_components
        Number of components of the result. `None`: as many as the signal has.
    key_added
        Key under which to store the result instead of `hemo`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.obsm['X_hemo' | key_added]`, `.varm['hemo' | key_added]` : :class:`numpy.ndarray`
        The corrected signal, in the form of :func:`nonneg.pp.svd`; its mean is zero.
    `.obs['hemo_coef' | key_added + '_coef']` : :class:`pandas.Series`
        Coefficient of every pixel, of the first reference.
    `.obs['hemo_explained' | key_added + '_explained']` : :class:`pandas.Series`
        Part of the variance of the signal that was removed; below 0 where a given `coef`
        added some.
    `.uns['hemo' | key_added]` : :class:`dict`
        `singular_values` and `params`.

    Raises
    ------
    KeyError
        If there is no product under a key, or observations are not pixels of a video.
    ValueError
        If an argument does not suit.

    See Also
    --------
    nonneg.pp.svd : compresses channels
    nonneg.pl.hemodynamic_maps : coefficients, and what they removed

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(shape=(40, 48), n_regions=2, motion=0)
    >>> nng.pp.delta_f(adata)
    >>> nng.pp.svd(adata, 30)
    >>> nng.pp.svd(adata, 30, layer="violet")
    >>> nng.pp.hemodynamic_correction(adata)
    >>> bool(adata.obs["hemo_coef"].corr(adata.obs["true_hemo_coef"]) > 0.6)
    True
    """
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    keys = keys_to_write(target, "hemo", key_added)
    video = read_video(target)
    names = [reference_key] if isinstance(reference_key, str) else list(reference_key)
    if not names or key in names:
        msg = f"reference_key={reference_key!r} must name other products than key={key!r}."
        raise ValueError(msg)
    _check_filters(highpass, lowpass, video.fs)
    if highpass is not None or lowpass is not None:
        video.check_rate()
    for name in (key, *names):
        layer = name.removeprefix("svd_")
        of = f", layer={layer!r}" if layer != name else ""
        hint = f"Compress the channel first: `nonneg.pp.svd(adata{of})`."
        check_key(target, "uns", name, hint=hint)
    offsets = _offsets(target, video, key, names, late)
    factors = [read_factors(target, name) for name in (key, *names)]
    for found in factors:
        if not (np.isfinite(found.scores).all() and np.isfinite(found.loadings).all()):
            msg = f"The product under {found.keys.uns!r} holds infinite entries or NaN."
            raise ValueError(msg)
    products = []
    for found, offset in zip(factors, (0.0, *offsets), strict=True):
        v = in_time(found.loadings.astype(np.float64), offset, causal=causal)
        v = filter_traces(
            v,
            video.fs,
            highpass=highpass,
            lowpass=None if found is factors[0] else lowpass,
            causal=causal,
        )
        products.append(Product(found.scores, v - v.mean(axis=0)))
    signal, references = products[0], products[1:]
    if coef is None:
        slopes = coefficients(signal, references)
    else:
        given = as_numbers(coef, "coef").ravel()
        in_range = np.abs(given) < np.finfo(np.float32).max
        if given.size != len(names) or not in_range.all():
            msg = f"coef={coef} must be one finite number for each of {names}."
            raise ValueError(msg)
        slopes = np.broadcast_to(given, (target.n_obs, given.size))
    size = signal.u.shape[1]
    if n_components is not None:
        size = check_positive_int(n_components, "n_components")
    rest = without(signal, references, slopes)
    product = normal_form(rest.u, rest.v, size)
    whole = power(signal)
    explained = 1 - power(rest) / np.where(whole > 0, whole, np.inf)
    write_factors(
        target,
        keys,
        method="hemo",
        scores=product.u,
        loadings=product.v,
        params={
            "key": key,
            "reference_key": np.array(names, object),
            "coef": None if coef is None else given,
            "highpass": highpass,
            "lowpass": lowpass,
            "causal": causal,
            "late": np.array(offsets, np.float64),
            "n_components": size,
        },
        info={"singular_values": product.singular_values},
        side={
            "obs": {
                "coef": slopes[:, 0].astype(np.float32),
                "explained": np.where(whole > 0, explained, 0).astype(np.float32),
            }
        },
    )
    return target if copy else None


# Of the frame rate: below, rounding makes a filter unstable.
_LOWEST = 1e-6


def _check_filters(highpass: float | None, lowpass: float | None, fs: float) -> None:
    for name, cut in (("highpass", highpass), ("lowpass", lowpass)):
        if cut is not None and not 0 < cut < np.inf:
            msg = f"{name}={cut} must be a positive number, in Hz, or None."
            raise ValueError(msg)
    if highpass is not None and highpass < _LOWEST * fs:
        msg = (
            f"highpass={highpass:g} is too low for a filter at {fs:g} Hz. Leave it out, "
            "highpass=None."
        )
        raise ValueError(msg)
    if highpass is not None and highpass >= fs / 2:
        msg = f"highpass={highpass} must be below half the frame rate, {fs / 2} Hz."
        raise ValueError(msg)
    if highpass is not None and lowpass is not None and lowpass <= highpass:
        msg = (
            f"lowpass={lowpass} must be above highpass={highpass}: nothing would be left "
            "of the references."
        )
        raise ValueError(msg)


def _offsets(
    adata: AnnData,
    video: Video,
    key: str,
    names: Sequence[str],
    late: float | ArrayLike | None,
) -> list[float]:
    if late is not None:
        each = as_numbers(late, "late")
        if each.shape not in {(), (1,), (len(names),)}:
            msg = f"late={late} must be one number, or one for each of {names}."
            raise ValueError(msg)
        given = np.broadcast_to(each, (len(names),))
        if not np.isfinite(given).all() or (np.abs(given) >= 1).any():
            msg = f"late={late} must be parts of a frame, between -1 and 1."
            raise ValueError(msg)
        return [float(x) for x in given]

    def place(name: str) -> int:
        """Position of a channel in the cycle."""
        params = read_factors(adata, name).entry.params
        layer = params.get("layer") or name.removeprefix("svd_")
        return video.channels.index(layer) if layer in video.channels else 0

    return [(place(name) - place(key)) / len(video.channels) for name in names]
