"""The only place of a model server that answers at once: no network, no virtual time."""

from __future__ import annotations

from collections import deque
from typing import Any

import hiredis
from redis._parsers.base import BaseParser

from tests.simulation.lua import ReplyError
from tests.simulation.server import Blocked, Server


class Direct:
    """What the product takes for a client, its pool and its connection, all in one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._replies: deque[Any] = deque()
        self.connection_pool = self

    def get_connection(self) -> Direct:
        """A connection of its own."""
        return Direct(self._server)

    def release(self, connection: object) -> None:
        """See redis-py."""

    def disconnect(self) -> None:
        """See redis-py."""
        self._replies.clear()

    def send_packed_command(self, chunks: list[bytes], *, check_health: bool = True) -> None:
        """See redis-py."""
        del check_health
        reader = hiredis.Reader()
        for chunk in chunks:
            reader.feed(chunk)
        while (command := reader.gets()) is not False:
            reply = self._server.execute(command)
            self._replies.append(None if isinstance(reply, Blocked) else reply)

    def read_response(self) -> Any:
        """See redis-py."""
        reply = self._replies.popleft()
        if isinstance(reply, ReplyError):
            raise BaseParser.parse_error(str(reply))
        return reply

    def ask(self, *command: Any) -> Any:
        """The reply to one command; an error is a value, as redis-py has it."""
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        reply = self._server.execute(parts)
        return BaseParser.parse_error(str(reply)) if isinstance(reply, ReplyError) else reply
