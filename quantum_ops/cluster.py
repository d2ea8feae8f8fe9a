"""The only place that finds the shard of a key group on a Redis Cluster, and reads groups from it.

All keys of a group lie in one slot, so one plain connection to whoever owns it serves all of them:
the promises of the runner and its Lua hold as they do on a single server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import walrus
from redis.crc import key_slot

from quantum_ops import client, key_map
from quantum_ops.inbox import Batch
from quantum_ops.line import Line
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.settings import RedisSettings

ASK_S = 0.5
"""Seconds for one node: a dead one must leave time for the next."""
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who says that slots are its own; a higher ``epoch`` is a later failover."""

    address: Address
    epoch: int
    slots: tuple[tuple[int, int], ...]


def owners(nodes: str) -> list[Owner]:
    """The masters in a reply to CLUSTER NODES that are not taken for dead. Pure."""
    found = []
    for line in nodes.splitlines():
        words = line.split()
        flags = words[2].split(",") if len(words) > 7 else []  # noqa: PLR2004 - the fields before slots
        if "master" not in flags or "fail" in flags:
            continue
        host, _, port = words[1].partition("@")[0].rpartition(":")
        ranges = []
        for one in words[8:]:
            if one.startswith("["):
                continue  # on its way to or from another node; the owner has it until it is there
            first, _, last = one.partition("-")
            ranges.append((int(first), int(last or first)))
        found.append(Owner((host, int(port)), int(words[6]), tuple(ranges)))
    return found


class Nodes:
    """The nodes of a cluster, by those of which at least one must answer.

    ``ask(address)`` gives a node's reply to CLUSTER NODES, or raises what a connection raises.
    """

    def __init__(self, seeds: Sequence[Address], ask: Callable[[Address], str]) -> None:
        self._known = list(seeds)
        self._ask = ask

    def owner(self, slot: int) -> Address:
        """Who owns ``slot`` by the newest word of all nodes.

        Raises ``ClusterDownError``, which passes, if nobody does.
        """
        best: Owner | None = None
        for address in tuple(self._known):
            try:
                said = owners(self._ask(address))
            except (redis.RedisError, OSError):
                continue
            for one in said:
                if one.address not in self._known:
                    self._known.append(one.address)
                mine = any(first <= slot <= last for first, last in one.slots)
                if mine and (best is None or one.epoch > best.epoch):
                    best = one
        if best is None:
            raise redis.exceptions.ClusterDownError(f"nobody owns slot {slot}")
        return best.address


class Connection(redis.Connection):
    """A connection to whoever owns the slot at the moment at which it is opened."""

    def __init__(self, *, nodes: Nodes, slot: int, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        self._nodes, self._slot = nodes, slot

    def _connect(self) -> Any:
        self.host, self.port = self._nodes.owner(self._slot)
        return super()._connect()  # type: ignore[no-untyped-call]  # as above


def connect(
    seeds: Sequence[Address], group: str, settings: RedisSettings, *, block_ms: int = 0
) -> walrus.Database:
    """A client of the shard on which the keys of ``group`` lie, whichever it is.

    ``seeds`` are nodes of the cluster, of which one must answer. ``settings`` name the login, the
    patience and the replicas to wait for; see :func:`quantum_ops.client.connect` for the rest.
    """
    login = {"username": settings.username or None, "password": settings.password or None}
    quick = {"socket_timeout": ASK_S, "socket_connect_timeout": ASK_S, **login}

    def ask(address: Address) -> str:
        # Opened for one question: a node that is on its way out may keep a line open for long.
        host, port = address
        line: Any = _plain_connection(host=host, port=port, protocol=2, driver_info=None, **quick)
        try:
            line.send_command("CLUSTER", "NODES")
            said: bytes = line.read_response()
            return said.decode("utf-8", "replace")
        finally:
            line.disconnect()

    options: dict[str, Any] = client.connection_options(settings, block_ms=block_ms) | login
    pool = redis.ConnectionPool(
        connection_class=Connection,
        nodes=Nodes(seeds, ask),
        slot=key_slot(f"{{{group}}}".encode()),
        **options,
    )
    return client.of_pool(pool, settings)


_plain_connection: Any = redis.Connection


class _MappedLine(Line):
    """A line on which keys are called as their group calls them."""

    def __init__(self, pool_: Any, group: str) -> None:
        super().__init__(pool_)
        self._group = group

    def write(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """See :class:`~quantum_ops.line.Line`."""
        super().write([key_map.command(words, self._group) for words in commands])


class ClusterInbox(RedisInbox):
    """:class:`~quantum_ops.redis_inbox.RedisInbox` on a cluster, for streams of one key group.

    ``db`` goes to the shard of that group (:func:`connect`). Raises
    :class:`~quantum_ops.key_map.CrossSlotError` for streams of several groups, or for an effect in
    another group: a consumer that reads several needs an inbox for each.
    """

    def __init__(
        self, db: walrus.Database, stream_keys: tuple[str, ...], group: str, consumer: str
    ) -> None:
        super().__init__(db, stream_keys, group, consumer)
        # Findings and dead letters alone would be of any group.
        self._line = _MappedLine(db.connection_pool, key_map.unit(stream_keys) or key_map.OPS)

    @staticmethod
    def _batches(reply: Any) -> list[Batch]:
        found = RedisInbox._batches(reply)  # noqa: SLF001 - our own base
        return [Batch(key_map.plain(key), entries) for key, entries in found]
