"""The only place that sends packed commands and takes replies as hiredis parsed them.

The connection is redis-py's own, so connecting, TLS, logins and Sentinel stay its business. What it
does around each command and reply is left out: it looks at each argument's type, which costs more
than packing, and makes dictionaries of entries, a quarter of a bare loop's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
import redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA

_MISSING = object()


class Line:
    """One connection out of ``pool``, taken when it is first needed and kept.

    A connection that broke is dropped, never used again: replies not read yet would be taken for
    the next command's.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = None

    def write(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Send ``commands``, in this order and at once. Raises what the connection raises."""
        if not commands:
            return
        if self._connection is None:
            self._connection = self._pool.get_connection()
        packed = b"".join([hiredis.pack_command(command) for command in commands])
        try:
            self._connection.send_packed_command([packed], check_health=False)
        except BaseException:
            self.close()
            raise

    def read(self) -> Any:
        """The next reply; an error reply is a value, a broken connection raises."""
        try:
            return reply(self._connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection; the next write opens a new one."""
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None


def reply(connection: Any) -> Any:
    """The next reply on ``connection``; an error reply is a value of redis-py's classes.

    Straight from hiredis what has arrived already: what redis-py does around each reply costs five
    times as much. Whatever is not there yet, and any other parser, goes the plain way.
    """
    parser = getattr(connection, "_parser", None)
    gets = getattr(getattr(parser, "_reader", None), "gets", None)
    answer = _MISSING if gets is None else gets()
    # A ConnectionError is no reply: a server that is full or loading says so, and redis-py raises.
    if answer is _MISSING or answer is NOT_ENOUGH_DATA:
        try:
            return connection.read_response()
        except redis.ResponseError as error:
            return error
    if isinstance(answer, redis.ConnectionError):
        raise answer
    return answer
