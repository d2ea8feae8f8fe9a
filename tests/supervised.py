"""The only place where tests run a whole supervised system, from a copy of the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import redis

from ops import leftovers, running
from ops.daemon import AbsentError, Daemon
from ops.paths import Paths
from ops.system import look
from quantum_ops import client
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import RedisSettings
from tests.waiting import wait_until

FOREIGN = (
    "REDIS_", "SUPERVISOR_", "QUANTUM_", "UNIVERSE_", "HTTP_", "P33_", "BINANCE_", "POSITIONS_",
    "LEDGER_", "STRICT_",
)  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent

PROGRAM = '''
"""Stands in for a consumer: waits for the server inside, beats, drains on SIGTERM."""
import os, signal, sys, time
from quantum_ops import client, lifeline
from quantum_ops.clock import Clock
from quantum_ops.heartbeat import Heartbeat

name = sys.argv[1]
if name == "refuses":
    sys.exit(lifeline.refuse("REFUSES=yes (environment): write no"))
clock = Clock()  # not a threading.Event, which can deadlock when it is set in a handler
signal.signal(signal.SIGTERM, lambda *_: clock.stop())
lifeline.die_with_parent()
# Writes keys of no program: as the one user who may.
db = client.connect(user="admin")
heartbeat = Heartbeat(db, name)
while not clock.stopping():
    try:
        heartbeat.beat("ready", force=True, handled=1)
    except client.TRANSPORT_ERRORS + client.SERVER_ERRORS as error:
        print("waiting:", error, flush=True)
    clock.wait(0.1)
time.sleep(float(os.environ.get("DRAIN_S", "0.4")))
db.rpush("drained", f"{name}-{heartbeat.process_num:02d}")
'''

STANZA = """
[program:{name}]
command="%(ENV_QUANTUM_PYTHON)s" -m {package} {name}
process_name=%(program_name)s-%(process_num)02d
numprocs={count}
{extra}
exitcodes=78
startretries=100
stopwaitsecs=30
killasgroup=true
redirect_stderr=true
stdout_logfile=%(ENV_QUANTUM_HOME)s/log/%(program_name)s-%(process_num)02d.log
"""


class System:
    """A checkout and a home of its own in a short folder; verbs run as an operator's do."""

    def __init__(self) -> None:
        # Not tmp_path: its long names do not fit a socket path.
        self.folder = Path(tempfile.mkdtemp(prefix="qs-"))
        self.tree, self.home = self.folder / "tree", self.folder / "home"
        for package in ("ops", "quantum_ops", "supervisor", "consumers", "producers"):
            shutil.copytree(ROOT / package, self.tree / package, symlinks=True)
        self.port = free_port()
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)},
            "QUANTUM_HOME": str(self.home),
            "QUANTUM_ENV_DIR": str(self.folder / "env"),
            "REDIS_PORT": str(self.port),
            # Several systems at a time: the one page has one port, and so have the metrics.
            "QUANTUM_STATUS_PAGE_PORT": "0",
            "QUANTUM_EXPORTER_PORT": "0",
        }

    def with_stand_ins(self) -> System:
        """Two workers and a feeder instead of the real programs."""
        for folder in ("conf.d", "demo.d"):
            for path in (self.tree / "supervisor" / folder).glob("*.conf"):
                path.unlink()
        for package in ("consumers", "producers"):
            (self.tree / package / "__main__.py").write_text(PROGRAM)
        self.add("worker", "consumers", count=2)
        self.add("feeder", "producers", extra="priority=500")
        return self

    def add(self, name: str, package: str, *, count: int = 1, extra: str = "") -> None:
        """Add a program: one stanza file."""
        text = STANZA.format(name=name, package=package, count=count, extra=extra)
        (self.tree / "supervisor" / "conf.d" / f"{name}.conf").write_text(text)

    def verb(
        self, *argv: str, timeout_s: float = 90, **environ: str
    ) -> subprocess.CompletedProcess:
        """Run one verb to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ops", *argv],
            cwd=self.tree,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def begin(self, *argv: str, **environ: str) -> subprocess.Popen:
        """Run one verb beside the test."""
        return subprocess.Popen(
            [sys.executable, "-m", "ops", *argv],
            cwd=self.tree,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start(self, **environ: str) -> subprocess.CompletedProcess:
        """Start, and insist that everything became ready."""
        done = self.verb("start", **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def status(self) -> dict:
        """What ``status --json`` says."""
        return json.loads(self.verb("status", "--json").stdout)

    def pids(self) -> dict[str, int]:
        """Process id by process name, 0 for what is down; empty without a supervisord."""
        try:
            return {p.name: p.pid for p in Daemon(self.paths.supervisor_socket).processes()}
        except AbsentError:
            return {}

    def is_ready(self) -> bool:
        """What status would exit 0 on, without the price of a process for each look."""
        current = running.read(self.paths.current_env)
        return current is not None and look(self.paths, current).is_ready

    def drained(self) -> list[str]:
        """Which programs told the server that they had drained, in order, out of its files.

        Read from disk, after the end: what stands there was accepted by a server that was up.
        """
        files = (self.paths.data / "appendonlydir").glob("*.incr.aof")
        text = "".join(file.read_bytes().decode("latin-1") for file in files)
        return re.findall(r"drained\r\n\$\d+\r\n(\S+)\r\n", text)

    def supervisord(self) -> int:
        """Pid of supervisord."""
        return int((self.paths.run_dir / "supervisord.pid").read_text())

    @property
    def paths(self) -> Paths:
        """Where this system keeps its files."""
        return Paths.find(environ=self.environ)

    def connect(self):
        """A client of the embedded server, as its administrator."""
        settings = RedisSettings(
            url=f"unix://{self.paths.redis_socket}", acl_dir=str(self.paths.acl)
        )
        return client.connect(settings, user="admin")

    def wait_ready(self, timeout_s: float = 20) -> None:
        """Wait until status says so."""
        wait_until(self.is_ready, timeout_s, "everything is ready")

    def denials(self) -> list[str]:
        """What the server has refused to users, by its ACL LOG; nothing if it is down."""
        try:
            db = self.connect()
        except ConfigurationError:
            return []
        try:
            rows = db.execute_command("ACL", "LOG")
        except redis.RedisError:
            return []
        finally:
            db.connection_pool.disconnect()
        return [
            f"{row['username']}: {row['object']} ({row['reason']}, {row['context']})"
            for row in (
                # As RESP2 has it: names and values in turn.
                dict(zip(map(shown, one[::2]), map(shown, one[1::2]), strict=True))
                for one in rows
            )
        ]

    def close(self) -> None:
        """Kill supervisord: everything else must follow it by itself, or the test has failed.

        So it has if a program was refused a command: every program's rights are enough for all
        that it did here.
        """
        try:
            assert self.denials() == []
            for leftover in leftovers.find(self.paths):
                if leftover.kind == "supervisord":
                    os.kill(leftover.pid, signal.SIGKILL)
            wait_until(lambda: not leftovers.find(self.paths), 20, "all follow their supervisord")
        finally:
            for leftover in leftovers.find(self.paths):
                os.kill(leftover.pid, signal.SIGKILL)
            if not self.paths.run_dir.is_relative_to(self.folder):
                shutil.rmtree(self.paths.run_dir, ignore_errors=True)
            shutil.rmtree(self.folder, ignore_errors=True)


def shown(value: object) -> str:
    """What an ACL LOG tells, which may be bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def slow_server(folder: Path, late_s: float) -> Path:
    """A server program that comes up ``late_s`` seconds late."""
    from tests.servers import binary

    real = binary("valkey")
    script = folder / "late-server"
    script.write_text(
        textwrap.dedent(f"""\
        #!/bin/sh
        [ "$1" = --version ] || sleep {late_s}
        exec "{real}" "$@"
        """)
    )
    script.chmod(0o755)
    return script


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
