"""The archive: its state, its proof, its entries, what may leave Redis."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.terminal import safe

if TYPE_CHECKING:
    from quantum_ops.history.blocks import Key
    from quantum_ops.history.folder import Folder

ERROR, WRONG, NO_SUCH = 1, 2, 4


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument(
        "--dir", default="", metavar="DIR", help="another archive than the running one"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    status = actions.add_parser("status", help="what is in it, by stream (the default)")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    verify = actions.add_parser("verify", help="whether it is what was written; exit 2 if not")
    verify.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint that was kept elsewhere; may be given several times",
    )
    verify.add_argument(
        "--key",
        default="",
        metavar="VKEY",
        help="the public key (name+id+key) that must have signed the checkpoints",
    )
    verify.add_argument("--json", action="store_true", help="as one JSON object")
    cat = actions.add_parser("cat", help="entries, one JSON line each, as they were archived")
    cat.add_argument("--stream", action="append", default=[], help="only this one; may be repeated")
    cat.add_argument(
        "--since", default="", metavar="WHEN", help="an id, or a time as 2026-01-27T06:15Z"
    )
    cat.add_argument("--until", default="", metavar="WHEN", help="the same; both are included")
    cat.add_argument("--event", action="store_true", help="decoded: {stream, id, event or error}")
    actions.add_parser("reindex", help="make indexes, marks and lookups of sealed segments anew")
    actions.add_parser("key", help="the public key of its log, for whoever verifies its proofs")
    trim = actions.add_parser("trim", help="what may leave Redis; only --yes removes it")
    trim.add_argument("stream", nargs="*", help="only these streams")
    trim.add_argument("--dry-run", action="store_true", help="say what would be done (the default)")
    trim.add_argument("--yes", action="store_true", help="do it")
    trim.add_argument("--trading", action="store_true", help="streams of the trading side, too")
    parser.set_defaults(action="status", json=False)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0; 1 an error; 2 the archive is not what was written; 4 there is none."""
    from ops import archive_place
    from ops.paths import Paths
    from quantum_ops.history.errors import ArchiveError
    from quantum_ops.ledger.errors import CheckpointError

    folder = archive_place.find(args.dir, archive_place.paths())
    if not folder.names() and args.action not in ("trim", "key"):
        demo = Paths.find().demo_archive
        hint = f"; the demo's is seen with --dir {demo}" if demo.exists() else ""
        why = f"no archive there yet; it begins with the first entry{hint}"
        print(f"{folder.base}: {why}", file=sys.stderr)
        return NO_SUCH
    try:
        return _ACTIONS[args.action](folder, args)
    except ArchiveError as error:
        print(safe(str(error)), file=sys.stderr)
        return WRONG
    except (OSError, ValueError, KeyError, CheckpointError) as error:
        print(f"archive: {safe(str(error.args[0] if isinstance(error, KeyError) else error))}",
              file=sys.stderr)  # fmt: skip
        return ERROR


def _status(folder: Folder, args: argparse.Namespace) -> int:
    from quantum_ops import streams
    from quantum_ops.history.reader import Archive
    from quantum_ops.ledger import checkpoint

    archive = Archive(folder)
    known = checkpoint.newest(folder)
    told: dict[str, Any] = {
        "folder": str(folder.base),
        "entries": len(archive),
        "segments": len(archive.segments),
        "sealed": sum(one.sealed for one in archive.segments),
        "bytes": sum(path.stat().st_size for path in folder.base.iterdir() if path.is_file()),
        "checkpoint": None,
        "streams": {
            key: {"entries": span.count, "first": _id(span.low), "last": _id(span.high)}
            for key, span in sorted(archive.spans().items())
        },
    }
    if known:
        told["checkpoint"] = {"size": known.head.size, "signed": bool(known.signatures)}
    if args.json:
        print(json.dumps(told))
        return 0
    print(f"{told['folder']}: {len(archive)} entries in {told['segments']} segments "
          f"({told['sealed']} sealed), {told['bytes'] / 1e6:.1f} MB")  # fmt: skip
    if known:
        signed = "signed" if known.signatures else "not signed"
        print(f"checkpoint covers {known.head.size}, {signed}")
    print(f"\n{'STREAM':<22} {'ENTRIES':>9}  {'FIRST':<20} LAST")
    for key, span in sorted(archive.spans().items()):
        first, last = _moment(span.low), _moment(span.high)
        print(f"{safe(streams.short(key)):<22} {span.count:>9}  {first:<20} {last}")
    return 0


