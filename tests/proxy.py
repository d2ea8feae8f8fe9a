"""The only place where tests put faults on the wire: a proxy that drops replies and cuts lines."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

Fault = Callable[[], str]
"""Asked before each reply is passed on: '' passes it, 'drop' loses it and cuts the line."""


class Proxy:
    """Listens on a unix socket and passes on to another; ``fault`` decides about each reply."""

    def __init__(self, target: Path, fault: Fault) -> None:
        self.path = target.with_name("p")
        self.url = f"unix://{self.path}"
        self.dropped = 0
        self._target = str(target)
        self._fault = fault
        self._done = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(50)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop; open lines are cut."""
        self._done.set()
        for thread in list(self._threads):
            thread.join(5)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._done.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, _ = self._listener.accept()
            thread = threading.Thread(target=self._pass_on, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._target)
            while not self._done.is_set():
                ready = select.select([client, server], [], [], 0.05)[0]
                if client in ready:
                    data = client.recv(1 << 16)
                    if not data:
                        return
                    server.sendall(data)
                if server in ready:
                    data = server.recv(1 << 16)
                    if not data:
                        return
                    if self._fault() == "drop":
                        # The server has done its work; only nobody will hear of it.
                        self.dropped += 1
                        return
                    client.sendall(data)


def now_and_then(share: float, seed: int) -> Fault:
    """Drops ``share`` of the replies, the same ones for the same seed."""
    random_ = random.Random(seed)
    return lambda: "drop" if random_.random() < share else ""
