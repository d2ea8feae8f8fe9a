"""The only place that starts a scratch server: empty, in a folder of its own, gone at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from ops import server_binary
from quantum_ops import client, knobs
from quantum_ops.errors import QuantumError
from quantum_ops.settings import RedisSettings, ServerSettings

START_S = 15.0
_POLL_S = 0.05


class ScratchError(QuantumError):
    """The scratch server did not start; the message holds what it said."""


@contextlib.contextmanager
def server() -> Iterator[RedisSettings]:
    """Settings of a server that listens on a unix socket only and writes nothing to disk.

    Never another one: the folder is new, and nothing outside knows its socket.
    """
    binary = server_binary.find(knobs.load(ServerSettings).binary)
    folder = Path(tempfile.mkdtemp(prefix="quantum-scratch-"))  # 0700: nobody else reaches it
    child = None
    try:
        socket = folder / "s"
        command = [
            str(binary.path), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700",
            "--dir", str(folder), "--save", "", "--appendonly", "no",
            "--maxmemory-policy", "noeviction", "--notify-keyspace-events", "K$",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        settings = RedisSettings(url=f"unix://{socket}")
        _wait(child, settings, folder / "log")
        yield settings
    finally:
        if child is not None and child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(child: subprocess.Popen[bytes], settings: RedisSettings, log: Path) -> None:
    db = client.connect(settings)
    deadline = time.monotonic() + START_S
    while True:
        try:
            db.ping()
        except (redis.RedisError, OSError) as error:
            if child.poll() is not None or time.monotonic() > deadline:
                said = log.read_bytes()[-500:].decode("utf-8", "replace")
                raise ScratchError(f"the scratch server does not start: {said}") from error
            time.sleep(_POLL_S)
        else:
            db.connection_pool.disconnect()
            return
