"""The only place that makes the system stand still for a restore, and lets it go on after.

Which programs were stopped is written down first: a restore that is killed in between is begun
again, and the second one starts what the first one stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
import walrus

from ops import acl_files, running, system
from ops.daemon import BUSY_STATES, AbsentError, Process
from ops.paths import Paths
from ops.running import Running
from quantum_ops import client, knobs, streams
from quantum_ops.heartbeat import TTL_S
from quantum_ops.recovery.errors import RestoreError
from quantum_ops.settings import RedisSettings

SERVER_S = 30.0
_POLL_S = 0.1
SERVER = "redis"
Note = Callable[[str], None]


def find(profile: str) -> tuple[Paths, Running, bool]:
    """Paths and description of the system, and whether it runs.

    ``profile`` is of one that does not.
    """
    paths = Paths.find(profile)
    current = running.read(paths.current_env)
    up = system.daemon(paths).is_there()
    if up and current is not None:
        return Paths.find(current.profile), current, True
    return paths, running.plan(knobs.load(RedisSettings), paths), False


@contextlib.contextmanager
def server(paths: Paths, current: Running, *, up: bool, note: Note) -> Iterator[walrus.Database]:
    """A client of the system's server. Ours is started for as long as this takes, if it is down."""
    if up or not current.owned:
        yield _connect(current)
        return
    note("the system is down: its server is started for this alone")
    paths.create()
    environ = {**os.environ, **paths.environment(owned=True)}
    environ.pop("SUPERVISOR_ENABLED", None)
    acl_files.prepare(paths)
    child = subprocess.Popen(
        [sys.executable, "-m", "ops", "server"],
        cwd=paths.root,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield _wait(child, current)
    finally:
        child.terminate()
        child.communicate()


@contextlib.contextmanager
def stillness(paths: Paths, *, up: bool, note: Note) -> Iterator[None]:
    """No program of the system runs meanwhile; those that were up are started again at the end."""
    if not up:
        yield
        return
    daemon = system.daemon(paths)
    busy = [p for p in daemon.processes() if p.state in BUSY_STATES and p.program != SERVER]
    remembered = _remembered(paths)
    names = sorted({one.address for one in busy} | set(remembered))
    _file(paths).write_text(json.dumps(names), encoding="utf-8")
    note(f"stopping {len(busy)} programs; the server stays up")
    for process in sorted(busy, key=lambda one: one.priority, reverse=True):
        daemon.stop(process)
    left = daemon.wait_stopped(busy, lambda: None)
    if left:
        raise RestoreError(f"{', '.join(p.name for p in left)} does not stop; see ./run logs")
    try:
        yield
    finally:
        started = _start_again(paths, names)
        note(f"started {started} programs again; look with: ./run status")


def at_work(db: walrus.Database) -> list[str]:
    """Programs whose heartbeat is fresh, on whatever host they are."""
    found, now_ms = [], int(time.time() * 1000)
    for raw in db.scan_iter(match=streams.HEARTBEAT_PREFIX + "*", count=500):
        beat = client.raw(db, "HGET", raw, "updated_ms") or b""
        if beat.isdigit() and now_ms - int(beat) < TTL_S * 1000:
            found.append(raw.decode("utf-8", "replace").removeprefix(streams.HEARTBEAT_PREFIX))
    return sorted(found)


def wait_silent(db: walrus.Database, note: Note) -> None:
    """Wait until no heartbeat is fresh; raises :class:`RestoreError` if one goes on."""
    deadline = time.monotonic() + TTL_S + 1
    while names := at_work(db):
        if time.monotonic() > deadline:
            raise RestoreError(
                f"{', '.join(names[:10])} is at work on this server; stop it first, wherever it "
                "runs: nothing may be written while streams are refilled"
            )
        if time.monotonic() > deadline - TTL_S:
            note(f"waiting for {', '.join(names[:10])} to be silent")
        time.sleep(1)


def _start_again(paths: Paths, names: list[str]) -> int:
    started = 0
    try:
        daemon = system.daemon(paths)
        by_name: dict[str, Process] = {one.address: one for one in daemon.processes()}
        ordered = sorted(
            (by_name[name] for name in names if name in by_name), key=lambda one: one.priority
        )
        for process in ordered:
            daemon.start(process)
            started += 1
    except AbsentError:
        return started  # the whole system was stopped meanwhile: nothing is to be started
    _file(paths).unlink(missing_ok=True)
    return started


def _remembered(paths: Paths) -> list[str]:
    """What an interrupted restore had stopped."""
    try:
        found = json.loads(_file(paths).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(one) for one in found] if isinstance(found, list) else []


def _file(paths: Paths) -> Path:
    return paths.current_env.with_name(f"restore-stopped-{paths.profile}.json")


def _connect(current: Running) -> walrus.Database:
    wanted = knobs.load(RedisSettings)
    return client.connect(current.redis(wanted.timeout_s), name="restore", user="admin")


def _wait(child: subprocess.Popen[bytes], current: Running) -> walrus.Database:
    deadline = time.monotonic() + SERVER_S
    db = _connect(current)
    while True:
        try:
            db.ping()
        except (redis.RedisError, OSError) as error:
            if child.poll() is not None:
                said = child.communicate()[1].decode("utf-8", "replace").strip()
                raise RestoreError(f"the server does not start: {said}") from error
            if time.monotonic() > deadline:
                raise RestoreError(f"the server does not answer: {error}") from error
            time.sleep(_POLL_S)
        else:
            return db
