"""The only place that decides which server an operator's command talks to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import running
from ops.paths import Paths
from quantum_ops import knobs
from quantum_ops.settings import RedisSettings

if TYPE_CHECKING:
    import walrus


def settings() -> RedisSettings:
    """The server named by the settings, else the running system's, else the default port."""
    wanted = knobs.load(RedisSettings)
    if wanted.url or wanted.host:
        return wanted
    current = running.read(Paths.find().current_env)
    if current is None:
        return wanted
    return current.redis(wanted.timeout_s, writes=True)


def open_db(user: str = "operator") -> walrus.Database:
    """A client of that server, as ``user`` where there are users."""
    from quantum_ops import client  # noqa: PLC0415 - redis-py takes 100 ms to import

    return client.connect(settings(), name="ops", user=user)
