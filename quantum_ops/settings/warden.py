"""The only place of the settings of the warden."""

from __future__ import annotations

import re
from dataclasses import dataclass

from quantum_ops.knobs import decimal, knob, whole

_LIMIT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([0-9]{1,7})")


def limits(text: str) -> tuple[tuple[str, int], ...]:
    """Parser of ``PROGRAM=MIB`` words parted by commas or blanks."""
    found: dict[str, int] = {}
    for word in re.split(r"[,\s]+", text):
        if not word:
            continue
        matched = _LIMIT.fullmatch(word)
        if matched is None:
            raise ValueError(f"{word!r} is not PROGRAM=MIB, for example p33=300")
        if matched[1] in found:
            raise ValueError(f"{matched[1]} stands there twice")
        found[matched[1]] = int(matched[2])
    return tuple(found.items())


@dataclass(frozen=True, slots=True)
class WardenSettings:
    """The warden, which starts again what gave up, hangs or grew too big."""

    backoff_base_s: float = knob(
        "WARDEN_BACKOFF_BASE_SEC",
        decimal(0.1, 3600, "s"),
        5.0,
        "Seconds before a program in state FATAL is started again; doubled each time.",
    )
    backoff_cap_s: float = knob(
        "WARDEN_BACKOFF_CAP_SEC",
        decimal(0.1, 86_400, "s"),
        300.0,
        "Longest wait between two of the warden's restarts of one process.",
    )
    reset_s: float = knob(
        "WARDEN_RESET_SEC",
        decimal(1, 86_400, "s"),
        600.0,
        "Seconds a process must run without trouble before its waits begin anew.",
    )
    silence_s: float = knob(
        "WARDEN_SILENCE_SEC",
        decimal(0, 86_400, "s"),
        60.0,
        "Seconds a running process may be without a heartbeat, while Redis takes ours, before it "
        "is restarted; longer than the slowest handler. 0 never restarts for silence.",
    )
    memory_mb: int = knob(
        "WARDEN_MEMORY_MB",
        whole(0, 9_999_999, "MiB"),
        1024,
        "Resident memory one process may have, in MiB; 0 is no limit. "
        "The server has none: an append-only file is not loaded faster for being killed.",
    )
    memory_limits: tuple[tuple[str, int], ...] = knob(
        "WARDEN_MEMORY_LIMITS",
        limits,
        (),
        "Other limits for single programs, for example p33=300,archive=0.",
    )
    memory_grace_s: float = knob(
        "WARDEN_MEMORY_GRACE_SEC",
        decimal(0, 86_400, "s"),
        30.0,
        "Seconds a process may be over its limit before it is drained and restarted: a large batch "
        "is no leak.",
    )
