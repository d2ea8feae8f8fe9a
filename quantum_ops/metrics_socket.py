"""The only place where a process serves its own metrics, on a unix socket that the exporter reads.

One socket for each process, in ``QUANTUM_RUN_DIR/m``, named as the process. Whoever connects is
given one JSON document and the end of the stream. Metrics never stop a process: what cannot be
served is a warning in its log.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from pathlib import Path

import msgspec

from quantum_ops import logs
from quantum_ops.heartbeat import process_num
from quantum_ops.measures import Family, Registry

FOLDER = "m"
"""Below the run folder; so short because socket paths are."""
MAX_PATH = 103
"""Bytes that every platform takes for the path of a socket (macOS; Linux takes 107)."""
PATIENCE_S = 1.0
"""Seconds that one reader may take; the next one waits as long."""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(list[Family]).decode
"""Raises ``msgspec.DecodeError`` for anything that no registry gave."""


class MetricsSocket:
    """The socket of one process, served by a thread of its own until :meth:`close`."""

    def __init__(self, registry: Registry, path: Path) -> None:
        """Raises ``OSError`` if it cannot be made."""
        self._registry = registry
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Bound elsewhere and then moved: under its name nobody is ever refused, and what an
        # earlier process left there is replaced in one step.
        beside = path.with_name(f".{os.getpid()}")
        try:
            beside.unlink(missing_ok=True)
            self._socket.bind(str(beside))
            self._socket.listen(8)
            beside.rename(path)
        except OSError:
            self._socket.close()
            raise
        self._inode = path.stat().st_ino
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, and take the socket away unless it is another process's by now."""
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        self._thread.join(2 * PATIENCE_S)

    def _serve(self) -> None:
        while True:
            try:
                reader, _ = self._socket.accept()
            except OSError:
                return  # closed
            with reader, contextlib.suppress(OSError):
                reader.settimeout(PATIENCE_S)
                reader.sendall(encode(self._registry.collect()))


def serve(registry: Registry, program: str) -> MetricsSocket | None:
    """Serve ``registry`` under supervisord's name of this process, else as ``PROGRAM-NN``.

    None outside ``./run``, or if it cannot be.
    """
    run_dir = os.environ.get("QUANTUM_RUN_DIR")
    if not run_dir:
        return None
    folder = Path(run_dir, FOLDER)
    named = os.environ.get("SUPERVISOR_PROCESS_NAME") or f"{program}-{process_num():02d}"
    path = folder / named
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(f"{folder} is no folder")
        if len(os.fsencode(path)) > MAX_PATH:
            raise OSError(f"{path} has more than {MAX_PATH} bytes")  # noqa: TRY301 - told below
        return MetricsSocket(registry, path)
    except OSError as error:
        logs.get().warning("metrics_not_served", error=str(error))
        return None
