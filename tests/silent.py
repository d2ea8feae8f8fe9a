"""The only place of a server that takes connections and never answers."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Self


class Silent:
    """Listens on a unix socket (``path``) or on a port of 127.0.0.1 (no path)."""

    def __init__(self, path: Path | None = None) -> None:
        family = socket.AF_UNIX if path else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.bind(str(path) if path else ("127.0.0.1", 0))
        self._socket.listen(8)
        self.url = f"unix://{path}"

    @property
    def port(self) -> int:
        """The port, of a server that has one."""
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
