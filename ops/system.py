"""The only place that looks at the running system as a whole."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from ops import readiness, running, scale_plan
from ops.daemon import AbsentError, Daemon, Process
from ops.paths import Paths
from ops.readiness import Beat, Server, Verdict
from ops.running import Running
from ops.warden import holds
from ops.warden.holds import Hold
from quantum_ops import client, knobs, streams
from quantum_ops.errors import ConfigurationError
from quantum_ops.host import token
from quantum_ops.settings import RedisSettings

LOOK_S = 2.0
"""Seconds a look may wait for the server: somebody is sitting in front of it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The system at one moment. ``state`` is supervisord's, empty when none runs.

    ``held`` is what the warden leaves alone, ``everything`` if its list cannot be read.
    """

    paths: Paths
    running: Running
    state: str
    server: Server
    verdicts: list[Verdict] = field(default_factory=list)
    universe: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, Hold] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether the server answers and every process that should work does."""
        return bool(
            self.state == "RUNNING"
            and not self.server.problem
            and self.verdicts
            and all(verdict.is_fine for verdict in self.verdicts)
        )


def find() -> tuple[Paths, Running]:
    """Paths and description of the running system; what a start would make if none runs."""
    paths = Paths.find()
    current = running.read(paths.current_env)
    if current is None:
        return paths, running.plan(knobs.load(RedisSettings), paths)
    return Paths.find(current.profile), current


def page_url(current: Running) -> str:
    """Where the status page is; only of a system that has one."""
    return f"http://127.0.0.1:{current.page_port}/"


def daemon(paths: Paths) -> Daemon:
    """The supervisord of the system at ``paths``."""
    return Daemon(paths.supervisor_socket)


def look(paths: Paths, current: Running) -> Sight:
    """One look: two calls to supervisord, one pipeline to the server.

    Raises what :class:`Daemon` raises, except for a supervisord that is not there.
    """
    try:
        state, processes = daemon(paths).state(), daemon(paths).processes()
    except AbsentError:
        state, processes = "", []
    server, beats, universe = ask(current, processes)
    wanted = scale_plan.read(paths)
    host, now_ms = current.host or socket.gethostname(), int(time.time() * 1000)
    verdicts = [
        readiness.judge(
            process,
            beats.get((process.program, process.number)),
            server,
            host=host,
            now_ms=now_ms,
            wanted=scale_plan.is_wanted(process, wanted),
        )
        for process in processes
    ]
    return Sight(paths, current, state, server, verdicts, universe, _held(paths))


def _held(paths: Paths) -> dict[str, Hold]:
    try:
        return holds.read(paths)
    except holds.UnreadableHoldsError as error:
        return {"everything": Hold(since="?", by="?", why=str(error))}


def ask(
    current: Running, processes: list[Process]
) -> tuple[Server, dict[tuple[str, int], Beat], Beat]:
    """What the server says: of itself, each process's heartbeat, the universe's meta."""
    wanted = [(p.program, p.number) for p in processes if p.role in readiness.HEARD_ROLES]
    settings = current.redis(LOOK_S)
    db = None
    try:
        db = client.connect(settings, name="status")
        with db.pipeline(transaction=False) as pipe:
            pipe.execute_command("INFO", "server")
            for program, number in wanted:
                pipe.hgetall(streams.heartbeat(program, token(number, current.host)))
            pipe.hgetall(streams.UNIVERSE_META)
            # Without raising: a key of the wrong type spoils its own answer, not the look.
            answers = pipe.execute(raise_on_error=False)
    except (redis.RedisError, OSError, ConfigurationError) as error:
        # A system that was never started has no passwords either.
        return Server(current.owned, problem=f"no answer ({error})"), {}, {}
    finally:
        if db is not None:
            db.connection_pool.disconnect()
    if isinstance(answers[0], Exception):
        return Server(current.owned, problem=str(answers[0])), {}, {}
    beats: dict[tuple[str, int], Beat] = {
        key: _text(answer) for key, answer in zip(wanted, answers[1:-1], strict=True)
    }
    return Server(current.owned, flavour(answers[0])), beats, _text(answers[-1])


def flavour(info: Any) -> str:
    """``valkey 9.1.2`` out of INFO; valkey also tells the redis version that it resembles."""
    if isinstance(info, bytes):
        lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
        info = {name: value for name, colon, value in lines if colon}
    name = info.get("server_name", "redis")
    return f"{name} {info.get('valkey_version') or info.get('redis_version', '?')}"


def _text(answer: Any) -> dict[str, str]:
    if not isinstance(answer, dict):
        return {}
    return {
        name.decode("utf-8", "backslashreplace"): value.decode("utf-8", "backslashreplace")
        for name, value in answer.items()
    }
