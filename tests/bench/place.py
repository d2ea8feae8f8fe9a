"""The only place that knows where things run: servers on a port of their own, pinned processes."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from ops import server_binary

SERVER_CPU = 0
CLIENT_CPU = 1
START_S = 10.0
NOT_DURABLE = ("--save", "", "--appendonly", "no")
DURABLE = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


# Asked once: inside born_on the answer would be no.
CAN_PIN = hasattr(os, "sched_setaffinity") and {SERVER_CPU, CLIENT_CPU} <= os.sched_getaffinity(0)
"""Whether server and client can be given a processor each."""


@contextmanager
def born_on(cpu: int) -> Iterator[None]:
    """Processes started inside run on ``cpu`` for all their life, where that is possible."""
    if not CAN_PIN:
        yield
        return
    before = os.sched_getaffinity(0)
    # Set here and inherited, because setting it from outside would miss threads already started.
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """A server of the benchmark's own on loopback TCP, as in most deployments; ended by close."""

    def __init__(self, program: Path, options: tuple[str, ...] = NOT_DURABLE) -> None:
        self.flavour = str(server_binary.probe(program))
        self.folder = Path(tempfile.mkdtemp(prefix="qo-bench-"))
        self.port = _free_port()
        log = (self.folder / "log").open("ab")
        with log, born_on(SERVER_CPU):
            self._process = subprocess.Popen(
                [
                    program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
                    str(self.folder), "--maxmemory-policy", "noeviction", *options,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the benchmark runs no threads
            )  # fmt: skip
        self.db = redis.Redis(port=self.port, protocol=2)
        try:
            self._await_answer()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cpu_s(self) -> float:
        """Seconds of processor time it has used so far."""
        info: Any = self.db.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def close(self) -> None:
        """End it and remove its folder."""
        self.db.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                # Asking for the pid makes sure that it is ours and not whoever took the port.
                info: Any = self.db.info("server")
            except redis.ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / "log").read_text(errors="replace")[-500:]
                    raise RuntimeError(f"{self.flavour} did not start: {log}") from None
                time.sleep(0.02)
            else:
                if info["process_id"] != self._process.pid:
                    raise RuntimeError(f"port {self.port} was taken by another server; run again")
                return


def _die_with_parent() -> None:
    # kill -9 of the benchmark would leave its servers running for ever.
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL), 0, 0, 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
