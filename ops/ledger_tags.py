"""The only place that tags recorded operations after the fact; see quantum_ops/ledger/tags.py."""

from __future__ import annotations

import argparse
import json
import sys

from ops.paths import ROOT
from ops.terminal import safe
from quantum_ops.ledger import canonical, moment, tags
from quantum_ops.ledger.errors import LedgerError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import RECORDED
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.lookup import Lookup

OK, BAD, NOT_FOUND = 0, 1, 4


def tag(folder: Folder, args: argparse.Namespace) -> int:
    """``tag``: one operation, or all that have no tag yet."""
    return _missing(folder, args) if args.missing else _one(folder, args.id, as_json=args.json)


def _one(folder: Folder, operation_id: str, *, as_json: bool) -> int:
    """Tag this operation; a tag that is there already is told, and left."""
    with Lookup(folder) as lookup:
        found = lookup.operation(operation_id)
    if not found:
        told = "no operation of this id is in the journal; see ./run ledger list"
        print(f"{safe(operation_id)}: {told}", file=sys.stderr)
        return NOT_FOUND
    name, new = tags.tag(ROOT, canonical.load(found.line))
    if as_json:
        print(_object([name] if new else [], []))
    else:
        print(f"tagged: {name}" if new else f"{name} is there already")
    return OK


def _missing(folder: Folder, args: argparse.Namespace) -> int:
    """Tag every operation that has no tag of its name, oldest first; goes on after a failure."""
    known, since = tags.names(ROOT), args.since
    made: list[str] = []
    failed: list[dict[str, str]] = []
    for line in Journal(folder).lines():
        of = canonical.envelope(line)
        if of.type != RECORDED or tags.name_of(of.id) in known:
            continue
        if since and moment.parse(of.occurred_at) < since:
            continue
        try:
            name, _ = tags.tag(ROOT, canonical.load(line))
        except LedgerError as error:
            failed.append({"id": of.id, "why": str(error)})
            print(f"{safe(str(error), 1000)}", file=sys.stderr)
        else:
            made.append(name)
            if not args.json:
                print(f"tagged: {name}")
    if args.json:
        print(_object(made, failed))
    else:
        print(f"{len(made)} tagged, {len(failed)} failed; what had a tag was left as it is")
    return BAD if failed else OK


def _object(made: list[str], failed: list[dict[str, str]]) -> str:
    return json.dumps({"ok": not failed, "tagged": made, "failed": failed})
