"""The emitter as plainly as it can be said, to hold the quick one against: no short cuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quantum_ops.ledger import emitter, fields

ENTRY = {name: rank for rank, name in enumerate(fields.ORDER)}
PROOF = {name: rank for rank, name in enumerate(fields.PROOF_ORDER)}
CONFLICT = {name: rank for rank, name in enumerate(fields.CONFLICT_ORDER)}


def ordered(data: Mapping[str, Any]) -> dict[str, Any]:
    ranks = CONFLICT if "record" in data else ENTRY
    found = {}
    for name, value in in_order(data, ranks):
        if isinstance(value, dict):
            inner = PROOF if name == "proof_file" else {}
            found[name] = ordered(value) if name == "rejected" else dict(in_order(value, inner))
        else:
            found[name] = value
    return found


def in_order(data: Mapping[str, Any], ranks: Mapping[str, int]) -> list[tuple[str, Any]]:
    return sorted(data.items(), key=lambda item: (ranks.get(item[0], len(ranks)), item[0]))


def block(data: Mapping[str, Any]) -> str:
    if not data:
        return "--- {}\n"
    lines = ["---"]
    for name, value in data.items():
        if isinstance(value, str) and name not in emitter.TIMES and "\n" in value:
            lines.append(f"{key(name, '')} {emitter._lines(value)}")
        else:
            lines.extend(field(name, value, ""))
    return "\n".join([*lines, ""])


def field(name: str, value: Any, indent: str) -> Iterator[str]:
    shown = scalar(name, value)
    yield f"{indent}{key(name, indent)}" + (f" {shown}" if shown is not None else "")
    if shown is None:
        yield from nested(name, value, indent + "  ")


def nested(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from field(inner, one, indent)
        return
    for one in value:
        shown = scalar(name, one)
        yield f"{indent}-" + (f" {shown}" if shown is not None else "")
        if shown is None:
            yield from nested(name, one, indent + "  ")


def scalar(name: str, value: Any) -> str | None:
    if isinstance(value, str):
        is_time = name in emitter.TIMES and emitter.is_time.__wrapped__(value)
        return value if is_time else emitter.text(value)
    if value is None:
        return "null"
    if isinstance(value, (bool, int)):
        return str(value).lower()
    if not value:
        return "{}" if isinstance(value, dict) else "[]"
    return None


def key(name: str, indent: str) -> str:
    shown = emitter.text(name)
    if len(shown) <= emitter.LONGEST_SIMPLE_KEY:
        return f"{shown}:"
    return f"? {shown}\n{indent}:"
