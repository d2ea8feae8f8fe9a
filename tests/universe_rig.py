"""The only place where tests build a universe producer that is turned by hand."""

from __future__ import annotations

import json

from producers.binance import ExchangeInfo
from producers.universe import UniverseProducer
from producers.universe_store import Store
from quantum_ops import codec, streams
from quantum_ops.clock import Clock
from quantum_ops.events import AuditFinding, UniverseChanged
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.settings import UniverseSettings
from tests.exchange import Exchange


class Rig:
    """One producer, turned by hand."""

    def __init__(self, server, exchange: Exchange, through=None, **settings) -> None:
        """``through`` is a client that the producer uses instead of a plain one of ``server``."""
        self.db = server.connect()
        used = through if through is not None else self.db
        given = {"url": exchange.url, "refresh_s": 5.0, "http_timeout_s": 2.0, **settings}
        self.settings = UniverseSettings(**given)
        self.http = ExchangeInfo(self.settings)
        self.store = Store(used, 60_000)
        heartbeat = Heartbeat(used, "universe")
        self.clock = Clock()
        self.producer = UniverseProducer(
            self.settings, self.store, self.http, self.clock, heartbeat
        )

    def turn(self) -> float:
        return self.producer.turn()

    def meta(self) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.db.hgetall(streams.UNIVERSE_META).items()}

    def active(self) -> dict:
        return json.loads(self.db.get(streams.UNIVERSE_ACTIVE))

    def rows(self) -> dict[str, dict]:
        found = self.db.hgetall(streams.UNIVERSE_SYMBOLS)
        return {k.decode(): json.loads(v) for k, v in found.items()}

    def changes(self) -> list[UniverseChanged]:
        return self._events(streams.UNIVERSE_CHANGED)

    def findings(self) -> list[AuditFinding]:
        return self._events(streams.AUDIT_FINDING)

    def _events(self, stream):
        decode = codec.decoder(stream.event)
        found = self.db.xrange(stream.key)
        return [decode([part for pair in row.items() for part in pair]) for _, row in found]
