"""The only place that knows where a result of the trading side keeps its order id. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from quantum_ops.events import ApplyResult

FIELD = "order_id"
PLACES = ("order_id", "details", "steps_results")
"""Fields of a result that may hold it."""
_SHAPE = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
"""Exchange ids are digits, client ids at most 36 of these."""
_NO_ORDER = re.compile(r"-\d+|[0.]+", re.ASCII)
_NOTHING = frozenset({"none", "null", "nan", "undefined", "true", "false"})
"""What programs write in place of an id that they do not have."""


class Float(str):
    """A number that is no whole one, as it was written; never an order id."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a result tells of its order. ``order_id`` and ``where`` are empty if of none."""

    order_id: str
    where: Literal["", "order_id", "details", "steps_results"]
    details: dict[str, Any]
    step: dict[str, Any]
    """The last step that has an order id, else the last one; empty if there is none."""


def find(result: ApplyResult) -> str:
    """The id of the order that ``result`` tells of; empty if it tells of none.

    Looked for at top level, then in ``details`` (a JSON object), then in ``steps_results`` (a JSON
    array of objects), where the last step that has one counts. JSON that is hostile or broken
    holds no order id; nor does an object that names it twice, because readers disagree on which
    of the two counts.
    """
    return (
        usable(result.order_id)
        or _of_step(_decode(result.details))
        or _of_step(_last_step(_decode(result.steps_results)))
    )


def read(result: ApplyResult) -> Told:
    """As :func:`find`, with where it was found and what stands beside it."""
    details, steps = _decode(result.details), _decode(result.steps_results)
    step = _last_step(steps)
    found: tuple[tuple[Literal["order_id", "details", "steps_results"], str], ...] = (
        ("order_id", usable(result.order_id)),
        ("details", _of_step(details)),
        ("steps_results", _of_step(step)),
    )
    beside = (details if isinstance(details, dict) else {}, step)
    for where, text in found:
        if text:
            return Told(text, where, *beside)
    return Told("", "", *beside)


def usable(value: object) -> str:
    """``value`` as an order id; empty for what is none: null, blanks, zero, a word for nothing."""
    if isinstance(value, (bool, Float)) or not isinstance(value, (int, str)):
        return ""
    try:
        text = str(value).strip()
    except ValueError:  # more digits than Python prints
        return ""
    if not _SHAPE.fullmatch(text) or text.casefold() in _NOTHING:
        return ""
    # 0 and -1 are how the exchange's own clients say that there is no order.
    return "" if _NO_ORDER.fullmatch(text) else text


def _of_step(step: object) -> str:
    return usable(step.get(FIELD)) if isinstance(step, dict) else ""


def _last_step(steps: object) -> dict[str, Any]:
    found = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    return next(filter(_of_step, reversed(found)), found[-1] if found else {})


def _decode(text: str) -> Any:
    if not text:
        return None
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        return None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    # Fewer names than pairs: only then is any of them there twice.
    if len(found) < len(pairs) and [name for name, _ in pairs].count(FIELD) > 1:
        del found[FIELD]
    return found


# Built once: json.loads() makes a decoder for each call that has hooks.
_JSON = json.JSONDecoder(object_pairs_hook=_unambiguous, parse_float=Float, parse_constant=Float)
