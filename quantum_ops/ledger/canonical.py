"""The one form in which a record is written: the bytes that are hashed, stored and read again.

JSON with sorted names, no spaces, UTF-8 as it is, no floats (readers differ on them), integers that
every reader keeps exact, no lone surrogates, no name twice. The same record gives the same bytes on
any host, so a digest of it means something.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from quantum_ops.ledger.errors import InvalidEntryError

MAX_LINE_BYTES = 64 * 1024
"""Of a line without its LF: an entry of a C2SP tile bundle has a 16-bit length."""

MAX_INT = 2**53
"""Beyond it, readers that keep numbers as doubles (jq, JavaScript) change the value."""

MAX_DEPTH = 32
_KIND = {bool: "a boolean", type(None): "null", bytes: "bytes", float: "a float"}
_TEXT = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_END = re.compile(
    r'\},"digest":"(sha256:[0-9a-f]{64})"'
    rf',"id":{_TEXT},"occurred_at":"([^"]*)","recorded_at":"([^"]*)","seq":([0-9]+)'
    rf',"source":\{{"host":{_TEXT},"stream":{_TEXT},"stream_id":{_TEXT}\}}'
    r',"type":"([a-z.]+)","v":1\}'
)
_DIGEST = b'},"digest":"sha256:'


class Envelope(NamedTuple):
    """What stands around the data of a record; see ``envelope``."""

    digest: str
    id: str
    occurred_at: str
    recorded_at: str
    seq: int
    host: str
    stream: str
    stream_id: str
    type: str


def dump(record: Mapping[str, Any]) -> bytes:
    """``record`` in canonical form, without a LF.

    Raises:
        InvalidEntryError: on a value that cannot be written so, or a line over 64 KiB.
    """
    line = _dump(record, "record")
    if len(line) > MAX_LINE_BYTES:
        raise InvalidEntryError(
            f"record: {len(line)} bytes are more than a line holds ({MAX_LINE_BYTES}); "
            f"shorten {_longest(record)}, or name a file with --proof_path instead"
        )
    return line


def load(line: bytes) -> dict[str, Any]:
    """The record of ``line``, checked to be in canonical form.

    Raises:
        ValueError: if it is not; it says why.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"{len(line)} bytes are more than a line holds ({MAX_LINE_BYTES})")
    try:
        record = json.loads(line, object_pairs_hook=once, parse_float=_no_float)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a wrong line is a wrong value
    if _dump(record, "record") != line:
        raise ValueError("not in canonical form (order of names, spaces or escapes)")
    return record


def digest(data: Mapping[str, Any]) -> str:
    """``sha256:`` and the hex digest of ``data`` in canonical form.

    Raises:
        InvalidEntryError: as ``dump``.
    """
    return "sha256:" + hashlib.sha256(_dump(data, "data")).hexdigest()


def envelope(line: bytes) -> Envelope:
    """What stands around the data, read from the line's end without reading the data.

    For the index, which reads whole journals and decides nothing by itself; whoever decides uses
    ``load``. Quotes inside texts are escaped, so nothing in the data can look like the envelope.

    Raises:
        ValueError: if the line does not end as ours do.
    """
    end = line[max(line.rfind(_DIGEST), 0) :].decode("utf-8", "replace")
    found = _END.fullmatch(end)
    if not found:
        raise ValueError(f"not a line of the journal: ...{end[-120:]!r}")
    of, name, occurred, recorded, seq, host, stream, stream_id, kind = found.groups()
    if "\\" in end:
        name, host, stream, stream_id = map(_unescaped, (name, host, stream, stream_id))
    return Envelope(of, name, occurred, recorded, int(seq), host, stream, stream_id, kind)


def _unescaped(text: str) -> str:
    return str(json.loads(f'"{text}"'))


def _dump(value: Any, name: str) -> bytes:
    _check(value, name, 0)
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        ).encode("utf-8")
    except UnicodeEncodeError as error:
        around = error.object[max(error.start - 20, 0) : error.start]
        raise InvalidEntryError(
            f"{name}: half a character (a lone surrogate) after {around!r} cannot be written; "
            "send the text as UTF-8"
        ) from None


def _check(value: Any, name: str, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is bool:
        return
    if kind is int:
        if abs(value) > MAX_INT:
            raise InvalidEntryError(f"{name}: {value} is beyond 2^53; write it as text")
    elif depth > MAX_DEPTH:
        raise InvalidEntryError(f"{name}: nested deeper than {MAX_DEPTH}; flatten it")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if type(key) is not str:
                raise InvalidEntryError(f"{name}: the name {key!r} is no text; quote it")
            _check(inner, f"{name}.{key}", depth + 1)
    elif kind is list or kind is tuple:
        for number, inner in enumerate(value):
            _check(inner, f"{name}[{number}]", depth + 1)
    else:
        shown = _KIND.get(kind, f"a {kind.__name__}")
        raise InvalidEntryError(f"{name}: {shown} ({value!r}) cannot be recorded; write it as text")


def _longest(record: Mapping[str, Any]) -> str:
    data = record.get("data")
    fields: Mapping[str, Any] = data if isinstance(data, Mapping) else record
    return max(fields, key=lambda name: len(str(fields[name])), default="it")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``object_pairs_hook``: readers disagree on which of two equal names counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {max(names, key=names.count)[:80]!r} stands twice")
    return found


def _no_float(text: str) -> Any:
    raise ValueError(f"the number {text} is a float")
