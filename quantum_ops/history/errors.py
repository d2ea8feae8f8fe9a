"""Everything that the archive refuses, as types; the only place of them."""

from __future__ import annotations

from quantum_ops.errors import Hold, QuantumError


class ArchiveError(QuantumError):
    """The archive could not do what was asked."""


class DamagedError(ArchiveError):
    """The archive is not what was written. Nothing is appended to it.

    Next: ``./run archive verify`` names segment and line. Put the good copy back, or move the
    folder away; then a new archive begins with what the streams still hold.
    """


class StandbyError(Hold):
    """Another process writes this archive. Next: nothing, this one takes over when it ends."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, standby=True)


class DiskRefusedError(Hold):
    """The disk did not take the lines; nothing of them is acknowledged.

    Next: make room. It is tried again every few seconds, and no entry is lost meanwhile.
    """


class ProofError(ArchiveError):
    """What was given is no proof of archived entries. Next: ask for it again where it came from."""
