"""The only place that does arithmetic on stream entry ids (``milliseconds-sequence``)."""

from __future__ import annotations

MAX_SEQUENCE = (1 << 64) - 1
ZERO = b"0-0"


def parse(entry_id: bytes | str) -> tuple[int, int]:
    """``(milliseconds, sequence)``; comparable, unlike the text (``9-0`` sorts after ``10-0``)."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence or 0)


def text(parts: tuple[int, int]) -> str:
    """An id as Redis writes it; the other way round: :func:`parse`."""
    return f"{parts[0]}-{parts[1]}"


def before(entry_id: bytes) -> bytes:
    """The greatest id below ``entry_id``: reading after it gives ``entry_id`` first."""
    milliseconds, sequence = parse(entry_id)
    if sequence:
        return b"%d-%d" % (milliseconds, sequence - 1)
    if milliseconds:
        return b"%d-%d" % (milliseconds - 1, MAX_SEQUENCE)
    return ZERO


def age_s(entry_id: bytes, now_s: float) -> float:
    """Seconds between the id's own clock reading and ``now_s``; never negative.

    The server's clock made the id, so this is an estimate, never proof of a wall time.
    """
    return max(0.0, now_s - parse(entry_id)[0] / 1000)
