"""The only place where process events wait until Redis has them: in order, bounded, on disk."""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path

import msgspec

from quantum_ops.events import OpsProcess

MAX_EVENTS = 20_000
"""Events that may wait, about 5 MB; a day without Redis has far fewer. Later ones are counted."""
_DECODER = msgspec.json.Decoder(OpsProcess)


class Spool:
    """A queue that one thread fills and another empties; it survives kill -9 of the process.

    What :meth:`add` was given MUST be there again after a kill, unless it was counted in
    ``dropped`` (the queue was full) or ``unsaved`` (the disk did not take it; then it is lost only
    if the process dies before Redis has it). Not synced: a machine that loses power has lost the
    processes that the events tell of as well.
    """

    def __init__(self, path: Path, max_events: int = MAX_EVENTS) -> None:
        self._max = max_events
        self._lock = threading.Lock()
        self._waiting: deque[OpsProcess] = deque()
        self._lines = 0
        self.dropped = 0
        self.unsaved = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._load()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, event: OpsProcess) -> None:
        """Append ``event``; never raises and never waits for Redis."""
        with self._lock:
            if len(self._waiting) >= self._max:
                self.dropped += 1
                return
            self._waiting.append(event)
            self._save(event)

    def first(self) -> OpsProcess | None:
        """The oldest event, which stays until :meth:`done`."""
        return self._waiting[0] if self._waiting else None

    def done(self) -> None:
        """Take the oldest event out: Redis has it."""
        with self._lock:
            self._waiting.popleft()
            try:
                if not self._waiting:
                    os.ftruncate(self._fd, 0)
                    self._lines = 0
                elif self._lines > 2 * self._max:
                    self._rewrite()
            except OSError:
                # Lines of events that Redis has are repeated after a kill, and are no-ops there.
                self.unsaved += 1

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _save(self, event: OpsProcess) -> None:
        line = msgspec.json.encode(event) + b"\n"
        try:
            if os.write(self._fd, line) != len(line):
                # A half line would spoil the next one too.
                os.write(self._fd, b"\n")
                self.unsaved += 1
        except OSError:
            self.unsaved += 1
        self._lines += 1

    def _rewrite(self) -> None:
        draft = self._path.with_suffix(".new")
        with draft.open("wb") as file:
            file.writelines(msgspec.json.encode(event) + b"\n" for event in self._waiting)
        draft.replace(self._path)
        os.close(self._fd)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._lines = len(self._waiting)

    def _load(self) -> None:
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return
        for line in lines[-self._max :]:
            try:
                self._waiting.append(_DECODER.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # torn by a kill, and so never answered: supervisord sends it again
        self._lines = len(lines)
