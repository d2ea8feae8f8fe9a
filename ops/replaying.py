"""The only place that carries out what ./run replay was asked for: each mode is one function.

Lines go to stdout, what is said about them to stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import walrus

from ops import ledger_place, output, replay_view, scratch
from ops.following import Told
from ops.paths import ROOT
from ops.tail_view import View
from ops.terminal import safe
from quantum_ops import client, knobs, streams
from quantum_ops.consumer import Consumer
from quantum_ops.history import ahead
from quantum_ops.history.blocks import Key
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import book
from quantum_ops.recovery import orders, verdicts
from quantum_ops.recovery.keyspace import Difference
from quantum_ops.replay import filters, findings, ledger, redeliver, sandbox, sources
from quantum_ops.replay.filters import Filter
from quantum_ops.replay.offsets import Offset
from quantum_ops.replay.seeding import PastUniverse
from quantum_ops.replay.virtual import VirtualClock
from quantum_ops.settings import OrderProofSettings

DIFFERS = 3
LOOKS = 5
"""Looks at a living system: what is only on its way to the archive differs in one of them."""
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Range:
    """What is replayed: streams (keys), from where up to which id, and of these what passes."""

    streams: list[str]
    start: Offset
    until: Key
    filters: Sequence[Filter]

    def entries(self, source: sources.Source, keys: list[str] | None = None) -> Iterable[Entry]:
        """The entries, read as they are asked for."""
        since = sources.starts(source, keys or self.streams, self.start)
        return filters.chosen(source.read(since, self.until), self.filters)


def show(source: sources.Source, wanted: Range, how: output.Format, color: str) -> int:
    """Print every entry; JSON is the archive's own line, a template and raw are those of tail."""
    entries = wanted.entries(source)
    if how.is_text or how.kind == "json":
        shown = replay_view.as_text if how.is_text else replay_view.as_json
        for line in shown(entries):
            print(line)
        return 0
    view = View(how, output.painter(color, sys.stdout), is_screen=sys.stdout.isatty())
    for one in entries:
        sys.stdout.buffer.write(view.line(Told(one.stream, one.key, one.flat)))
    return 0


def into_consumer(
    consumer: Consumer, archive: Archive | None, source: sources.Source, wanted: Range, *,
    speed: float, settle_s: float, compare: bool,
) -> int:  # fmt: skip
    """Run ``consumer`` on it in a sandbox; prints what it published, one JSON object a line."""
    sandbox.refuse_outside(consumer)
    read = {stream.key for stream in consumer.streams}
    keys = [key for key in wanted.streams if key in read]
    with scratch.server() as settings:

        def connect() -> walrus.Database:
            return client.connect(settings, block_ms=1000, name="replay")

        seed = PastUniverse(archive).seed if archive else (lambda _db, _now_s: None)
        outcome = sandbox.run(
            consumer, wanted.entries(source, keys), connect, VirtualClock(speed),
            seed=seed, settle_s=settle_s,
        )  # fmt: skip
        for line in replay_view.as_json(outcome.published):
            print(line)
    letters = sum(one.stream == streams.DEAD_LETTER.key for one in outcome.published)
    troubles = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.troubles.items()))
    _say(
        f"{consumer.name}: {outcome.entries} entries handed over, {outcome.handled} acknowledged, "
        f"{len(outcome.published)} published, {letters} of them dead letters"
        + (f"; {troubles}" if troubles else "")
    )
    if outcome.refused:
        _say(f"{len(outcome.refused)} entries with ids that go back were left out")
    if not compare or archive is None:
        return 0
    then = findings.of_archive(archive, consumer.name, outcome.first_ms, outcome.last_ms)
    now = findings.of_replay(outcome.published, consumer.name)
    only_then, only_now = findings.difference(then, now)
    for told, which in ((only_then, "at the time only"), (only_now, "in the replay only")):
        for (finding, subject), count in sorted(told.items()):
            _say(f"{which}: {count} x {safe(finding)} {safe(subject, 80)}")
    same = sum((then & now).values())
    _say(
        f"{same} Findings are the same, {sum(only_then.values())} and {sum(only_now.values())} not"
    )
    return DIFFERS if only_then or only_now else 0


def rebuild(what: str, archive: Archive, db: walrus.Database, *, show_lines: bool) -> int:
    """Make a projection again from the archive and compare it with the live one."""
    make = {"order-proof": _orders, "permits": _permits, "ledger": _ledger}[what]
    lines, differences = make(archive, db)
    lasting = {one.key: one for one in differences}
    for _ in range(LOOKS - 1):
        if not lasting:
            break
        time.sleep(LOOK_EVERY_S)
        archive.refresh()
        lines, differences = make(archive, db)
        # What differs for other reasons each time is on its way; what stays, stays.
        lasting = {one.key: one for one in differences if one.key in lasting}
    if show_lines:
        for line in lines:
            print(replay_view.escaped(line))
    for one in sorted(lasting.values()):
        _say(f"{one.what}: {safe(one.key)}  {safe(one.detail)}")
    verdict = f"{len(lasting)} differ from" if lasting else "the same as"
    _say(f"{what}: {len(lines)} rebuilt from {len(archive)} entries, {verdict} the live one")
    return DIFFERS if lasting else 0


def redeliveries(
    db: walrus.Database, consumer: Consumer, source: sources.Source, wanted: Range, only: list[str],
    *, yes: bool, by: str,
) -> int:  # fmt: skip
    """Set the group back; without ``yes`` only say how."""
    keys = [stream.key for stream in consumer.streams]
    first = sources.starts(source, keys, wanted.start)
    made = redeliver.plan(db, consumer, first, only)
    for one in made:
        print(
            f"{one.group} {streams.short(one.stream)}: {one.entries} entries are handed over once "
            f"more, from behind {'{}-{}'.format(*one.to)} up to {'{}-{}'.format(*one.now)}"
        )
        if yes:
            redeliver.carry_out(db, one, by)
    if not made:
        print(f"{consumer.name} has not come so far yet: there is nothing to hand over again")
    elif not yes:
        _say("nothing was changed; to do it, add --yes")
    return 0


_Made = tuple[list[bytes], list[Difference]]


def _orders(archive: Archive, db: walrus.Database) -> _Made:
    settings = knobs.load(OrderProofSettings)
    made = orders.rebuild(archive, settings, _now_ms(), judged_only=False).keys
    end = ahead.end(archive, streams.APPLY_RESULT.key, ahead.limit(_now_ms()))
    newest_ms = end[0] if end else 0
    return list(made.lines()), made.compare(db, orders.FAMILIES, newest=newest_ms)


def _permits(archive: Archive, db: walrus.Database) -> _Made:
    made = verdicts.rebuild(archive, _now_ms()).keys
    for key in [key for key in made.keys if made.text(key) == verdicts.UNKNOWN]:
        made.drop(key)  # not decided yet, or not archived yet: nothing to compare
    return list(made.lines()), made.compare(db, verdicts.FAMILIES)


def _ledger(archive: Archive, _db: walrus.Database) -> _Made:
    folder = book.Folder.find(ledger_place.environ(), ROOT)
    records = ledger.rebuild(archive)
    return list(ledger.lines(records)), ledger.compare(records, folder)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
