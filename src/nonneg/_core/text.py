"""Words of messages."""

from __future__ import annotations

_PLURAL = {
    "comes": "come",
    "has": "have",
    "is": "are",
    "lacks": "lack",
    "names": "name",
}


def counted(n: int, noun: str, verb: str = "", *, of: int | None = None) -> str:
    """A number with its noun and verb, in the singular or plural: `1 region has`.

    With ``of``, as part of so many: `1 of 9 regions has`.
    """
    many = n if of is None else of
    part = f"{n}" if of is None else f"{n} of {of}"
    words = [part, noun if many == 1 else noun + "s"]
    return " ".join([*words, conjugated(n, verb)] if verb else words)


def conjugated(n: int, verb: str) -> str:
    """A verb in the singular or plural: `has`, `have`."""
    return verb if n == 1 else _PLURAL[verb]
