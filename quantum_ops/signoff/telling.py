"""The only place that tells of the journal's records on ``ledger.recorded``, each of them once.

Whoever made a record, the consumer or the command line tool, it is told of from the journal, in its
order: what was told of last stands in Redis and moves on in the same step as the events are added,
so neither a kill nor a lost reply doubles one or leaves one out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC
from typing import NamedTuple

import walrus

from quantum_ops import client, codec, streams
from quantum_ops.events import AuditFinding, LedgerRecorded
from quantum_ops.ledger import canonical, merkle, moment, outbox
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.outbox import Mark, Outbox
from quantum_ops.publisher import run_script
from quantum_ops.scripts import Script

AT_ONCE = 500
PAGE = 1000
PATIENCE = 10
"""Looks that find another process telling before this one leaves it at that, until asked again."""
DIFFERS = "ledger_history_differs"
TELL = Script(
    """
-- KEYS: stream, what was told of last. ARGV: what it must be, what it becomes, then for each event
-- the number of its names and values, and these. Gives what it is afterwards.
local known = redis.call('GET', KEYS[2]) or ''
if known ~= ARGV[1] then return known end
local at = 3
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + count))
  at = at + 1 + count
end
redis.call('SET', KEYS[2], ARGV[2])
return ARGV[2]
"""
)


class Told(NamedTuple):
    """The record that was told of last: its number and the digest of its line; 0 for none."""

    seq: int = 0
    digest: str = ""

    def text(self) -> str:
        """As it stands in Redis."""
        return f"{self.seq}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Told:
        """The way back; what is none is a record that no journal has."""
        seq, _, digest = text.partition(":")
        known = seq.isascii() and seq.isdecimal() and len(seq) < 16  # noqa: PLR2004 - below 2^53
        return cls(int(seq) if known else -1, digest)


class Teller:
    """Tells of the records of one ledger."""

    def __init__(self, folder: Folder, report: Callable[[AuditFinding], None]) -> None:
        self._folder = folder
        self._report = report
        self._told: Told | None = None
        self._expected = ""
        self._mark: Mark | None = None
        self.head = merkle.NONE
        self.torn = ""

    def tell(self, db: walrus.Database) -> int:
        """Tell of everything that was not told of yet; gives how many records that were.

        Raises what the client raises, and LedgerError or OSError as the journal does. It may be
        called again, whatever came of it: nothing is told of twice.
        """
        count = fruitless = 0
        try:
            while fruitless < PATIENCE and self._mark != outbox.mark(self._folder):
                some = self._some(db)
                count += some
                fruitless = 0 if some else fruitless + 1
        except Exception:
            # What stands in Redis now is unknown: it is read anew.
            self._told = self._mark = None
            raise
        return count

    def look(self, db: walrus.Database) -> None:
        """Notice that Redis says something else than we told: it was emptied, or is another one."""
        if self._mark and (db.get(streams.LEDGER_TOLD) or b"") != self._expected.encode():
            self._told = self._mark = None

    def _some(self, db: walrus.Database) -> int:
        told = self._told or self._resume(db)
        with outbox.opened(self._folder) as box:
            self.torn = box.torn or self.torn
            if told.seq and box.digest(told.seq) != told.digest:
                # The journal was exchanged under us.
                self._told = None
                return 0
            lines, self.head = box.after(told.seq, AT_ONCE), box.head
            mark = box.mark
        if not lines:
            self._told, self._mark = told, mark
            return 0
        last = Told(lines[-1][0], outbox.sha256(lines[-1][1]))
        args: list[str | int | bytes] = [self._expected, last.text()]
        for seq, line in lines:
            flat = codec.encode(event_of(seq, line, self.head))
            args += [len(flat), *flat]
        keys = [streams.LEDGER_RECORDED.key, streams.LEDGER_TOLD]
        now = run_script(db, TELL, keys, args).decode("utf-8", "replace")
        if now != last.text():
            # Another process told meanwhile; its word is read with the next look.
            self._told = None
            return 0
        self._told, self._expected = last, now
        self._mark = mark if len(lines) < AT_ONCE else None
        return len(lines)

    def _resume(self, db: walrus.Database) -> Told:
        """The newest record of this journal that was told of."""
        known = (db.get(streams.LEDGER_TOLD) or b"").decode("utf-8", "replace")
        self._expected = known
        cursor = Told.parse(known) if known else Told()
        newest = None if known else next(_on_stream(db), None)
        claimed = cursor if known else newest
        if not claimed or not claimed.seq:
            return Told()
        with outbox.opened(self._folder) as box:
            if box.digest(claimed.seq) == claimed.digest != "":
                return claimed
            size = box.head.size
        self._differs(claimed, size)
        on_stream = list(_on_stream(db))
        with outbox.opened(self._folder) as box:
            found = next((one for one in on_stream if _is_of(box, one)), Told())
        # Written down at once: a restart does not find the same break again.
        keys = [streams.LEDGER_RECORDED.key, streams.LEDGER_TOLD]
        reply = run_script(db, TELL, keys, [known, found.text()])
        self._expected = reply.decode("utf-8", "replace")
        return found

    def _differs(self, claimed: Told, size: int) -> None:
        where = f"record {claimed.seq} with digest {claimed.digest[:16]}"
        self._report(
            AuditFinding(
                event_id=f"{DIFFERS}/{claimed.text()[:100]}",
                auditor="ledger",
                finding=DIFFERS,
                severity="critical",
                subject="ledger",
                detail=f"{where} was told of on ledger.recorded; the journal in "
                f"{self._folder.journal} has {size} records, and not this one: it was cut, "
                "rewritten or exchanged. See: ./run ledger verify",
                evidence=(streams.LEDGER_TOLD,),
            )
        )


def event_of(seq: int, line: bytes, head: merkle.Head) -> LedgerRecorded:
    """The event that tells of a record; the same one whenever it is made, but for the head."""
    of = canonical.envelope(line)
    digest = outbox.sha256(line)
    return LedgerRecorded(
        event_id=f"ledger/{seq}/{digest[:32]}",
        occurred_at=moment.parse(of.recorded_at).astimezone(UTC),
        seq=seq,
        record_type=of.type,
        operation_id=of.id,
        entry_sha256=digest,
        tree_size=head.size,
        root_sha256=head.root.hex(),
        source=of.stream,
        source_id=of.stream_id,
    )


def _on_stream(db: walrus.Database) -> Iterator[Told]:
    """What the stream tells of, newest first; entries that are none of ours are passed over."""
    decode = codec.decoder(LedgerRecorded)
    top = "+"
    while True:
        rows = client.raw(
            db, "XREVRANGE", streams.LEDGER_RECORDED.key, top, "-", "COUNT", PAGE
        )  # fmt: skip
        for row in rows:
            try:
                event = decode(row[1])
            except Exception:  # noqa: BLE001, S112 - a stranger's entry says nothing of our journal
                continue
            yield Told(event.seq, event.entry_sha256)
        if len(rows) < PAGE:
            return
        top = f"({rows[-1][0].decode()}"


def _is_of(box: Outbox, told: Told) -> bool:
    return box.digest(told.seq) == told.digest != ""
