"""Everything that the ledger refuses, as types; the only place of them.

Each message names the field or file, the value, and the cure.
"""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger could not do what was asked; nothing was recorded."""


class InvalidEntryError(LedgerError, ValueError):
    """What should be recorded breaks a rule of the ledger. Trying again changes nothing."""


class LockTimeoutError(LedgerError):
    """Another process holds the ledger's lock for too long. Trying again may help."""


class JournalDamagedError(LedgerError):
    """The journal is not what was written; ``verify`` tells where. Nothing is appended to it."""


class CheckpointError(LedgerError):
    """A checkpoint, its signature or a proof cannot be read, or does not hold."""
