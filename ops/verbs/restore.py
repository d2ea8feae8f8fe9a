"""Rebuild a lost Redis from the archive: streams, groups, keys. A dry run unless --yes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import walrus

    from ops.paths import Paths
    from ops.running import Running
    from quantum_ops.history.reader import Archive
    from quantum_ops.recovery.plan import Plan

REFUSED, DIFFERS, NO_ARCHIVE = 1, 3, 4


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("--yes", action="store_true", help="do it; without, only say what")
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit code 3 if entries are missing"
    )
    parser.add_argument("--json", action="store_true", help="the plan as one JSON object")
    parser.add_argument(
        "--trading-streams",
        action="store_true",
        help="refill apply.plan and apply.result, too; on the embedded server only",
    )
    parser.add_argument(
        "--all", action="store_true", help="also what is older than its stream's retention"
    )
    parser.add_argument(
        "--stream", action="append", default=[], metavar="NAME", help="only this one (repeatable)"
    )
    parser.add_argument("--archive", default="", metavar="DIR", help="another archive's folder")
    parser.add_argument(
        "--profile", choices=("live", "demo"), default="live", help="of a system that is down"
    )
    parser.epilog = "Exit code: 0 done or nothing missing, 1 refused, 3 missing, 4 no archive."


def run(args: argparse.Namespace) -> int:
    """See ops.__main__."""
    from ops import archive_place, restoring
    from ops.daemon import HungError, RefusedByDaemonError
    from quantum_ops.history.errors import ArchiveError, StandbyError
    from quantum_ops.recovery.errors import RestoreError

    try:
        wanted = _streams(args.stream)
    except KeyError as error:
        print(f"--stream: {error.args[0]}", file=sys.stderr)
        return 2
    paths, current, up = restoring.find(args.profile)
    if args.trading_streams and not current.owned:
        print(
            "--trading-streams: this server is not the embedded one; who owns the streams of the "
            "trading side restores them",
            file=sys.stderr,
        )
        return REFUSED
    folder = archive_place.find(args.archive, paths)
    if not folder.names():
        print(
            f"{folder.base}: there is no archive; name its folder with --archive", file=sys.stderr
        )
        return NO_ARCHIVE
    try:
        with restoring.server(paths, current, up=up, note=_note) as db:
            return _at(args, wanted, (paths, current, up), db, folder.base)
    except (RestoreError, ArchiveError, StandbyError, HungError, RefusedByDaemonError) as error:
        print(error, file=sys.stderr)
        return REFUSED


def _at(
    args: argparse.Namespace,
    wanted: list[str],
    site: tuple[Paths, Running, bool],
    db: walrus.Database,
    base: Path,
) -> int:
    from ops import restore_view
    from quantum_ops.history.folder import Folder
    from quantum_ops.history.reader import Archive

    archive = Archive(Folder(base))
    plan = _plan(args, wanted, archive, db)
    if args.json:
        print(json.dumps(restore_view.as_object(plan, archive)))
    else:
        print("\n".join(restore_view.lines(plan, archive)))
    if plan.conflicting:
        print("the server holds other entries under the archive's ids: refused", file=sys.stderr)
        return REFUSED
    if args.check:
        return DIFFERS if plan.missing or plan.held_up else 0
    if not plan.missing and not plan.held_up:
        print("\nno entry is missing: there is nothing to restore")
        return 0
    if not args.yes:
        words = " ".join(word for word in sys.argv[1:] if word != "--json")
        print(f"\nnothing was changed; to do it: ./run {words} --yes", file=sys.stderr)
        return 0
    return _do(args, wanted, site, db, base)


def _do(
    args: argparse.Namespace,
    wanted: list[str],
    site: tuple[Paths, Running, bool],
    db: walrus.Database,
    base: Path,
) -> int:
    from ops import restore_view, restoring
    from ops.start import alone
    from ops.verbs.universe import operator
    from quantum_ops.history import writer
    from quantum_ops.history.folder import Folder
    from quantum_ops.history.reader import Archive
    from quantum_ops.recovery import restore

    paths, _, up = site
    with alone(paths), restoring.stillness(paths, up=up, note=_note):
        restoring.wait_silent(db, _note)
        with writer.lock(Folder(base)):
            # Made anew: until it stood still, the system wrote and archived.
            archive = Archive(Folder(base))
            plan = _plan(args, wanted, archive, db)
            found = restore.carry_out(plan, archive, db, operator(), _note)
    print("\n".join(restore_view.done(found)))
    print("restored; compare any time with: ./run restore --check")
    return 0


def _plan(
    args: argparse.Namespace, wanted: list[str], archive: Archive, db: walrus.Database
) -> Plan:
    from quantum_ops import consumer, knobs
    from quantum_ops.recovery import plan
    from quantum_ops.settings import OrderProofSettings, PermitAuditSettings, PositionLedgerSettings

    wishes = plan.Wishes(everything=args.all, trading=args.trading_streams, only=wanted)
    return plan.make(
        archive,
        db,
        [consumer.find("consumers", name) for name in consumer.names("consumers")],
        wishes,
        int(time.time() * 1000),
        settings=plan.Kept(
            knobs.load(OrderProofSettings),
            knobs.load(PermitAuditSettings),
            knobs.load(PositionLedgerSettings),
        ),
    )


def _streams(names: list[str]) -> list[str]:
    from quantum_ops import streams

    return [streams.find(name).key for name in names]


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
