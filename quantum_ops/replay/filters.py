"""The only place that picks entries by their fields: ``symbol=BTCUSDT``, ``outcome!=ok``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from quantum_ops.history.entry import Entry


class Filter(NamedTuple):
    """``equal``: a field of that name has that value; otherwise: none has."""

    name: str
    value: str
    equal: bool


def parse(text: str) -> Filter:
    """What ``text`` means; raises ``ValueError`` that says what to write."""
    name, sign, value = text.partition("=")
    equal = not name.endswith("!")
    name = name.removesuffix("!")
    if not (sign and name):
        raise ValueError(f"{text!r} is no filter; write symbol=BTCUSDT or outcome!=ok")
    return Filter(name, value, equal)


def passes(entry: Entry, filters: Sequence[Filter]) -> bool:
    """Whether ``entry`` passes all of them. A missing field is unequal to anything.

    Bytes that are no text equal nothing that can be typed.
    """
    return all(_holds(entry, one) == one.equal for one in filters)


def _holds(entry: Entry, wanted: Filter) -> bool:
    """Whether a field of that name has that value."""
    fields = entry.fields
    # Most entries end here, at the speed of a list's own search.
    if wanted.value not in fields or wanted.name not in fields:
        return False
    binary = entry.base64
    return any(
        fields[at] == wanted.name
        and fields[at + 1] == wanted.value
        and at not in binary
        and at + 1 not in binary
        for at in range(0, len(fields) - 1, 2)
    )


def chosen(entries: Iterable[Entry], filters: Sequence[Filter]) -> Iterable[Entry]:
    """Those of ``entries`` that pass; without filters, all of them at no cost."""
    if not filters:
        return entries
    return (entry for entry in entries if passes(entry, filters))
