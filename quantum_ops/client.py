"""The only place where a Redis client is built.

What redis-py does unasked costs records here, so it is switched off: ten silent retries (17 of 17
XADDs whose reply was dropped were doubled), RESP3 reply shapes that walrus cannot read, decoding
that lets one bad byte park a whole batch. Retrying is the caller's business, who knows whether the
command may run twice.
"""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
import walrus
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from quantum_ops import knobs, line, sentinel
from quantum_ops.acl import passwords
from quantum_ops.errors import ConfigurationError, RefusedError
from quantum_ops.redis_url import SCHEMES, is_sentinel, shown, tls_options, tls_problem, url_of
from quantum_ops.replicas import NONE, Replicas
from quantum_ops.settings import RedisSettings

__all__ = ["SCHEMES", "shown", "url_of"]

MARGIN_S = 5.0
"""Seconds by which a blocking connection's timeout exceeds its longest block."""
OPERATOR = "operator"
"""The user of whoever is no program: the verbs of ``./run``."""

TRANSPORT_ERRORS = (redis.ConnectionError, redis.TimeoutError)
"""What a broken or silent connection raises: the outcome of the command is unknown."""
SERVER_ERRORS = (redis.ResponseError,)
"""Error replies: the server is there, but did not do what it was asked."""
_LATER = (
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
    exceptions.OutOfMemoryError,
    exceptions.TryAgainError,
    exceptions.AskError,  # and MovedError: the slot is, or goes, elsewhere
)
# redis-py cuts the code word off the message of errors that have a class of their own; these have
# none and keep it.
_LATER_WORDS = ("MISCONF", "NOREPLICAS", "BUSY ", "UNKILLABLE")
_REFUSED = (exceptions.AuthenticationError, exceptions.NoPermissionError)
_REFUSED_WORDS = ("NOPERM", "WRONGPASS", "NOAUTH")
_REFUSED_IN_SCRIPT = ("ACL failure in script", "The user executing the script can't")
"""How Valkey and Redis 7.0 say that a command inside a script lacks a right."""


def connect(
    settings: RedisSettings | None = None,
    *,
    block_ms: int = 0,
    name: str = "",
    user: str = OPERATOR,
) -> walrus.Database:
    """A client of the configured server: RESP2, bytes, no retries, bounded waits.

    ``block_ms`` is the longest block its commands will ask for; the socket timeout is put
    ``MARGIN_S`` above it, because a shorter one turns every quiet second into a lost reply.
    ``name`` is shown by CLIENT LIST. Where QUANTUM_ACL_DIR names passwords and the settings no
    login, it connects as ``user``. No connection is opened before the first command. Raises
    :class:`ConfigurationError` for an unusable REDIS_URL, a missing password or hiredis.
    """
    settings = settings or knobs.load(RedisSettings)
    options = connection_options(settings, block_ms=block_ms, name=name) | login(settings, user)
    url = url_of(settings)
    tls = tls_options(url, settings)
    if is_sentinel(url):
        pool: redis.ConnectionPool = _sentinel_pool(url, settings, options, tls)
    else:
        pool = redis.ConnectionPool.from_url(url, **options, **tls)
    return of_pool(pool, settings)


def connection_options(
    settings: RedisSettings, *, block_ms: int = 0, name: str = ""
) -> dict[str, Any]:
    """What :func:`connect` gives each connection; raises :class:`ConfigurationError` as it does."""
    _require_hiredis()
    return {
        "protocol": 2,
        "decode_responses": False,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "socket_timeout": max(settings.timeout_s, block_ms / 1000 + MARGIN_S)
        if block_ms
        else settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "health_check_interval": 0,
        "driver_info": None,  # CLIENT SETINFO is unknown to 7.0 and noise in an ACL log
        "client_name": name or None,
    }


def of_pool(pool: redis.ConnectionPool, settings: RedisSettings) -> walrus.Database:
    """A client on ``pool``, whose connections have :func:`connection_options`."""
    wanted = Replicas(settings.wait_replicas, settings.wait_replicas_ms)
    if wanted.count and wanted.wait_ms >= settings.timeout_s * 1000:
        raise ConfigurationError(
            f"QUANTUM_WAIT_REPLICAS_MS={wanted.wait_ms} is not below REDIS_TIMEOUT_SEC="
            f"{settings.timeout_s}: each wait would count as a lost reply; lower the first"
        )
    made = Database(connection_pool=pool, script_dir=False)
    made.wanted = wanted
    return made


class Database(walrus.Database):  # type: ignore[misc]  # walrus is untyped
    """A client that knows which replicas its settings want to have what is written."""

    wanted: Replicas = NONE


def replicas(db: walrus.Database | None) -> Replicas:
    """The replicas that must have what ``db`` writes before it counts."""
    return getattr(db, "wanted", NONE)


def login(settings: RedisSettings, user: str) -> dict[str, str]:
    """User and password of ``user`` out of QUANTUM_ACL_DIR; empty if the settings name a login.

    Raises :class:`ConfigurationError` if there is no such password.
    """
    if not settings.acl_dir or settings.password or has_login(settings.url):
        return {}
    return {"username": user, "password": passwords.read(Path(settings.acl_dir), user)}


def has_login(url: str) -> bool:
    """Whether ``url`` names a password of its own."""
    return shown(url) != url


