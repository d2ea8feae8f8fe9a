"""The only place of the permit's document: what it says, and its bytes.

The bytes are compact JSON with sorted members. A signed permit ends in ``,"signature":"..."}``;
what is signed is everything before that member, closed by ``}``, exactly as written, behind
:data:`DOMAIN`. Nothing is written anew to verify it, so no two JSON libraries can disagree.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from quantum_ops.events import ApplyPlan

DOMAIN = b"quantum-permit/1\0"
"""Stands before the signed bytes, so that no signature of anything else passes for a permit's."""
MAX_BYTES = 16 * 1024
"""Largest permit that is read; an honest one has 500 bytes."""
_SIGNATURE = b',"signature":"'
_SIGNATURE_LENGTH = 88
"""Of 64 bytes in base64, padding included."""
MAX_DIGITS = 128
"""Longest number that is read; the longest that P3.3 can write has under 100 characters."""
_AMOUNTS = ("exchange_position_amt", "ledger_amt", "safe_close_qty", "safe_qty")


class Permit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a gate decided on one plan. Amounts are contracts, times epoch seconds.

    Members are declared in the order of their names, which is the order in which they are written.
    Denials have ``context`` and no amounts, allowances the other way round. ``safe_close_qty`` says
    the same as ``safe_qty``: an existing reader asks for that name. ``safe_qty`` 0 on an allowance
    means that the plan opens and its own quantity stands.
    """

    allow: bool
    context: dict[str, str] | UnsetType = UNSET
    created_at: float
    exchange_position_amt: Decimal | UnsetType = UNSET
    expires_at: float
    gate: str
    key_id: str | UnsetType = UNSET
    ledger_amt: Decimal | UnsetType | None = UNSET
    plan_id: str
    plan_sha256: str
    reason: str
    safe_close_qty: Decimal | UnsetType = UNSET
    safe_qty: Decimal | UnsetType = UNSET
    symbol: str
    universe_epoch: int
    v: int = 1


class Signs(Protocol):
    """Whoever can sign."""

    key_id: str

    def sign(self, content: bytes) -> str:
        """The signature over ``content``, in base64."""
        ...


_encoder = msgspec.json.Encoder(decimal_format="number")


def plan_sha256(plan: ApplyPlan) -> str:
    """SHA-256 (hex) of what the plan would have executed: a permit holds for this plan only.

    Over the JSON array of plan_id, decision, symbol, side, type, qty, close_qty, price, action,
    reduceOnly, leverage, stop_loss, take_profit and steps as text. The time and the source of the
    plan take no part: a plan that was published again is the same plan.
    """
    material = (
        plan.plan_id, plan.decision, plan.symbol, plan.side, plan.type_, plan.qty, plan.close_qty,
        plan.price, plan.action, "true" if plan.reduce_only else "false", plan.leverage,
        plan.stop_loss, plan.take_profit, plan.steps,
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(material)).hexdigest()


def encode(permit: Permit, signer: Signs | None = None) -> bytes:
    """The bytes of ``permit``, signed if there is a signer. Numbers never have an exponent."""
    if signer is not None:
        permit = msgspec.structs.replace(permit, key_id=signer.key_id)
    content: bytes = _encoder.encode(_plain(permit))
    if signer is None:
        return content
    return content[:-1] + _SIGNATURE + signer.sign(DOMAIN + content).encode() + b'"}'


def _plain(permit: Permit) -> Permit:
    """``permit`` with amounts that are written digit by digit; nearly all of them are already."""
    odd: dict[str, Any] = {}
    for name in _AMOUNTS:
        value = getattr(permit, name)
        if isinstance(value, Decimal) and not value.is_zero():
            text = str(value)
            if "E" in text:
                # A wide exponent is no longer an amount; P3.3 never lets one come this far.
                odd[name] = msgspec.Raw(format(value, "f").encode())
        elif isinstance(value, Decimal):
            odd[name] = Decimal(0)
    return msgspec.structs.replace(permit, **odd) if odd else permit


def split(raw: bytes) -> tuple[bytes, str]:
    """The signed content and the signature (base64, empty if unsigned) of a permit's bytes."""
    at = len(raw) - len(_SIGNATURE) - _SIGNATURE_LENGTH - 2
    if at > 0 and raw[at:].startswith(_SIGNATURE) and raw.endswith(b'"}'):
        signature = raw[at + len(_SIGNATURE) : -2]
        return raw[:at] + b"}", signature.decode("ascii", "replace")
    return raw, ""


def decode(content: bytes) -> Permit:
    """The permit in ``content`` (without its signature); ``ValueError`` for anything else.

    A doubled member is refused: readers disagree on which of two counts. So is a number that
    :func:`encode` would not write, and an allowance that does not say how much: an executor takes
    0 or nothing for "all of the plan".
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has {len(content)} bytes, at most {MAX_BYTES} are read")
    try:
        permit = _decoder.decode(content)
        members = json.loads(
            content,
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_float=_plain_number,
            parse_int=_plain_number,
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if permit.v != 1:
        raise ValueError(f"its version is {permit.v}, this reader knows 1")
    _check_amounts(permit, members)
    return permit


_decoder = msgspec.json.Decoder(Permit)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _check_amounts(permit: Permit, members: dict[str, Any]) -> None:
    found = [name for name in _AMOUNTS if name in members]
    if not permit.allow:
        if found:
            raise ValueError(f"{found[0]} stands on a denial")
        return
    if len(found) < len(_AMOUNTS) or permit.context is not UNSET:
        raise ValueError("it allows, and has not all the amounts or a context")
    for name in found:
        # The decoder takes "NaN" in quotes for a decimal, too.
        if isinstance(members[name], str):
            raise ValueError(f"{name} is a text")  # noqa: TRY004 - one kind of error for all
    safe = permit.safe_qty
    if not isinstance(safe, Decimal) or safe < 0 or safe != permit.safe_close_qty:
        raise ValueError("safe_qty is negative, or safe_close_qty says something else")


def _plain_number(text: str) -> Decimal:
    if len(text) > MAX_DIGITS or "e" in text.lower():
        raise ValueError(f"{text[:40]!r} is no plain number")
    return Decimal(text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
