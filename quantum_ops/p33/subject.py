"""The only place that says which plan an entry of apply.plan is about, readable or not. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from quantum_ops import codec, permits
from quantum_ops.errors import DecodeError
from quantum_ops.events import ApplyPlan
from quantum_ops.p33.decision import EVALUATED

MAX_SYMBOL = 64
MAX_PLAN_ID = 256


class Subject(msgspec.Struct, frozen=True):
    """The plan that a permit is about; ``sha256`` is what the permit is bound to."""

    plan_id: str
    symbol: str
    sha256: str


def of_plan(plan: ApplyPlan) -> Subject | None:
    """A plan that asks for a permit; None for one that does not."""
    if plan.decision not in EVALUATED:
        return None
    return Subject(plan.plan_id, plan.symbol, permits.plan_sha256(plan))


def of_malformed(flat: Sequence[bytes]) -> Subject | None:
    """What the bytes of an entry that is no plan are about, as far as they can be read."""
    plan_id = _only(flat, b"plan_id")
    if not 0 < len(plan_id) <= MAX_PLAN_ID:
        return None
    digest = hashlib.sha256(msgspec.msgpack.encode(list(flat))).hexdigest()
    return Subject(plan_id, _only(flat, b"symbol")[:MAX_SYMBOL], f"malformed:{digest}")


def of_entry(flat: Sequence[bytes]) -> Subject | None:
    """What an entry is about, read as P3.3 reads it; None if it asks for no permit."""
    try:
        return of_plan(codec.decoder(ApplyPlan)(flat))
    except DecodeError:
        return of_malformed(flat)


def _only(flat: Sequence[bytes], name: bytes) -> str:
    """The one value of ``name`` as text; empty if it is missing, doubled or no UTF-8."""
    found = [flat[at + 1] for at in range(0, len(flat) - 1, 2) if flat[at] == name]
    try:
        return found[0].decode() if len(found) == 1 else ""
    except UnicodeDecodeError:
        return ""
