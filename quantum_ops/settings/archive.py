"""The only place of the settings of the archive and of trimming."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import decimal, flag, knob, text, whole


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """The archive, and trimming."""

    folder: str = knob(
        "ARCHIVE_DIR",
        text,
        "",
        "Folder of the archive, best on another disk than Redis; empty is archive in QUANTUM_HOME.",
    )
    segment_mb: int = knob(
        "ARCHIVE_SEGMENT_MB",
        whole(1, 1024, "MiB"),
        64,
        "MiB after which a segment is sealed before its day is over; what a start reads again.",
    )
    checkpoint_s: float = knob(
        "ARCHIVE_CHECKPOINT_SEC",
        decimal(0, 86_400, "s"),
        60.0,
        "Seconds between two checkpoints; lines newer than the last one can be changed unnoticed.",
    )
    origin: str = knob(
        "ARCHIVE_ORIGIN",
        text,
        "quantum-ops/archive",
        "Name of the log in its checkpoints, and of its key; neither spaces nor + in it.",
    )
    key: str = knob(
        "ARCHIVE_KEY",
        text,
        "",
        "File of the Ed25519 private key (PEM) that signs checkpoints; empty leaves them unsigned.",
    )
    cap: int = knob(
        "ARCHIVE_STREAM_CAP",
        whole(1000, 1_000_000_000, "entries"),
        1_000_000,
        "Entries in one stream above which a critical Finding is told; nothing is cut for it.",
    )
    trim: bool = knob(
        "ARCHIVE_TRIM",
        flag,
        False,  # noqa: FBT003 - a default
        "Whether entries that are archived, acknowledged by every group and older than their "
        "stream's retention are removed from Redis.",
    )
    trim_trading: bool = knob(
        "ARCHIVE_TRIM_TRADING",
        flag,
        False,  # noqa: FBT003 - a default
        "Whether streams of the trading side are trimmed, too.",
    )
