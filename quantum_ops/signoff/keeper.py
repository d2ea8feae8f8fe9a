"""The only place that decides which process keeps the ledger, and whether it can be kept at all.

One consumer of a ledger's folder at a time, by a lock that is held for life: the system releases it
at death, whatever kills the process. The command line tool needs no turn; it shares the journal's
own lock.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from typing import Any

import walrus

from quantum_ops import host, streams
from quantum_ops.clock import Clock
from quantum_ops.errors import Hold
from quantum_ops.heartbeat import TTL_S, process_num
from quantum_ops.ledger import book, durable
from quantum_ops.ledger.errors import JournalDamagedError, LedgerError, LockTimeoutError
from quantum_ops.ledger.folder import Folder

PROGRAM = "ledger"
PROBE_PATIENCE_S = 2.0
_OWNER_BYTES = 4096


class Keeper:
    """This process's turn at the ledger of ``folder``."""

    def __init__(self, folder: Folder, clock: Clock, tell: Callable[[str], None]) -> None:
        self.folder = folder
        self._clock = clock
        self._tell = tell
        self._number = -1
        self._proven = False
        self._unseen_since_s: float | None = None

    def take_turn(self, db: walrus.Database) -> bool:
        """Be the one that keeps the ledger, and know that it can be written.

        Gives whether this was found out anew. Raises :class:`Hold` while another process keeps it,
        or while nothing can be recorded.
        """
        try:
            if not self._is_held():
                self._proven = False
                self._lock(db)
            if self._proven:
                return False
            book.probe(self.folder, tell=self._tell, patience_s=PROBE_PATIENCE_S)
        except (LedgerError, OSError) as error:
            raise self.trouble(error) from error
        self._proven = True
        return True

    def trouble(self, error: Exception) -> Hold:
        """What ``error`` of the ledger means: everything waits until it is cured."""
        self._proven = False
        return Hold(f"the ledger in {self.folder.base} cannot be written: {_with_cure(error)}")

    def close(self) -> None:
        """Let another process have its turn."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def _is_held(self) -> bool:
        """Whether we hold the lock, and of the file that is there: a folder may be exchanged."""
        if self._number < 0:
            return False
        try:
            there = self.folder.keeper.stat()
        except FileNotFoundError:
            there = None
        held = os.fstat(self._number)
        if there and (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
            return True
        self.close()
        return False

    def _lock(self, db: walrus.Database) -> None:
        path = self.folder.keeper
        durable.make_folder(path.parent)
        number = durable.opened(path, os.O_RDWR)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(number, _OWNER_BYTES, 0)
            os.close(number)
            raise self._standby(_parsed(owner), db) from None
        except BaseException:
            os.close(number)
            raise
        self._number = number
        self._unseen_since_s = None
        self._sign()

    def _sign(self) -> None:
        """Say in the file who holds it. For people, and for whoever stands by."""
        owner = {"pid": os.getpid(), "host": host.name(), "process_num": process_num()}
        owner["token"] = host.token(process_num())
        try:
            os.ftruncate(self._number, 0)
            os.pwrite(self._number, json.dumps(owner).encode(), 0)
        except OSError as error:
            self._tell(f"{self.folder.keeper}: {error}; the lock itself is held")

    def _standby(self, owner: dict[str, Any], db: walrus.Database) -> Hold:
        """Stand by for one that is at work here; call somebody if it is none of this system's."""
        pid, host = owner.get("pid", "?"), owner.get("host", "?")
        who = f"process {pid} on {host}"
        beat = db.hgetall(
            streams.heartbeat(PROGRAM, str(owner.get("token", owner.get("process_num", 0))))
        )
        mine = (str(pid).encode(), str(host).encode())
        now_s = self._clock.monotonic_s()
        if (beat.get(b"pid"), beat.get(b"host")) == mine:
            self._unseen_since_s = None
        elif self._unseen_since_s is None:
            self._unseen_since_s = now_s
        if self._unseen_since_s is None or now_s - self._unseen_since_s < TTL_S:
            return Hold(f"{who} keeps the ledger in {self.folder.base}", standby=True)
        return Hold(
            f"{who} holds {self.folder.keeper} and does not work on this Redis; "
            "give each system a folder of its own with LEDGER_DIR, or end that process"
        )


def _parsed(owner: bytes) -> dict[str, Any]:
    try:
        found = json.loads(owner)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _with_cure(error: Exception) -> str:
    if isinstance(error, LockTimeoutError | JournalDamagedError | LedgerError):
        return str(error)  # each names its cure
    return f"{error}; events wait in their stream and are recorded once it can be"
