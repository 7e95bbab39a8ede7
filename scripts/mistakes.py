"""Random mistakes in calls of all public functions: `mistakes.py [n] [first] [only]`.

Prints the calls that end in anything but a result or a message of ours, each kind once,
and the seeds of all of them.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter

import matplotlib as mpl
import matplotlib.pyplot as plt

import nonneg as nng
from testing.nonneg import Mistakes


def main(n: int = 10_000, first: int = 0, only: str = "") -> int:
    """Run so many, and count the faults."""
    warnings.simplefilter("ignore")
    mpl.use("agg")
    nng.settings.progress = False
    mistakes = Mistakes(only=only)
    kinds: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    began = time.process_time()
    for seed in range(first, first + n):
        start = time.process_time()
        outcome = mistakes.run(seed)
        plt.close("all")
        seen[outcome.function] += time.process_time() - start
        if outcome.fault is None:
            kinds["message" if outcome.error is not None else "result"] += 1
            continue
        kinds[outcome.fault] += 1
        is_new = kinds[outcome.fault] == 1
        print(seed, outcome if is_new else outcome.function, flush=True)
    faults = sum(kinds.values()) - kinds["message"] - kinds["result"]
    print(
        f"{n} calls: {kinds['result']} results, {kinds['message']} messages, "
        f"{faults} faults of {len(kinds) - 2} kinds; {time.process_time() - began:.0f} s"
    )
    print(seen.most_common(8))
    return int(faults > 0)


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(*map(int, given[:2]), *given[2:]))
