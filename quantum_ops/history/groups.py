"""The only place that notes in the archive how far each group was, and reads it back.

Streams outlive Redis in segments; where their groups stood would not. The note is a help like the
books, not history: it is replaced every few seconds, and proves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hiredis
import walrus

from quantum_ops import client, entry_id
from quantum_ops.history.blocks import FIRST, Key
from quantum_ops.ledger import durable


class Held(NamedTuple):
    """A group as a server has it: read up to ``last``; ``pending`` is its oldest pending entry."""

    last: Key
    pending: Key | None

    @property
    def settled(self) -> Key:
        """The highest id up to which everything was read and acknowledged."""
        return before(self.pending) if self.pending else self.last


class Seen(NamedTuple):
    """The groups of one stream by name, at ``at_ms`` (epoch), when ``added`` entries had been.

    Names that are no UTF-8 are kept by ``surrogateescape``.
    """

    added: int
    at_ms: int
    groups: Mapping[str, Held]


Note = Mapping[str, Seen]
"""Stream key -> its groups."""


def look(db: walrus.Database, keys: Iterable[str], now_ms: int) -> dict[str, Seen]:
    """How far the groups of these streams are; a key that is not there, or no stream, has none."""
    wanted = list(keys)
    replies = _ask(db, [("XINFO", what, key) for what in ("STREAM", "GROUPS") for key in wanted])
    found: dict[str, Seen] = {}
    open_ones: list[tuple[str, bytes]] = []
    for key, info, rows in zip(wanted, replies, replies[len(wanted) :], strict=False):
        if isinstance(info, Exception) or isinstance(rows, Exception):
            continue
        groups = {}
        for fields in map(_fields, rows):
            groups[_name(fields[b"name"])] = Held(_key(fields[b"last-delivered-id"]), None)
            if fields[b"pending"]:
                open_ones.append((key, fields[b"name"]))
        found[key] = Seen(_fields(info)[b"entries-added"], now_ms, groups)
    pending = _ask(db, [("XPENDING", *one) for one in open_ones])
    for (key, raw), reply in zip(open_ones, pending, strict=True):
        # Meanwhile it may have been acknowledged, or the group be gone: the older word stands.
        if not isinstance(reply, Exception) and reply[0]:
            groups, name = dict(found[key].groups), _name(raw)
            groups[name] = Held(groups[name].last, _key(reply[1]))
            found[key] = found[key]._replace(groups=groups)
    return found


def brought_up(noted: Note, seen: Note) -> dict[str, Seen]:
    """The note with what was ``seen``; equal to ``noted`` if no group moved.

    A stream that had more entries once was wiped, or came back from an older state. Its groups
    then begin anew, and where they were is what a restore needs: that stays.
    """
    made = dict(noted)
    for key, one in seen.items():
        known = noted.get(key)
        if known is None or (one.added >= known.added and one.groups != known.groups):
            made[key] = one
    return made


def write(path: Path, note: Note) -> None:
    """Put the note down durably, in the place of the one before. Raises ``OSError``."""
    content = {
        key: {
            "added": seen.added,
            "at_ms": seen.at_ms,
            "groups": {
                name: [_text(held.last), _text(held.pending) if held.pending else ""]
                for name, held in sorted(seen.groups.items())
            },
        }
        for key, seen in sorted(note.items())
    }
    durable.write(path, json.dumps(content, indent=1).encode() + b"\n")


def read(path: Path) -> dict[str, Seen]:
    """The last note; nothing if there is none. Raises ``ValueError`` if it is damaged."""
    try:
        content: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    try:
        return {
            key: Seen(
                int(seen["added"]),
                int(seen["at_ms"]),
                {
                    name: Held(_key(last), _key(pending) if pending else None)
                    for name, (last, pending) in seen["groups"].items()
                },
            )
            for key, seen in content.items()
        }
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a note of groups ({error!r})") from None


def before(key: Key) -> Key:
    """The highest id below ``key``."""
    return entry_id.parse(entry_id.before(b"%d-%d" % key)) if key > FIRST else FIRST


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _key(id_: bytes | str) -> Key:
    return entry_id.parse(id_)


def _fields(row: list[Any]) -> dict[bytes, Any]:
    return dict(zip(row[::2], row[1::2], strict=True))


def _ask(db: walrus.Database, calls: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
    packed = b"".join(hiredis.pack_command(call) for call in calls)
    return client.ask(db, packed, len(calls)) if calls else []


def _text(key: Key) -> str:
    return "{}-{}".format(*key)
