"""The only place that speaks supervisord's event listener protocol, on our stdin and stdout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from quantum_ops.errors import QuantumError

MAX_PAYLOAD = 1 << 20
"""Bytes of one event; those that the warden asks for have fewer than 200."""


class ProtocolError(QuantumError):
    """What arrived is no event. Next: end; supervisord starts us again with a clean line."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One event: its name (``PROCESS_STATE_EXITED``), supervisord's serial number, its fields."""

    name: str
    serial: int
    fields: Mapping[str, str]


def serve(source: BinaryIO, sink: BinaryIO, take: Callable[[Notice], None]) -> None:
    """Take events until supervisord is gone.

    ``take`` MUST be quick and MUST NOT raise: supervisord sends the next event only after the
    answer, and drops the oldest of 1000 it keeps meanwhile. An event whose answer was not sent is
    sent again to our successor, under the same serial.
    """
    while True:
        sink.write(b"READY\n")
        sink.flush()
        line = source.readline(MAX_PAYLOAD)
        if not line:
            return
        header = _words(line)
        payload = source.read(_size(header))
        if len(payload) < _size(header):
            return
        take(notice(header, payload))
        sink.write(b"RESULT 2\nOK")
        sink.flush()


def notice(header: Mapping[str, str], payload: bytes) -> Notice:
    """The event of ``header`` and ``payload``; raises :class:`ProtocolError`."""
    serial = header.get("serial", "")
    if not (serial.isascii() and serial.isdigit() and header.get("eventname")):
        raise ProtocolError(f"a header without serial or eventname: {dict(header)!r}")
    return Notice(header["eventname"], int(serial), _words(payload))


def _size(header: Mapping[str, str]) -> int:
    size = header.get("len", "")
    if not (size.isascii() and size.isdigit() and len(size) < 8 and int(size) <= MAX_PAYLOAD):  # noqa: PLR2004 - digits of it
        raise ProtocolError(f"a header without a usable len: {dict(header)!r}")
    return int(size)


def _words(line: bytes) -> dict[str, str]:
    text = line.decode("utf-8", "backslashreplace")
    pairs = (word.partition(":") for word in text.split())
    return {name: value for name, colon, value in pairs if colon}
