"""The only place that lists which consumer holds which entry, for how long, how often delivered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis
import walrus

from quantum_ops import client, entry_id
from quantum_ops.lag import Id

PAGE = 500


@dataclass(frozen=True, slots=True)
class Held:
    """An entry delivered to ``consumer`` and not acknowledged.

    ``idle_s`` is the time since it was delivered last, ``age_s`` since Redis took it in.
    """

    stream: str
    group: str
    id: Id
    consumer: str
    idle_s: float
    deliveries: int
    age_s: float


def held(
    db: walrus.Database, stream: str, group: str, *, consumer: str = "", idle_s: float = 0.0
) -> Iterator[Held]:
    """Entries that are pending in ``group`` of ``stream`` (a key), oldest first, read as asked for.

    Only those of ``consumer`` and those that lie untouched for ``idle_s`` at least, if given. A
    group that vanishes meanwhile has no more of them. Raises what the client raises.
    """
    low = "-"
    idle = ("IDLE", int(idle_s * 1000)) if idle_s else ()
    who = (consumer,) if consumer else ()
    seconds, micros = client.raw(db, "TIME")
    now_s = int(seconds) + int(micros) / 1e6
    while True:
        try:
            rows: list[Any] = client.raw(db, "XPENDING", stream, group, *idle, low, "+", PAGE, *who)
        except redis.ResponseError as error:
            if not str(error).startswith(("NOGROUP", "WRONGTYPE")):
                raise
            return
        for id_, name, idle_ms, deliveries in rows:
            shown = name.decode("utf-8", "backslashreplace")
            age_s = entry_id.age_s(id_, now_s)
            yield Held(stream, group, entry_id.parse(id_), shown, idle_ms / 1000, deliveries, age_s)
        if len(rows) < PAGE:
            return
        low = f"({rows[-1][0].decode()}"
