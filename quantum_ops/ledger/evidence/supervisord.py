"""The only place where evidence asks supervisord: ours by its socket, the host's by its tool."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import threading
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantum_ops.ledger.evidence import programs, states
from quantum_ops.ledger.evidence.finding import Finding
from quantum_ops.ledger.evidence.jobs import Deadline

LOG_BYTES = 64 * 1024
_LINE = re.compile(r"(\S+)\s+([A-Z]+)(?:\s.*)?")
_NEVER_STARTED = 0


def ask(path: Path, service: str, deadline: Deadline) -> Finding | None:
    """The service's state and log lines from the supervisord that listens at ``path``.

    None if nobody listens there, or if it knows no such service. A spare process, which was never
    started, says nothing about its service.
    """
    if not path.is_socket() or _is_a_stranger_s(path):
        return None
    with _Proxy(path, deadline) as server:
        try:
            infos: list[dict[str, Any]] = server.supervisor.getAllProcessInfo()  # type: ignore[assignment]
        except ConnectionRefusedError:
            return None  # a socket that a killed one left behind
        mine = [info for info in infos if service in _names(info)]
        if not mine:
            return None
        spares = [one for one in mine if one["statename"] == "STOPPED" and not one["start"]]
        working = [one for one in mine if one not in spares] or mine
        found = [states.of_supervisor(one["statename"], one["exitstatus"]) for one in working]
        finding = Finding({"services_status": {service: states.worst(found)}})
        for one in working:
            address = f"{one['group']}:{one['name']}"
            try:
                answer: Any = server.supervisor.tailProcessStdoutLog(address, 0, LOG_BYTES)
            except xmlrpc.client.Fault as fault:
                if one["start"] != _NEVER_STARTED:
                    finding.problems.append(f"log of {address}: {fault.faultString}")
                continue
            name = service if len(working) == 1 else str(one["name"])
            finding.logs[name] = str(answer[0]).encode("utf-8", "backslashreplace")
        return finding


def ask_host(service: str, environ: Mapping[str, str], deadline: Deadline) -> Finding | None:
    """The same from the host's own supervisord, if there is a supervisorctl that knows it."""
    # From the root folder: it would take a supervisord.conf out of the current one.
    ran = programs.run(["supervisorctl", "status", service], deadline, environ, cwd="/")
    lines = [found for line in ran.out.splitlines() if (found := _LINE.fullmatch(line.strip()))]
    known = [one for one in lines if one[1] == service or one[1].startswith(f"{service}:")]
    if ran.problem or not known:
        return None
    finding = Finding(
        {
            "services_status": {
                service: states.worst([states.of_supervisor(one[2]) for one in known])
            }
        }
    )
    for one in known:
        tail = programs.run(["supervisorctl", "tail", f"-{LOG_BYTES}", one[1]], deadline, environ)
        if tail.problem or tail.code:
            finding.problems.append(f"log of {one[1]}: {tail.problem or 'supervisorctl has none'}")
        else:
            finding.logs[one[1].replace(":", ".")] = tail.out.encode("utf-8", "backslashreplace")
    return finding


def _is_a_stranger_s(path: Path) -> bool:
    """Whether somebody else could have put a socket there: under /tmp, by a name all can know."""
    return path.is_relative_to("/tmp") and path.parent.stat().st_uid != os.getuid()  # noqa: S108 - as above


def _names(info: Mapping[str, Any]) -> set[str]:
    """Everything by which people call a process: ``p33-00``, ``p33:p33-00``, ``p33``."""
    return {str(info["name"]), f"{info['group']}:{info['name']}", str(info["group"])}


class _Proxy:
    """A server proxy over a unix socket, cut off when the deadline has passed."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self._transport = _Transport(path, deadline)
        self._timer = threading.Timer(deadline.left(), self._transport.cut)
        self._timer.daemon = True

    def __enter__(self) -> xmlrpc.client.ServerProxy:
        self._timer.start()
        self._proxy = xmlrpc.client.ServerProxy("http://supervisord", self._transport)
        return self._proxy

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._transport.close()


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, deadline: Deadline) -> None:
        super().__init__()
        self._path, self._deadline = path, deadline
        self._made: _Connection | None = None

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - the socket is the host
        if not self._made:
            self._made = _Connection(self._path, self._deadline)
        return self._made

    def cut(self) -> None:
        if self._made and self._made.sock:
            with contextlib.suppress(OSError):
                self._made.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._made:
            self._made.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, deadline: Deadline) -> None:
        super().__init__("supervisord")
        self._path, self._deadline = path, deadline

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._deadline.left())
        self.sock.connect(str(self._path))
