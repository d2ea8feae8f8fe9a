"""The only place that turns what a handler raised into what becomes of its entry. Pure."""

from __future__ import annotations

import random
import traceback
from typing import NamedTuple

from quantum_ops.consumer import Bounds
from quantum_ops.errors import DecodeError, Reject, Retry

LOST = "the entry was deleted or trimmed before it was handled"
MAX_ERROR_TEXT = 4000


class PayloadLostError(Exception):
    """A pending entry whose payload is gone."""


class Bury(NamedTuple):
    """To the dead letter. ``reason`` is a code, ``error`` the text an operator reads."""

    reason: str
    error: str


class Again(NamedTuple):
    """Deliver again in ``after_s`` seconds. ``reason`` is a code."""

    after_s: float
    reason: str
    error: str


def judge(error: Exception, *, lost: bool, attempt: int, bounds: Bounds) -> Bury | Again:
    """The outcome of an entry whose ``attempt``-th delivery ended with ``error``."""
    if lost:
        return Bury("payload_lost", LOST)
    if isinstance(error, DecodeError):
        return Bury("undecodable", str(error))
    if isinstance(error, Reject):
        return Bury("rejected", error.reason)
    if attempt >= bounds.max_deliveries:
        return Bury("handler_failed", _text(error))
    if isinstance(error, Retry):
        after_s = min(max(error.after_s, 0.0), bounds.retry_cap_s)
        return Again(after_s, "asked", str(error))
    wait_s = min(bounds.retry_cap_s, bounds.retry_base_s * 2.0 ** min(attempt - 1, 30))
    # Jitter, or entries that failed together come back together.
    wait_s *= random.uniform(0.75, 1.0)  # noqa: S311 - no secret
    return Again(wait_s, type(error).__name__, str(error)[:MAX_ERROR_TEXT])


def exhausted(deliveries: int) -> Bury:
    """The outcome of an entry that was delivered too often without any outcome."""
    text = f"delivered {deliveries} times without an outcome; the process died or hung"
    return Bury("too_many_deliveries", text)


def _text(error: Exception) -> str:
    """Traceback of ``error``, its end kept when it is long: the last line says what happened."""
    return "".join(traceback.format_exception(error))[-MAX_ERROR_TEXT:]
