"""The only place where tests put faults on the wire: a proxy that loses, cuts, resets and waits."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

Fault = Callable[[], str]
"""Asked before each piece is passed on: '' passes it, else one of ``FAULTS``."""
FAULTS = {
    "drop": "it is lost, and the line is closed",
    "reset": "it is lost, and the client's line is reset (RST; on a unix socket it is closed)",
    "cut": "half of it is passed on, and the line is closed",
    "half_open": "it is lost, and so is all that follows; the line stays open",
    "delay": "it is passed on late",
}
DELAY_S = 0.02


class Proxy:
    """Listens beside ``target`` and passes on to it; ``fault`` decides about each reply.

    ``requests`` decides about what clients send. With ``tcp`` it listens on a port of the loopback
    instead of a unix socket.
    """

    def __init__(
        self, target: Path, fault: Fault, *, requests: Fault = lambda: "", tcp: bool = False
    ) -> None:
        self.path = target.with_name("p")
        self.injected: Counter[str] = Counter()
        self._target = str(target)
        self._fault = fault
        self._requests = requests
        self._done = threading.Event()
        if tcp:
            self._listener = socket.socket()
            self._listener.bind(("127.0.0.1", 0))
            self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.path))
            self.url = f"unix://{self.path}"
        self._listener.listen(50)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def dropped(self) -> int:
        """Replies that were lost: the server had done its work, only nobody heard of it."""
        return self.injected["reply drop"]

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
                    if not data or not self._piece(data, "request", server, client):
                        return
                if server in ready:
                    data = server.recv(1 << 16)
                    if not data or not self._piece(data, "reply", client, client):
                        return

    def _piece(self, data: bytes, which: str, to: socket.socket, client: socket.socket) -> bool:
        """Pass one piece on, or not; whether the line goes on."""
        fault = self._fault() if which == "reply" else self._requests()
        if fault:
            self.injected[f"{which} {fault}"] += 1
        if fault in ("", "delay"):
            if fault:
                time.sleep(DELAY_S)
            to.sendall(data)
            return True
        if fault == "cut":
            to.sendall(data[: len(data) // 2])
        elif fault == "reset" and client.family != socket.AF_UNIX:
            # Closed with nothing to linger for, the kernel sends RST instead of FIN.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault == "half_open":
            self._swallow(client)
        return False

    def _swallow(self, client: socket.socket) -> None:
        """Hear nothing more and say nothing, until the client gives up."""
        while not self._done.is_set():
            if select.select([client], [], [], 0.05)[0] and not client.recv(1 << 16):
                return


def now_and_then(share: float, seed: int) -> Fault:
    """Drops ``share`` of the replies, the same ones for the same seed."""
    random_ = random.Random(seed)
    return lambda: "drop" if random_.random() < share else ""
