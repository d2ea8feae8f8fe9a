"""The only place that reads the ledger to operators: its list, and one entry of it."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shutil
import sys
import time

from ops import ledger_trust, ledger_view
from ops.terminal import safe
from quantum_ops import streams
from quantum_ops.ledger import canonical, checkpoint, merkle, query, summary
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.lookup import Found, Lookup

OK, NOT_FOUND = 0, 4
POLL_S = 0.05


def entries(args: argparse.Namespace, folder: Folder) -> int:
    """``list``: the entries that are asked for, one line each, as they are found."""
    wanted = query.Wanted(
        since=args.since, before=args.until, service=args.service, risk=args.risk,
        outcome=args.outcome, text=args.text, kinds=frozenset(args.kind),
    )  # fmt: skip
    found = iter(query.newest(folder, wanted))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    count = 0
    for one in found if args.all else itertools.islice(found, args.n):
        if not count and args.format.is_text:
            print(ledger_view.cut(ledger_view.HEADER, width) if width else ledger_view.HEADER)
        count += 1
        told = args.format
        print(ledger_view.row(one, width) if told.is_text else told.line(one.to_json()))
    if not count and not folder.segments():
        checkpoint.guard(folder, merkle.NONE)
    if not count and args.n:
        print("no such entries" if folder.segments() else "nothing was recorded yet",
              file=sys.stderr)  # fmt: skip
    elif args.format.is_text and not args.all and next(found, None):
        print(f"the newest {count}; older ones with -n or --all", file=sys.stderr)
    return OK


def one(args: argparse.Namespace, folder: Folder) -> int:
    """``show``: one entry; 4 if it is not there, or not yet."""
    deadline = time.monotonic() + args.wait
    while True:
        with Lookup(folder) as lookup:
            if _told(args, folder, lookup):
                return OK
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    named = args.source or args.id
    print(f"{safe(named)}: no such entry; see ./run ledger list", file=sys.stderr)
    return NOT_FOUND


def _told(args: argparse.Namespace, folder: Folder, lookup: Lookup) -> bool:
    """Print the entry that is asked for, if there is one."""
    found = _by_source(lookup, args.source) if args.source else _by_name(lookup, args.id)
    if found is None:
        return bool(args.id) and _told_adopted(args, folder, lookup)
    newest = None
    with contextlib.suppress(CheckpointError):  # which `verify` tells
        newest = checkpoint.newest(folder)
    told = ledger_view.where(lookup, found, newest)
    record = canonical.load(found.line)
    sys.stdout.write(f"{json.dumps(told)}\n" if args.json else ledger_view.entry(record, told))
    return True


def _told_adopted(args: argparse.Namespace, folder: Folder, lookup: Lookup) -> bool:
    fields = {one.id: told for one, told in lookup.adopted()}.get(args.id)
    if fields is None:
        return False
    # Whether it was rolled back stands in what came after; it is an old entry, and may take a walk.
    wanted = query.Wanted(kinds=frozenset({summary.ADOPTED}))
    one = next(one for one in query.newest(folder, wanted) if one.id == args.id)
    if args.json:
        print(json.dumps({**one.to_json(), "data": fields}))
    else:
        sys.stdout.write(ledger_view.adopted(one, fields))
    return True


def _by_name(lookup: Lookup, named: str) -> Found | None:
    seq = ledger_trust.number_of(lookup, named)
    return lookup.number(seq) if seq else None


def _by_source(lookup: Lookup, named: str) -> Found | None:
    """The record of ``STREAM/ID``; the stream by its key or by its short name."""
    stream, _, entry_id = named.partition("/")
    keys = {one.key for one in streams.CATALOGUE if stream in (one.key, streams.short(one.key))}
    for name in sorted({stream, *keys, *map(streams.short, keys)}):
        found = lookup.source(name, entry_id)
        if found:
            return found
    return None
