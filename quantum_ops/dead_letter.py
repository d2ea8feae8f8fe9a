"""The only place that reads dead letters and decides what becomes of them."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import walrus

from quantum_ops import client, codec, events, streams
from quantum_ops.errors import DecodeError
from quantum_ops.publisher import run_script
from quantum_ops.scripts import Script

RESOLVE = Script(
    """
-- KEYS: dead letter stream, resolved hash, finding stream, original stream.
-- ARGV: letter id, note, group or '' for no redelivery, entry id, then the finding's fields.
-- XCLAIM FORCE puts the original entry back into the pending list of the one group that buried
-- it: no other group sees it again and nothing is written to the stream itself. Its idle time is a
-- day, so that the group's next look for idle entries takes it.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  return {'already', redis.call('HGET', KEYS[2], ARGV[1])}
end
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return {'unknown', ''} end
if ARGV[3] ~= '' then
  if #redis.call('XRANGE', KEYS[4], ARGV[4], ARGV[4]) == 0 then return {'gone', ''} end
  redis.call('XCLAIM', KEYS[4], ARGV[3], 'requeued', '0', ARGV[4],
    'IDLE', '86400000', 'RETRYCOUNT', '0', 'FORCE', 'JUSTID')
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[3], '*', unpack(ARGV, 5))
return {'done', ''}
"""
)

ORIGINAL = b"original."
PAGE = 200
Outcome = Literal["done", "already", "unknown", "gone"]


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """One dead letter as it stands in the stream.

    ``letter_id`` is its own entry id, ``original`` the buried entry's ``(name, value)`` pairs, byte
    for byte and in order. ``resolved`` tells what was done about it, empty while it is open.
    """

    letter_id: str
    letter: events.DeadLetter
    original: list[tuple[bytes, bytes]]
    resolved: str


class DeadLetters:
    """The dead letter stream of one server."""

    def __init__(self, db: walrus.Database) -> None:
        self._db = db

    def newest(
        self, *, limit: int = 50, group: str = "", reason: str = "", resolved: bool = False
    ) -> Iterator[StoredLetter]:
        """Letters, newest first; only open ones unless ``resolved``."""
        top, given = "+", 0
        while given < limit:
            rows: list[Any] = client.raw(
                self._db, "XREVRANGE", streams.DEAD_LETTER.key, top, "-", "COUNT", PAGE
            )
            notes = self._notes([row[0] for row in rows])
            for row, note in zip(rows, notes, strict=True):
                stored = read(row[0], row[1], note)
                if stored is None or (stored.resolved and not resolved):
                    continue
                if group not in ("", stored.letter.group) or reason not in (
                    "",
                    stored.letter.reason,
                ):
                    continue
                yield stored
                given += 1
                if given == limit:
                    return
            if len(rows) < PAGE:
                return
            top = f"({rows[-1][0].decode()}"

    def get(self, letter_id: str) -> StoredLetter | None:
        """The letter with that id, or None."""
        rows: list[Any] = client.raw(
            self._db, "XRANGE", streams.DEAD_LETTER.key, letter_id, letter_id
        )
        if not rows:
            return None
        return read(rows[0][0], rows[0][1], self._notes([rows[0][0]])[0])

    def requeue(self, stored: StoredLetter, why: str = "") -> Outcome:
        """Deliver the original entry again to the group that buried it, and to no other.

        ``gone``: the original is no longer in its stream, only here. ``already``: it was resolved
        before. The act itself is published as a Finding in the same step.
        """
        return self._resolve(stored, "requeued", why, stored.letter.group)

    def drop(self, stored: StoredLetter, why: str) -> Outcome:
        """Mark the letter as settled without delivery. Nothing is deleted."""
        return self._resolve(stored, "dropped", why, "")

    def _notes(self, ids: list[bytes]) -> list[bytes | None]:
        if not ids:
            return []
        return list(self._db.hmget(streams.DEAD_LETTER_RESOLVED, ids))

    def _resolve(self, stored: StoredLetter, action: str, why: str, group: str) -> Outcome:
        letter = stored.letter
        who = f"{getpass.getuser()}@{socket.gethostname()}"
        finding = events.AuditFinding(
            auditor="operator",
            finding=f"dead_letter_{action}",
            severity="info",
            subject=f"{letter.group}@{letter.stream}",
            detail=f"{letter.reason}; by {who}; {why}".rstrip("; "),
            evidence=(stored.letter_id, letter.entry_id),
        )
        moment = codec.rfc3339(finding.occurred_at)
        note = json.dumps({"action": action, "by": who, "at": moment, "why": why})
        keys = [
            streams.DEAD_LETTER.key,
            streams.DEAD_LETTER_RESOLVED,
            streams.AUDIT_FINDING.key,
            # Settled without delivery, what it names is not touched: a stranger may have named it.
            letter.stream if group else streams.DEAD_LETTER.key,
        ]
        args = [stored.letter_id, note, group, letter.entry_id, *codec.encode(finding)]
        outcome: Outcome = run_script(self._db, RESOLVE, keys, args)[0].decode()
        return outcome


def read(letter_id: bytes, flat: list[bytes], note: bytes | None) -> StoredLetter | None:
    """The letter in this entry, as hiredis gives it; None if a stranger wrote it."""
    ours: list[bytes] = []
    original: list[tuple[bytes, bytes]] = []
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        if name.startswith(ORIGINAL):
            original.append((name.removeprefix(ORIGINAL), value))
        else:
            ours += [name, value]
    try:
        letter = codec.decoder(events.DeadLetter)(ours)
    except DecodeError:
        return None  # written by a stranger: not a letter of the runner
    return StoredLetter(letter_id.decode(), letter, original, (note or b"").decode())
