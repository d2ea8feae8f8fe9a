"""The only place that brings the system up, once, and waits until it works."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import redis

from ops import acl_files, leftovers, log_tail, running, system
from ops.daemon import Daemon
from ops.exporter import web
from ops.paths import Paths
from ops.running import Running
from ops.system import Sight
from ops.terminal import safe
from quantum_ops import client, knobs
from quantum_ops.errors import ConfigurationError, QuantumError
from quantum_ops.settings import SECTIONS, ExporterSettings, RedisSettings, StatusPageSettings

WAIT_S = 30.0
_POLL_S = 0.2
_LOCK_S = 120.0


class StartError(QuantumError):
    """The system was not started; the message says why and names the way out."""


@contextlib.contextmanager
def alone(paths: Paths) -> Iterator[None]:
    """Hold the right to start and stop; a second caller waits for the first to finish."""
    paths.create()
    with paths.start_lock.open("a") as file:
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StartError(
                        f"somebody has been starting or stopping for {_LOCK_S:.0f} s "
                        f"({paths.start_lock}); look with: ./run status"
                    ) from None
                time.sleep(_POLL_S)
        yield


def check(profile: str) -> tuple[Paths, Running]:
    """Everything that can be found wrong before anything is spawned.

    Raises :class:`ConfigurationError` with all unusable settings at once, and :class:`StartError`
    if the other profile is running.
    """
    problems: list[str] = []
    for section in SECTIONS:
        try:
            knobs.load(section)
        except ConfigurationError as error:
            problems += [line for line in error.lines if line not in problems]
    if problems:
        raise ConfigurationError(*problems)
    paths = replace(Paths.find(), profile=profile)
    wanted = running.plan(knobs.load(RedisSettings), paths)
    return paths, replace(wanted, page_port=page_port(paths))


def already(paths: Paths, wanted: Running) -> Running | None:
    """The system that runs already, None if none; :class:`StartError` if it is the other one."""
    daemon = Daemon(paths.supervisor_socket)
    if not daemon.is_there():
        return None
    if daemon.state() == "SHUTDOWN":
        _wait_gone(daemon)
        return None
    current = running.read(paths.current_env)
    if current is None:
        # Killed between spawning and writing: the file is made again from what is asked for now.
        running.write(paths.current_env, wanted)
        return wanted
    if current.profile != wanted.profile:
        raise StartError(
            f"the {current.profile} system is running at {paths.home}; stop it first: ./run stop"
        )
    return current


def spawn(
    paths: Paths, wanted: Running, *, foreground: bool, note: Callable[[str], None]
) -> subprocess.Popen[bytes]:
    """Start supervisord after clearing what an earlier one left; writes ``current.env``.

    Raises :class:`StartError` if the port is taken or supervisord refuses its configuration.
    """
    old = leftovers.find(paths)
    if old:
        names = ", ".join(f"{item.kind} {item.pid}" for item in old)
        note(f"supervisord was killed; ending what it left behind: {names}")
        leftovers.end(paths)
    if wanted.owned:
        _require_free_port(wanted.port)
    else:
        _greet(wanted, note)
    if wanted.page_port:
        _require_page_port(wanted.page_port)
    _require_exporter_port(paths)
    if wanted.owned:
        acl_files.prepare(paths)
    environ = {**os.environ, **paths.environment(owned=wanted.owned)}
    if wanted.owned:
        environ["REDIS_URL"] = wanted.url
    # -s: in the foreground supervisord would print its own log, which is tailed with the others.
    mode = ["--nodaemon", "--silent"] if foreground else []
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(paths.supervisord_conf)]
    running.write(paths.current_env, wanted)
    child = subprocess.Popen(
        [*command, *mode],
        cwd=paths.root,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if foreground else subprocess.PIPE,
        start_new_session=True,  # ^C is ours to handle: the system drains, nothing is cut off
    )
    if not foreground:
        _, said = child.communicate()  # ends when supervisord has detached or given up
        if child.returncode != 0:
            paths.current_env.unlink(missing_ok=True)
            raise StartError("supervisord refused: " + said.decode("utf-8", "replace").strip())
    return child


def wait_ready(
    paths: Paths, current: Running, wait_s: float, is_over: Callable[[], bool] = lambda: False
) -> Sight:
    """Look until everything works, ``wait_s`` seconds have passed or ``is_over`` says so."""
    deadline = time.monotonic() + wait_s
    while True:
        sight = system.look(paths, current)
        if sight.is_ready or is_over() or time.monotonic() > deadline:
            return sight
        if _is_lost(sight):
            return sight
        time.sleep(_POLL_S)


def _is_lost(sight: Sight) -> bool:
    """Whether waiting longer changes nothing: what is not up gave up, or our server did."""
    held_up = [verdict for verdict in sight.verdicts if not verdict.is_fine]
    if any(v.is_final and v.process.program == "redis" and sight.running.owned for v in held_up):
        return True
    return bool(held_up) and all(verdict.is_final for verdict in held_up)


def complaint(sight: Sight) -> list[str]:
    """What is not up in ``sight``, each with the last lines of its log."""
    lines = []
    if not sight.state:
        lines.append("supervisord is not running; its last lines:")
        lines += _indented(log_tail.last_lines(sight.paths.log / "supervisord.log", 5))
    if sight.server.problem:
        lines.append(f"server {client.shown(sight.running.url)}: {sight.server.problem}")
    for verdict in sight.verdicts:
        if verdict.is_fine:
            continue
        process = verdict.process
        lines.append(f"{process.name}: {process.state} {verdict.ready}, {safe(verdict.detail)}")
        lines += _indented(log_tail.last_lines(Path(process.log), 5) if process.log else [])
    return lines


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _wait_gone(daemon: Daemon) -> None:
    deadline = time.monotonic() + _LOCK_S
    while daemon.is_there():
        if time.monotonic() > deadline:
            raise StartError("the system is being stopped and does not come to an end")
        time.sleep(_POLL_S)


def _require_free_port(port: int) -> None:
    with socket.socket() as probe:
        # Or the last server's connections in TIME_WAIT would make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise StartError(f"REDIS_PORT={port}: ports below 1024 belong to root") from None
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    raise StartError(
        f"port {port} on 127.0.0.1 is taken by another program. To use the server that is there:\n"
        f"    REDIS_URL=redis://127.0.0.1:{port} ./run\n"
        "to start ours on another port:\n"
        f"    REDIS_PORT={port + 1 if port < 65535 else 6380} ./run"  # noqa: PLR2004 - the last port
    )


def page_port(paths: Paths) -> int:
    """The port that the status page would have; 0 if there is to be none."""
    if not (paths.root / "supervisor" / "conf.d" / "status_page.conf").exists():
        return 0
    return knobs.load(StatusPageSettings).port


def _require_page_port(port: int) -> None:
    """Refuse what the program would refuse: it would say so in a log that nobody reads."""
    # Only here: whoever finds everything running need not wait for a web server to be imported.
    from ops.status_page import serving  # noqa: PLC0415 - see above

    try:
        serving.listener(port).close()
    except ConfigurationError as error:
        raise StartError(str(error)) from None


def _require_exporter_port(paths: Paths) -> None:
    """Refuse what the exporter would refuse; it would be found by nobody in a log."""
    port = knobs.load(ExporterSettings).port
    if not port or not (paths.root / "supervisor" / "conf.d" / "exporter.conf").exists():
        return
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((web.HOST, port))
    except OSError as error:
        raise StartError(web.unusable(port, error)) from None


def _greet(wanted: Running, note: Callable[[str], None]) -> None:
    """Say hello to a server that is not ours: a wrong password is worth knowing before spawning."""
    db = client.connect(wanted.redis(system.LOOK_S), name="start")
    try:
        db.ping()
    except (redis.RedisError, OSError) as error:
        client.refuse_or_raise(error)
        note(f"{client.shown(wanted.url)} does not answer yet ({error}); the programs wait for it")
    finally:
        db.connection_pool.disconnect()
