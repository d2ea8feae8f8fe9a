#!/usr/bin/env python3
"""Fills the governor's prompt for one operation, or prints its signoff as a YAML block (--ledger).

The same arguments give the same bytes: nothing is taken from the host, except with --ledger the
time and the next free id, where they are not given.

Exit codes: 0 printed; 1 the template or the ledger cannot be read, or the text not be printed; 2
wrong usage, or a scope that no operation may have.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

from ops import ops_prompt, ops_scope  # noqa: E402 - the path comes first
from ops.ops_prompt import NOTHING, TemplateError  # noqa: E402 - as above
from ops.ops_scope import ScopeError  # noqa: E402 - as above
from quantum_ops import env_files  # noqa: E402 - as above
from quantum_ops.ledger import emitter, entry, fields, ids, moment, suggest  # noqa: E402 - as above
from quantum_ops.ledger.errors import InvalidEntryError, LedgerError  # noqa: E402 - as above
from quantum_ops.ledger.folder import Folder  # noqa: E402 - as above

OK, FAILED, USAGE = 0, 1, 2
TEMPLATE = ROOT / "ops" / "ops_prompt_template_v1.txt"
APPEND = "python3 ops/ops_ledger_append.py"
TEXTS = {
    "operation": "Operation name (short description)",
    "objective": "What this operation achieves",
    "risk_class": " | ".join(entry.RISK_CLASSES),
    "blast_radius": "What can be affected",
    "rollback_strategy": "How to revert, as something that can be carried out",
}
LISTS = {
    "allowed_paths": "Paths that may change, or none (several, repeatable)",
    "allowed_services": "Services that may be restarted, or none (several, repeatable)",
}
SIGNOFF = {
    "changes_summary": "1-line summary of what changed (required)",
    "operation_id": "default: the next free one of the ledger, " + ids.FORMAT,
    "requested_by": "who asked for it (default: SELF)",
    "approved_by": "who approved it (default: SELF)",
    "approval_timestamp": "when it was approved, such as 2026-01-27T06:15:30Z (default: now)",
    "execution_timestamp": "when it was done (default: now)",
    "outcome": " | ".join(entry.OUTCOMES) + " (default: SUCCESS)",
    "rollback_of": "the operation that was reverted, for ROLLBACK",
    "notes": "Optional context",
}
DEFAULTS = {"requested_by": "SELF", "approved_by": "SELF", "outcome": "SUCCESS"}
NEEDS_PATHS = ("LOW_RISK_CONFIG", "FILESYSTEM_WRITE")


class UnreadableError(Exception):
    """A file that is needed cannot be read; the message names it and the way round."""


def main(argv: Sequence[str], environ: Mapping[str, str], root: Path = ROOT) -> int:
    """Do what ``argv`` says; gives the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    for name in SIGNOFF:
        if not args.ledger and getattr(args, name) is not None:
            _warn(f"--{name}: is part of the signoff, not of the prompt; it counts with --ledger")
    try:
        folder = Folder.find(environ, root)
        _check(args, root, [folder.base, folder.changelog] if environ.get("LEDGER_DIR") else [])
        text = _signoff(args, folder) if args.ledger else _prompt(args)
    except (ScopeError, TemplateError, InvalidEntryError) as error:
        return _error(str(error), USAGE)
    except (UnreadableError, LedgerError) as error:
        return _error(str(error), FAILED)
    return _print(text)


def _check(args: argparse.Namespace, root: Path, ledger: Sequence[Path]) -> None:
    """Refuse what no operation may be; warn of what was perhaps forgotten."""
    for name in TEXTS:
        # The commit that a rollback reverts has no name until it is made.
        late = args.ledger and name == "rollback_strategy"
        ops_prompt.check_text(name, getattr(args, name), blanks=late)
        if found := ops_prompt.blank(getattr(args, name)):
            _warn(f"{name}: {found} is still to be written")
    if args.risk_class not in entry.RISK_CLASSES:
        known = ", ".join(entry.RISK_CLASSES)
        raise ScopeError(f"risk_class: {args.risk_class!r} is unknown: write one of {known}")
    args.allowed_paths = _items("allowed_paths", args.allowed_paths)
    args.allowed_services = _items("allowed_services", args.allowed_services)
    for path in args.allowed_paths:
        ops_prompt.check_text("allowed_paths", path)
        ops_scope.check_path("allowed_paths", path, root, ledger)
    for service in args.allowed_services:
        ops_scope.check_service("allowed_services", service)
    if args.risk_class in NEEDS_PATHS and not args.allowed_paths:
        raise ScopeError(f"allowed_paths: 'none' does not go with {args.risk_class}: name them")
    if args.risk_class == "SERVICE_RESTART" and not args.allowed_services:
        raise ScopeError("allowed_services: 'none' does not go with SERVICE_RESTART: name them")


def _items(field: str, given: Sequence[str]) -> list[str]:
    """What was given, each once; ``none`` alone is nothing."""
    if NOTHING in given and len(set(given)) > 1:
        raise ScopeError(f"{field}: {NOTHING!r} stands beside others: leave it out")
    return [one for one in dict.fromkeys(given) if one != NOTHING]


