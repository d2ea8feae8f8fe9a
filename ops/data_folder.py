"""The only place that decides which server may open a data folder: one, able to read it."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

from ops.server_binary import OLDEST, Flavour
from quantum_ops.errors import ConfigurationError

LOCK = ".lock"
STAMP = "WRITTEN_BY"
_LINE = re.compile(r"(redis|valkey) (\d{1,4})\.(\d{1,4})\.(\d{1,4})\n?")
_POLL_S = 0.05


def hold(folder: Path, wait_s: float) -> int:
    """Lock ``folder`` for this process and whatever it execs into; gives the open descriptor.

    The lock lives as long as the process: the kernel drops it at any death, so a stale one cannot
    exist. A predecessor that is still shutting down gets ``wait_s`` seconds. Raises
    :class:`ConfigurationError` if another server is on the folder after that.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise ConfigurationError(
                f"another server (pid {pid or 'unknown'}) holds {folder / LOCK}; two servers on "
                "one append-only file would destroy it. Stop that one: ./run stop"
            ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(fd, True)  # noqa: FBT003 - the C signature
    return fd


def holder(folder: Path) -> int | None:
    """Pid of the server that holds ``folder`` now, None if nobody does."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 20, 0).strip()
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(fd)


def admit(folder: Path, server: Flavour) -> None:
    """Stamp ``folder`` with ``server``, or raise :class:`ConfigurationError` if it may not open it.

    The stamp MUST be on disk before the server starts: a server that writes first and is stamped
    later could, killed in between, leave files that an older one opens and takes for empty.
    """
    path = folder / STAMP
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        _refuse_strangers(folder)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error}); check owner and mode"
        ) from None
    else:
        match = _LINE.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f"{path}: {text[:60]!r} is no stamp; write the server that wrote this folder, "
                "for example: valkey 9.1.2"
            )
        writer = Flavour(match[1], (int(match[2]), int(match[3]), int(match[4])))
        if not can_read(server, writer):
            raise ConfigurationError(
                f"{folder}: was written by {writer}, which {server} cannot read; start it with "
                f"{writer} or newer (QUANTUM_REDIS_SERVER=/path/to/server ./run), or move the "
                "folder away to begin empty"
            )
        if writer == server:
            return
    _write_durably(path, f"{server}\n")


def can_read(reader: Flavour, writer: Flavour) -> bool:
    """Whether ``reader`` loads the files of ``writer``, as measured by loading each with each.

    The same kind reads its own series and older ones. redis up to 7.2 and valkey share one format;
    valkey 8.1 files were read by redis 8.2 and by no older redis; redis 7.4 and newer by no valkey;
    valkey 9 by nothing else.
    """
    reads, wrote = reader.version[:2], writer.version[:2]
    if reads < OLDEST:
        return False
    if reader.name == writer.name:
        return wrote <= reads
    if writer.name == "redis":
        return wrote <= (7, 2)
    return wrote <= (8, 1) and reads >= (8, 2)


def _refuse_strangers(folder: Path) -> None:
    found = sorted(
        path.name
        for path in folder.iterdir()
        if path.name == "appendonlydir" or path.suffix in {".aof", ".rdb"}
    )
    if found:
        # With appendonly on and no manifest, a server ignores dump.rdb and starts empty beside it.
        raise ConfigurationError(
            f"{folder}: holds {', '.join(found)} but no {STAMP}; write into {folder / STAMP} which "
            "server wrote them (for example: redis 7.0.15), or move them away"
        )


def _write_durably(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
