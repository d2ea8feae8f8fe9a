"""Where the ledger's files lie; the only place of their names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantum_ops.ledger.errors import LedgerError

SEGMENT = re.compile(r"[0-9]{4}-[0-9]{2}\.jsonl")


def expanded(named: str) -> str:
    """The folder that a setting names, ``~`` resolved; empty for blanks.

    Raises:
        LedgerError: if there is no such user.
    """
    found = os.path.expanduser(named.strip())  # noqa: PTH111 - Path raises RuntimeError
    if found.startswith("~"):
        raise LedgerError(f"LEDGER_DIR: {named!r}: there is no such user; write it from / on")
    return found


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one ledger. ``changelog`` is what people read, ``base`` holds the rest."""

    changelog: Path
    base: Path

    @classmethod
    def find(cls, environ: Mapping[str, str], root: Path) -> Folder:
        """The folder that ``LEDGER_DIR`` names; unset, ``docs/`` and ``ops/ledger/`` of ``root``.

        A relative path starts at ``root``, never at the current folder: whoever runs a tool from
        elsewhere would begin another ledger there. Raises ``LedgerError`` for one that is none.
        """
        named = expanded(environ.get("LEDGER_DIR", ""))
        root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
        if named:
            return cls.at(root / named)
        return cls(root / "docs" / "OPS_CHANGELOG.md", root / "ops" / "ledger")

    @classmethod
    def at(cls, base: Path) -> Folder:
        """A ledger that lies in ``base`` as a whole."""
        return cls(base / "OPS_CHANGELOG.md", base)

    @property
    def journal(self) -> Path:
        """The journal's segments, one for each month: the truth, everything else is made of it."""
        return self.base / "journal"

    @property
    def lock(self) -> Path:
        """Who appends holds this file locked."""
        return self.base / "lock"

    @property
    def keeper(self) -> Path:
        """The consumer that records events holds this file locked, for life."""
        return self.cache / "keeper"

    @property
    def spool(self) -> Path:
        """Entries that could not be recorded yet, one file each."""
        return self.base / "spool"

    @property
    def quarantine(self) -> Path:
        """Bytes that stood in the way, kept."""
        return self.base / "quarantine"

    @property
    def logs(self) -> Path:
        """Log lines of services, by operation."""
        return self.base / "logs"

    @property
    def cache(self) -> Path:
        """What can be made again from the journal; losing it costs time only."""
        return self.base / "cache"

    @property
    def checkpoints(self) -> Path:
        """All checkpoints so far, oldest first."""
        return self.base / "checkpoints.log"

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        return self.base / "checkpoint"

    def segments(self) -> list[Path]:
        """The journal's segments, oldest first."""
        try:
            return sorted(one for one in self.journal.iterdir() if SEGMENT.fullmatch(one.name))
        except FileNotFoundError:
            return []
