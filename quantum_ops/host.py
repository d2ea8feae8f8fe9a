"""The only place that says which host this is, and how its processes are named beside others'."""

from __future__ import annotations

import socket

from quantum_ops import knobs
from quantum_ops.settings import HostSettings


def named() -> str:
    """The name that this host was given (``QUANTUM_HOST``); empty if it is the only one."""
    return knobs.load(HostSettings).name


def name() -> str:
    """The name that it was given, else the machine's own."""
    return named() or socket.gethostname()


def token(process_num: int, host: str | None = None) -> str:
    """What stands for a process in its heartbeat's key: ``0``, or ``a.0`` on a named host.

    ``host`` is another host's name, empty for none.
    """
    where = named() if host is None else host
    return f"{where}.{process_num}" if where else str(process_num)


def process_name(program: str, token_: str) -> str:
    """``p33-00`` for the token ``0``, ``p33-00@a`` for ``a.0``."""
    host, _, number = token_.rpartition(".")
    padded = number.zfill(2)
    return f"{program}-{padded}@{host}" if host else f"{program}-{padded}"
