"""Which devices compute, and what fits into their memory."""

from __future__ import annotations

import re

import jax

from .._core.settings import settings

# Of a device's free memory that dense data may take. The rest is for factors, products
# and temporary copies of rows.
_DATA_SHARE = 0.6

# Where a device does not say how much memory it has, as the CPU does not.
_UNKNOWN_BUDGET = 2 * 2**30


def on_accelerator() -> bool:
    """Whether JAX computes elsewhere than on the plain host CPU.

    A CPU that is named with an index, such as ``"cpu:0"``, is treated as an
    accelerator: that is how its code is tested without one.
    """
    if settings.device is None:
        return jax.default_backend() != "cpu"
    return settings.device != "cpu"


def selected_devices() -> list[jax.Device]:
    """Devices of the settings: one, or several that share the rows."""
    name = settings.device
    if name is None:
        return [jax.config.jax_default_device or jax.devices()[0]]
    found = re.fullmatch(r"(\w+)(?::(\*|\d+(?:,\d+)*))?", name)
    if found is None:
        msg = (
            f"settings.device={name!r} is none of the forms 'gpu', 'gpu:1', 'gpu:0,1' "
            "and 'gpu:*'."
        )
        raise ValueError(msg)
    platform, index = found.groups()
    try:
        devices = jax.devices(platform)
    except RuntimeError as error:
        there = sorted({device.platform for device in jax.devices()})
        msg = (
            f"settings.device={name!r} is not there: JAX finds devices of {there} only. "
            "For an NVIDIA GPU, install `nonneg[cuda]`."
        )
        raise ValueError(msg) from error
    if index == "*":
        return devices
    chosen = list(map(int, (index or "0").split(",")))
    if max(chosen) >= len(devices) or len(set(chosen)) < len(chosen):
        msg = f"settings.device={name!r} is not among {[str(d) for d in devices]}."
        raise ValueError(msg)
    return [devices[i] for i in chosen]


def data_budget(device: jax.Device) -> int:
    """Bytes of dense data that a device has room for now."""
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return _UNKNOWN_BUDGET
    free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return int(_DATA_SHARE * free)
