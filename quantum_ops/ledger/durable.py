"""The only place that writes files which must survive a power loss."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import BinaryIO

_DRAFT = re.compile(r"\..+\.([1-9][0-9]*)\.tmp", re.ASCII)


def write(path: Path, content: bytes) -> None:
    """Make ``content`` the file ``path``. When this returns it MUST be durable.

    A reader MUST find the old file or the new one, whole, whatever is killed in between.

    Raises:
        OSError: if that was not possible; the old file is as it was.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # as _DRAFT has it
    try:
        with create(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sweep(folder: Path) -> list[str]:
    """Remove the drafts that processes left in ``folder`` when they were killed; gives their names.

    The draft of a process that lives is its own business. Raises ``OSError`` if the folder cannot
    be read or written.
    """
    found = []
    for path in folder.iterdir():
        match = _DRAFT.fullmatch(path.name)
        if match and not _lives(int(match[1])):
            path.unlink(missing_ok=True)
            found.append(path.name)
    return sorted(found)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        # Somebody else's process, or no number of a process at all: not ours to judge.
        return True
    return True


def write_all(number: int, content: bytes) -> None:
    """Write all of ``content`` to the open file ``number``, in one call where the system does so.

    Raises:
        OSError: if less could be written; how much is unknown to the caller.
    """
    view = memoryview(content)
    while view:
        view = view[os.write(number, view) :]


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        told = "is in the way: neither a folder nor a link to one"
        raise NotADirectoryError(errno.ENOTDIR, told, str(folder)) from None
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _hand_over(number, folder.parent)
        finally:
            os.close(number)
    sync_folder(folder.parent)


def create(path: Path) -> BinaryIO:
    """A new file ``path``, empty and open, in place of what stood there; the folder's owner's."""
    path.unlink(missing_ok=True)
    return os.fdopen(_made(path, os.O_WRONLY, 0o666), "wb")


def opened(path: Path, flags: int) -> int:
    """The file ``path``, open; made, the folder's owner's, if there is none."""
    try:
        return _made(path, flags, 0o644)
    except FileExistsError:
        return os.open(path, flags | os.O_CREAT, 0o644)


def _made(path: Path, flags: int, mode: int) -> int:
    # Exclusively: what somebody else put there, a link above all, is never given to anybody.
    number = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    _hand_over(number, path.parent)
    return number


def _hand_over(number: int, folder: Path) -> None:
    """Give what was just made in ``folder`` to whoever owns that.

    What root's tool left behind as root's own would hold up the consumer, which is not root.
    """
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        owner = folder.stat()
        if owner.st_uid != 0:
            os.fchown(number, owner.st_uid, owner.st_gid)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable: a file synced but without a name would be lost."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
