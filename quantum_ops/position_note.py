"""The only place that says what is noted of an executed order beside its symbol's ledger. Pure."""

from __future__ import annotations

import re

from quantum_ops import order_id
from quantum_ops.events import ApplyResult

SOURCE = "quantum_ops"
_MOMENT = re.compile(r"[0-9TZ:.+ -]{1,40}", re.ASCII)


def of(event: ApplyResult, entry_id: str) -> dict[str, str]:
    """The fields; none for a result that names no order.

    So that plan, time and order in the hash always belong together.
    """
    order = order_id.find(event)
    if not order:
        return {}
    return {
        "last_order_id": order,
        "last_plan_id": event.plan_id,
        "last_result_at": _moment(event, entry_id),
        "metadata_source": SOURCE,
    }


def _moment(event: ApplyResult, entry_id: str) -> str:
    """The result's own timestamp as it was written; without one, the entry's (epoch seconds)."""
    if _MOMENT.fullmatch(event.timestamp):
        return event.timestamp
    return f"{int(entry_id.partition('-')[0]) / 1000:.3f}"
