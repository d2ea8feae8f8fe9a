"""Publish an event: judged before it is sent, and sent once; `publish deploy` tells the ledger."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops import output
from quantum_ops.ledger.entry import OUTCOMES, RISK_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import walrus

    from quantum_ops.events import Event
    from quantum_ops.streams import Stream

intermixed = True
REFUSED, USAGE, NOT_YET = 1, 2, 75
WAIT_S = 10.0
MAX_LINES = 100_000
LETTERS = {"i": "id", "s": "stream", "e": "event_id", "o": "operation_id"}
EPILOG = """\
An event_id that was published within the last day is not published again: the same entry id is
printed. Give your own event_id where a script may run twice. `-` reads one event a line from
standard input, a JSON object or name=value words; all of them are judged before the first is sent.

  ./run publish deploy --operation "P2.7 Deploy" --objective "Deploy clusters" \\
      --risk_class SERVICE_RESTART --blast_radius "Portfolio gating" --changes_summary "fix" --wait
  ./run publish audit.finding auditor=me finding=looked severity=info detail="all is well"
  ./run publish audit.finding - <findings.ndjson

Exit code: 0 published, 1 the ledger refused it, 2 not valid, 4 no such stream, 69 Redis is
unreachable, 75 not recorded yet, or it is not known whether it was published.
"""
CHOICES = {"risk_class": RISK_CLASSES, "outcome": OUTCOMES}
ONE = {
    "operation": "what was done, in short",
    "objective": "what it achieves",
    "risk_class": " | ".join(RISK_CLASSES),
    "blast_radius": "what can break",
    "changes_summary": "in one line",
    "operation_id": "OPS-YYYY-MM-DD-NNN; given by the ledger if left out",
    "requested_by": "who asked for it",
    "approved_by": "who approved it",
    "proof_path": "file whose hash is recorded",
    "outcome": " | ".join(OUTCOMES),
    "rollback_of": "the operation that is rolled back",
    "notes": "whatever else",
    "git_commit": "the deploy's own, if it is not the ledger's",
    "git_branch": "likewise",
    "hostname": "likewise",
    "event_id": "makes a repeat a no-op",
    "occurred_at": "2026-01-27T06:15:30Z; now if left out",
}
MANY = {
    "allowed_paths": "paths that may change",
    "allowed_services": "services that may restart",
    "metrics_urls": "pages whose lines are kept as evidence",
    "metrics_grep": "patterns that must be found there",
    "redis_cmds": "commands whose replies are kept as evidence",
}

dashed = tuple(f"--{name}" for name in ONE)


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("stream", metavar="STREAM|deploy", help="its name, or deploy")
    parser.add_argument("words", nargs="*", metavar="NAME=VALUE", help="fields; - reads stdin")
    parser.add_argument(
        "--by-hand", action="store_true", help="also where only a program of ours writes"
    )
    parser.add_argument(
        "--wait", type=output.positive, nargs="?", const=WAIT_S, default=0.0, metavar="S",
        help=f"deploy: wait until the ledger has it (default {WAIT_S:g} s), say as which operation",
    )  # fmt: skip
    parser.add_argument(
        "--key", metavar="FILE",
        help="deploy: sign it with this key, as the producer that the file is called by "
        "(default: DEPLOY_SIGNING_KEY)",
    )  # fmt: skip
    parser.add_argument(
        "--seq", type=int, metavar="N",
        help="deploy: the number of an event that was signed before, to send it once more",
    )  # fmt: skip
    output.add_format(parser, LETTERS)
    deploy = parser.add_argument_group("fields of a deploy, as ops/ops_ledger_append.py has them")
    for name, told in ONE.items():
        deploy.add_argument(f"--{name}", choices=CHOICES.get(name), metavar=name.upper(), help=told)
    for name, told in MANY.items():
        deploy.add_argument(
            f"--{name}", nargs="*", action="extend", metavar=name.upper(), help=told
        )
    deploy.add_argument("--strict", action="store_true", help="refuse an entry that is not whole")


def run(args: argparse.Namespace) -> int:
    """See ``EPILOG``."""
    from ops import publishing
    from ops.target import open_db

    try:
        stream = publishing.stream_of(args.stream, by_hand=args.by_hand)
        made = _events(stream, args)
    except KeyError as error:
        output.note(error.args[0])
        return output.NOT_FOUND
    except ValueError as error:
        output.note(str(error))
        return USAGE
    return _send(open_db(), stream, made, args)


def _events(stream: Stream, args: argparse.Namespace) -> list[Event]:
    """Every event that is asked for, judged; ``ValueError`` for the first that is wrong."""
    from ops import publishing, signing
    from quantum_ops import streams

    words, flags = list(args.words), _flags(args)
    is_deploy = stream is streams.DEPLOY_COMPLETED
    if not is_deploy and (flags or args.wait or args.key or args.seq):
        raise ValueError(f"{stream.name} takes name=value only; the options are of a deploy")
    given = [*flags, *publishing.pairs(word for word in words if word != "-")]
    if "-" not in words:
        one = publishing.redacted(publishing.event(stream, given))
        return [signing.publishable(one, args.key, args.seq)] if is_deploy else [one]
    made = []
    for number, text in enumerate(_lines(), 1):
        try:
            one = publishing.redacted(publishing.event(stream, [*given, *publishing.line(text)]))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}; nothing was published") from None
        made.append(one)
        if number > MAX_LINES:
            raise ValueError(f"more than {MAX_LINES} lines; nothing was published")
    # Numbered once all of them are judged: a refused line uses no number up.
    return [signing.publishable(one, args.key, None) for one in made] if is_deploy else made


def _lines() -> Iterator[str]:
    for raw in sys.stdin.buffer:
        text = raw.decode("utf-8", "surrogateescape").rstrip("\n")
        if text.strip():
            yield text


def _flags(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The fields that were given as options."""
    import json
    import os

    found = {name: getattr(args, name) for name in ONE if getattr(args, name) is not None}
    if found.get("proof_path"):
        # Whoever types it means the folder in which it is typed.
        called_from = Path(os.environ.get("QUANTUM_CALLED_FROM", ""))
        found["proof_path"] = os.path.abspath(called_from / found["proof_path"])  # noqa: PTH100 - of a link, the name that was given
    for name in MANY:
        values = getattr(args, name)
        if name == "allowed_services" and values:
            # No unit has a comma in its name.
            values = [part.strip() for one in values for part in one.split(",") if part.strip()]
        if values is not None:
            found[name] = json.dumps(values)
    if args.strict:
        found["strict"] = "true"
    return list(found.items())


