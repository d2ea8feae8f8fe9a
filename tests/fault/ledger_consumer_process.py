"""The ledger's consumer as a forked process, as supervisord would run it."""

from __future__ import annotations

import os
import resource
import signal
import sys

from consumers.ledger import ledger
from quantum_ops import program


def run(environ: dict[str, str]) -> None:
    """Be the program; FSIZE limits how large a file may become."""
    os.environ.clear()
    os.environ.update(environ)
    # Python ignores it from its start on; a fork server may not.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if "FSIZE" in environ:
        limit = int(environ["FSIZE"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until its end
    sys.exit(program.run(ledger))
