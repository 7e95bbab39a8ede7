"""Atlases of BrainGlobe."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .._core.arguments import checked
from ._atlas import Atlas

_MM = 1e-3  # of BrainGlobe's micrometres


@checked
def load(name: str) -> Atlas:
    """Load one of the atlases that BrainGlobe offers.

    :mod:`brainglobe_atlasapi` :cite:p:`Claudi2020` downloads an atlas the first time and
    keeps it. It is an extra: `pip install 'nonneg[atlas]'`. Allen's annotation on the
    200 µm grid of its expression volumes is not among them: read that with
    :func:`nonneg.io.read_allen_grid`, or make an atlas with
    :meth:`nonneg.atlas.Atlas.from_arrays`.

    Parameters
    ----------
    name
        Name with its resolution, such as `"allen_mouse_100um"`; `brainglobe list` on the
        command line shows all.

    Returns
    -------
    The atlas. Positions lie at the centres of its voxels, and hemispheres are as it says.

    Raises
    ------
    ImportError
        If brainglobe-atlasapi is not installed.
    ValueError
        If there is no atlas of this name.

    See Also
    --------
    nonneg.atlas.annotate : regions of observations

    Examples
    --------
    >>> import nonneg as nng
    >>> ccf = nng.atlas.load("allen_mouse_100um")  # doctest: +SKIP
    >>> ccf.ancestors("VISp")  # doctest: +SKIP
    [997, 8, 567, 688, 695, 315, 669]
    """
    try:
        from brainglobe_atlasapi import BrainGlobeAtlas
    except ImportError as error:
        msg = (
            "Atlases are loaded by brainglobe-atlasapi, which is not installed. Install "
            "it with `pip install 'nonneg[atlas]'`, or make an atlas of your own arrays "
            "with `nonneg.atlas.Atlas.from_arrays`."
        )
        raise ImportError(msg) from error
    if not isinstance(name, str):
        msg = f"name={name!r} must be text, such as 'allen_mouse_100um'."
        raise TypeError(msg)
    try:
        source = BrainGlobeAtlas(name, check_latest=False)
    except Exception as error:
        msg = (
            f"BrainGlobe offers no atlas name={name!r}, or it could not be downloaded: "
            f"{error}. `brainglobe list` on the command line shows all."
        )
        raise ValueError(msg) from error
    spacing = _MM * np.asarray(source.resolution, np.float64)
    paths = [list(each["structure_id_path"]) for each in source.structures_list]
    table = pd.DataFrame(
        {
            **{
                column: [each[column] for each in source.structures_list]
                for column in ("id", "acronym", "name")
            },
            "parent": [path[-2] if len(path) > 1 else 0 for path in paths],
            "color": [
                "#{:02x}{:02x}{:02x}".format(*each["rgb_triplet"])
                for each in source.structures_list
            ],
        }
    )
    return Atlas.from_arrays(
        _known(np.asarray(source.annotation), table),
        table,
        spacing=tuple(spacing),
        # Voxel 0 reaches from 0 to its length.
        origin=tuple(spacing / 2),
        hemispheres=np.asarray(source.hemispheres),
        name=name,
    )


def _known(labels: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Labels with 0 in place of those without a structure, which some atlases have."""
    return np.where(np.isin(labels, table["id"]), labels, 0)
