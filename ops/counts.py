"""The only place that reads what the warden has counted."""

from __future__ import annotations

import redis

from ops import system
from ops.running import Running
from quantum_ops import client, streams
from quantum_ops.errors import ConfigurationError


def restarts(current: Running) -> dict[str, int]:
    """Program -> starts that nobody asked for; nothing if the server does not answer."""
    try:
        db = client.connect(current.redis(system.LOOK_S), name="top")
    except ConfigurationError:
        return {}
    try:
        found = db.execute_command("HGETALL", streams.WARDEN_RESTARTS)
    except (redis.RedisError, OSError):
        return {}
    finally:
        db.connection_pool.disconnect()
    return {
        name.decode("utf-8", "backslashreplace"): int(count)
        for name, count in found.items()
        if count.isdigit()
    }
