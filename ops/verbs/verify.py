"""Check a proof that --prove or ./run ledger prove made, anywhere, without archive or ledger."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

PROVEN, BROKEN, USAGE, OPEN, IO_ERROR = 0, 1, 2, 3, 74
MOST_BYTES = 512 * 1024 * 1024


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    from ops import output

    parser.add_argument("file", metavar="FILE", help="the proof; - reads it from standard input")
    parser.add_argument(
        "--key",
        default="",
        metavar="KEY",
        help="the log's public key: name+id+key, or a file of it or of a PEM",
    )
    parser.add_argument(
        "--origin", default="", metavar="NAME", help="the log's name, if the key is PEM"
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint that was kept elsewhere (repeatable)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--archive", default="", metavar="DIR", help="compare it with this archive, too"
    )
    where.add_argument(
        "--alone", action="store_true", help="look at no archive, even if one is here"
    )
    output.add_format(parser, {})
    parser.epilog = (
        "Exit code: 0 proven; 1 forged or broken, and what of it; 2 usage; 3 it fits together, but "
        "nobody says whose log it is, or not all of it is proven; 74 a file cannot be read."
    )


def run(args: argparse.Namespace) -> int:
    """See ops.__main__."""
    from ops import output, proof_check
    from ops.terminal import safe
    from quantum_ops.ledger import checkpoint
    from quantum_ops.ledger.errors import CheckpointError

    try:
        answer = proof_check.check(
            _read(args.file),
            proof_check.Asked(
                args.key,
                _typed(args.key),
                args.origin,
                [one for name in args.against for one in checkpoint.kept(_typed(name))],
                str(_typed(args.archive)) if args.archive else "",
                alone=args.alone,
            ),
        )
    except CheckpointError as error:
        print(f"verify: {safe(str(error), 1000)}", file=sys.stderr)
        return USAGE
    except OSError as error:
        named = str(error.filename or args.file)
        print(f"verify: {safe(named)}: {error.strerror}", file=sys.stderr)
        return IO_ERROR
    if args.format.is_text:
        paint = output.painter(args.color, sys.stdout)
        print(
            "\n".join(paint(line, proof_check.meaning(line)) for line in proof_check.lines(answer))
        )
    else:
        print(args.format.line(proof_check.as_object(answer)))
    if answer.faults:
        return BROKEN
    return PROVEN if answer.proven else OPEN


def _typed(name: str) -> Path:
    """A file as it is seen from where ``./run`` was typed."""
    return Path(os.environ.get("QUANTUM_CALLED_FROM", "")) / Path(name).expanduser()


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(MOST_BYTES)
    with _typed(name).open("rb") as file:
        return file.read(MOST_BYTES)
