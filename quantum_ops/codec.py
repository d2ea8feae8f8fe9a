"""The only place where entry bytes become typed events and events become entry bytes.

Decoding happens once, at the edge, from bytes. The names of an entry are looked up as one tuple
(its *layout*): doubled, missing and misspelt names are judged once per layout, not once per entry,
which is what keeps typed dispatch near the speed of a bare loop (docs/performance.md).
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from quantum_ops.errors import DecodeError
from quantum_ops.events import Event, OwnEvent

E = TypeVar("E", bound=Event)

MAX_ENTRY_BYTES = 256 * 1024
"""Largest entry that is decoded: the biggest honest one (a universe of 5,000) has 150 kB."""
MAX_LAYOUTS = 64
"""Layouts remembered per type; a sender that varies names for ever must not grow our memory."""
_SCALARS = (str, int, float, bool, Decimal, datetime)


class _Layout(NamedTuple, Generic[E]):
    names: tuple[str | None, ...]
    build: Callable[[list[str]], E]


class Decoder(Generic[E]):
    """Decoder of one event type: call it with the flat list ``[name, value, name, value, ...]``.

    Gives the event; raises :class:`DecodeError` naming the field for bad UTF-8, a missing or
    doubled field, an unknown enum value, a wrong schema or an entry above ``MAX_ENTRY_BYTES``.
    Fields that the type does not know are ignored: a newer sender may add some.
    """

    def __init__(self, event: type[E]) -> None:
        self.event = event
        self._layouts: dict[tuple[bytes, ...], _Layout[E]] = {}
        self._names: Sequence[bytes] = ()
        self._layout: _Layout[E]
        self._build: Callable[[list[str]], E]
        self._count = 0
        fields = msgspec.structs.fields(event)
        hints = typing.get_type_hints(event, include_extras=True)
        self._fields = {field.encode_name: field.name for field in fields}
        self._hints = {field.encode_name: hints[field.name] for field in fields}
        self._required = [field.encode_name for field in fields if field.required]
        if issubclass(event, OwnEvent):
            # Defaults exist for whoever creates an event; on the wire the envelope is a must.
            self._required += ["event_id", "occurred_at", "schema"]
        self._parsers = {
            field.encode_name: _parser(hints[field.name])
            for field in fields
            if hints[field.name] is not str
        }
        if event.schema:
            self._parsers["schema"] = _exactly(event.schema)

    def __call__(self, flat: Sequence[bytes]) -> E:
        """The event in ``flat``."""
        names = flat[::2]
        if names != self._names:
            # Mostly an entry is written as the one before it: comparing is cheaper than hashing.
            self._layout = self._layouts.get(tuple(names)) or self._learn(flat)
            self._names, self._count = names, len(names)
            self._build = self._layout.build
        values = flat[1::2]
        blob = b"\0".join(values)
        if len(blob) <= MAX_ENTRY_BYTES:
            # One decode and one split for the whole entry cost a third of one per value. Whatever
            # is unusual or wrong is taken the careful way, which names the field.
            try:
                texts = blob.decode().split("\0")
                if len(texts) == self._count:
                    return self._build(texts)
            except (ValueError, RecursionError):
                pass
        return self._carefully(self._layout, values, len(blob))

    def _carefully(self, layout: _Layout[E], values: Sequence[bytes], size: int) -> E:
        """The event, or the error that names the field."""
        if size > MAX_ENTRY_BYTES:
            raise DecodeError("", f"{size} bytes; at most {MAX_ENTRY_BYTES} are taken")
        if len(values) != len(layout.names):
            raise DecodeError("", "a name has no value")
        fields: dict[str, Any] = {}
        for text, name in zip(_decode_each(layout.names, values), layout.names, strict=True):
            if name is None:
                continue
            parse = self._parsers.get(name)
            try:
                value = parse(text) if parse else text
            except RecursionError:
                raise DecodeError(name, "is nested too deep") from None
            except ValueError as error:
                why = _why(self._hints.get(name), text, error)
                raise DecodeError(name, f"{text[:80]!r}: {why}") from None
            if name in self._fields:
                fields[self._fields[name]] = value
        return self.event(**fields)

    def _learn(self, flat: Sequence[bytes]) -> _Layout[E]:
        names = tuple(flat[::2])
        if len(flat) % 2:
            raise DecodeError("", "a name has no value")
        texts = _decode_each(names, names)
        known = self._fields.keys() | self._parsers.keys()
        for text in texts:
            if text in known and texts.count(text) > 1:
                # Readers disagree on which of two equal names counts, so neither does.
                raise DecodeError(text, f"stands {texts.count(text)} times")
        missing = [name for name in self._required if name not in texts]
        if missing:
            raise DecodeError(
                missing[0], _missing(missing, [one for one in texts if one not in known])
            )
        kept = tuple(text if text in known else None for text in texts)
        layout = _Layout(kept, self._builder(kept))
        if len(self._layouts) >= MAX_LAYOUTS:
            self._layouts.clear()
        self._layouts[names] = layout
        return layout

    def _builder(self, names: tuple[str | None, ...]) -> Callable[[list[str]], E]:
        """A function from the values' texts to the event, written for exactly these names.

        Calling the type with keywords is half the price of handing a dictionary to msgspec, and
        one conversion of all numbers and flags together (a *row*) a third of one for each: only
        for a struct does msgspec remember what the type means. The source holds field names of
        our own types and numbers only, never a byte of an entry.
        """
        scope: dict[str, Any] = {"event": self.event, "convert": msgspec.convert}
        checks: list[str] = []
        arguments: list[str] = []
        row: list[tuple[int, Any]] = []
        for position, name in enumerate(names):
            if name is None:
                continue
            parse = self._parsers.get(name)
            value = f"texts[{position}]"
            if isinstance(parse, functools.partial):
                value = f"row.at{len(row)}"
                row.append((position, parse.keywords["type"]))
            elif parse is not None:
                scope[f"parse{position}"] = parse
                value = f"parse{position}({value})"
            if name == "schema" and name not in self._fields:
                checks.append(f"    {value}\n")
            else:
                arguments.append(f"{self._fields[name]}={value}")
        if row:
            scope["Row"] = _row(tuple(hint for _, hint in row))
            texts = "".join(f"texts[{position}], " for position, _ in row)
            checks.append(f"    row = convert(({texts}), Row, strict=False)\n")
        source = f"def build(texts):\n{''.join(checks)}    return event({', '.join(arguments)})\n"
        exec(source, scope)  # noqa: S102 - see the docstring: nothing foreign is in it
        build: Callable[[list[str]], E] = scope["build"]
        return build


@functools.lru_cache(MAX_LAYOUTS)
def _row(hints: tuple[Any, ...]) -> type[msgspec.Struct]:
    """The struct that converts texts of these types at once, as ``at0``, ``at1``, ..."""
    fields = [(f"at{number}", hint) for number, hint in enumerate(hints)]
    return msgspec.defstruct("Row", fields, array_like=True, gc=False)


@functools.cache
def decoder(event: type[E]) -> Decoder[E]:
    """The one decoder of ``event``."""
    return Decoder(event)


def encode(event: Event) -> list[bytes]:
    """The flat list ``[name, value, ...]`` of an event: what XADD takes and Decoder reads back.

    ``None`` fields are left out. Lists and objects are canonical JSON (sorted keys).
    """
    names, values = split(event)
    flat: list[bytes] = [b""] * (2 * len(names))
    flat[::2], flat[1::2] = names, values
    return [b"schema", event.schema.encode(), *flat] if event.schema else flat


def split(event: Event) -> tuple[tuple[bytes, ...], list[bytes]]:
    """Names and values of ``event`` apart, without its schema.

    Names are the same for all events of a type (without ``None`` fields), so they need to travel
    once for many. Raises ``ValueError`` above ``MAX_ENTRY_BYTES``.
    """
    names, values = _splitter(type(event))(event)
    size = len(b"".join(values)) + len(b"".join(names))
    if size > MAX_ENTRY_BYTES:
        raise ValueError(f"{type(event).__name__} has {size} bytes; at most {MAX_ENTRY_BYTES}")
    return names, values


_Split = Callable[[Event], tuple[tuple[bytes, ...], list[bytes]]]


@functools.cache
def _splitter(event: type[Event]) -> _Split:
    """A function that splits events of this type, written for exactly its fields.

    Gates publish one event for each plan: looking the fields up each time would be half of what
    that costs. As in Decoder, the source holds names of our own types only.
    """
    hints = typing.get_type_hints(event, include_extras=True)
    scope: dict[str, Any] = {"to_text": _to_text}
    names: list[bytes] = []
    values: list[str] = []
    maybe: list[str] = []
    for field in msgspec.structs.fields(event):
        name, value = field.encode_name.encode(), f"event.{field.name}"
        hint = hints[field.name]
        if type(None) in typing.get_args(hint):
            maybe.append(
                f"    if {value} is not None:\n"
                f"        names += ({name!r},)\n"
                f"        values.append(to_text({value}).encode())\n"
            )
            continue
        names.append(name)
        if hint is bool:
            values.append(f'b"true" if {value} else b"false"')
        else:
            values.append(f"{value if _is_text(hint) else f'to_text({value})'}.encode()")
    scope["NAMES"] = tuple(names)
    source = f"def split(event):\n    values = [{', '.join(values)}]\n"
    source += f"    names = NAMES\n{''.join(maybe)}    return names, values\n"
    exec(source, scope)  # noqa: S102 - see the docstring: nothing foreign is in it
    made: _Split = scope["split"]
    return made


def _is_text(hint: Any) -> bool:
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint is str


@functools.lru_cache(MAX_LAYOUTS)
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
    if isinstance(value, Decimal):
        return format(value, "f")  # never 1E+2, which shells and people misread
    if isinstance(value, (int, float)):
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


def _parser(hint: Any) -> Callable[[str], Any]:
    """A function from text to a value of ``hint``; raises ValueError."""
    if _is_scalar(hint):
        return functools.partial(msgspec.convert, type=hint, strict=False)
    decode = msgspec.json.Decoder(hint).decode
    if typing.get_origin(hint) is not tuple:
        return decode

    def lines_or_json(text: str) -> Any:
        # Shell scripts send one item a line: a JSON array is hard to quote there.
        if text.lstrip().startswith("["):
            return decode(text)
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    return lines_or_json


def _missing(missing: Sequence[str], strangers: Sequence[str]) -> str:
    """Which fields to add, and which may be meant by a name that is none."""
    import difflib  # noqa: PLC0415 - 140 kB that only the unlucky need

    told = "is missing"
    near = difflib.get_close_matches(missing[0], strangers, n=1)
    if near:
        told += f" ({near[0][:40]!r} stands there: is it meant?)"
    if len(missing) > 1:
        told += f", and so {'are' if len(missing) > 2 else 'is'} {', '.join(missing[1:])}"  # noqa: PLR2004 - grammar
    return told


def _why(hint: Any, text: str, error: Exception) -> str:
    """What would be right, for whoever wrote the script that sent ``text``."""
    if typing.get_origin(hint) is typing.Annotated:
        return "is empty; fill it in" if not text else _why(typing.get_args(hint)[0], text, error)
    if typing.get_origin(hint) is typing.Literal:
        return f"is none of {', '.join(map(str, typing.get_args(hint)))}"
    if type(None) in typing.get_args(hint):
        return _why(typing.get_args(hint)[0], text, error)
    cures = {
        datetime: "write a moment in UTC such as 2026-01-27T06:15:30Z",
        bool: "write true or false",
    }
    cure = cures.get(hint)
    if typing.get_origin(hint) is tuple:
        cure = "write a JSON array of texts, or one item a line"
    return f"{error}; {cure}" if cure else str(error)


def _exactly(schema: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text != schema:
            raise ValueError(f"is not {schema!r}, the one that this version reads")
        return text

    return check


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
