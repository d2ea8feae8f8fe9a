"""The only place of the setting that tells hosts apart which share a server."""

from __future__ import annotations

import re
from dataclasses import dataclass

from quantum_ops.knobs import knob

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def _host(text: str) -> str:
    """Parser of a host's name; it stands in keys, whose parts are told by dots and colons."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"write letters, digits, _ and - ({_NAME.pattern})")
    return text


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Several hosts on one server."""

    name: str = knob(
        "QUANTUM_HOST",
        _host,
        "",
        "Name of this host among several that share a server, each with another one; the same in "
        "every shell and service of it. Empty: there is one host, and heartbeats name none.",
    )
