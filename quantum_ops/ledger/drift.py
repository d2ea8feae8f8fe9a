"""The only place that replaces a rendered file, and never one that somebody else has written.

A file is ours if it is what was last rendered, or what an earlier state of the journal renders. Any
other is drift: it stays as it is, a copy of it is kept by its digest, ours is put beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from quantum_ops.ledger import durable, pages, render
from quantum_ops.ledger.aside import Allowed, at_once
from quantum_ops.ledger.folder import Folder

BESIDE = ".rendered"
"""Ends the name of our rendering where the file itself is somebody else's."""

Signature = list[int]
"""Device, inode, size and the two times (ns) of a file: what any later write to it changes."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A rendered file that somebody else changed.

    ``expected`` and ``found`` are the SHA-256 of our rendering and of the file in hex; ``kept`` is
    the copy, ``beside`` our rendering; ``new`` is False if this very content was told before.
    """

    file: str
    expected: str
    found: str
    kept: Path
    beside: Path
    new: bool

    def data(self) -> dict[str, str]:
        """The ``data`` of a ``drift.detected`` record."""
        return {
            "file": self.file,
            "sha256_expected": self.expected,
            "sha256_found": self.found,
            "kept_as": self.kept.name,
        }

    def __str__(self) -> str:
        path = str(self.beside).removesuffix(BESIDE)
        return (
            f"{path} was changed by somebody else and is left as it is (a copy: {self.kept}). "
            f"The ledger renders into {self.beside}; to have it back: mv {self.beside} {path}"
        )