def raw(db: walrus.Database, *command: Any) -> Any:
    """The reply to ``command`` as hiredis parsed it.

    redis-py makes dictionaries of entries, and a dictionary hides a doubled field name.
    """
    connection = db.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        db.connection_pool.release(connection)


class NotReplicatedError(redis.TimeoutError):
    """The master has what was written; the replicas did not say in time that they have it.

    Passing, and of unknown outcome: a failover now may keep it or lose it. Next: write it again.
    """


@contextlib.contextmanager
def pinned(db: walrus.Database) -> Iterator[Callable[..., Any]]:
    """A function that sends commands over one connection and gives each reply, as it came.

    Error replies are raised. After any other error the connection is never used again.
    """
    connection = db.connection_pool.get_connection()

    def say(*command: Any) -> Any:
        try:
            connection.send_command(*command)
            return connection.read_response()
        except redis.ResponseError:
            raise
        except BaseException:
            connection.disconnect()
            raise

    try:
        yield say
    finally:
        db.connection_pool.release(connection)


def wait(say: Callable[..., Any], wanted: Replicas) -> None:
    """Wait until ``wanted`` have all that ``say`` wrote; raises :class:`NotReplicatedError`."""
    have = say(*wanted.command)
    if have < wanted.count:
        raise NotReplicatedError(
            f"{have} of {wanted.count} replicas have it after {wanted.wait_ms} ms"
        )


def ask(db: walrus.Database, packed: bytes, count: int) -> list[Any]:
    """The replies to ``count`` commands packed by ``hiredis.pack_command``, in one round trip.

    Error replies are values, except those that say that the server cannot serve now or refuses us
    for good (:func:`is_passing`, :func:`is_refusal`), which are raised. A lost connection raises,
    and is never used again: replies that were not read would be taken for the next command's.
    """
    connection = db.connection_pool.get_connection()
    try:
        connection.send_packed_command([packed], check_health=False)
        replies = [line.reply(connection) for _ in range(count)]
    except BaseException:
        connection.disconnect()
        raise
    finally:
        db.connection_pool.release(connection)
    for reply in replies:
        if isinstance(reply, redis.ResponseError) and (is_passing(reply) or is_refusal(reply)):
            if isinstance(reply, exceptions.ReadOnlyError):
                connection.disconnect()  # demoted: whoever asks next must find the new master
            raise reply
    return replies


def is_passing(error: Exception) -> bool:
    """Whether waiting may cure ``error``: a lost connection, or a server not ready for writes."""
    if isinstance(error, _REFUSED) or tls_problem(error):
        return False
    return isinstance(error, (*TRANSPORT_ERRORS, *_LATER)) or str(error).startswith(_LATER_WORDS)


def is_refusal(error: Exception) -> bool:
    """Whether waiting is in vain: a wrong password, a right that the ACL lacks, a certificate."""
    return (
        isinstance(error, _REFUSED)
        or (
            isinstance(error, exceptions.ResponseError)
            and (
                str(error).startswith(_REFUSED_WORDS)
                or any(words in str(error) for words in _REFUSED_IN_SCRIPT)
            )
        )
        or bool(tls_problem(error))
    )


def refuse_or_raise(error: Exception) -> None:
    """Raise ``error`` as :class:`RefusedError` if the server refuses us for good, or we it."""
    problem = tls_problem(error)
    if problem:
        raise RefusedError(f"no TLS with Redis: {problem}") from error
    if is_refusal(error):
        raise RefusedError(
            f"Redis refuses us ({error}); check user and password in REDIS_URL and the ACL"
        ) from error


def _require_hiredis() -> None:
    # Without it redis-py falls back silently to a parser that is five times slower.
    if redis.connection.DefaultParser.__name__ != "_HiredisParser":
        raise ConfigurationError(
            "hiredis is not in use; install it with: pip install -r requirements.txt"
        )


def _sentinel_pool(
    url: str, settings: RedisSettings, options: dict[str, Any], tls: dict[str, Any]
) -> sentinel.Pool:
    parts = urllib.parse.urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    service, _, number = parts.path.strip("/").partition("/")
    problem = f"REDIS_URL={shown(url)!r}"
    if not hosts or not service:
        raise ConfigurationError(f"{problem}: write {parts.scheme}://HOST:PORT,HOST:PORT/SERVICE")
    if number and not (number.isascii() and number.isdecimal()):
        raise ConfigurationError(f"{problem}: {number!r} is no number of a database")
    user, _, password = login.partition(":")
    own = {"username": settings.sentinel_username, "password": settings.sentinel_password}
    return sentinel.pool(
        [_host(one, problem) for one in hosts.split(",")],
        urllib.parse.unquote(service),
        login={name: value for name, value in own.items() if value},
        options={
            "username": urllib.parse.unquote(user) or settings.username or options.get("username"),
            "password": urllib.parse.unquote(password)
            or settings.password
            or options.get("password"),
            **options,
            "db": int(number) if number else settings.db,
        },
        tls=tls,
    )


def _host(text: str, problem: str) -> sentinel.Address:
    """One sentinel's host and port: ``h``, ``h:1``, ``[::1]`` or ``[::1]:1``."""
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, port = text, str(sentinel.PORT)
    name = name.removeprefix("[").removesuffix("]")
    if not name or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 2**16:
        raise ConfigurationError(f"{problem}: {text!r} is no HOST:PORT of a sentinel")
    return name, int(port)
