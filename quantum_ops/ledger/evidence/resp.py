"""The only place where evidence speaks the Redis protocol (RESP2): a command, one reply, bounded.

By itself, not by redis-cli: a host without it has evidence all the same, no argument can become an
option, and no password stands in a list of processes.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any

from quantum_ops.ledger.evidence.jobs import Deadline

MOST_BYTES = 1024 * 1024
MOST_DEPTH = 8
_TOO_MUCH = f"its answer is over {MOST_BYTES // 1024} KiB; ask for less of it"


class ReplyError(Exception):
    """The server answered with an error; says it in the server's words."""


class BrokenError(Exception):
    """The connection is of no more use: lost, too slow, too much, or not the protocol."""


class Connection:
    """One connection. ``call`` bounds a reply by ``MOST_BYTES``, the deadline bounds all of it."""

    def __init__(self, made: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = made, deadline
        self._file = made.makefile("rb")
        self._room = 0
        # A timeout of the socket begins anew with each byte: what drips is cut off by this.
        self._timer = threading.Timer(deadline.left(), self._cut)
        self._timer.daemon = True
        self._timer.start()

    @classmethod
    def open(
        cls, where: str | tuple[str, int], deadline: Deadline, *, tls: ssl.SSLContext | None
    ) -> Connection:
        """Connect to a host and port, or to the path of a unix socket.

        Raises:
            BrokenError: if that is not possible.
        """
        try:
            if isinstance(where, str):
                made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                made.settimeout(deadline.left())
                made.connect(where)
            else:
                made = socket.create_connection(where, deadline.left())
            if tls and not isinstance(where, str):
                made = tls.wrap_socket(made, server_hostname=where[0])
        except (OSError, ValueError) as error:
            raise BrokenError(f"cannot be reached ({error})") from error
        return cls(made, deadline)

    def close(self) -> None:
        """Close it."""
        self._timer.cancel()
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._socket.close()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def call(self, arguments: Sequence[bytes]) -> Any:
        """The reply: bytes, int, None, or a list of such (an error inside one is a ReplyError).

        Raises:
            ReplyError: if the reply is an error.
            BrokenError: if there is none.
        """
        parts = [b"*%d\r\n" % len(arguments)]
        parts += [b"$%d\r\n%s\r\n" % (len(one), one) for one in arguments]
        self._room = MOST_BYTES
        try:
            self._socket.settimeout(self._deadline.left())
            self._socket.sendall(b"".join(parts))
            reply = self._reply(0)
        except TimeoutError as error:
            raise BrokenError("no whole answer in time") from error
        except OSError as error:
            raise BrokenError(f"no answer ({error})") from error
        except ValueError as error:
            raise BrokenError(f"does not answer as Redis does ({error})") from error
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def _reply(self, depth: int) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return ReplyError(rest.decode("utf-8", "backslashreplace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._exactly(size + 2)[:-2]
        if kind == b"*":
            count = int(rest)
            if depth >= MOST_DEPTH:
                raise BrokenError("its answer is nested too deeply")
            return None if count < 0 else [self._reply(depth + 1) for _ in range(count)]
        raise BrokenError(f"does not answer as Redis does ({line[:40]!r})")

    def _line(self) -> bytes:
        return self._counted(self._file.readline(min(self._room, 65536) + 2), b"\r\n")[:-2]

    def _exactly(self, size: int) -> bytes:
        if size > self._room:
            raise BrokenError(_TOO_MUCH)
        return self._counted(self._file.read(size), b"\r\n", size)

    def _counted(self, part: bytes, end: bytes, size: int = 0) -> bytes:
        self._room -= len(part)
        if self._deadline.passed:
            raise BrokenError("no whole answer in time")
        if self._room < 0:
            raise BrokenError(_TOO_MUCH)
        if not part.endswith(end) or len(part) < size:
            raise BrokenError("it closed the connection, or does not answer as Redis does")
        return part
