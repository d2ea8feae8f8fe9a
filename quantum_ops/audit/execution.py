"""The only place that says what one result of the trading side proves. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from quantum_ops import codec, order_id
from quantum_ops.errors import DecodeError
from quantum_ops.events import ApplyResult

_SIDE = ("side",)
_QUANTITY = ("filled_qty", "executed_qty", "executedQty", "quantity", "qty")
"""What was filled before what was asked for."""
_PRICE = ("avg_price", "avgPrice", "price")
_SECONDS = re.compile(r"([0-9]{10})(?:\.[0-9]+)?")
_MILLISECONDS = re.compile(r"[0-9]{13}")
_ENTRY_ID = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_LAST_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z; an entry id may lie beyond it."""


class Execution(msgspec.Struct, frozen=True):
    """An executed result; a proof if ``order_id`` is not empty. Texts are as the sender wrote them.

    ``moment`` is what the result says of itself (epoch seconds or ms), else when it was added.
    """

    entry_id: str
    symbol: str
    plan_id: str
    order_id: str
    order_id_in: Literal["", "order_id", "details", "steps_results", "index"]
    side: str
    quantity: str
    price: str
    moment: datetime
    entry: Literal["present", "trimmed"] = "present"


def read(id_: str, flat: Sequence[bytes]) -> Execution | None:
    """What the entry tells; None if it is no execution or if nobody could read it as one.

    Side, quantity and price are looked for in the entry, then in ``details``, then in the step
    that has the order id.
    """
    try:
        result = codec.decoder(ApplyResult)(flat)
    except DecodeError:
        return None
    if not result.executed:
        return None
    told = order_id.read(result)
    # A field that the decoder does not know may hold anything.
    fields = {
        name.decode(): value.decode("utf-8", "backslashreplace")
        for name, value in zip(flat[::2], flat[1::2], strict=True)
    }
    holders = (fields, told.details, told.step)
    return Execution(
        entry_id=id_,
        symbol=result.symbol,
        plan_id=result.plan_id,
        order_id=told.order_id,
        order_id_in=told.where,
        side=_said(holders, _SIDE),
        quantity=_said(holders, _QUANTITY),
        price=_said(holders, _PRICE),
        moment=moment(result.timestamp, id_),
    )


def indexed(plan_id: str, row: Sequence[bytes | None]) -> Execution | None:
    """What order_proof's index says of a plan: entry_id, symbol, order_id, executed_at.

    For a plan whose entry is trimmed: nothing but the index knows of it any more. None for a row
    that is no proof.
    """
    try:
        id_, symbol, order, at = (part.decode() if part else "" for part in row)
    except UnicodeDecodeError:
        return None
    if not order or order_id.usable(order) != order or not _ENTRY_ID.fullmatch(id_):
        return None
    return Execution(
        id_, symbol, plan_id, order, "index", "", "", "", moment(at, id_), entry="trimmed"
    )


def moment(text: str, id_: str) -> datetime:
    """When it was, to the second."""
    seconds = _SECONDS.fullmatch(text)
    if seconds:
        return datetime.fromtimestamp(int(seconds[1]), UTC)
    at_ms = int(text) if _MILLISECONDS.fullmatch(text) else int(id_.partition("-")[0])
    return datetime.fromtimestamp(min(at_ms, _LAST_MS) // 1000, UTC)


def _said(holders: Sequence[Mapping[str, object]], names: Sequence[str]) -> str:
    """The first of ``names`` that a holder has a text or a number under, over all in turn."""
    for holder in holders:
        for name in names:
            value = holder.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                return str(value)
    return ""
