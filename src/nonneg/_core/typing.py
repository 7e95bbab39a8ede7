"""Names of types."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.floating[Any]]
