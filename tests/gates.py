"""The only place of the gates between servers: a process that passes bytes on, or holds them up.

A gate that is shut lets nothing through and cuts nothing, as a network that fails does. It is a
process of its own, so that a busy test does not look like a slow net.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time

from tests.supervised import ROOT


class Gates:
    """Gates by their announced port; ``add``, ``shut`` and ``open`` return once it is so."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.gates"], cwd=ROOT, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def add(self, announced: int, real: int) -> None:
        """Listen on ``announced`` for whoever wants ``real``."""
        self._say(f"add {announced} {real}")

    def shut(self, *announced: int) -> None:
        """Let nothing through these; what is under way waits."""
        for port in announced:
            self._say(f"shut {port}")

    def open(self, *announced: int) -> None:
        """Let through what waited, and all that comes."""
        for port in announced:
            self._say(f"open {port}")

    def close(self) -> None:
        """Cut all lines."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        assert self._process.stdout.readline() == "done\n"


class _Passing:
    """What the process does: a thread for each direction of each line."""

    def __init__(self) -> None:
        self.shut: set[int] = set()

    def listen(self, announced: int, real: int) -> None:
        listener = socket.create_server(("127.0.0.1", announced), backlog=100)
        self._start(self._accept, listener, announced, real)

    def _accept(self, listener: socket.socket, announced: int, real: int) -> None:
        while True:
            near, _ = listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", real), timeout=1)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for line in (near, far):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._pass_on, near, far, announced)
            self._start(self._pass_on, far, near, announced)

    def _pass_on(self, line: socket.socket, peer: socket.socket, announced: int) -> None:
        with contextlib.suppress(OSError):
            while data := line.recv(1 << 16):
                while announced in self.shut:
                    time.sleep(0.01)
                peer.sendall(data)
        for one in (line, peer):
            with contextlib.suppress(OSError):
                # Not close(): the other direction's thread waits in it.
                one.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            line.close()

    @staticmethod
    def _start(target: object, *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()  # type: ignore[arg-type]


def main() -> None:
    """Obey lines of stdin until it ends."""
    passing = _Passing()
    for line in sys.stdin:
        word, *ports = line.split()
        if word == "add":
            passing.listen(*map(int, ports))
        elif word == "shut":
            passing.shut.add(int(ports[0]))
        else:
            passing.shut.discard(int(ports[0]))
        print("done", flush=True)


if __name__ == "__main__":
    main()
