"""The only place of the named points at which a worker dies or falls asleep, to the instruction.

A kill that comes by chance hardly ever falls between two neighbouring commands; these do.
"""

from __future__ import annotations

import os
import socket
from typing import Any

IN_HANDLER = "in_handler"
POINTS = {
    "delivered": "entries have been read, none of them is handled",
    IN_HANDLER: "in the middle of a batch, its handler at work",
    "handled": "all is handled, nothing is sent",
    "read_ahead": "the next batch is asked for, this one is not handled",
    "renewed": "the rest of a slow batch has been renewed, none of it is handled",
    "half_sent": "half of the settlement's bytes are sent",
    "sent": "the settlement is sent, its reply not read",
    "settled": "the settlement is known, nothing new was read",
    "claimed": "entries of another process have been claimed, none of them is read",
    "reread": "an entry was delivered again, and is not handled",
}
"""Of the product's own consumers; the known-bad protocols have others, see protocols.py."""


SLOW_S = {"renewed": 0.012}
"""Point -> seconds that a handler takes, where it must be slow for the process to come there."""


class Trap:
    """Sends ``signal`` to this very process at the ``after``-th time that it comes to ``point``."""

    def __init__(self, point: str = "", after: int = 1, signal: int = 9) -> None:
        self._point = point
        self._left = after
        self.slow_s = SLOW_S.get(point, 0.0)
        self._signal = signal

    def reach(self, point: str) -> None:
        """Say that the process is at ``point``."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._signal)


class TrappedInbox:
    """An inbox of the product with the trap's points around and inside it."""

    def __init__(self, inner: Any, trap: Trap) -> None:
        self._inner = inner
        self._trap = trap
        self._sending = False
        self._hook_socket()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def exchange(self, settlements: Any, *rest: Any) -> Any:
        sends = any(settlements.values())
        if sends:
            self._trap.reach("handled")
        self._sending = sends
        try:
            receipt, batches = self._inner.exchange(settlements, *rest)
        finally:
            self._sending = False
        if batches:
            self._trap.reach("delivered")
        elif receipt.acked:
            self._trap.reach("settled")
        return receipt, batches

    def submit(self, settlements: Any, *rest: Any) -> Any:
        self._trap.reach("handled")
        self._sending = True
        try:
            return self._inner.submit(settlements, *rest)
        finally:
            self._sending = False

    def read_ahead(self, *given: Any) -> None:
        self._inner.read_ahead(*given)
        self._trap.reach("read_ahead")

    def renew(self, *given: Any) -> Any:
        held = self._inner.renew(*given)
        if held:
            self._trap.reach("renewed")
        return held

    def claim(self, *given: Any) -> Any:
        claimed = self._inner.claim(*given)
        if claimed.entry_ids:
            self._trap.reach("claimed")
        return claimed

    def reread(self, *given: Any) -> Any:
        entry = self._inner.reread(*given)
        if entry is not None:
            self._trap.reach("reread")
        return entry

    def _hook_socket(self) -> None:
        # On the socket and not on the client: whatever sends, this is where its bytes leave.
        plain = socket.socket.sendall
        inbox = self

        def sendall(self: socket.socket, data: Any, *flags: Any) -> None:
            if not inbox._sending:
                plain(self, data, *flags)
                return
            middle = len(data) // 2
            plain(self, data[:middle], *flags)
            inbox._trap.reach("half_sent")
            plain(self, data[middle:], *flags)
            inbox._trap.reach("sent")

        socket.socket.sendall = sendall  # type: ignore[method-assign]  # one worker, one process
