"""The only place that says what of the ledger is proven: verify, prove, and the key that signs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ops.terminal import safe
from quantum_ops.ledger import checkpoint, consistency, durable, ed25519, proof
from quantum_ops.ledger.checkpoint import Checkpoint, Signer, Verifier
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.lookup import Lookup
from quantum_ops.ledger.report import Report
from quantum_ops.ledger.verify import verify

OK, BAD, USAGE, NOT_FOUND = 0, 1, 2, 4
SHOWN = 20
"""Faults that are shown. After a line is lost, those behind it say no more than the first one."""


def check(folder: Folder, args: argparse.Namespace, origin: str) -> int:
    """``verify``: the whole journal, or the one proof file that is named."""
    trusted = [one for path in args.against for one in checkpoint.kept(Path(path))]
    verifier = public_key(Path(args.key), args.origin or origin) if args.key else None
    if args.proof:
        text = Path(args.proof).read_text(encoding="utf-8", errors="replace")
        try:
            told = check_text(text, trusted, verifier)
        except CheckpointError as error:
            if args.json:
                print(json.dumps({"ok": False, "why": str(error)}))
            raise
        print(json.dumps({"ok": True, **told}) if args.json else _proven(told))
        return OK
    report = verify(folder, trusted, verifier)
    print(json.dumps(_object(report)) if args.json else _text(report, keyed=bool(verifier)))
    return OK if report.ok else BAD


def prove(folder: Folder, args: argparse.Namespace) -> int:
    """``prove``: one record, or with ``--since`` that the log only grew."""
    seq = _number(folder, args.id) if args.id else 0
    if args.id and not seq:
        return NOT_FOUND
    newest = checkpoint.newest(folder)
    if newest is None:
        print("there is no checkpoint; record something, or run: ./run ledger rebuild",
              file=sys.stderr)  # fmt: skip
        return NOT_FOUND
    lines = Journal(folder).lines()
    if args.since:
        old = max(checkpoint.kept(Path(args.since)), key=lambda one: one.head.size)
        text = consistency.make(lines, old, newest).text()
    else:
        text = proof.make(lines, seq, newest).text()
    if args.output:
        durable.write(Path(args.output), text.encode())
    if args.json:
        kind = {"proof": "consistency"} if args.since else {"proof": "record", "seq": seq}
        root = newest.head.root.hex()
        told = {**kind, "size": newest.head.size, "root_sha256": root, "text": text}
        print(json.dumps(told))
        return OK
    if not args.output:
        sys.stdout.write(text)
        return OK
    print(f"{safe(args.output)}: check it with: ./run ledger verify "
          f"{'--against OLD_CHECKPOINT ' if args.since else ''}--key PUBLIC.pem "
          f"{safe(args.output)}")  # fmt: skip
    return OK


def key(args: argparse.Namespace, origin: str) -> int:
    """``key``: make one, and put its public half beside it."""
    path = Path(args.file)
    public = path.with_name(path.name + ".pub")
    if public.exists():
        raise CheckpointError(f"{public}: is there already; name another file")
    ed25519.make(path)
    verifier = Signer(origin, path).verifier()
    durable.write(public, ed25519.pem(verifier.public).encode())
    print(f"key {verifier.text()}")
    # In full: a relative path in a setting starts at the checkout, wherever this was typed.
    setting = safe(str(path.absolute()))
    print(f"{safe(str(path))}      keep it with whoever records: LEDGER_KEY={setting}")
    print(f"{safe(str(public))}  give it to whoever verifies: ./run ledger verify --key")
    return OK


def number_of(lookup: Lookup, wanted: str) -> int:
    """The number of the record that an id, or a number, means; 0 if there is none."""
    if wanted.isascii() and wanted.isdigit():
        found = lookup.number(int(wanted[:18]))
    else:
        found = lookup.operation(wanted)
    return found.seq if found else 0


def _number(folder: Folder, named: str) -> int:
    """The number of the record to be proven; 0, and told, if there is none."""
    with Lookup(folder) as lookup:
        seq = number_of(lookup, named)
        if not seq:
            before = named in {one.id for one, _ in lookup.adopted()}
            told = "is of before the ledger: prove the records of its file by their numbers"
            print(f"{safe(named)}: {told if before else 'no such entry; see ./run ledger list'}",
                  file=sys.stderr)  # fmt: skip
    return seq


def public_key(path: Path, origin: str) -> Verifier:
    """The public key of a file: PEM (of a private key, too) or one line of a C2SP key.

    ``origin`` names the log of a PEM, which has no name. Raises CheckpointError if it is none.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if "PRIVATE KEY-----" in text:
        return Signer(origin, path).verifier()
    try:
        if "-----BEGIN" in text:
            return Verifier(checkpoint.check_name(origin), ed25519.from_pem(text))
        return Verifier.parse(text)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def check_text(
    text: str, trusted: Sequence[Checkpoint], verifier: Verifier | None
) -> dict[str, Any]:
    """What a proof file's text proves; raises CheckpointError if it proves nothing."""
    if text.startswith(consistency.START):
        return _check_consistency(consistency.parse(text), trusted, verifier)
    found = proof.parse(text)
    record = found.check(verifier)
    _is_of(found.checkpoint, verifier)
    for one in trusted:
        if one.head != found.checkpoint.head:
            raise CheckpointError(
                f"the proof leads to a checkpoint of {found.checkpoint.head.size} records, the one "
                f"given is another, of {one.head.size}; prove with: ./run ledger prove --since"
            )
    return {"proof": "record", **_log(found.checkpoint, verifier), "seq": record["seq"],
            "id": record["id"], "type": record["type"], "data": record["data"]}  # fmt: skip


