"""The only place that keeps a universe between batches, and never believes it without its meta.

A gate reads meta and the news in the same round trip as the state of its batch. The list itself is
read again when meta tells of other content, when it tells nothing that could be compared, or when
the cache period is over.
"""

from __future__ import annotations

from typing import Any

import hiredis
import msgspec
import walrus

from quantum_ops import streams
from quantum_ops.universe import Universe, judge, renewed

# What changes with every check of the producer says nothing about the content.
_HEARTBEAT = (b"checked_epoch", b"last_ok_epoch", b"stale", b"error")
NEWS_COUNT = 20
NAMED = 20


class News(msgspec.Struct, frozen=True):
    """What a ``universe.changed`` entry told: what was added, removed, made close_only.

    At most ``NAMED`` of each are named, and how many more there are.
    """

    epoch: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    close_only: tuple[str, ...]


class UniverseCache:
    """The universe for one process. ``news`` lists the changes heard of and not yet taken.

    ``cache_s`` is the longest time between two readings of the whole list.
    """

    def __init__(self, mode: str, cache_s: float) -> None:
        self._mode = mode
        self._cache_s = cache_s
        self._held: Universe | None = None
        self._identity: Any = None
        self._read_at_s = 0.0
        self._last_news = b"$"
        self.news: list[News] = []

    def packed(self) -> bytes:
        """Commands to send along with a batch's own; their replies go to :meth:`current`."""
        meta: bytes = hiredis.pack_command(("HGETALL", streams.UNIVERSE_META))
        news: tuple[str | bytes | int, ...]
        if self._last_news == b"$":
            # A follower of news begins at the newest: what came before stands in the keys.
            news = ("XREVRANGE", streams.UNIVERSE_CHANGED.key, "+", "-", "COUNT", 1)
        else:
            after = b"(" + self._last_news
            news = ("XRANGE", streams.UNIVERSE_CHANGED.key, after, "+", "COUNT", NEWS_COUNT)
        packed: bytes = meta + hiredis.pack_command(news)
        return packed

    COMMANDS = 2
    """Replies that :meth:`current` takes."""

    def current(
        self, db: walrus.Database, replies: list[Any], *, now_s: float, monotonic_s: float
    ) -> Universe:
        """The universe as it stands; a second round trip only if the content may be another.

        ``replies`` are those to :meth:`packed`. Raises what a broken connection raises.
        """
        meta = as_hash(replies[0])
        self._hear(replies[1])
        identity = _identity(meta)
        expired = not 0 <= monotonic_s - self._read_at_s < self._cache_s
        if self._held is None or identity is None or identity != self._identity or expired:
            return self._read(db, now_s, monotonic_s)
        self._held = renewed(self._held, meta, now_s=now_s, mode=self._mode)
        if self._held.status == "stale" and self._held.code == "unreadable":
            self._identity = None
        return self._held

    def take_news(self) -> list[News]:
        """What was heard since the last call."""
        news, self.news = self.news, []
        return news

    def _read(self, db: walrus.Database, now_s: float, monotonic_s: float) -> Universe:
        with db.pipeline(transaction=True) as pipe:
            pipe.get(streams.UNIVERSE_ACTIVE)
            pipe.hgetall(streams.UNIVERSE_META)
            pipe.hgetall(streams.UNIVERSE_SYMBOLS)
            active, meta, rows = pipe.execute(raise_on_error=False)
        self._held = judge(active, meta, rows, now_s=now_s, mode=self._mode)
        # Only what was read as a whole may be kept.
        self._identity = None if self._held.code in ("missing", "unreadable") else _identity(meta)
        self._read_at_s = monotonic_s
        return self._held

    def _hear(self, reply: Any) -> None:
        if not isinstance(reply, list):
            return  # a stream key of another type: the keys, which are asked each time, decide
        first = self._last_news == b"$"
        for id_, flat in reply:
            self._last_news = id_
            if not first and flat is not None:
                fields = dict(zip(flat[::2], flat[1::2], strict=False))
                epoch = fields.get(b"epoch", b"")[:20].decode("utf-8", "replace")
                lists = (fields.get(name, b"") for name in (b"added", b"removed", b"close_only"))
                self.news.append(News(epoch, *map(_named, lists)))
        if first and not reply:
            self._last_news = b"0-0"


def _named(raw: bytes) -> tuple[str, ...]:
    """The symbols in the JSON list ``raw``; whatever is no such list names nothing."""
    try:
        names = _list.decode(raw)
    except (ValueError, RecursionError):
        return ()
    more = (f"and {len(names) - NAMED} more",) if len(names) > NAMED else ()
    return (*(name[:64] for name in names[:NAMED]), *more)


_list = msgspec.json.Decoder(list[str])


def as_hash(reply: Any) -> Any:
    """A raw HGETALL reply as a dictionary; errors stay as they are."""
    if isinstance(reply, list):
        return dict(zip(reply[::2], reply[1::2], strict=True))
    return reply


def _identity(meta: Any) -> Any:
    """What stands for the content; None if meta cannot tell one content from another."""
    if not isinstance(meta, dict) or not meta.get(b"epoch"):
        return None  # writers of before this project: their list is read each time
    return tuple(sorted(item for item in meta.items() if item[0] not in _HEARTBEAT))