def _verify(folder: Folder, args: argparse.Namespace) -> int:
    from quantum_ops.history.verify import verify
    from quantum_ops.ledger import checkpoint
    from quantum_ops.ledger.checkpoint import Verifier
    from quantum_ops.ledger.errors import CheckpointError

    try:
        trusted = [
            checkpoint.parse(Path(name).read_text(encoding="utf-8")) for name in args.checkpoint
        ]
        verifier = Verifier.parse(args.key) if args.key else None
    except CheckpointError as error:
        print(f"archive verify: {safe(str(error))}", file=sys.stderr)
        return ERROR
    report = verify(folder, trusted, verifier)
    if args.json:
        told = {
            "ok": report.ok,
            "entries": report.lines,
            "root": report.head.root.hex(),
            "proven": report.proven,
            "signed": report.signed,
            "faults": [
                {"segment": one.segment, "line": one.number, "entry": one.at, "why": one.why}
                for one in report.faults
            ],
            "notes": report.notes,
        }
        print(json.dumps(told))
        return 0 if report.ok else WRONG
    for fault in report.faults:
        print(f"❌ {safe(str(fault), 1000)}")
    for note in report.notes:
        print(f"   {safe(note, 1000)}")
    if report.ok:
        signed = ", signed" if report.signed else ""
        print(
            f"✅ {report.lines} entries in {report.segments} segments are what was written; "
            f"a checkpoint covers {report.proven}{signed}"
        )
    return 0 if report.ok else WRONG


def _cat(folder: Folder, args: argparse.Namespace) -> int:
    import sys as system

    from quantum_ops import streams
    from quantum_ops.history.blocks import FIRST, LAST
    from quantum_ops.history.reader import Archive

    wanted = {streams.find(name).key for name in args.stream} or None
    since = key_of(args.since, low=True) if args.since else FIRST
    until = key_of(args.until, low=False) if args.until else LAST
    for found in Archive(folder).numbered(wanted, since, until):
        if args.event:
            print(json.dumps(_event(found.entry), ensure_ascii=False))
        else:
            system.stdout.buffer.write(found.line + b"\n")
    system.stdout.buffer.flush()
    return 0


def _event(entry: Any) -> dict[str, Any]:
    import msgspec

    from quantum_ops.errors import DecodeError

    told = {"stream": entry.stream, "id": entry.id}
    try:
        return {**told, "event": msgspec.to_builtins(entry.event())}
    except (DecodeError, KeyError) as error:
        return {**told, "error": str(error)}


def _reindex(folder: Folder, _args: argparse.Namespace) -> int:
    from quantum_ops.history import lookup, sealing

    for name in folder.names():
        if not folder.raw(name).exists():
            made = sealing.reindex(folder, name)
            lookup.make(folder, name)
            print(f"{name}: {made.lines} lines, {len(made.blocks)} blocks")
    return 0


def _key(_folder: Folder, _args: argparse.Namespace) -> int:
    from ops import archive_place, proof_trust

    origin, file = archive_place.signer(archive_place.paths())
    if not file:
        why = "its checkpoints are signed by nobody; make a key with: ./run ledger key FILE, and "
        print(f"{safe(origin)}: {why}set ARCHIVE_KEY=FILE", file=sys.stderr)
        return NO_SUCH
    print(proof_trust.public(origin, file).text())
    return 0


def key_of(text: str, *, low: bool) -> Key:
    """The id that ``text`` means: an id, milliseconds, or a time. Raises ``ValueError``."""
    from datetime import UTC, datetime

    from quantum_ops.history.reader import from_ms, until_ms

    match = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", text)
    if match and match[2]:
        return int(match[1]), int(match[2])
    if match and len(match[1]) > 8:  # noqa: PLR2004 - 20260127 is a day, not milliseconds
        ms = int(match[1])
    else:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is neither an id nor a time; write 1769494530123-0 or "
                "2026-01-27T06:15:30Z"
            ) from None
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        ms = int(found.timestamp() * 1000)
    return from_ms(ms) if low else until_ms(ms)


def _moment(key: Key) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(key[0] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return _id(key)


def _id(key: Key) -> str:
    return "{}-{}".format(*key)


def _trim(folder: Folder, args: argparse.Namespace) -> int:
    import time

    from ops.target import open_db
    from quantum_ops import consumer, streams
    from quantum_ops.history import trim
    from quantum_ops.history.reader import Archive

    wanted = [streams.find(name) for name in args.stream] or list(streams.CATALOGUE)
    act = args.yes and not args.dry_run
    db, archive = open_db(), Archive(folder, sealed_only=True)
    for stream in wanted:
        if not stream.ours and not args.trading:
            print(f"{stream.name:<18} kept: the trading side's; --trading includes it")
            continue
        groups = consumer.readers("consumers", stream)
        count, made = 0, None
        while made is None or (act and made.kept_by == trim.NEXT):
            made = trim.plan(db, archive, stream, groups, int(time.time() * 1000))
            count += trim.cut(db, made, groups) if act else made.count
        more = " or more" if made.kept_by == trim.NEXT else ""
        done = "removed" if act else "would go"
        print(f"{stream.name:<18} {count}{more} {done}; the next is kept: {safe(made.kept_by)}")
    if not act:
        print("\nnothing was removed; --yes does it")
    return 0


_ACTIONS = {"status": _status, "verify": _verify, "cat": _cat, "reindex": _reindex, "trim": _trim,
            "key": _key}  # fmt: skip
