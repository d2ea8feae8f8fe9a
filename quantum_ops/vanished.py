"""The only place of the Finding that a consumer group had vanished. Pure.

It is written in the step that makes the group anew (:data:`quantum_ops.scripts.CREATE_GROUP`): of
many processes one makes it, and what a lost reply or a kill keeps from us is told all the same.
"""

from __future__ import annotations

from quantum_ops import codec, events

AT_CHECKPOINT = "the consumer group had vanished; made anew at %s (its checkpoint was %s)"
NO_CHECKPOINT = "the consumer group had vanished; made anew at %s (no checkpoint)"


def detail(start: str, checkpoint: str) -> str:
    """The Finding's detail; the script has the same of the two texts above."""
    return AT_CHECKPOINT % (start, checkpoint) if checkpoint else NO_CHECKPOINT % start


def fields(group: str, stream: str) -> list[bytes]:
    """The Finding as XADD takes it, but for its detail: where a group starts, a server knows."""
    made = events.AuditFinding(
        auditor="runner",
        finding="group_recreated",
        severity="critical",
        subject=f"{group}@{stream}",
    )
    flat = codec.encode(made)
    at = flat.index(b"detail")
    return flat[:at] + flat[at + 2 :]