class Files:
    """The rendered files of one ledger, and what was last rendered into each.

    What is remembered lies in the cache. Losing it costs time: what was rendered is then found
    out by rendering again.
    """

    def __init__(self, folder: Folder, allowed: Allowed = at_once) -> None:
        """``allowed`` is called before anything is written."""
        self.folder = folder
        self.cache = folder.cache
        self._allowed = allowed
        # Most of a path is the same for thousands of pages.
        self._real = cache(os.path.realpath)

    def path(self, name: str) -> Path:
        """Where the projection ``name`` stands; a symbolic link is followed, and stays one."""
        beside = name == render.CHANGELOG or name.startswith(f"{pages.FOLDER}/")
        path = self.folder.changelog
        if name != render.CHANGELOG:
            path = (path.parent if beside else self.folder.base) / name
        folder, _, last = str(path).rpartition("/")
        real = f"{self._real(folder or '/')}/{last}"
        return Path(os.path.realpath(real) if os.path.islink(real) else real)  # noqa: PTH114 - as above

    def rendered(self, name: str) -> bytes | None:
        """What was last rendered into ``name``, as it lies there or beside; None if it does not."""
        remembered = self._remembered(name).get("sha256")
        path = self.path(name)
        for place in (path, _beside(path)):
            content = _content(place)
            if content is not None and sha256(content) == remembered:
                return content
        return None

    def put(
        self, name: str, content: bytes, up_to: int, is_ours: Callable[[bytes], bool]
    ) -> Drift | None:
        """Make ``content`` the file ``name``, unless somebody else has written there.

        When this returns None the content MUST be durable. A reader MUST find the old file or the
        new one, whole. ``is_ours`` is asked about a file that is not what was last rendered;
        ``up_to`` is the newest record that the content knows.
        """
        path = self.path(name)
        digest = sha256(content)
        found = _content(path)
        drift = None
        if found == content and self._is_as_remembered(name, digest, up_to, path):
            return None
        self._allowed()
        if found != content:
            # Asked before and after the slow part: an editor may save while we write.
            self._is_ours(name, found, is_ours)
            temporary = path.with_name(f".{path.name}.tmp")
            _write(temporary, content, path)
            found = _content(path)
            if not self._is_ours(name, found, is_ours):
                drift = self._drift(name, found or b"", digest)
            temporary.replace(drift.beside if drift else path)
        durable.sync_folder(path.parent)
        if not drift:
            _beside(path).unlink(missing_ok=True)
        self._remember(name, digest, up_to, path, drift)
        return drift

    def extend(
        self, name: str, addition: bytes, since: int, up_to: int
    ) -> tuple[bool, Drift | None]:
        """Add to the end of ``name``, durably, if it is untouched since it was rendered.

        Whether it was shows its signature: reading a month's file each time would take longer the
        longer the month is. Gives False if nothing was done and it must be rendered as a whole;
        so too if it knows records after ``since``, by an update that was killed later on.
        """
        path = self.path(name)
        known = self._remembered(name)
        told = known.get("drift")
        ours = _beside(path) if told else path
        untouched = signature(ours) is not None and signature(ours) == known.get("signature")
        if not untouched or known["up_to"] > since:
            return False, None
        if told and signature(path) != told["signature"]:
            return False, None
        with ours.open("ab") as file:
            file.write(addition)
            file.flush()
            os.fsync(file.fileno())
        drift = None
        if told:
            kept = self._kept(name, told["found"])
            drift = Drift(name, "", told["found"], kept, ours, new=False)
        self._save(name, {**known, "signature": signature(ours), "up_to": up_to})
        return True, drift

    def _is_as_remembered(self, name: str, digest: str, up_to: int, path: Path) -> bool:
        """Whether the last time ended here: it is remembered only once the file is durable."""
        known = {"sha256": digest, "up_to": up_to, "signature": signature(path)}
        return self._remembered(name) == known and not _beside(path).exists()

    def _is_ours(self, name: str, found: bytes | None, is_ours: Callable[[bytes], bool]) -> bool:
        """Whether ``found`` may be replaced."""
        if not found:
            return True
        digest = sha256(found)
        known = self._remembered(name)
        # A stream that was extended is known by its signature alone.
        if known.get("signature") == signature(self.path(name)) or digest == known.get("sha256"):
            return True
        return not self._kept(name, digest).exists() and is_ours(found)

    def _drift(self, name: str, found: bytes, expected: str) -> Drift:
        digest = sha256(found)
        kept = self._kept(name, digest)
        new = not kept.exists()
        if new:
            durable.write(kept, found)
        return Drift(name, expected, digest, kept, _beside(self.path(name)), new)

    def _kept(self, name: str, digest: str) -> Path:
        return self.folder.quarantine / f"drift-{digest[:16]}-{_flat(name)}"

    def _remember(
        self, name: str, digest: str, up_to: int, path: Path, drift: Drift | None
    ) -> None:
        known: dict[str, Any] = {
            "sha256": digest,
            "up_to": up_to,
            "signature": signature(_beside(path) if drift else path),
        }
        if drift:
            known["drift"] = {"found": drift.found, "signature": signature(path)}
        self._save(name, known)

    def _save(self, name: str, known: Mapping[str, Any]) -> None:
        save(self.cache / f"{_flat(name)}.json", known)

    def _remembered(self, name: str) -> dict[str, Any]:
        return load(self.cache / f"{_flat(name)}.json")


def save(path: Path, known: Mapping[str, Any]) -> None:
    """Remember ``known``. Not made durable: whoever reads it checks it, and can do without it."""
    durable.make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    with durable.create(temporary) as file:
        file.write(json.dumps(known).encode("ascii"))
    temporary.replace(path)


def load(path: Path) -> dict[str, Any]:
    """What was remembered; empty if it is lost or damaged."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def signature(path: Path) -> Signature | None:
    """The signature of the file; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def sha256(content: bytes) -> str:
    """The SHA-256 of ``content`` in hex."""
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes, like: Path) -> None:
    """A new durable file with the rights of ``like``, if that exists."""
    durable.make_folder(path.parent)
    with durable.create(path) as file:
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(file.fileno(), like.stat().st_mode & 0o777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _beside(path: Path) -> Path:
    return path.with_name(path.name + BESIDE)


def _flat(name: str) -> str:
    return name.replace("/", "--")
