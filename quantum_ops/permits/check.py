"""The only place where a permit is believed: the reader for executors."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
import walrus

from quantum_ops import client, codec, streams
from quantum_ops.events import ApplyPlan
from quantum_ops.permits.document import DOMAIN, MAX_BYTES, Permit, decode, plan_sha256, split

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_AHEAD_S = 5.0
"""Seconds by which the gate's clock may run ahead of the reader's."""
MAX_LIFE_S = 3600.0
"""Longest life that a permit may give itself."""

REASONS = {
    "ok": "it allows this plan, and was consumed unless that was not wanted",
    "missing": "there is no permit: not decided yet, expired in Redis, or consumed",
    "malformed": "it is no permit: another type, no JSON of this shape, too large, doubled members",
    "unsigned": "it carries no signature and one is required",
    "unknown_key": "it is signed by a key that is not trusted",
    "bad_signature": "the signature is not that of these bytes",
    "other_gate": "it was written by another gate",
    "other_plan": "it permits another plan: another id, symbol, side, quantity or the like",
    "not_yet_valid": "it was created in the future: a clock is wrong",
    "expired": "its time is over by our own clock, whatever its TTL says",
    "denied": "the gate denied the plan; the permit's own reason says why",
    "not_replicated": "it was consumed, but the replicas do not know: it might come back",
    "used": "it vanished between reading and consuming: another executor was faster",
}
"""Every reason of a verdict, and when."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a plan may be executed. ``permit`` is what was read, if it could be."""

    allow: bool
    reason: str
    permit: Permit | None = None


def verify(
    db: walrus.Database,
    plan: ApplyPlan | Mapping[Any, Any],
    *,
    trusted: Mapping[str, Ed25519PublicKey],
    now_s: float | None = None,
    gate: str = "p33",
    require_signature: bool = True,
    consume: bool = True,
) -> Verdict:
    """Whether ``gate`` permits ``plan`` now, and no second time.

    ``plan`` is the event or the fields of its entry. ``trusted`` maps key ids to public keys. A
    permit that allows is consumed by GETDEL and counts only if the very bytes that were checked
    came out, so that of several executors exactly one goes on; a denial is never consumed. With
    ``QUANTUM_WAIT_REPLICAS`` the replicas must know that it was consumed, too. The
    signature is checked before anything that the permit says. Raises what a broken connection or
    a server that refuses the commands raises, and ``DecodeError`` for a mapping that is no plan.
    After an error from GETDEL the permit may be gone: the plan must not be executed.
    """
    event = plan if isinstance(plan, ApplyPlan) else _event(plan)
    key = streams.permit(gate, event.plan_id)
    try:
        raw = db.get(key)
    except redis.ResponseError as error:
        _only_wrong_type(error)
        return Verdict(allow=False, reason="malformed")
    if raw is None:
        return Verdict(allow=False, reason="missing")
    now_s = time.time() if now_s is None else now_s
    verdict = judge(
        raw, event, trusted=trusted, now_s=now_s, gate=gate, require_signature=require_signature
    )
    if not verdict.allow or not consume:
        return verdict
    wanted = client.replicas(db)
    try:
        if not wanted.count:
            taken = db.getdel(key)
        else:
            with client.pinned(db) as say:
                taken = say("GETDEL", key)
                client.wait(say, wanted)
    except client.NotReplicatedError:
        return Verdict(allow=False, reason="not_replicated", permit=verdict.permit)
    except redis.ResponseError as error:
        _only_wrong_type(error)
        taken = None
    if taken != raw:
        return Verdict(allow=False, reason="used", permit=verdict.permit)
    return verdict


def judge(
    raw: bytes,
    plan: ApplyPlan,
    *,
    trusted: Mapping[str, Ed25519PublicKey],
    now_s: float,
    gate: str = "p33",
    require_signature: bool = True,
) -> Verdict:
    """The verdict on a permit's bytes. Pure; see :func:`verify`."""
    if len(raw) > MAX_BYTES:
        return Verdict(allow=False, reason="malformed")
    content, signature = split(raw)
    try:
        permit = decode(content)
    except ValueError:
        return Verdict(allow=False, reason="malformed")
    if signature or require_signature:
        problem = _signature(permit, content, signature, trusted)
        if problem:
            # Nothing that it says is told on: it may be anybody's.
            return Verdict(allow=False, reason=problem)
    return Verdict(*_said(permit, plan, now_s, gate), permit)


def signature_problem(raw: bytes, trusted: Mapping[str, Ed25519PublicKey]) -> str:
    """What is wrong with the signature of a permit's bytes; empty if it is trusted. Pure."""
    content, signature = split(raw)
    try:
        return _signature(decode(content), content, signature, trusted)
    except ValueError:
        return "malformed"


def _signature(
    permit: Permit, content: bytes, signature: str, trusted: Mapping[str, Ed25519PublicKey]
) -> str:
    if not signature or not isinstance(permit.key_id, str):
        return "unsigned"
    key = trusted.get(permit.key_id)
    if key is None:
        return "unknown_key"
    # Whoever has a key has it already (see the package): nobody else imports it.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see above

    try:
        decoded = base64.b64decode(signature, validate=True)
        # The last characters have bits to spare: only one spelling of a signature counts.
        if base64.b64encode(decoded).decode() != signature:
            return "bad_signature"
        key.verify(decoded, DOMAIN + content)
    except (InvalidSignature, binascii.Error, ValueError):
        return "bad_signature"
    return ""


def _said(permit: Permit, plan: ApplyPlan, now_s: float, gate: str) -> tuple[bool, str]:
    if permit.gate != gate:
        return False, "other_gate"
    if (permit.plan_id, permit.symbol) != (plan.plan_id, plan.symbol) or (
        permit.plan_sha256 != plan_sha256(plan)
    ):
        return False, "other_plan"
    if permit.created_at > now_s + MAX_AHEAD_S:
        return False, "not_yet_valid"
    # The bound itself is over; and no permit may outlive what the gate can be set to.
    if not now_s < permit.expires_at <= permit.created_at + MAX_LIFE_S:
        return False, "expired"
    return permit.allow, "ok" if permit.allow else "denied"


def _only_wrong_type(error: redis.ResponseError) -> None:
    """Raise ``error`` if it is about us (NOPERM, READONLY) and not about what stands there."""
    if not str(error).startswith("WRONGTYPE"):
        raise error


def _event(fields: Mapping[Any, Any]) -> ApplyPlan:
    flat: list[bytes] = []
    for name, value in fields.items():
        flat += [_bytes(name), _bytes(value)]
    plan: ApplyPlan = codec.decoder(ApplyPlan)(flat)
    return plan


def _bytes(value: Any) -> bytes:
    # Half a surrogate pair becomes bytes that the decoder refuses, with the name of the field.
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
