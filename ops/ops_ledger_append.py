#!/usr/bin/env python3
"""Records an operation in the signoff ledger, with the evidence it can collect.

An operation that was recorded before, under the same operation_id and with the same content, is
"already recorded". Unless strict, a failure never fails the deploy: the entry is spooled, and the
next run, or the ledger's consumer, records it.

Evidence that could not be seen, or that speaks against a SUCCESS, stands in the entry as
"evidence: incomplete" and is a warning; in strict mode it fails the deploy. The entry stands.

Exit codes: 0 recorded, already recorded, or (not strict) told and kept; 1 failed in strict mode;
2 wrong usage; 130 ^C, SIGTERM or SIGHUP: not strict, it is kept as any other failure is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

from quantum_ops import env_files  # noqa: E402 - the path comes first
from quantum_ops.ledger import (  # noqa: E402 - the path comes first
    book,
    entry,
    evidence,
    ids,
    moment,
    redaction,
    spool,
)
from quantum_ops.ledger.errors import InvalidEntryError, LedgerError  # noqa: E402 - as above

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
LISTS = ("allowed_paths", "allowed_services", "metrics_urls", "metrics_grep", "redis_cmds")
STRICT = {"": False, "0": False, "false": False, "no": False, "off": False,
          "1": True, "true": True, "yes": True, "on": True}  # fmt: skip
SETTINGS = """\
variables it reads, or else finds in the *.env of QUANTUM_ENV_DIR (/etc/quantum):
  STRICT_LEDGER   true: a failure fails the deployment, as --strict does (default: false)
  LEDGER_DIR      keep the whole ledger there; unset: docs/OPS_CHANGELOG.md and ops/ledger/
  LEDGER_ORIGIN   the log's name in its checkpoints
  LEDGER_KEY      the private key (Ed25519, PEM) that signs checkpoints
  LEDGER_TAGS     true: make an annotated git tag of each recorded operation
  REDIS_URL, REDIS_HOST, ...  the server that --redis_cmds ask; see docs/settings.md
  REDIS_AUDIT_USERNAME, REDIS_AUDIT_PASSWORD  the user they ask as; see docs/ledger-evidence.md
