"""Where the archive's files lie, and how segments are called; the only place of both."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_SEGMENT = re.compile(r"([0-9]{8})-([0-9]{4}-[0-9]{2}-[0-9]{2})\.jsonl(\.zst)?")
_ROOT = Path(__file__).resolve().parents[2]


class Name(NamedTuple):
    """A segment's name. ``number`` orders them, whatever the clock said; ``day`` is for people."""

    number: int
    day: str

    def __str__(self) -> str:
        return f"{self.number:08d}-{self.day}.jsonl"


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one archive, all of them in ``base``."""

    base: Path

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> Folder:
        """The folder that ``ARCHIVE_DIR`` names; unset, ``archive`` in ``QUANTUM_HOME``.

        The demo has its own, as it has its own data: ``demo/archive``. A relative path starts at
        the checkout, never at the current folder.
        """
        if environ.get("ARCHIVE_DIR"):
            return cls(_ROOT / Path(environ["ARCHIVE_DIR"]).expanduser())
        home = Path(os.path.abspath(environ.get("QUANTUM_HOME") or _ROOT / "var"))  # noqa: PTH100 - resolve() would follow links
        return cls(
            (home / "demo" if environ.get("QUANTUM_PROFILE") == "demo" else home) / "archive"
        )

    @property
    def lock(self) -> Path:
        """Who writes holds this file locked."""
        return self.base / "lock"

    @property
    def sums(self) -> Path:
        """SHA-256 of each sealed segment as it was before it was compressed, for sha256sum."""
        return self.base / "SHA256SUMS"

    @property
    def state(self) -> Path:
        """What was counted and told of each stream; see quantum_ops/history/books.py."""
        return self.base / "state.json"

    @property
    def groups(self) -> Path:
        """How far each group was when it was noted last; see quantum_ops/history/groups.py."""
        return self.base / "groups.json"

    @property
    def quarantine(self) -> Path:
        """Bytes that stood in the way, kept."""
        return self.base / "quarantine"

    @property
    def checkpoints(self) -> Path:
        """All checkpoints so far, oldest first."""
        return self.base / "checkpoints.log"

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        return self.base / "checkpoint"

    def raw(self, name: Name) -> Path:
        """The segment while it is open."""
        return self.base / str(name)

    def packed(self, name: Name) -> Path:
        """The segment once it is sealed."""
        return self.base / f"{name}.zst"

    def index(self, name: Name) -> Path:
        """The index of a sealed segment."""
        return self.base / f"{name.number:08d}-{name.day}.index"

    def marks(self, name: Name) -> Path:
        """Eight bytes for each line of the segment; see quantum_ops/history/marks.py."""
        return self.base / f"{name.number:08d}-{name.day}.marks"

    def lookup(self, name: Name) -> Path:
        """What finds entries of a sealed segment by a plan or so; see history/pages.py."""
        return self.base / f"{name.number:08d}-{name.day}.lookup"

    def resume(self, name: Name) -> Path:
        """How far the open segment was read; see quantum_ops/history/resume.py."""
        return self.base / f"{name.number:08d}-{name.day}.resume"

    def names(self) -> list[Name]:
        """All segments, oldest first."""
        found = set()
        try:
            for one in self.base.iterdir():
                match = _SEGMENT.fullmatch(one.name)
                if match:
                    found.add(Name(int(match[1]), match[2]))
        except FileNotFoundError:
            return []
        return sorted(found)
