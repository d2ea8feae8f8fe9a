"""Make a key that signs permits; show a permit; prove it as an executor would."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from ops.terminal import safe

if TYPE_CHECKING:
    import walrus

    from quantum_ops.events import ApplyPlan

PAGE = 1000
LOOK_BACK = 100_000
"""Plans that are looked through, newest first, for the one that a permit is about."""
DENIED, MISSING = 3, 4


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    key = actions.add_parser("key", help="make a signing key: FILE (mode 0600) and FILE.pub")
    key.add_argument("file")
    show = actions.add_parser("show", help="P3.3's permit or denial of a plan, as it stands now")
    show.add_argument("plan_id")
    verify = actions.add_parser("verify", help="check it as an executor does; consumes nothing")
    verify.add_argument("plan_id")
    verify.add_argument(
        "--key", action="append", default=[], metavar="FILE", help="trusted public key (PEM)"
    )
    verify.add_argument("--unsigned", action="store_true", help="take it without a signature, too")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 made, shown, allowed; 3 not allowed; 4 no such permit or plan; 1 wrong files."""
    if args.action == "key":
        return _key(args.file)
    from ops.target import open_db

    db = open_db()
    if args.action == "show":
        return _show(db, args.plan_id)
    return _verify(db, args)


def _key(path: str) -> int:
    from quantum_ops import permits
    from quantum_ops.errors import ConfigurationError

    try:
        signer = permits.new_key(path)
    except ConfigurationError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return 1
    print(f"key id {signer.key_id}")
    print(f"{path}      keep it with P3.3: P33_SIGNING_KEY={path}")
    print(f"{path}.pub  give it to the executors")
    return 0


def _show(db: walrus.Database, plan_id: str) -> int:
    import redis

    from quantum_ops import streams

    key = streams.permit("p33", plan_id)
    try:
        raw, left_ms = db.pipeline(transaction=True).get(key).pttl(key).execute()
    except redis.ResponseError:
        kind = db.type(key).decode()
        print(f"{safe(key)} is a {kind}: no permit of P3.3's, which replaces it", file=sys.stderr)
        return DENIED
    if raw is None:
        print(f"no permit of {safe(plan_id)}: not decided, expired or consumed", file=sys.stderr)
        return MISSING
    try:
        shown = json.dumps(json.loads(raw), indent=2)
    except (ValueError, RecursionError):
        shown = raw.decode("utf-8", "backslashreplace")
    print("\n".join(safe(line) for line in shown.splitlines()))
    print(f"expires in {left_ms / 1000:.1f} s" if left_ms >= 0 else "never expires")
    return 0


def _verify(db: walrus.Database, args: argparse.Namespace) -> int:
    from quantum_ops import permits
    from quantum_ops.errors import ConfigurationError

    try:
        trusted = permits.trusted(args.key)
    except ConfigurationError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return 1
    plan = _find(db, args.plan_id)
    if plan is None:
        print(
            f"no plan {safe(args.plan_id)} among the newest {LOOK_BACK} of apply.plan",
            file=sys.stderr,
        )
        return MISSING
    verdict = permits.verify(
        db, plan, trusted=trusted, consume=False, require_signature=not args.unsigned
    )
    told = verdict.permit.reason if verdict.permit else ""
    print(
        f"{'ALLOWED' if verdict.allow else 'NOT ALLOWED'}: {verdict.reason} {safe(told)}".rstrip()
    )
    print(permits.REASONS[verdict.reason])
    if verdict.reason == "missing":
        return MISSING
    return 0 if verdict.allow else DENIED


def _find(db: walrus.Database, plan_id: str) -> ApplyPlan | None:
    """The newest plan of that id that can be read."""
    from quantum_ops import client, codec, streams
    from quantum_ops.errors import DecodeError
    from quantum_ops.events import ApplyPlan

    wanted, top = plan_id.encode("utf-8", "surrogateescape"), b"+"
    for _ in range(0, LOOK_BACK, PAGE):
        rows: list[Any] = client.raw(
            db, "XREVRANGE", streams.APPLY_PLAN.key, top, "-", "COUNT", PAGE
        )
        for _, flat in rows:
            if wanted in flat[1::2]:
                try:
                    plan: ApplyPlan = codec.decoder(ApplyPlan)(flat)
                except DecodeError:
                    continue
                if plan.plan_id == plan_id:
                    return plan
        if len(rows) < PAGE:
            return None
        top = b"(" + rows[-1][0]
    return None
