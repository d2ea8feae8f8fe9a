"""The only place that speaks the Redis protocol itself: replies word for word, for redis_cli.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import redis
import walrus

_KINDS = (b"+", b"-", b":", b"$", b"*")


class ReplyError(Exception):
    """An error reply, word for word; ``text`` is its bytes."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text.decode("utf-8", "backslashreplace"))
        self.text = text


class Status(bytes):
    """A status reply (``+OK``): shown without quotes."""


class Line:
    """One connection, spoken to word for word. Replies are what the server sent."""

    def __init__(self, db: walrus.Database) -> None:
        # redis-py connects (TLS, password, Sentinel); its parser is passed by, because it gives a
        # status and a string alike and cuts the first word off an error.
        self._connection = db.connection_pool.get_connection()
        self._socket: Any = self._connection._sock  # noqa: SLF001 - see above
        # BLPOP and SUBSCRIBE wait as long as they are told to, and the operator has ^C.
        self._socket.settimeout(None)
        self._file: BinaryIO = self._socket.makefile("rb")

    def ask(self, command: list[bytes]) -> Any:
        """The reply, see :meth:`reply`; raises ``redis.ConnectionError`` for a lost connection."""
        words = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in command)
        try:
            self._socket.sendall(b"*%d\r\n%b" % (len(command), words))
        except OSError as error:
            raise redis.ConnectionError(f"{error} while sending") from error
        return self.reply()

    def reply(self) -> Any:
        """The next reply: bytes, int, None, list, or :class:`ReplyError` as a value."""
        kind, rest = self._take()
        if kind == b"+":
            return Status(rest)
        if kind == b"-":
            return ReplyError(rest)
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"*":
            return [self.reply() for _ in range(size)]
        return self._read(size + 2)[:-2]

    def _take(self) -> tuple[bytes, bytes]:
        text = self._guarded(self._file.readline)
        if not text.endswith(b"\r\n") or text[:1] not in _KINDS:
            raise redis.ConnectionError(f"the server sent {text[:60]!r}, which is no reply")
        return text[:1], text[1:-2]

    def _read(self, size: int) -> bytes:
        data = self._guarded(self._file.read, size)
        if len(data) < size:
            raise redis.ConnectionError("the server closed the connection")
        return data

    def _guarded(self, read: Callable[..., bytes], *size: int) -> bytes:
        try:
            data = read(*size)
        except OSError as error:
            raise redis.ConnectionError(f"{error} while reading") from error
        if not data:
            raise redis.ConnectionError("the server closed the connection")
        return data