"""


def main(
    argv: Sequence[str], environ: Mapping[str, str], root: Path = ROOT, prog: str | None = None
) -> int:
    """Do what ``argv`` says; gives the exit code. ``prog`` is what its help calls it."""
    parser = _parser(prog)
    args = parser.parse_args(_joined([_readable(one) for one in argv], parser))
    told: dict[str, Any] = {"outcome": "failed", "operation_id": None, "seq": None, "problems": []}
    if not args.json:
        return _record(args, environ, root, told)
    with contextlib.redirect_stdout(sys.stderr):
        code = _record(args, environ, root, told)
    _say(json.dumps(told))
    return code


def _record(
    args: argparse.Namespace, environ: Mapping[str, str], root: Path, told: dict[str, Any]
) -> int:
    """Record what ``args`` say, and put into ``told`` what became of it; gives the exit code."""
    try:
        strict = args.strict or _flag("STRICT_LEDGER", environ)
        tags = _flag("LEDGER_TAGS", environ)
    except InvalidEntryError as error:
        _error(str(error))
        told["problems"] = [str(error)]
        return USAGE
    request = entry.redacted(_request(args, strict=strict), redaction.known(environ))
    try:
        folder = book.Folder.find(environ, root)
    except LedgerError as error:
        return _failed(error, request, None, told)
    try:
        problems = entry.check(request)
        _refuse_if(problems if strict else [])
        wanted = _wanted(args, request, environ, root)
        found = evidence.collect(wanted, request.occurred_at or moment.now(), folder.logs)
        request = entry.with_evidence(request, found)
        seal = book.Seal.find(environ, root)
        (receipt,) = book.record_many(folder, [request], seal=seal, tell=_warn)
        _refuse_if(receipt.problems if receipt.outcome == "refused" else [])
    except Exception as error:  # noqa: BLE001 - whatever it is: told, and the entry is kept
        return _failed(error, request, folder, told)
    except KeyboardInterrupt:
        # The lock is waited for so long that somebody may give up; what was done is to be recorded.
        _failed(LedgerError("interrupted"), request, folder, told)
        return INTERRUPTED
    told |= {"outcome": receipt.outcome, "operation_id": receipt.operation_id, "seq": receipt.seq}
    told["problems"] = [*receipt.problems, *request.evidence.get("evidence_problems", [])]
    code = max(_tell(receipt, request, folder), _tell_evidence(request))
    if tags and receipt.outcome == "recorded":
        _tag(root, receipt)
    _take_in(folder, seal, root if tags else None)
    return code


def _refuse_if(problems: Sequence[str]) -> None:
    if problems:
        raise InvalidEntryError("; ".join(problems))


def _tell(receipt: book.Receipt, request: entry.Request, folder: book.Folder) -> int:
    """Say what became of the request; gives the exit code."""
    given = receipt.operation_id == request.operation_id
    for problem in receipt.problems:
        if request.strict:
            _error(problem)
        else:
            _warn(f"ERROR: {problem} (continuing in non-strict mode)")
    if receipt.outcome == "conflict":
        _say(f"kept as a conflict in record {receipt.seq} of {folder.journal}", sys.stderr)
        return FAILED if request.strict else OK
    if receipt.outcome == "already":
        where = f"record {receipt.seq}" if receipt.seq else "before there was a journal"
        _say(f"{receipt.operation_id} already recorded ({where})")
        return OK
    if not given:
        _say(f"Auto-generated operation_id: {receipt.operation_id}")
        _warn_of_twin(folder, receipt)
    _say(f"Ledger entry recorded: {receipt.operation_id} in {folder.changelog}")
    return OK


def _tell_evidence(request: entry.Request) -> int:
    """Say what is wrong with the evidence of this run; gives the exit code."""
    problems = request.evidence.get("evidence_problems", [])
    fails = bool(problems) and request.strict and request.outcome == "SUCCESS"
    for problem in problems:
        told = f"evidence: {problem}"
        _error(told) if fails else _warn(told)
    return FAILED if fails else OK


def _warn_of_twin(folder: book.Folder, receipt: book.Receipt) -> None:
    """Say that the same was recorded shortly before; whoever meant to repeat it gives its id."""
    from quantum_ops.ledger import twin  # noqa: PLC0415 - with an id it is not needed

    with contextlib.suppress(OSError, ValueError):
        found = twin.before(folder, receipt.seq)
        if found:
            _warn(
                f"the same was recorded at {found.recorded_at} as {found.id}; a repeat of it is "
                f"recognised only with --operation_id {found.id}"
            )


def _failed(
    error: Exception, request: entry.Request, folder: book.Folder | None, told: dict[str, Any]
) -> int:
    """Say what failed; outside strict mode keep the request, so that nothing is lost."""
    told["problems"] = [str(error)]
    if request.strict:
        _error(str(error))
        return FAILED
    _warn(f"ERROR: {error} (continuing in non-strict mode)")
    try:
        if folder is None:
            raise OSError("there is no folder for it")  # noqa: TRY301 - told as any other trouble
        path = spool.put(folder, request)
        if isinstance(error, InvalidEntryError):
            path = spool.reject(path, str(error))
            _warn(f"NOT RECORDED: nobody can record this entry as it is; it is kept as {path}")
            told["outcome"] = "refused"
        else:
            told["outcome"] = "waits"
            _warn(f"NOT RECORDED YET: the entry waits in {path}; the next run records it")
    except OSError as failure:
        text = json.dumps(entry.to_json(request), sort_keys=True)
        _warn(f"NOT RECORDED, NOT KEPT ({failure}); this is the entry: {text}")
    return OK


def _take_in(folder: book.Folder, seal: book.Seal, tagged: Path | None) -> None:
    """Record what earlier runs could not; what fails again goes on waiting."""
    try:
        for receipt in book.take_in(folder, seal=seal, tell=_warn):
            if receipt.outcome != "refused":
                _say(f"taken in from the spool: {receipt.operation_id} ({receipt.outcome})")
            if tagged and receipt.outcome == "recorded":
                _tag(tagged, receipt)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what this run is about was recorded
        _warn(f"spool: {str(error) or 'interrupted'}; its entries go on waiting in {folder.spool}")


def _tag(root: Path, receipt: book.Receipt) -> None:
    from quantum_ops.ledger import tags  # noqa: PLC0415 - few ask for it

    try:
        name, _ = tags.tag(root, json.loads(receipt.line))
    except (LedgerError, OSError) as error:
        _warn(f"{error}; the record stands")
    else:
        _say(f"tagged: {name}")


def _request(args: argparse.Namespace, *, strict: bool) -> entry.Request:
    return entry.Request(
        operation=args.operation,
        objective=args.objective,
        risk_class=args.risk_class,
        blast_radius=args.blast_radius,
        changes_summary=args.changes_summary,
        operation_id=args.operation_id,
        requested_by=args.requested_by,
        approved_by=args.approved_by,
        allowed_paths=tuple(args.allowed_paths),
        allowed_services=_services(args),
        outcome=args.outcome,
        rollback_of=args.rollback_of,
        notes=args.notes,
        occurred_at=moment.now().replace(microsecond=0),
        stream=book.CLI,
        # If this run fails after its line was written, its spooled copy is known by this.
        stream_id=uuid.uuid4().hex,
        strict=strict,
    )


def _services(args: argparse.Namespace) -> tuple[str, ...]:
    # No unit has a comma in its name; "a,b" as one of them was asked for, and reported inactive.
    parts = (part.strip() for one in args.allowed_services for part in one.split(","))
    return tuple(part for part in parts if part)


def _wanted(
    args: argparse.Namespace, request: entry.Request, environ: Mapping[str, str], root: Path
) -> evidence.Wanted:
    """What is to be seen of the operation."""
    named = request.operation_id if ids.is_valid(request.operation_id) else ""
    stamp = (request.occurred_at or moment.now()).strftime("%Y%m%dT%H%M%SZ")
    return evidence.Wanted(
        operation=named or f"{stamp}-{request.stream_id[:8]}",
        outcome=request.outcome,
        services=tuple(request.allowed_services),
        # Whoever types it means the folder in which it is typed.
        proof_path=os.path.abspath(args.proof_path) if args.proof_path else "",  # noqa: PTH100 - of a link, the name that was given
        metrics_urls=tuple(args.metrics_urls),
        metrics_grep=tuple(args.metrics_grep),
        redis_cmds=tuple(args.redis_cmds),
        root=root,
        environ=environ,
    )


def _joined(argv: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """``argv`` with ``--name=value`` for ``--name value``: a value may start with a dash."""
    actions = {name: one for one in parser._actions for name in one.option_strings}  # noqa: SLF001 - no public list of them
    found: list[str] = []
    for one in argv:
        before = found[-1] if found else ""
        takes_one = before in actions and actions[before].nargs is None
        if takes_one and one not in actions:
            found[-1] = f"{before}={one}"
        else:
            found.append(one)
    return found


def _flag(name: str, environ: Mapping[str, str]) -> bool:
    value = environ.get(name, "").strip().lower()
    if value not in STRICT:
        raise InvalidEntryError(f"{name}: {value!r} is neither true nor false")
    return STRICT[value]


def _readable(argument: str) -> str:
    """An argument as text; bytes that are no UTF-8, which no file takes, are shown by number."""
    return os.fsencode(argument).decode("utf-8", "backslashreplace")


def _warn(told: str) -> None:
    _say(f"WARNING: {told}", sys.stderr)


def _error(told: str) -> None:
    _say(f"ERROR: {told}", sys.stderr)


def _say(text: str, to: TextIO | None = None) -> None:
    """Print ``text``. A terminal that cannot show it, or a closed pipe, must not fail a deploy."""
    to = to or sys.stdout
    try:
        code = to.encoding or "ascii"
        print(text.encode(code, "backslashreplace").decode(code), file=to, flush=True)
    except OSError:
        # Python would try once more at its end, and exit with 120.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), to.fileno())
    except (ValueError, AttributeError):
        return


def _parser(prog: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviation that works today means another option once there is one more.
        allow_abbrev=False,
    )
    required = parser.add_argument_group("required")
    for name, told in {
        "operation": "Operation name (short description)",
        "objective": "What this operation achieves",
        "risk_class": " | ".join(entry.RISK_CLASSES),
        "blast_radius": "What can break",
        "changes_summary": "1-line summary",
    }.items():
        choices = entry.RISK_CLASSES if name == "risk_class" else None
        required.add_argument(
            f"--{name}", required=True, choices=choices, metavar=name.upper(), help=told
        )
    for name, told in {
        "operation_id": "Auto-generated if omitted (OPS-YYYY-MM-DD-NNN)",
        "proof_path": "Path to proof file (collects sha256 + size + mtime)",
        "rollback_of": "Original operation_id being rolled back (for outcome=ROLLBACK)",
        "notes": "Additional context",
    }.items():
        parser.add_argument(f"--{name}", default="", help=told)
    for name, told in zip(
        LISTS,
        (
            "Paths modified",
            "Services affected",
            "Metrics endpoints to read",
            "Regex patterns to filter metrics",
            'Redis commands to execute, e.g. "HGETALL key"',
        ),
        strict=True,
    ):
        parser.add_argument(
            f"--{name}",
            nargs="+",
            action="extend",
            default=[],
            help=f"{told} (several, repeatable)",
        )
    parser.add_argument("--requested_by", default="SELF", help="Who asked for it (default: SELF)")
    parser.add_argument("--approved_by", default="SELF", help="Who approved it (default: SELF)")
    parser.add_argument(
        "--outcome",
        choices=entry.OUTCOMES,
        default="SUCCESS",
        help="How it ended (default: SUCCESS)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="Fail deployment if ledger append fails (default: false)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="What became of it, as one JSON object; the rest is on stderr",
    )
    return parser


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` with what the ``*.env`` files add, as the ledger's consumer goes by.

    Else a script would keep a second ledger where only a file names the folder. What cannot be
    read is told: it may have been that name.
    """
    problems: list[str] = []
    found = env_files.merged(environ, problems)
    for problem in problems:
        _warn(problem)
    return found


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # `timeout`, a lost terminal: as ^C
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:], settings(os.environ)))
