"""Dead letters: list them, show one, put it back, or settle it without delivery."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from typing import TYPE_CHECKING, Any

from ops import output
from ops.terminal import safe

if TYPE_CHECKING:
    from quantum_ops.dead_letter import DeadLetters, StoredLetter

NOT_FOUND = 4
LETTERS = {"i": "id", "g": "group", "r": "reason", "s": "stream", "e": "entry_id"}
_TOLD = {
    "already": "was resolved before: nothing done",
    "unknown": "is not in the dead letter",
    "gone": "cannot be requeued: its original entry is no longer in its stream; "
    "`dlq show` still has all its bytes",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    parser.set_defaults(
        action="list", n=50, all=False, group="", reason="", color="auto",
        format=output.Format("text", {}),
    )  # fmt: skip
    listing = actions.add_parser("list", help="open letters, newest first (the default)")
    _filters(listing)
    listing.add_argument(
        "-n", type=output.whole, default=50, metavar="N", help="at most N (default 50)"
    )
    listing.add_argument("--all", action="store_true", help="resolved ones, too")
    output.add_format(listing, LETTERS)
    show = actions.add_parser("show", help="everything about one letter, original bytes included")
    show.add_argument("id", help="letter id, as `dlq list` shows it")
    output.add_format(show, LETTERS)
    requeue = actions.add_parser(
        "requeue", help="deliver the original entry again to the group that buried it"
    )
    requeue.add_argument("id", nargs="*", help="letter ids")
    requeue.add_argument("--all", action="store_true", help="every open letter of the filter")
    _filters(requeue)
    requeue.add_argument("--why", default="", help="a note for the audit history")
    drop = actions.add_parser("drop", help="settle letters without delivery; nothing is deleted")
    drop.add_argument("id", nargs="+", help="letter ids")
    drop.add_argument("--why", required=True, help="the reason, kept in the audit history")


def run(args: argparse.Namespace) -> int:
    """See ops.__main__."""
    from ops.target import open_db
    from quantum_ops.dead_letter import DeadLetters

    letters = DeadLetters(open_db())
    if args.action == "list":
        return _list(letters, args)
    if args.action == "show":
        return _show(letters, args)
    return _resolve(letters, args)


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", default="", help="only letters of this consumer group")
    parser.add_argument("--reason", default="", help="only letters with this reason code")


def _list(letters: DeadLetters, args: argparse.Namespace) -> int:
    from quantum_ops import streams

    found = letters.newest(limit=args.n, group=args.group, reason=args.reason, resolved=args.all)
    paint = output.painter(args.color, sys.stdout)
    count = 0
    for stored in found:
        count += 1
        if not args.format.is_text:
            print(args.format.line(_as_json(stored), _plain(stored)))
            continue
        letter = stored.letter
        error = (letter.error.strip().splitlines() or [""])[-1]
        line = (
            f"{stored.letter_id}  {safe(letter.group)}  {safe(letter.reason)}  "
            f"{safe(streams.short(letter.stream))} {safe(letter.entry_id)}  "
            f"{safe(error, 100)}{'  [resolved]' if stored.resolved else ''}"
        )
        print(paint(line, "dim" if stored.resolved else ""))
    if not count:
        print("no open dead letters", file=sys.stderr)
    return 0


def _show(letters: DeadLetters, args: argparse.Namespace) -> int:
    stored = letters.get(args.id)
    if stored is None:
        print(f"{safe(args.id)}: no such dead letter; see ./run dlq list", file=sys.stderr)
        return NOT_FOUND
    if not args.format.is_text:
        print(args.format.line(_as_json(stored), _plain(stored)))
        return 0
    letter = stored.letter
    rows = [
        ("letter", stored.letter_id),
        ("buried at", letter.occurred_at.isoformat()),
        ("group", letter.group),
        ("consumer", letter.consumer),
        ("stream", letter.stream),
        ("entry", letter.entry_id),
        ("deliveries", str(letter.deliveries)),
        ("reason", letter.reason),
        ("resolved", stored.resolved or "no"),
    ]
    for name, value in rows:
        print(f"{name:<11} {safe(value)}")
    print("error")
    for line in letter.error.splitlines():
        print(f"  {safe(line, 2000)}")
    print("original")
    for original_name, original in stored.original:
        print(f"  {safe(original_name)} = {safe(original, 2000)}")
    return 0


def _resolve(letters: DeadLetters, args: argparse.Namespace) -> int:
    import redis

    from quantum_ops import client

    wanted: list[str] = list(args.id)
    if args.action == "requeue" and args.all:
        wanted += [
            stored.letter_id
            for stored in letters.newest(limit=100_000, group=args.group, reason=args.reason)
        ]
    elif not wanted:
        print("name letter ids, or --all with --group or --reason", file=sys.stderr)
        return 2
    exit_code = 0
    for letter_id in wanted:
        stored = letters.get(letter_id)
        if stored is None:
            outcome = "unknown"
        elif args.action == "requeue":
            try:
                outcome = letters.requeue(stored, args.why)
            except redis.ResponseError as error:
                if client.is_passing(error):
                    raise
                # One letter that names what is not there must not hold up the others.
                print(
                    f"{letter_id} cannot be requeued: {safe(str(error), 200)}; look whether its "
                    f"stream and group are there: ./run dlq show {letter_id}",
                    file=sys.stderr,
                )
                exit_code = NOT_FOUND
                continue
        else:
            outcome = letters.drop(stored, args.why)
        if outcome == "done":
            verb = "requeued" if args.action == "requeue" else "dropped"
            print(f"{letter_id} {verb}")
        else:
            print(f"{safe(letter_id)} {_TOLD[outcome]}", file=sys.stderr)
            exit_code = NOT_FOUND if outcome in ("unknown", "gone") else exit_code
    return exit_code


def _plain(stored: StoredLetter) -> list[str]:
    """What ``-F raw`` shows: where it lies, not what is in it."""
    letter = stored.letter
    return [stored.letter_id, letter.group, letter.reason, letter.stream, letter.entry_id]


def _as_json(stored: StoredLetter) -> dict[str, Any]:
    letter = stored.letter
    return {
        "id": stored.letter_id,
        "buried_at": letter.occurred_at.isoformat(),
        "group": letter.group,
        "consumer": letter.consumer,
        "stream": letter.stream,
        "entry_id": letter.entry_id,
        "deliveries": letter.deliveries,
        "reason": letter.reason,
        "error": letter.error,
        "resolved": json.loads(stored.resolved) if stored.resolved else None,
        # Pairs and not an object: names may be doubled. base64 where bytes are no text.
        "original": [[_text(name), _text(value)] for name, value in stored.original],
    }


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
