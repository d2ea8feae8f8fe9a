"""The only place that asks sentinels who the master is, and keeps connections with that one.

redis-py takes the first sentinel that answers. One that is cut off with the old master names the
old one for as long as the cut lasts, so all are asked and the newest configuration counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
)

from quantum_ops.redis_url import tls_problem

PORT = 26379
ASK_S = 0.5
"""Seconds for one sentinel: a dead one must leave time for the next."""

_REFUSED = (redis.AuthenticationError, exceptions.NoPermissionError)

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one sentinel says of the master; a higher ``config_epoch`` is a later failover.

    ``address`` is that of the promoted replica from its promotion on.
    """

    address: Address
    config_epoch: int
    is_down: bool = False


def newest(answers: Sequence[Answer]) -> Address | None:
    """The master that the newest configuration names; None if no sentinel names one. Pure.

    A sentinel that takes it for dead still says who it is: which of the two sides is cut off
    nobody can tell here, and whoever is dead refuses the connection by itself.
    """
    best = max(answers, key=lambda one: (one.config_epoch, not one.is_down), default=None)
    return best.address if best is not None else None


class Finder(Sentinel):
    """Finds masters; ``latest`` is the one that was named last.

    Shared by all clients of one process that go to the same service: when one of them learns of
    another master, none goes on with a connection to the one before.
    """

    latest: Address | None = None

    def discover_master(self, service_name: str) -> Address:
        """Host and port of the master.

        Raises ``MasterNotFoundError``, which passes, if no sentinel names one,
        ``AuthenticationError`` if none lets us in, and what :func:`tls_problem` knows if none and
        we believe each other's certificates.
        """
        answers, silent, refusals = [], [], []
        for sentinel in self.sentinels:
            try:
                answers.append(_ask(sentinel, service_name))
            except (redis.RedisError, OSError, ValueError, LookupError) as error:
                problem = tls_problem(error)
                silent.append(f"{_place(sentinel)}: {problem or error}")
                if problem or isinstance(error, _REFUSED):
                    refusals.append(error)
        found = newest(answers)
        if found is None and len(refusals) == len(self.sentinels):
            if tls_problem(refusals[0]):
                raise redis.ConnectionError(silent[0]) from refusals[0]
            raise redis.AuthenticationError(f"sentinels: {refusals[0]}")
        if found is None:
            raise MasterNotFoundError(
                f"no sentinel names a master {service_name!r}; {'; '.join(silent)}"
            )
        self.latest = found
        return found


class Connection(SentinelManagedConnection):
    """A connection to the master, which says itself that it is one."""

    def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's own
        """Log in, then ask for the role: a server that was demoted a moment ago answers reads."""
        super().on_connect_check_health(check_health=check_health)
        _require_master(self)


class SecureConnection(Connection, redis.SSLConnection):
    """The same over TLS."""


class Pool(SentinelConnectionPool):
    """Gives out connections to the master that was named last, and to no other."""

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """See redis-py; a connection to the master before is closed and made anew."""
        connection: Any = super().get_connection(*args, **options)
        latest = self.sentinel_manager.latest
        if latest is not None and (connection.host, connection.port) != latest:
            try:
                connection.disconnect()
                connection.connect()
            except BaseException:
                self.release(connection)
                raise
        return connection


def pool(
    sentinels: Sequence[Address],
    service: str,
    *,
    login: Mapping[str, Any],
    options: Mapping[str, Any],
    tls: Mapping[str, Any],
) -> Pool:
    """Connections to the master of ``service``.

    ``login`` is for the sentinels, ``options`` are those of connections to the master. ``tls`` is
    for both, and empty without it.
    """
    key = (tuple(sentinels), service, tuple(sorted({**login, **tls}.items())))
    finder = _FINDERS.get(key)
    if finder is None:
        quick = {
            "socket_timeout": ASK_S, "socket_connect_timeout": ASK_S, "protocol": 2,
            # Unasked redis-py tries each dead sentinel for four seconds, if it refuses at once.
            "retry": Retry(NoBackoff(), 0), "retry_on_error": [], "driver_info": None,
            **login, **({"ssl": True, **tls} if tls else {}),
        }  # fmt: skip
        finder = _FINDERS[key] = Finder(sentinels, sentinel_kwargs=quick)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    made_of = SecureConnection if tls else Connection
    return Pool(service, finder, connection_class=made_of, **options, **tls)  # type: ignore[no-untyped-call]  # as above


_FINDERS: dict[Any, Finder] = {}


def _ask(sentinel: Any, service: str) -> Answer:
    # Two questions in one trip. The first reply goes on naming the old master, under the new epoch,
    # until all other replicas follow the new one: seconds in which there is a master already.
    with sentinel.pipeline(transaction=False) as both:
        both.execute_command("SENTINEL", "MASTER", service)
        both.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        reply, where = both.execute()
    if not where:
        raise LookupError("it names no master")
    fields = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    said = {_text(name): _text(value) for name, value in fields.items()}
    flags = said.get("flags", "").split(",")
    is_down = "s_down" in flags or "o_down" in flags
    return Answer((_text(where[0]), int(where[1])), int(said.get("config-epoch", 0)), is_down)


def _require_master(connection: Any) -> None:
    connection.send_command("ROLE")
    try:
        role = _text(connection.read_response()[0])
    except exceptions.NoPermissionError:
        return  # a user without the right to ask: a write tells it, READONLY
    if role != "master":
        with contextlib.suppress(Exception):
            connection.disconnect()
        raise redis.ConnectionError(f"{connection.host}:{connection.port} is a {role} now")


def _place(sentinel: Any) -> str:
    where = sentinel.connection_pool.connection_kwargs
    return f"{where.get('host')}:{where.get('port')}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