def _prompt(args: argparse.Namespace) -> str:
    values = {
        "OPERATION_NAME": args.operation,
        "OBJECTIVE": args.objective,
        "RISK_CLASS": args.risk_class,
        "BLAST_RADIUS": args.blast_radius,
        "ROLLBACK_STRATEGY": args.rollback_strategy,
        "ALLOWED_PATHS": args.allowed_paths,
        "ALLOWED_SERVICES": args.allowed_services,
    }
    try:
        template = Path(args.template).read_bytes().decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"--template: {error}: name a text in UTF-8") from None
    return ops_prompt.fill(str(args.template), template, values)


def _signoff(args: argparse.Namespace, folder: Folder) -> str:
    given = {name: _given(args, name) for name in SIGNOFF}
    now = moment.text(moment.now())
    approved = _moment("approval_timestamp", given["approval_timestamp"] or now)
    done = _moment("execution_timestamp", given["execution_timestamp"] or now)
    if approved > done:
        raise ScopeError(
            f"approval_timestamp: {moment.text(approved)!r} is after the execution "
            f"({moment.text(done)}): what was done before it was approved is told in --notes"
        )
    request = entry.Request(
        operation=args.operation,
        objective=args.objective,
        risk_class=args.risk_class,
        blast_radius=args.blast_radius,
        changes_summary=given["changes_summary"],
        requested_by=given["requested_by"],
        approved_by=given["approved_by"],
        allowed_paths=args.allowed_paths,
        allowed_services=args.allowed_services,
        outcome=given["outcome"],
        rollback_of=given["rollback_of"],
        notes=given["notes"],
        evidence={
            "approval_timestamp": moment.text(approved),
            "execution_timestamp": moment.text(done),
        },
    )
    if problems := entry.check(request):
        raise ScopeError("; ".join(problems))
    name = given["operation_id"] or _next_id(folder, done)
    shown = {}
    for field, value in fields.ordered(entry.data(request, name, done)).items():
        shown[field] = value
        if field == "changes_summary":
            # Where hand-written entries have it.
            shown["rollback_ref"] = args.rollback_strategy
    _say(f"record it with its evidence (a block alone is no entry):\n{_command(args, given)}")
    return emitter.block(shown)


def _next_id(folder: Folder, when: datetime) -> str:
    try:
        return suggest.next_id(folder, when)
    except (OSError, ValueError) as error:
        cure = "give --operation_id, and see docs/ledger-proof.md"
        raise UnreadableError(f"the ledger in {folder.base}: {error}: {cure}") from None


def _given(args: argparse.Namespace, name: str) -> str:
    """The value of a signoff field, checked where it was given."""
    value: str | None = getattr(args, name)
    if value is None and name == "changes_summary":
        raise ScopeError("changes_summary: is missing: say in one line what changed")
    if value is None:
        return DEFAULTS.get(name, "")
    try:
        ops_prompt.check_text(name, value, lines=name == "notes")
        if name == "operation_id":
            ids.parse(value)
    except InvalidEntryError as error:
        raise ScopeError(f"operation_id: {error}; leave it out to get the next free one") from None
    return value


def _moment(field: str, shown: str) -> datetime:
    try:
        return moment.parse(shown)
    except ValueError:
        cure = "write it in UTC, such as 2026-01-27T06:15:30Z"
        raise ScopeError(f"{field}: {shown!r} is no moment: {cure}") from None


def _command(args: argparse.Namespace, given: Mapping[str, str]) -> str:
    """The command that records the operation, ready for a shell."""
    notes = "; ".join(one for one in (given["notes"], f"rollback: {args.rollback_strategy}") if one)
    named = {
        "operation": args.operation,
        "objective": args.objective,
        "risk_class": args.risk_class,
        "blast_radius": args.blast_radius,
        **{name: given[name] for name in SIGNOFF if not name.endswith("_timestamp")},
        "notes": notes,
    }
    parts = [f"--{name} {shlex.quote(value)}" for name, value in named.items() if value]
    lists = {name: getattr(args, name) for name in LISTS}
    parts += [f"--{name} {shlex.join(items)}" for name, items in lists.items() if items]
    return " \\\n  ".join([APPEND, *parts])


def _print(text: str) -> int:
    """Print ``text`` as UTF-8: the bytes must not depend on the terminal."""
    if sys.stdout is None:
        return _error("the text cannot be printed: standard output is closed", FAILED)
    try:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except OSError as error:
        # Python would try once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            return _error(f"the text cannot be printed: {error}", FAILED)
        # Whoever reads has seen enough.
    return OK


def _error(told: str, code: int) -> int:
    _say(f"ERROR: {told}")
    return code


def _warn(told: str) -> None:
    _say(f"WARNING: {told}")


def _say(text: str) -> None:
    if sys.stderr is None:  # print() would take stdout, and that is for the text alone
        return
    print(text.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ops_prompt_fill.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--ledger", action="store_true", help="print the signoff instead")
    parser.add_argument(
        "--template", default=TEMPLATE, help="another text to fill, such as the runbook template"
    )
    declared = parser.add_argument_group("the declaration, all required")
    for name, told in TEXTS.items():
        declared.add_argument(f"--{name}", required=True, help=told)
    for name, told in LISTS.items():
        declared.add_argument(f"--{name}", required=True, nargs="+", action="extend", help=told)
    signoff = parser.add_argument_group("the signoff, with --ledger")
    for name, told in SIGNOFF.items():
        signoff.add_argument(f"--{name}", help=told)
    return parser


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` with what the ``*.env`` files add, as whoever records goes by.

    Else the next free id would be that of another ledger.
    """
    problems: list[str] = []
    found = env_files.merged(environ, problems)
    for problem in problems:
        _warn(problem)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], settings(os.environ)))
