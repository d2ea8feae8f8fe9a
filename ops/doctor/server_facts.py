"""The only place that asks the server what the doctor wants to know. Reading commands only."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import redis
import walrus

from ops.doctor.server_checks import EXPECTED
from ops.doctor.snapshot import ServerFacts
from ops.server_binary import Flavour
from ops.terminal import safe
from quantum_ops import client, knobs, lag_reading, streams
from quantum_ops.errors import ConfigurationError, QuantumError
from quantum_ops.settings import RedisSettings, WatchSettings

LOOK_S = 5.0
MOST_DENIED = 5
CONFIG = (
    "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy",
)  # fmt: skip


def take(settings: RedisSettings) -> ServerFacts:
    """What the server of ``settings`` says of itself; with ``problem`` if it says nothing."""
    try:
        db = client.connect(settings, name="doctor")
    except ConfigurationError as error:
        return ServerFacts(problem=str(error))
    try:
        return _Look(
            db,
            has_password=bool(settings.acl_dir) or client.has_login(settings.url),
            anybody=_anybody(settings),
        ).facts()
    except (redis.RedisError, OSError, QuantumError) as error:
        return ServerFacts(problem=str(error))
    finally:
        db.connection_pool.disconnect()


def _anybody(settings: RedisSettings) -> bool:
    """Whether whoever names no user can read. Tried: rights do not say that a user is off."""
    nobody = replace(settings, acl_dir="")
    db = client.connect(nobody, name="doctor")
    try:
        client.raw(db, "GET", streams.UNIVERSE_ACTIVE)
    except (redis.ResponseError, redis.AuthenticationError):
        return False
    finally:
        db.connection_pool.disconnect()
    return True


class _Look:
    """One look; keeps which commands were refused."""

    def __init__(self, db: walrus.Database, *, has_password: bool, anybody: bool) -> None:
        self._db = db
        self._anybody = anybody
        self._has_password = has_password  # who comes in without one needs none
        self._refused: list[str] = []

    def facts(self) -> ServerFacts:
        began_s = time.time()
        moment = self._ask("TIME")
        ended_s = time.time()
        skew_ms = None
        if moment:
            server_ms = int(moment[0]) * 1000 + int(moment[1]) / 1000
            skew_ms = (began_s + ended_s) * 500 - server_ms
        info = _info(self._ask("INFO"))
        user = _text(self._ask("ACL", "WHOAMI") or b"")
        return ServerFacts(
            flavour=_flavour(info),
            info=info,
            config=self._config(),
            skew_ms=skew_ms,
            trip_ms=(ended_s - began_s) * 1000,
            user=user,
            may_write_trading=self._may_write_trading(user),
            has_no_password=not self._has_password,
            lets_anybody_in=self._anybody,
            default_may_all=self._default_may_all(),
            denied=self._denied(),
            types=self._types(),
            groups=self._groups(),
            letters=self._letters(),
            failover=_text(self._ask("GET", streams.FAILOVER) or b""),
            now_s=int(moment[0]) if moment else 0,
            refused=tuple(dict.fromkeys(self._refused)),
        )

    def _ask(self, *command: str) -> Any:
        """The reply; None for a command that this user may not send or the server lacks."""
        try:
            return client.raw(self._db, *command)
        except redis.ResponseError as error:
            if client.is_passing(error):
                raise
            self._refused.append(" ".join(command[:2]) if command[0] in _TWO else command[0])
            return None

    def _config(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in CONFIG:
            reply = self._ask("CONFIG", "GET", name)
            if reply is None:
                break
            flat = [_text(part) for part in reply]
            found.update(zip(flat[::2], flat[1::2], strict=True))
        return found

    def _may_write_trading(self, user: str) -> bool | None:
        if not user:
            return None
        reply = self._ask("ACL", "DRYRUN", user, "XADD", streams.APPLY_PLAN.key, "*", "f", "v")
        return None if reply is None else _text(reply) == "OK"

    def _default_may_all(self) -> bool | None:
        reply = self._ask("ACL", "DRYRUN", "default", "SET", streams.RESTORE, "v")
        return None if reply is None else _text(reply) == "OK"

    def _denied(self) -> tuple[str, ...]:
        """Who was refused what, newest first, each once."""
        found = []
        for row in self._ask("ACL", "LOG", "20") or ():
            fields = {_text(row[at]): _text(row[at + 1]) for at in range(0, len(row) - 1, 2)}
            what = "a wrong password" if fields.get("reason") == "auth" else fields.get("object")
            found.append(safe(f"{fields.get('username')}: {what}", 80))
        return tuple(dict.fromkeys(found))[:MOST_DENIED]

    def _types(self) -> dict[str, str]:
        keys = [*EXPECTED, streams.RESTORE]
        found = {key: self._ask("TYPE", key) for key in keys}
        return {key: _text(reply) for key, reply in found.items() if reply is not None}

    def _groups(self) -> tuple[Any, ...]:
        limit = _watch().lag_limit
        try:
            return tuple(lag_reading.look(self._db, limit=limit))
        except redis.ResponseError as error:
            if client.is_passing(error):
                raise
            self._refused.append("EVALSHA")
            return ()

    def _letters(self) -> int:
        buried = self._ask("XLEN", streams.DEAD_LETTER.key)
        settled = self._ask("HLEN", streams.DEAD_LETTER_RESOLVED)
        return max(0, int(buried or 0) - int(settled or 0))


_TWO = frozenset({"ACL", "CONFIG"})


def _watch() -> WatchSettings:
    try:
        return knobs.load(WatchSettings)
    except ConfigurationError:
        return WatchSettings()  # told already, with all other settings


def _info(reply: Any) -> dict[str, str]:
    lines = (line.partition(":") for line in _text(reply or b"").splitlines())
    return {name: value for name, colon, value in lines if colon and not name.startswith("#")}


def _flavour(info: dict[str, str]) -> Flavour | None:
    """Valkey also tells the redis version that it resembles."""
    name = "valkey" if info.get("valkey_version") else "redis"
    parts = (info.get("valkey_version") or info.get("redis_version", "")).split(".")
    if len(parts) < 3 or not all(part.isdigit() for part in parts[:3]):  # noqa: PLR2004 - major.minor.patch
        return None
    return Flavour(name, (int(parts[0]), int(parts[1]), int(parts[2])))


def _text(reply: Any) -> str:
    return reply.decode("utf-8", "backslashreplace") if isinstance(reply, bytes) else str(reply)
