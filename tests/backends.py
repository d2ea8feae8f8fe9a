"""The only place that gives every backend of the promise suite one face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fakeredis
import walrus

from quantum_ops import client, codec, logs, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import Consumer
from quantum_ops.context import Context
from quantum_ops.events import Event
from quantum_ops.memory import MemoryInbox, MemoryRedis
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.runner import Runner
from quantum_ops.settings import RuntimeSettings
from quantum_ops.testing import Recorder

QUICK = RuntimeSettings(
    batch=50, block_ms=10, claim_after_s=0.2, retry_base_s=0.01, retry_cap_s=0.05
)


class Backend:
    """What a story needs: add entries, run a consumer, look at what came of it."""

    def runner(
        self,
        consumer: Consumer,
        name: str = "one",
        runtime: RuntimeSettings = QUICK,
        *,
        settings: Any = None,
        clock: Clock | None = None,
    ) -> tuple[Runner, Recorder]:
        """A runner of ``consumer`` as process ``name``, opened."""
        observer = Recorder()
        clock = clock or Clock()
        if settings is None and consumer.settings is not None:
            settings = consumer.settings()
        context = Context(consumer.name, self.client(), logs.get(), clock, settings)
        inbox = self.inbox(tuple(s.key for s in consumer.streams), consumer.name, name)
        runner = Runner(consumer, inbox, context, consumer.bound(runtime), observer, clock=clock)
        runner.open()
        return runner, observer

    def settle(self, runner: Runner) -> None:
        """Run until nothing is left to read or to retry."""
        for _ in range(10_000):
            if runner.step(wait=runner.due_in_s() is not None):
                continue
            if runner.due_in_s() is None:
                runner.flush()
                return
        raise AssertionError("the runner did not come to rest")

    def publish(self, event: Event) -> bytes:
        return self.add(streams.of(event).key, codec.encode(event))

    def events(self, kind: type[Event]) -> list[Any]:
        stream = next(s for s in streams.CATALOGUE if s.event is kind)
        return [codec.decoder(kind)(flat) for _, flat in self.entries(stream.key)]


class MemoryBackend(Backend):
    """The in-memory server of quantum_ops.testing."""

    def __init__(self) -> None:
        self.server = MemoryRedis()

    def client(self) -> Any:
        return None

    def inbox(self, keys, group, name):
        return MemoryInbox(self.server, keys, group, name)

    def add(self, key: str, flat: list[bytes]) -> bytes:
        return self.server.add(key, flat)

    def entries(self, key: str) -> list[Any]:
        held = self.server.streams.get(key)
        return list(held.entries.items()) if held else []

    def remove(self, key: str, entry_id: bytes) -> None:
        del self.server.streams[key].entries[entry_id]

    def get(self, key: str) -> Any:
        return self.server.get(key)

    def put_string(self, key: str, value: bytes) -> None:
        self.server.keys[key] = value

    def pending(self, key: str, group: str) -> int:
        return len(self.server.streams[key].groups[group].pending)

    def destroy_group(self, key: str, group: str) -> None:
        del self.server.streams[key].groups[group]

    def delete_stream(self, key: str) -> None:
        del self.server.streams[key]

    def empty(self) -> None:
        self.server.streams.clear()
        self.server.keys.clear()


class RedisBackend(Backend):
    """Anything that speaks the Redis protocol."""

    def __init__(self, connect: Callable[[], walrus.Database]) -> None:
        self._connect = connect
        self.db = connect()

    def client(self) -> walrus.Database:
        return self._connect()

    def inbox(self, keys, group, name):
        return RedisInbox(self._connect(), keys, group, name)

    def add(self, key: str, flat: list[bytes]) -> bytes:
        return self.db.execute_command("XADD", key, "*", *flat)

    def entries(self, key: str) -> list[Any]:
        return [(row[0], row[1]) for row in client.raw(self.db, "XRANGE", key, "-", "+")]

    def remove(self, key: str, entry_id: bytes) -> None:
        self.db.xdel(key, entry_id)

    def get(self, key: str) -> Any:
        kind = self.db.type(key)
        return self.db.hgetall(key) if kind == b"hash" else self.db.get(key)

    def put_string(self, key: str, value: bytes) -> None:
        self.db.set(key, value)

    def pending(self, key: str, group: str) -> int:
        return self.db.xpending(key, group)["pending"]

    def destroy_group(self, key: str, group: str) -> None:
        self.db.xgroup_destroy(key, group)

    def delete_stream(self, key: str) -> None:
        self.db.delete(key)

    def empty(self) -> None:
        self.db.flushall()


def fake() -> RedisBackend:
    """fakeredis with Lua, behaving as 7.0."""
    server = fakeredis.FakeServer(version=(7,))

    def connect() -> walrus.Database:
        pool = fakeredis.FakeRedis(server=server, protocol=2).connection_pool
        return walrus.Database(connection_pool=pool)

    return RedisBackend(connect)