def _check_consistency(
    found: consistency.Consistency, trusted: Sequence[Checkpoint], verifier: Verifier | None
) -> dict[str, Any]:
    if not trusted:
        raise CheckpointError("a proof of consistency needs the older checkpoint: --against FILE")
    for old in trusted:
        found.check(old, verifier)
    _is_of(found.checkpoint, verifier)
    return {"proof": "consistency", **_log(found.checkpoint, verifier), "since": found.old_size}


def _is_of(one: Checkpoint, verifier: Verifier | None) -> None:
    if verifier and one.origin != verifier.name:
        raise CheckpointError(f"it is of the log {one.origin!r}, not of {verifier.name!r}")


def _log(one: Checkpoint, verifier: Verifier | None) -> dict[str, Any]:
    return {"origin": one.origin, "size": one.head.size, "root_sha256": one.head.root.hex(),
            "signed": bool(verifier)}  # fmt: skip


def _proven(told: dict[str, Any]) -> str:
    log = f"the log {safe(told['origin'])} of {told['size']} records"
    what = f"record {told.get('seq')} of {log} is {safe(told.get('id') or told.get('type', ''))}"
    if told["proof"] == "consistency":
        what = f"{log} starts with the {told['since']} records of the checkpoint given"
    rows = [f"PROVEN: {what}, root {told['root_sha256'][:16]}"]
    if told["signed"]:
        rows.append("the signature of its checkpoint fits the key")
    else:
        rows.append("NOT CHECKED: who signed its checkpoint; give the log's key with --key")
    return "\n".join(rows)


def _text(report: Report, *, keyed: bool) -> str:
    rows = [safe(f"BAD: {one}", 1000) for one in report.faults[:SHOWN]]
    if len(report.faults) > SHOWN:
        rows.append(f"and {len(report.faults) - SHOWN} more; the first one is what to look at")
    if report.ok:
        head = f"{report.lines} records, root {report.head.root.hex()[:16]}"
        rows.append(f"HOLDS: {head}; checkpoints cover {report.proven}")
        told = "the signature fits the key" if report.signed else "there is nothing to sign"
        rows.append(told if keyed else "NOT CHECKED: who signed; give the log's key with --key")
    rows += [safe(f"note: {one}", 1000) for one in report.notes]
    return "\n".join(rows)


def _object(report: Report) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "records": report.lines,
        "root_sha256": report.head.root.hex(),
        "covered": report.proven,
        "signed": report.signed,
        "faults": [
            {"record": one.at or None, "segment": one.segment or None, "line": one.number or None,
             "why": one.why}
            for one in report.faults
        ],
        "notes": report.notes,
    }  # fmt: skip


def called_from() -> None:
    """Go to the folder that ``./run`` was called from: files are named as they are seen there."""
    folder = os.environ.get("QUANTUM_CALLED_FROM", "")
    if folder and Path(folder).is_dir():
        os.chdir(folder)
