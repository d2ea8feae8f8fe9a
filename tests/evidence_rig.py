"""The only place where tests set up what evidence looks at: programs, exporters, a host."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from quantum_ops.ledger import evidence
from quantum_ops.ledger.evidence import collector
from quantum_ops.ledger.evidence.jobs import Deadline

LIMITS = ("METRICS_S", "REDIS_S", "GIT_S", "PROOF_S", "SERVICES_S")
NOW = datetime(2026, 1, 27, 6, 15, 30, tzinfo=UTC)


class Host:
    """A folder that stands in for a host: a checkout, programs on PATH, nothing of this machine."""

    def __init__(self, base: Path) -> None:
        self.root, self.bin, self.logs = base / "root", base / "bin", base / "ledger" / "logs"
        for folder in (self.root, self.bin):
            folder.mkdir(parents=True)
        self.patient = True
        self.environ = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(base),
            "QUANTUM_ENV_DIR": str(base / "etc"),
            "QUANTUM_HOME": str(base / "var"),
            # Nobody listens there: a story that needs a server names it.
            "REDIS_URL": f"unix://{base}/no-redis",
        }

    def program(self, name: str, script: str) -> None:
        """Put a shell script on PATH, before the host's own program of that name."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def without(self, *names: str) -> None:
        """A PATH on which these programs are not; sh, cat and git stay."""
        alone = self.bin.parent / "alone"
        alone.mkdir()
        for name in ("sh", "cat", "sleep", "git", "head", "yes"):
            for folder in os.environ["PATH"].split(":"):
                if name not in names and (Path(folder) / name).exists():
                    (alone / name).symlink_to(Path(folder) / name)
                    break
        self.environ["PATH"] = f"{self.bin}:{alone}"

    def collect(self, **wanted: Any) -> dict[str, Any]:
        """Evidence of an operation on this host."""
        given = {"operation": "OPS-2026-01-27-011", "root": self.root, "environ": self.environ}
        # A machine that is busy with other tests is no slow exporter: stories about time say so.
        patience = dict.fromkeys(LIMITS, 60.0) if self.patient else {}
        with mock.patch.multiple(collector, **patience) if patience else contextlib.nullcontext():
            return evidence.collect(evidence.Wanted(**{**given, **wanted}), NOW, self.logs)

    def problems(self, **wanted: Any) -> list[str]:
        return list(self.collect(**wanted).get("evidence_problems", []))


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline(seconds)


class Exporter:
    """A web server on 127.0.0.1 that answers each connection with what ``answer`` does to it."""

    def __init__(self, answer: Callable[[socket.socket], None] | bytes) -> None:
        self.asked: list[bytes] = []
        self._answer = answer
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/metrics"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._listener.close()
        # A connection of our own ends an accept() that is under way.
        self._thread.join(5)

    def _serve(self) -> None:
        self._listener.settimeout(0.05)
        while not self._stop.is_set():
            try:
                made, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            made.settimeout(10)
            threading.Thread(target=self._talk, args=(made,), daemon=True).start()

    def _talk(self, made: socket.socket) -> None:
        with made:
            try:
                self.asked.append(made.recv(65536))
                if isinstance(self._answer, bytes):
                    made.sendall(self._answer)
                else:
                    self._answer(made)
            except OSError:
                return

    @property
    def stopped(self) -> threading.Event:
        return self._stop


def page(body: bytes, status: str = "200 OK", *more: str) -> bytes:
    """A whole HTTP answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more, "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode() + body
