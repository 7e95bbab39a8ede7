"""Several devices, forced from a CPU in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent


def on_four_devices(code: str) -> str:
    """Output of Python code that runs with four CPU devices, as ``"cpu:*"`` names."""
    flags = os.environ.get("XLA_FLAGS", "")
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=4".strip(),
    }
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
