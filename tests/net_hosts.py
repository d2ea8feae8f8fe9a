"""The only place where tests run three hosts in network namespaces of their own, and pull a cable.

``unshare`` makes them for one process and all that it starts: ``python -m tests.net_hosts`` is that
process, plays one cut, and prints what it cost as JSON. Nothing of it is left when it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from quantum_ops import sentinel, streams
from quantum_ops.settings import RedisSettings
from tests.failover_rounds import Writer
from tests.sentinel_rig import SAMPLES
from tests.servers import binary
from tests.supervised import ROOT
from tests.waiting import wait_until

ENTER = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Ends everything that was started inside when the process outside ends."""
HOSTS = (1, 2, 3)
SENTINELS = ",".join(f"10.77.0.{number}:{sentinel.PORT}" for number in HOSTS)


def refusal() -> str:
    """Why no namespaces can be made here; empty if they can."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "no unshare or no ip here (apt-get install util-linux iproute2)"
    tried = subprocess.run(
        [*ENTER, "ip", "link", "add", "name", "a", "type", "veth", "peer", "name", "b"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return tried.stderr.strip() if tried.returncode else ""


def played() -> dict[str, float]:
    """One cut, played in namespaces that are made for it: ``acked``, ``lost``, ``gap_s``."""
    done = subprocess.run(
        [*ENTER, sys.executable, "-m", "tests.net_hosts"], cwd=ROOT, text=True,
        capture_output=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


class Host:
    """A server and a sentinel behind one cable."""

    def __init__(self, folder: Path, number: int) -> None:
        path = binary("valkey")
        assert path is not None
        self._folder, self._number, self._server = folder, number, path
        self.address, self._cable = f"10.77.0.{number}", f"v{number}"
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "300"])
        ours = Path("/proc/self/ns/net").readlink()
        theirs = Path(f"/proc/{self._holder.pid}/ns/net")
        wait_until(lambda: theirs.readlink() != ours, what="a net of its own")
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0",
             "netns", str(self._holder.pid))  # fmt: skip
        _run("ip", "link", "set", self._cable, "master", "switch", "up")
        for command in (
            ("ip", "link", "set", "lo", "up"),
            ("ip", "address", "add", f"{self.address}/24", "dev", "eth0"),
            ("ip", "link", "set", "eth0", "up"),
        ):
            _run(*self._inside(), *command)
        follow = ["--replicaof", "10.77.0.1", "6379"] if number > 1 else []
        self._start(
            path, str(_copy(folder / f"server-{number}.conf", "replica.conf", "")),
            "--bind", self.address, "127.0.0.1", "--protected-mode", "no", "--dir", str(folder),
            "--dbfilename", f"{number}.rdb", "--appendonly", "no", *follow,
        )  # fmt: skip
        wait_until(self._role, 15, "a server answers")

    def watch(self) -> None:
        """Start the sentinel; late, since it looks for replicas every ten seconds only."""
        conf = self._folder / f"sentinel-{self._number}.conf"
        self._start(self._server, str(_copy(conf, "sentinel.conf", self.address)), "--sentinel")

    def cut(self) -> None:
        """Pull its cable: what is sent to it vanishes, and nobody is told."""
        _run("ip", "link", "set", self._cable, "down")

    def follows(self) -> bool:
        """Whether it has all that its master had."""
        role = self._role()
        return role[0] == b"slave" and role[3] == b"connected"

    def _role(self) -> Any:
        with contextlib.suppress(redis.RedisError), redis.Redis(self.address, protocol=2) as db:
            return db.execute_command("ROLE")
        return []

    def _inside(self) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self._holder.pid), "--net")

    def _start(self, *command: str) -> None:
        subprocess.Popen([*self._inside(), *command], stdout=sys.stderr)


def main() -> None:
    """Three hosts; a publisher; the master's host, with its sentinel, is cut off."""
    for command in (
        ("link", "set", "lo", "up"),
        ("link", "add", "switch", "type", "bridge"),
        ("address", "add", "10.77.0.254/24", "dev", "switch"),
        ("link", "set", "switch", "up"),
    ):
        _run("ip", *command)
    with tempfile.TemporaryDirectory(prefix="qn-") as folder:
        hosts = [Host(Path(folder), number) for number in HOSTS]
        whole = {"flags": "master", "num-slaves": "2", "num-other-sentinels": "2"}
        for host in hosts[1:]:
            wait_until(host.follows, 15, "it follows the master")
        for host in hosts:
            host.watch()
        for host in hosts:
            wait_until(
                lambda host=host: whole.items() <= _view(host).items(), 20, "each knows the others"
            )
        settings = RedisSettings(
            url=f"sentinel://{SENTINELS}/quantum", timeout_s=2.0, wait_replicas=1,
            wait_replicas_ms=500,
        )  # fmt: skip
        writer = Writer("w", settings, 60.0)
        wait_until(lambda: len(writer.times) > 100, 20, "it publishes")
        began = time.monotonic()
        hosts[0].cut()
        wait_until(lambda: writer.times[-1] > began + 1, 60, "it publishes again")
        writer.stop()
        address = _view(hosts[1])["ip"]
        assert address != hosts[0].address
        with redis.Redis(address, protocol=2) as db:
            kept = {
                fields[b"subject"].decode() for _, fields in db.xrange(streams.AUDIT_FINDING.key)
            }
        gap_s = next(at for at in writer.times if at > began + 1) - began
    lost = len(set(writer.acked) - kept)
    print(json.dumps({"acked": len(writer.acked), "lost": lost, "gap_s": gap_s}), flush=True)
    # The first process of a namespace for processes ends all others by its own end.
    os._exit(0)


def _view(host: Host) -> dict[str, str]:
    with (
        contextlib.suppress(redis.RedisError),
        redis.Redis(host.address, sentinel.PORT, protocol=2, socket_timeout=1) as db,
    ):
        said: dict[str, Any] = db.execute_command("SENTINEL MASTER quantum")
        pairs = said.items() if isinstance(said, dict) else zip(said[::2], said[1::2], strict=True)
        return {str(name, "utf-8"): str(value, "utf-8") for name, value in pairs}
    return {}


def _copy(to: Path, sample: str, address: str) -> Path:
    text = (SAMPLES / sample).read_text()
    text = text.replace("protected-mode yes", "protected-mode no")
    text = text.replace("bind 10.0.0.1\n", f"bind {address}\ndir {to.parent}\n")
    to.write_text(text.replace("monitor quantum 10.0.0.1", "monitor quantum 10.77.0.1"))
    return to


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
