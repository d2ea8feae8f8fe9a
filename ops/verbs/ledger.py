"""The signoff ledger: list, show, add, verify, rebuild, prove, tag, key."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from ops.terminal import safe

if TYPE_CHECKING:
    from quantum_ops.ledger.folder import Folder
    from quantum_ops.ledger.seal import Seal

raw = True
OK, BAD, DRIFT, NOT_FOUND, IO_ERROR, NOT_YET, CONFIG = 0, 1, 3, 4, 74, 75, 78


def parser() -> argparse.ArgumentParser:
    """The arguments, for the shell's completion."""
    from ops import ledger_options

    return ledger_options.parser()


def run_raw(argv: list[str]) -> int:
    """Do what ``argv`` says; ``--help`` tells the exit codes."""
    from ops import ledger_options, ledger_place, ledger_trust
    from ops.paths import ROOT
    from quantum_ops.ledger.errors import LedgerError, LockTimeoutError
    from quantum_ops.ledger.folder import Folder
    from quantum_ops.ledger.seal import Seal

    ledger_trust.called_from()
    if argv[:1] == ["add"]:
        from ops import ops_ledger_append

        return ops_ledger_append.main(argv[1:], ledger_place.environ(), prog="./run ledger add")
    args = ledger_options.parser().parse_args(ledger_options.joined(argv))
    environ = ledger_place.environ()
    try:
        seal, folder = Seal.find(environ, ROOT), Folder.find(environ, ROOT)
    except LedgerError as error:
        return _failed(error, CONFIG)
    try:
        return _run(args, folder, seal)
    except BrokenPipeError:
        raise  # ./run list | head: no failure of ours, see ops.__main__
    except LockTimeoutError as error:
        return _failed(error, NOT_YET)
    except (LedgerError, ValueError) as error:
        return _failed(error, BAD)
    except OSError as error:
        return _failed(error, IO_ERROR)


def _run(args: argparse.Namespace, folder: Folder, seal: Seal) -> int:
    from ops import ledger_reading, ledger_tags, ledger_trust

    does = {
        "list": lambda: ledger_reading.entries(args, folder),
        "show": lambda: ledger_reading.one(args, folder),
        "verify": lambda: ledger_trust.check(folder, args, seal.origin),
        "rebuild": lambda: _rebuild(args, folder, seal),
        "prove": lambda: ledger_trust.prove(folder, args),
        "tag": lambda: ledger_tags.tag(folder, args),
        "key": lambda: ledger_trust.key(args, seal.origin),
    }
    return does[args.action]()


def _rebuild(args: argparse.Namespace, folder: Folder, seal: Seal) -> int:
    from quantum_ops.ledger import book

    drifts = [] if args.check else book.rebuild(folder, seal=seal, tell=_warn)
    told = book.check(folder)
    good = not (drifts or told)
    if args.json:
        print(json.dumps({"ok": good, "differs": told}))
        return OK if good else DRIFT
    for one in told:
        print(safe(one, 1000))
    print("everything else is" if told else "everything is", "as the journal renders it")
    if told and args.check:
        print(
            "to render it again: ./run ledger rebuild; a file that somebody edited stays as it is"
        )
    return OK if good else DRIFT


def _warn(told: str) -> None:
    print(f"WARNING: {safe(told, 1000)}", file=sys.stderr)


def _failed(error: Exception, code: int) -> int:
    print(f"ledger: {safe(str(error), 1000)}", file=sys.stderr)
    return code
