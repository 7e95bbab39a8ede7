"""Ctrl-C at random moments of all `tl` functions: `interruptions.py [n] [seed] [only]`."""

from __future__ import annotations

import sys
import time

import numpy as np

import nonneg as nng
from testing.nonneg import LONGER, Mistakes, interrupt


def main(n: int = 50, seed: int = 0, only: str = "tl.") -> int:
    """Interrupt each so often, and print what was wrong."""
    nng.settings.progress = False
    mistakes = Mistakes(only=only)
    n_faults = 0
    for name, make in mistakes.calls.items():
        began = time.process_time()
        function = mistakes.functions[name]
        faults = interrupt(
            lambda kwargs, function=function: function(**kwargs),
            lambda make=make, name=name: {**make(), **LONGER.get(name, {})},
            np.random.default_rng(seed),
            n,
        )
        n_faults += len(faults)
        print(f"{name}: {len(faults)} of {n}, {time.process_time() - began:.0f} s")
        for fault in sorted(set(faults))[:4]:
            print("   ", fault, flush=True)
    print(f"{len(mistakes.calls)} functions, {n} times each: {n_faults} faults")
    return int(n_faults > 0)


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(*map(int, given[:2]), *given[2:]))
