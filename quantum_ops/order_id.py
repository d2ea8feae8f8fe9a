"""The only place that knows where a result of the trading side keeps its order id. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from quantum_ops.events import ApplyResult

FIELD = "order_id"
_SHAPE = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
"""Exchange ids are digits, client ids at most 36 of these."""
_NOTHING = frozenset({"none", "null", "nan", "undefined", "true", "false"})
"""What programs write in place of an id that they do not have."""


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
        or _of_steps(_decode(result.steps_results))
    )


def usable(value: object) -> str:
    """``value`` as an order id; empty for what is none: null, blanks, zero, a word for nothing."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    try:
        text = str(value).strip()
    except ValueError:  # more digits than Python prints
        return ""
    if not _SHAPE.fullmatch(text) or text.casefold() in _NOTHING:
        return ""
    # 0 and -1 are how the exchange's own clients say that there is no order.
    return "" if re.fullmatch(r"-\d+|[0.]+", text, re.ASCII) else text


def _of_step(step: object) -> str:
    return usable(step.get(FIELD)) if isinstance(step, dict) else ""


def _of_steps(steps: object) -> str:
    if not isinstance(steps, list):
        return ""
    return next(filter(None, map(_of_step, reversed(steps))), "")


def _decode(text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text, object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError):
        return None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if [name for name, _ in pairs].count(FIELD) > 1:
        del found[FIELD]
    return found