def _send(db: walrus.Database, stream: Stream, made: list[Event], args: argparse.Namespace) -> int:
    from quantum_ops.publisher import Publisher

    db.ping()  # a server that is not there has certainly not got it
    publisher = Publisher(db)
    code = 0
    for number, event in enumerate(made):
        try:
            entry_id = publisher.publish(event)
        except Exception:
            if number:
                output.note(f"{number} of {len(made)} are published; the next one was not answered")
            raise
        told: dict[str, Any] = {
            "stream": stream.name, "id": entry_id, "event_id": getattr(event, "event_id", ""),
        }  # fmt: skip
        if args.format.is_text:
            print(entry_id, flush=True)
        if args.wait:
            code = max(code, _wait(db, told, args))
        if not args.format.is_text:
            print(args.format.line(told), flush=True)
        elif told.get("operation_id"):
            print(told["operation_id"], flush=True)
    return code


def _wait(db: walrus.Database, told: dict[str, Any], args: argparse.Namespace) -> int:
    """Wait for the ledger; adds what it made of it. Gives the exit code."""
    from ops import ledger_place, ledger_wait
    from ops.paths import ROOT
    from quantum_ops.ledger.folder import Folder

    folder = Folder.find(ledger_place.environ(), ROOT)
    try:
        outcome = ledger_wait.wait(db, folder, told["id"], told["event_id"], args.wait)
    except (OSError, ValueError) as error:
        output.note(f"published, but the ledger cannot be read: {error}")
        return NOT_YET
    told["operation_id"] = outcome.operation_id or None
    if outcome.operation_id:
        return 0
    if outcome.refused:
        output.note(outcome.refused)
        return REFUSED
    output.note(
        f"not recorded within {args.wait:g} s; nothing is lost: the event waits for the program "
        f"ledger. ./run ledger show --source {told['stream']}/{told['id']} --wait 60"
    )
    return NOT_YET
