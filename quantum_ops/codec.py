"""The only place where entry bytes become typed events and events become entry bytes.

Decoding happens once, at the edge, from bytes. The names of an entry are looked up as one tuple
(its *layout*): doubled, missing and misspelt names are judged once per layout, not once per entry,
which is what keeps typed dispatch near the speed of a bare loop (docs/performance.md).
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from quantum_ops.errors import DecodeError
from quantum_ops.events import Event, OwnEvent

E = TypeVar("E", bound=Event)

MAX_ENTRY_BYTES = 256 * 1024
"""Largest entry that is decoded: the biggest honest one (a universe of 5,000) has 150 kB."""
MAX_LAYOUTS = 64
"""Layouts remembered per type; a sender that varies names for ever must not grow our memory."""
ENVELOPE = (b"schema", "schema")
_SCALARS = (str, int, float, bool, Decimal, datetime)


class _Layout(NamedTuple):
    names: tuple[str | None, ...]
    composites: tuple[tuple[str, Callable[[str], Any]], ...]
    complete: bool
    has_schema: bool


class Decoder(Generic[E]):
    """Decoder of one event type: call it with the flat list ``[name, value, name, value, ...]``.

    Gives the event; raises :class:`DecodeError` naming the field for bad UTF-8, a missing or
    doubled field, an unknown enum value, a wrong schema or an entry above ``MAX_ENTRY_BYTES``.
    Fields that the type does not know are ignored: a newer sender may add some.
    """

    def __init__(self, event: type[E]) -> None:
        self.event = event
        self._layouts: dict[tuple[bytes, ...], _Layout] = {}
        fields = msgspec.structs.fields(event)
        hints = typing.get_type_hints(event, include_extras=True)
        self._known = {field.encode_name for field in fields}
        self._required = [field.encode_name for field in fields if field.required]
        if issubclass(event, OwnEvent):
            # Defaults exist for whoever creates an event; on the wire the envelope is a must.
            self._required += ["event_id", "occurred_at", "schema"]
        self._composites = {
            field.encode_name: _composite(hints[field.name])
            for field in fields
            if not _is_scalar(hints[field.name])
        }
        self._schema = event.schema

    def __call__(self, flat: Sequence[bytes]) -> E:
        """The event in ``flat``."""
        layout = self._layouts.get(tuple(flat[::2])) or self._learn(flat)
        values = flat[1::2]
        blob = b"\0".join(values)
        if len(blob) > MAX_ENTRY_BYTES:
            raise DecodeError("", f"{len(blob)} bytes; at most {MAX_ENTRY_BYTES} are taken")
        try:
            # One decode and one split for the whole entry: a third of the cost of one per value.
            texts = blob.decode().split("\0")
        except UnicodeDecodeError:
            texts = _decode_each(layout.names, values)
        if len(texts) != len(values):
            texts = _decode_each(layout.names, values)
        fields: dict[Any, Any] = dict(zip(layout.names, texts, strict=True))
        if layout.has_schema and fields.pop("schema") != self._schema:
            raise DecodeError("schema", f"is not {self._schema!r}, the one this version reads")
        for name, parse in layout.composites:
            fields[name] = _parse(name, parse, fields[name])
        if not layout.complete:
            fields.pop(None, None)
        try:
            return msgspec.convert(fields, self.event, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise _explain(error) from None

    def _learn(self, flat: Sequence[bytes]) -> _Layout:
        names = tuple(flat[::2])
        if len(flat) % 2:
            raise DecodeError("", "a name has no value")
        texts = _decode_each(names, names)
        known = self._known | ({"schema"} if self._schema else set())
        for text in texts:
            if text in known and texts.count(text) > 1:
                # Readers disagree on which of two equal names counts, so neither does.
                raise DecodeError(text, f"stands {texts.count(text)} times")
        for name in self._required:
            if name not in texts:
                raise DecodeError(name, "is missing")
        kept = tuple(text if text in known else None for text in texts)
        layout = _Layout(
            kept,
            tuple((name, parse) for name, parse in self._composites.items() if name in kept),
            None not in kept,
            "schema" in kept,
        )
        if len(self._layouts) >= MAX_LAYOUTS:
            self._layouts.clear()
        self._layouts[names] = layout
        return layout


@cache
def decoder(event: type[E]) -> Decoder[E]:
    """The one decoder of ``event``."""
    return Decoder(event)


def encode(event: Event) -> list[bytes]:
    """The flat list ``[name, value, ...]`` of an event: what XADD takes and Decoder reads back.

    ``None`` fields are left out. Lists and objects are canonical JSON (sorted keys).
    """
    flat: list[bytes] = []
    if event.schema:
        flat += [b"schema", event.schema.encode()]
    for field in msgspec.structs.fields(event):
        value = getattr(event, field.name)
        if value is not None:
            flat += [field.encode_name.encode(), _to_text(value).encode()]
    size = sum(map(len, flat))
    if size > MAX_ENTRY_BYTES:
        raise ValueError(f"{type(event).__name__} has {size} bytes; at most {MAX_ENTRY_BYTES}")
    return flat


def rfc3339(moment: datetime) -> str:
    """``2026-01-27T06:15:30.000Z``: UTC with milliseconds."""
    return (
        moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    )


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    return msgspec.json.encode(value, order="sorted").decode()


def _is_scalar(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _is_scalar(typing.get_args(hint)[0])
    if origin is typing.Literal:
        return True
    if origin is not None and type(None) in typing.get_args(hint):
        return all(_is_scalar(arg) for arg in typing.get_args(hint) if arg is not type(None))
    return hint in _SCALARS


def _composite(hint: Any) -> Callable[[str], Any]:
    decode = msgspec.json.Decoder(hint).decode
    if typing.get_origin(hint) is not tuple:
        return decode

    def lines_or_json(text: str) -> Any:
        # Shell scripts send one item a line: a JSON array is hard to quote there.
        if text.lstrip().startswith("["):
            return decode(text)
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    return lines_or_json


def _parse(name: str, parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError(name, f"{text[:80]!r} is not the JSON it should be ({error})") from None


def _decode_each(names: Sequence[str | bytes | None], values: Sequence[bytes]) -> list[str]:
    texts = []
    for name, value in zip(names, values, strict=True):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError as error:
            if name is None:
                texts.append("")  # a field we do not know cannot spoil the ones we do
                continue
            shown = name if isinstance(name, str) else ascii(name)
            raise DecodeError(
                shown, f"is no UTF-8 ({error.reason} at byte {error.start})"
            ) from None
    return texts


def _explain(error: Exception) -> DecodeError:
    """Split msgspec's "Expected `int` - at `$.epoch`" into field and problem."""
    problem, _, path = str(error).partition(" - at `$.")
    return DecodeError(path.rstrip("`"), problem)
