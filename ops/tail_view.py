"""The only place that shows a followed entry: as a line for people, as JSON, as its bytes."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from ops import event_lines
from ops.following import Told
from ops.output import Format, Paint
from ops.replay_view import when
from ops.terminal import safe
from quantum_ops import entry_id, streams

_WIDTH = 16
"""Of a stream's name, so that summaries stand below each other."""


class View:
    """Lines of entries in one format. ``is_screen``: raw bytes are escaped after all."""

    def __init__(self, wanted: Format, paint: Paint, *, is_screen: bool) -> None:
        self._format = wanted
        self._paint = paint
        self._is_screen = is_screen

    def line(self, one: Told) -> bytes:
        """The bytes to print, line feed included."""
        if self._format.is_text:
            return f"{self._text(one)}\n".encode()
        if self._format.kind == "raw":
            return self._raw(one)
        summary = "summary" if self._format.kind == "template" else ""
        return f"{self._format.line(as_object(one, summary))}\n".encode()

    def _text(self, one: Told) -> str:
        text, meaning = event_lines.summary(one.stream, one.flat)
        name = safe(streams.short(one.stream)).ljust(_WIDTH)
        return "  ".join(
            [
                self._paint(f"{when(one.id[0])}  {entry_id.text(one.id)}", "dim"),
                self._paint(name, "name"),
                self._paint(text, meaning),
            ]
        )

    def _raw(self, one: Told) -> bytes:
        """Id, then names and values, parted by tabs: its bytes, except on a terminal."""
        parts = [entry_id.text(one.id).encode(), *one.flat]
        if self._is_screen:
            parts = [safe(part, 100_000).encode() for part in parts]
        return b"\t".join(parts) + b"\n"


def as_object(one: Told, *more: str) -> dict[str, Any]:
    """The entry as JSON: stream, id, ts, type, data.

    Values that are no UTF-8 stand in base64 in ``data_b64``. Where a name is doubled, ``fields``
    has every name and value in turn, text as far as it is text.
    """
    data: dict[str, str] = {}
    binary: dict[str, str] = {}
    names = [safe(name, 1000) for name in one.flat[::2]]
    for name, value in zip(names, one.flat[1::2], strict=False):
        try:
            data[name] = value.decode()
        except UnicodeDecodeError:
            binary[name] = b64encode(value).decode()
    found: dict[str, Any] = {
        "stream": streams.short(one.stream),
        "id": entry_id.text(one.id),
        "ts": when(one.id[0]),
        "type": _type(one.stream),
        "data": data,
    }
    if binary:
        found["data_b64"] = binary
    if len(set(names)) < len(names):
        found["fields"] = [part.decode("utf-8", "backslashreplace") for part in one.flat]
    if "summary" in more:
        found["summary"] = event_lines.summary(one.stream, one.flat)[0]
    return found


def _type(key: str) -> str | None:
    try:
        return streams.find(key).event.__name__
    except KeyError:
        return None
