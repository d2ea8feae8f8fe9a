"""The only place that turns a process into the embedded server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from ops import acl_files, data_folder, server_binary
from ops.paths import Paths
from quantum_ops import knobs, lifeline
from quantum_ops.settings import RedisSettings, ServerSettings

PREDECESSOR_S = 20.0
"""Seconds a predecessor may still take to shut down before its lock counts as a second server."""


def become_server() -> NoReturn:
    """Check, lock and stamp the data folder, then exec the server, which keeps pid and lock.

    The exec makes supervisord's signals reach the server itself, with no wrapper in between that
    could die alone. Raises :class:`ConfigurationError` when the server may not or cannot start.
    """
    lifeline.die_with_parent()
    paths = Paths.find()
    paths.create()
    port = knobs.load(RedisSettings).port
    settings = knobs.load(ServerSettings)
    binary = server_binary.find(settings.binary)
    if binary.warning:
        print(f"warning: {binary.warning}", file=sys.stderr, flush=True)
    data_folder.hold(paths.data, PREDECESSOR_S)
    data_folder.admit(paths.data, binary.flavour)
    default, why_not = acl_files.lets_nameless_in(binary.flavour, settings.default_user)
    if why_not:
        print(f"warning: {why_not}", file=sys.stderr, flush=True)
    users = acl_files.write(paths, binary.flavour, default=default)
    print(f"{binary.flavour} on {paths.data}, port {port}, {paths.redis_socket}", flush=True)
    os.execv(binary.path, arguments(str(binary.path), paths, port, users))  # noqa: S606 - the point of it


def arguments(program: str, paths: Paths, port: int, users: Path) -> list[str]:
    """The server's command line: the configuration file, then what depends on the place."""
    return [
        program,
        str(paths.root / "ops" / "redis" / "server.conf"),
        *("--port", str(port)),
        *("--unixsocket", str(paths.redis_socket)),
        *("--unixsocketperm", "700"),
        *("--dir", str(paths.data)),
        *("--aclfile", str(users)),
    ]
