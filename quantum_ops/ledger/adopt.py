"""The only place that takes in what people wrote before there was a journal, byte for byte.

A changelog that was kept by hand goes into the journal as ``legacy.imported`` records: in parts, as
text where it is text and as base64 where it is not, so that joining the parts gives the very file.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from quantum_ops.ledger import reader, render, sheets
from quantum_ops.ledger.folder import Folder

PART_BYTES = 24 * 1024
"""Of the file in each part. Escaped as JSON it may double; a line of the journal holds 64 KiB."""

LONGEST_TEXT_BYTES = 48 * 1024
_MONTH_FILE = re.compile(r"[0-9]{4}-[0-9]{2}\.yaml")


def pending(folder: Folder) -> list[dict[str, Any]]:
    """The ``data`` of the records that adopt what lies in ``folder``, in the order to append them.

    Ask only while the journal is empty and locked: later, a file that nobody rendered is drift.
    What an empty journal renders needs no adoption, nor does an empty file.

    Raises:
        OSError: if a file is there and cannot be read. Going on would put ours in its place.
    """
    found: list[dict[str, Any]] = []
    months = sorted(folder.base.glob("*.yaml")) if folder.base.is_dir() else []
    for path in [folder.changelog, *(one for one in months if _MONTH_FILE.fullmatch(one.name))]:
        content = path.read_bytes() if path.exists() else b""
        if content and content != sheets.changelog([]):
            found += parts(path.name, content)
    return found


def parts(name: str, content: bytes) -> list[dict[str, Any]]:
    """``content`` of the file ``name`` as the data of records; ``render.join`` is the way back."""
    cut = [0]
    while cut[-1] < len(content):
        cut.append(_cut(content, cut[-1]))
    pieces = [content[start:end] for start, end in itertools.pairwise(cut)]
    return [
        {"name": name, "part": number, "parts": len(pieces), **_encoded(piece)}
        for number, piece in enumerate(pieces, 1)
    ]


def _cut(content: bytes, start: int) -> int:
    """Where the part from ``start`` on ends: not inside a character, if it is text."""
    end = min(start + PART_BYTES, len(content))
    for back in range(min(4, end - start)):
        # a byte 10xxxxxx goes on with a character; four of them are none of UTF-8
        if end == len(content) or content[end - back] & 0xC0 != 0x80:  # noqa: PLR2004 - bits
            return end - back if end < len(content) else end
    return end


def _encoded(piece: bytes) -> dict[str, str]:
    try:
        text = piece.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if (
        text is not None
        and len(json.dumps(text, ensure_ascii=False).encode()) <= LONGEST_TEXT_BYTES
    ):
        return {"text": text}
    return {"base64": base64.b64encode(piece).decode("ascii")}


def operation_ids(lines: Iterable[bytes]) -> set[str]:
    """The ids of the operations in what was adopted; they are taken, and can be rolled back."""
    return {one for content in render.legacy(lines).values() for one in ids_in(content)}


def ids_in(content: bytes) -> set[str]:
    """The ids that hand-written blocks give their operations; one in a text beside is none."""
    return {
        shown
        for fields in entries(content)
        if isinstance(shown := fields.get("operation_id"), str) and render.ID.fullmatch(shown)
    }


def entries(content: bytes) -> list[Mapping[str, Any]]:
    """The fields of every hand-written block that has an ``operation_id``, all scalars as text.

    ``content`` is Markdown with fenced blocks, or YAML documents after each other.
    """
    text = content.decode("utf-8", "replace").removeprefix("\ufeff")
    found: list[Mapping[str, Any]] = []
    for block in reader.fenced(text) or _documents(text):
        try:
            fields = reader.block(block, typed=False)
        except ValueError:
            fields = _salvaged(block)
        if "operation_id" in fields:
            found.append(fields)
    return found


def _documents(text: str) -> Sequence[str]:
    return re.split(r"^---[ \t]*\r?$", text, flags=re.MULTILINE)


def _salvaged(block: str) -> dict[str, str]:
    """The single-line fields of a block that cannot be read; the first of a name counts."""
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        found = re.fullmatch(r"([a-z_]+):[ \t]+([^ \t].*?)[ \t]*", line)
        if found:
            fields.setdefault(found[1], found[2].strip("\"'"))
    return fields
