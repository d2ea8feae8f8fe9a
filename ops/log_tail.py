"""The only place that shows log files: their last lines, and what is added to them."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, TextIO

from ops.terminal import safe

_LAST_BYTES = 64 * 1024
_CHUNK = 64 * 1024
_LONGEST = 100_000
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


def last_lines(path: Path, count: int) -> list[str]:
    """The last ``count`` lines of the file's last 64 KiB, safe to print; none without a file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LAST_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return []
    return [safe(line, _LONGEST) for line in lines[-count:]] if count > 0 else []


class Screen:
    """Prints lines under the name of their program; in colour on a terminal without NO_COLOR."""

    def __init__(self, names: Iterable[str], out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._width = max((len(name) for name in names), default=0)
        self._coloured = self._out.isatty() and not os.environ.get("NO_COLOR")

    def show(self, name: str, line: str) -> None:
        """Print one line of ``name``."""
        self._width = max(self._width, len(name))
        head = f"{name:<{self._width}} | "
        if self._coloured:
            # The same name always has the same colour, in every session.
            colour = _COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]
            head = f"\x1b[{colour}m{head}\x1b[0m"
        print(head + line, file=self._out, flush=True)


class Follower:
    """Reads what is added to the ``*.log`` files of a folder, rotation and new files included."""

    def __init__(self, folder: Path, names: frozenset[str] | None = None) -> None:
        """Begin at the present end of every file; ``names`` are file stems, None takes all."""
        self._folder = folder
        self._names = names
        self._files: dict[str, _Growing] = {}
        for path in self._paths():
            self._files[path.stem] = _Growing(path, at_end=True)

    def poll(self) -> list[tuple[str, str]]:
        """The complete lines added since the last poll, as (name, line), file by file."""
        for path in self._paths():
            self._files.setdefault(path.stem, _Growing(path, at_end=False))
        return [(name, line) for name, file in self._files.items() for line in file.read()]

    def _paths(self) -> list[Path]:
        paths = sorted(self._folder.glob("*.log"))
        return [path for path in paths if self._names is None or path.stem in self._names]


class _Growing:
    def __init__(self, path: Path, *, at_end: bool) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        file = self._open() if at_end else None
        if file is not None:
            file.seek(0, os.SEEK_END)

    def read(self) -> list[str]:
        lines: list[str] = []
        file = self._file or self._open()
        while file is not None:
            lines += self._drain(file)
            if not self._is_replaced(file):
                break
            # supervisord renames a full log: the old file is read to its end first.
            file.close()
            self._rest = b""
            file = self._open()
        return lines

    def _drain(self, file: BinaryIO) -> list[str]:
        lines: list[str] = []
        while chunk := file.read(_CHUNK):
            *complete, self._rest = (self._rest + chunk).split(b"\n")
            lines += [safe(line, _LONGEST) for line in complete]
        return lines

    def _open(self) -> BinaryIO | None:
        try:
            self._file = self._path.open("rb")
        except OSError:
            self._file = None
        return self._file

    def _is_replaced(self, file: BinaryIO) -> bool:
        try:
            now = self._path.stat()
        except OSError:
            return False
        ours = os.fstat(file.fileno())
        return now.st_ino != ours.st_ino or now.st_size < file.tell()
