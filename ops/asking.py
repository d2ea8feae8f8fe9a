"""The only place that asks the archive about then: reads the moment, opens it, tells the answer."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ops import archive_place, output, proving
from ops.paths import Paths
from quantum_ops import entry_id
from quantum_ops.asof.entries import Answer
from quantum_ops.history import ahead
from quantum_ops.history.blocks import FIRST, LAST, Key
from quantum_ops.history.errors import ArchiveError
from quantum_ops.history.reader import Archive, until_ms
from quantum_ops.history.search import Search
from quantum_ops.ledger.errors import LedgerError
from quantum_ops.replay import offsets

OK, ERROR, USAGE, NO_SUCH, NOT_YET = 0, 1, 2, 4, 75
WRITE = "write 2026-01-27T06:15:30Z, -1h (ago), an id (1769494530123-0) or now"
_LAST_MS = 253_402_300_799_999
"""9999-12-31; an id may lie beyond it."""


class Unanswered(Exception):  # noqa: N818 - it is an answer, too
    """There is no answer; the text says why, ``code`` is the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def configure(parser: argparse.ArgumentParser) -> None:
    """What every verb that asks about then takes."""
    output.add_format(parser, {})
    parser.add_argument("--archive", default="", metavar="DIR", help="another archive's folder")
    proving.configure(parser)


def moment(text: str) -> Key:
    """The highest id that counts at that moment: it is taken in whole. Raises ``ValueError``."""
    now_ms = int(time.time() * 1000)
    if text in ("now", "end"):
        return until_ms(now_ms)
    try:
        found = offsets.parse(text if offsets.is_one(text) else f"@{text}", now_ms)
    except ValueError:
        raise ValueError(f"{text!r} is no moment; {WRITE}") from None
    if found.kind not in ("moment", "id"):
        raise ValueError(f"{text!r} is no moment; {WRITE}")
    return offsets.last(found)


def answered(verb: str, ask: Callable[[], int]) -> int:
    """``ask()``, with everything that may go wrong told in a line and an exit code."""
    try:
        return ask()
    except Unanswered as none:
        _say(verb, str(none))
        return none.code
    except BrokenPipeError:
        raise  # ./run as-of ... | head: no failure of ours, see ops.__main__
    except (ArchiveError, LedgerError, OSError, ValueError) as error:
        _say(verb, str(error))
        return ERROR


def opened(named: str) -> Search:
    """The archive to ask. Raises :class:`Unanswered` if there is none."""
    folder = archive_place.find(named, archive_place.paths())
    if not folder.names():
        demo = Paths.find().demo_archive
        hint = f"; the demo's is asked with --archive {demo}" if demo.exists() else ""
        raise Unanswered(NO_SUCH, f"{folder.base}: no archive there{hint}")
    return Search(Archive(folder))


def tell(
    search: Search, args: argparse.Namespace, answer: Answer, told: dict[str, Any],
    text: Callable[[], Iterable[str]],
) -> int:  # fmt: skip
    """Print the answer as it is wanted, with its proof. ``told`` says what was asked."""
    if args.prove != proving.STDOUT:
        if args.format.is_text:
            paint = output.painter(args.color, sys.stdout)
            for line in text():
                print(paint(line, meaning(line)))
        else:
            print(args.format.line({**told, **msgspec.to_builtins(answer)}))
    if args.prove:
        proving.write(args.prove, search.archive, answer.rests_on)
    return OK


def meaning(line: str) -> str:
    """What a line of text means, for its colour."""
    word = line[line.find(" ") :].strip().partition(":")[0].partition(" ")[0]
    if line.startswith(("status ", "verdict ")):
        return {"fresh": "good", "permitted": "good"}.get(word, "bad")
    return {"rests": "dim", "doubt": "warn"}.get(line.partition(" ")[0], "")


def note(search: Search, verb: str, *moments: Key) -> None:
    """Say on stderr what an answer about these moments cannot know, and what made it slow."""
    archive, highest = search.archive, ahead.limit(int(time.time() * 1000))
    newest = max(
        (ahead.end(archive, one, highest) or FIRST for one in archive.spans()), default=FIRST
    )
    if any(one > newest for one in moments):
        _say(verb, f"the archive ends at {when(newest)}; what came later is not in the answer")
    for name, why in sorted(search.scanned.items())[:3]:
        _say(verb, f"{name} was read as a whole: its lookup file {why}")
    if search.scanned:
        _say(verb, f"{len(search.scanned)} such segments cost time, and nothing else; the archive "
             "makes new files, ./run archive reindex all of them")  # fmt: skip


def when(key: Key) -> str:
    """The moment of an id: UTC, to the millisecond."""
    from ops.replay_view import when as shown  # noqa: PLC0415 - only who shows text needs it

    return shown(min(key[0], _LAST_MS))


def whole(key: Key) -> str:
    """An id as text; of a moment that is taken in whole, the moment alone."""
    return when(key) if key[1] == LAST[1] else f"{key[0]}-{key[1]}"


def of(id_: str) -> str:
    """The moment of an id in text."""
    return when(entry_id.parse(id_))


def _say(verb: str, text: str) -> None:
    output.note(f"{verb}: {text}")
