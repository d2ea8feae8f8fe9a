"""Rebuild a ledger in a process that dies on the way: ``BASE WHO NTH`` (see ``main``)."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from quantum_ops.ledger import book, drift
from quantum_ops.ledger.errors import LedgerError
from quantum_ops.ledger.folder import Folder


def main(base: str, who: str, nth: int) -> None:
    """Rebuild; with the ``nth`` file that is written kill -9 hits ``who``: child, parent or nobody.

    Prints the error, if there was one.
    """
    real, written = drift._write, []
    parent = os.getpid()

    def write(*of):
        written.append(of)
        if len(written) == nth and who != "nobody":
            assert os.getpid() != parent, "the rendering has to be in a process of its own"
            os.kill(parent if who == "parent" else os.getpid(), signal.SIGKILL)
        real(*of)

    drift._write = write
    if hasattr(os, "sched_getaffinity"):
        os.sched_getaffinity = lambda _pid: {0, 1}  # two processes on one processor, too
    try:
        book.rebuild(Folder.at(Path(base)))
    except (OSError, ValueError, LedgerError) as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
