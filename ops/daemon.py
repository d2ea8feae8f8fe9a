"""The only place that talks to supervisord, by XML-RPC over its unix socket.

Stdlib only: the PyPI package is supervisord's own business, and our folder of the same name would
be in the way of importing it here.
"""

from __future__ import annotations

import http.client
import socket
import time
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantum_ops.errors import QuantumError

TIMEOUT_S = 5.0
UP_STATES = frozenset({"STARTING", "RUNNING", "BACKOFF"})
BUSY_STATES = UP_STATES | {"STOPPING"}
_NOT_RUNNING = 70  # the fault of stopping what has stopped by itself meanwhile
_ALREADY_STARTED = 60
_AT_ONCE = False  # supervisord would hold the reply until the process is up or down


class AbsentError(QuantumError):
    """No supervisord listens there. Next: ./run starts one."""


class HungError(QuantumError):
    """supervisord is there but does not answer. Next: SIGCONT or SIGKILL its pid, then ./run."""


class RefusedByDaemonError(QuantumError):
    """supervisord answered with a fault. Next: read its words; they stand in the message."""


def program_of(name: str) -> str:
    """The program that a process of this name belongs to."""
    head, dash, tail = name.rpartition("-")
    return head if head and dash and tail.isdigit() else name


@dataclass(frozen=True, slots=True)
class Process:
    """One process as supervisord sees it. Times are epoch seconds, 0 when they never happened."""

    group: str
    name: str
    state: str
    pid: int
    started_at: int
    now: int
    exit_status: int
    said: str
    """supervisord's own words on why it could not be spawned."""
    command: str
    autostart: bool
    priority: int
    stop_wait_s: int
    log: str

    @property
    def address(self) -> str:
        """The name that supervisord takes in commands."""
        return f"{self.group}:{self.name}"

    @property
    def program(self) -> str:
        """The program this is a process of: ``universe_audit-00`` is one of universe_audit."""
        return program_of(self.name)

    @property
    def number(self) -> int:
        """Its number among the processes of its program."""
        tail = self.name.rpartition("-")[2]
        return int(tail) if tail.isdigit() and self.program != self.name else 0

    @property
    def role(self) -> str:
        """``consumers``, ``producers`` or ``ops``: the package that its command runs, else ``""``.

        This stands in for supervisord's groups: a ``[group:x]`` must list its members in one
        file, and restarts all of them when one changes.
        """
        words = self.command.split()
        return words[words.index("-m") + 1] if "-m" in words[:-1] else ""


@dataclass(frozen=True, slots=True)
class Changes:
    """Groups whose configuration on disk is not the one that is in force."""

    added: frozenset[str]
    changed: frozenset[str]
    removed: frozenset[str]


class Daemon:
    """One supervisord. Each method raises Absent-, Hung- or RefusedByDaemonError."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def state(self) -> str:
        """RUNNING, RESTARTING, SHUTDOWN or FATAL."""
        return str(self._call("supervisor.getState")["statename"])

    def is_there(self) -> bool:
        """Whether one listens, in whatever state."""
        try:
            self.state()
        except AbsentError:
            return False
        return True

    def pid(self) -> int:
        """Its process id."""
        return int(self._call("supervisor.getPID"))

    def processes(self) -> list[Process]:
        """Every process, in the order of priority and name."""
        infos = self._call("supervisor.getAllProcessInfo")
        configs = {(c["group"], c["name"]): c for c in self._call("supervisor.getAllConfigInfo")}
        found = [_process(i, configs.get((i["group"], i["name"]), {})) for i in infos]
        return sorted(found, key=lambda process: (process.priority, process.name))

    def stop(self, process: Process) -> None:
        """Ask ``process`` to stop; returns at once, and says nothing if it had stopped."""
        self._call("supervisor.stopProcess", process.address, _AT_ONCE, allow=_NOT_RUNNING)

    def start(self, process: Process) -> None:
        """Start ``process``; returns at once, and says nothing if it was up."""
        self._call("supervisor.startProcess", process.address, _AT_ONCE, allow=_ALREADY_STARTED)

    def signal(self, process: Process, name: str) -> None:
        """Send signal ``name`` (``TERM``) to ``process``; says nothing if it had ended."""
        self._call("supervisor.signalProcess", process.address, name, allow=_NOT_RUNNING)

    def reread(self) -> Changes:
        """Have the configuration files read; nothing that runs is touched.

        Raises :class:`RefusedByDaemonError` with supervisord's words if they are wrong.
        """
        ((added, changed, removed),) = self._call("supervisor.reloadConfig")
        return Changes(frozenset(added), frozenset(changed), frozenset(removed))

    def directories(self) -> dict[str, str]:
        """The folder that each group's processes start in, by the configuration read last."""
        configs = self._call("supervisor.getAllConfigInfo")
        return {config["group"]: str(config.get("directory", "")) for config in configs}

    def add_group(self, name: str) -> None:
        """Put a group into force as it was read last; what starts by itself starts."""
        self._call("supervisor.addProcessGroup", name)

    def remove_group(self, name: str) -> None:
        """Take a group, whose processes have stopped, out of force."""
        self._call("supervisor.removeProcessGroup", name)

    def shutdown(self) -> None:
        """Ask supervisord to stop what is left, in reverse priority, and to exit."""
        self._call("supervisor.shutdown")

    def wait_stopped(
        self, processes: list[Process], meanwhile: Callable[[], None], grace_s: float = 10.0
    ) -> list[Process]:
        """Wait for ``processes`` to stop; gives those still busy after their own limits.

        supervisord itself kills what exceeds ``stopwaitsecs``; ``grace_s`` is for its telling.
        """
        limit_s = max((process.stop_wait_s for process in processes), default=0) + grace_s
        deadline = time.monotonic() + limit_s
        wanted = {process.address for process in processes}
        while True:
            busy = [p for p in self.processes() if p.address in wanted and p.state in BUSY_STATES]
            if not busy or time.monotonic() > deadline:
                return busy
            meanwhile()
            time.sleep(0.1)

    def _call(self, method: str, *args: Any, allow: int = 0) -> Any:
        with xmlrpc.client.ServerProxy("http://supervisord", _Transport(self._path)) as proxy:
            try:
                return getattr(proxy, method)(*args)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == allow:
                    return None
                raise RefusedByDaemonError(f"{method}: {fault.faultString}") from fault
            except TimeoutError as error:
                raise HungError(
                    f"supervisord at {self._path} does not answer within {TIMEOUT_S:.0f} s"
                ) from error
            except PermissionError as error:
                raise RefusedByDaemonError(
                    f"{self._path}: belongs to another user ({error.strerror})"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                # A reset in the middle of a reply: it was there a moment ago and is going.
                raise AbsentError(f"no supervisord listens at {self._path} ({error})") from error


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("supervisord", timeout=TIMEOUT_S)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        try:
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - the socket is the host
        self._connection = (self._path, _Connection(self._path))  # type: ignore[assignment]
        return self._connection[1]  # type: ignore[return-value]


def _process(info: dict[str, Any], config: dict[str, Any]) -> Process:
    return Process(
        group=info["group"],
        name=info["name"],
        state=info["statename"],
        pid=info["pid"],
        started_at=info["start"],
        now=info["now"],
        exit_status=info["exitstatus"],
        said=info["spawnerr"],
        command=config.get("command", ""),
        autostart=bool(config.get("autostart", True)),
        priority=config.get("process_prio", 999),
        stop_wait_s=config.get("stopwaitsecs", 10),
        # An event listener speaks to supervisord on stdout: its log is that of stderr.
        log=info["stdout_logfile"] or info["stderr_logfile"],
    )
