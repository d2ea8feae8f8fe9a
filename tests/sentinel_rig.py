"""The only place where tests run Redis with replicas and sentinels, and part them from each other.

Everything listens on loopback. In front of each server stands a gate (tests/gates.py), whose port
is the one that is announced; whoever is to be on the server's own side of it goes to its real port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from quantum_ops import client
from quantum_ops.settings import RedisSettings
from tests.gates import Gates
from tests.servers import binary
from tests.supervised import ROOT, free_port
from tests.waiting import wait_until

SERVICE = "quantum"
DOWN_AFTER_MS = 1000
"""Half of what the sample says: stories are to be quick."""
SAMPLES = ROOT / "ops" / "redis"
"""The configuration that operators are shown is the one that is tested."""
# Stories are about the net, not about the disk.
OPTIONS = ("--appendonly", "no", "--min-replicas-to-write", "0")


class Node:
    """One server or sentinel: ``real`` is its own port, ``announced`` the one that others know."""

    def __init__(self, folder: Path, name: str, command: list[str]) -> None:
        self.name = name
        self.folder = folder
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


class Rig:
    """A master, two replicas, three sentinels. ``ports`` are the announced ones of the servers."""

    def __init__(
        self, flavour: str, *, replicas: int = 2, down_after_ms: int = DOWN_AFTER_MS
    ) -> None:
        path = binary(flavour)
        assert path is not None, f"no {flavour} here"
        self._down_after_ms = down_after_ms
        self.folder = Path(tempfile.mkdtemp(prefix="qh-"))
        self.gates = Gates()
        self.servers: dict[int, Node] = {}
        self.inner: dict[int, int] = {}
        self.sentinels: list[Node] = []
        self._made: list[redis.Redis] = []
        first = 0
        for number in range(replicas + 1):
            announced, real = free_port(), free_port()
            # Sentinels have it rewritten, so each has a copy.
            conf = shutil.copy(SAMPLES / "replica.conf", self.folder / f"server-{number}.conf")
            command = [
                path, str(conf), "--port", str(real), "--bind", "127.0.0.1",
                "--dir", str(self.folder),
                "--dbfilename", f"{real}.rdb", "--replica-announce-ip", "127.0.0.1",
                "--replica-announce-port", str(announced), *OPTIONS,
            ]  # fmt: skip
            if number:
                command += ["--replicaof", "127.0.0.1", str(first)]
            else:
                first = announced
            self.servers[announced] = Node(self.folder, f"server-{number}", command)
            self.inner[announced] = real
            self.gates.add(announced, real)
            self.servers[announced].start()
        for port in self.servers:
            wait_until(lambda port=port: self._answers(port), 15, f"server {port} answers")
        self.sentinel_ports = []
        for number in range(3):
            self._sentinel(path, number, first)
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        self.url = f"sentinel://{hosts}/{SERVICE}"
        wait_until(self.is_whole, 20, "all sentinels know all")

    def _sentinel(self, path: str, number: int, master: int) -> None:
        port = free_port()
        conf = self.folder / f"sentinel-{number}.conf"
        text = (SAMPLES / "sentinel.conf").read_text()
        for shown, here in (
            ("port 26379\n", f"port {port}\ndir {self.folder}\n"),
            ("bind 10.0.0.1\n", "bind 127.0.0.1\n"),
            (f"monitor {SERVICE} 10.0.0.1 6379", f"monitor {SERVICE} 127.0.0.1 {master}"),
            (
                "down-after-milliseconds quantum 2000",
                f"down-after-milliseconds quantum {self._down_after_ms}",
            ),
        ):
            assert shown in text, f"sentinel.conf has no {shown!r} any more"
            text = text.replace(shown, here)
        conf.write_text(text)
        node = Node(self.folder, f"sentinel-{number}", [path, str(conf), "--sentinel"])
        node.start()
        self.sentinel_ports.append(port)
        self.sentinels.append(node)

    def direct(self, port: int) -> redis.Redis:
        """A client of one server, past every gate: what its neighbours on the same host see."""
        made = redis.Redis(
            port=self.inner.get(port, port), protocol=2, socket_timeout=2, driver_info=None
        )
        self._made.append(made)
        return made

    def connect(self, **options: Any) -> Any:
        """A client through the sentinels, as the product builds it."""
        made = client.connect(RedisSettings(url=self.url, timeout_s=2.0), **options)
        self._made.append(made)
        return made

    def _answers(self, port: int) -> bool:
        with contextlib.suppress(redis.RedisError), self._once(port) as db:
            return bool(db.ping())
        return False

    @contextlib.contextmanager
    def _once(self, port: int) -> Iterator[redis.Redis]:
        db = redis.Redis(
            port=self.inner.get(port, port), protocol=2, socket_timeout=1, driver_info=None
        )
        try:
            yield db
        finally:
            db.close()

    def said(self, port: int, *command: Any) -> Any:
        """The raw answer of the server or sentinel at ``port``; None if it gives none."""
        with contextlib.suppress(redis.RedisError), self._once(port) as db:
            return client.raw(db, *command)
        return None

    def master(self) -> int:
        """Announced port of the master that most sentinels name."""
        named = [
            int(reply[1])
            for port in self.sentinel_ports
            if (reply := self.said(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE))
        ]
        return max(set(named), key=named.count) if named else 0

    def is_whole(self) -> bool:
        """Whether one is master, all others follow it in step, and all sentinels agree."""
        views = [self._view(port) for port in self.sentinel_ports]
        master = views[0].get("port")
        whole = {"port": master, "flags": "master", "num-other-sentinels": "2"}
        whole["num-slaves"] = str(len(self.servers) - 1)
        if master is None or any(
            {name: view.get(name) for name in whole} != whole for view in views
        ):
            return False
        return all(self._role(port, int(master)) for port in self.servers)

    def _view(self, port: int) -> dict[str, str]:
        reply = self.said(port, "SENTINEL", "MASTER", SERVICE) or ()
        return {reply[at].decode(): reply[at + 1].decode() for at in range(0, len(reply), 2)}

    def _role(self, port: int, master: int) -> bool:
        role = self.said(port, "ROLE") or [b""]
        if port == master:
            return role[0] == b"master"
        return role[0] == b"slave" and (role[2], role[3]) == (master, b"connected")

    def heal(self) -> None:
        """Everything runs again, nothing is cut, all is in step."""
        self.gates.open(*self.servers)
        for node in (*self.servers.values(), *self.sentinels):
            assert node.process is not None
            if node.process.poll() is not None:
                node.start()
            else:
                node.signal(signal.SIGCONT)
        wait_until(self.is_whole, 40, f"all is in step again (logs: {self.folder})")

    def close(self) -> None:
        """End all of them and remove their folder."""
        for node in (*self.sentinels, *self.servers.values()):
            node.end()
        self.gates.close()
        for made in self._made:
            made.close()
        if os.environ.get("QUANTUM_KEEP_LOGS") != "yes":
            shutil.rmtree(self.folder, ignore_errors=True)
