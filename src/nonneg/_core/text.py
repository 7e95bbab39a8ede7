"""Words of messages."""

from __future__ import annotations

_PLURAL = {"has": "have", "is": "are", "lacks": "lack", "names": "name"}


def counted(n: int, noun: str, verb: str = "") -> str:
    """A number with its noun and verb, in the singular or plural: `1 region has`."""
    if n == 1:
        return f"1 {noun} {verb}".rstrip()
    return f"{n} {noun}s {_PLURAL.get(verb, '')}".rstrip()
