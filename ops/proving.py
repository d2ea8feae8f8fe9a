"""The only place of ``--prove``: the proof of what an answer rests on, printed or in a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from ops.terminal import safe
from quantum_ops.history.errors import ArchiveError
from quantum_ops.history.reader import Archive

STDOUT = "-"
UNPROVEN = "not proven yet"
ERROR, IO_ERROR = 1, 74


def configure(parser: argparse.ArgumentParser) -> None:
    """Add ``--prove [FILE]``: empty if it is not asked for, ``-`` without a file."""
    parser.add_argument(
        "--prove",
        nargs="?",
        const=STDOUT,
        default="",
        metavar="FILE",
        help="write the proof of the entries that it rests on to FILE; without one, print it "
        "instead of the answer. ./run verify checks it",
    )


def attach(named: str, archive: Archive | None, rests_on: Iterable[tuple[str, str]]) -> int:
    """Do what ``--prove`` says, if anything; gives the verb's exit code: 0, 1 or 74."""
    if not named:
        return 0
    if archive is None:
        print("--prove: there is no archive that could prove it", file=sys.stderr)
        return ERROR
    try:
        write(named, archive, rests_on)
    except ArchiveError as error:
        print(f"--prove: {safe(str(error), 1000)}", file=sys.stderr)
        return ERROR
    except OSError as error:
        print(f"--prove: {safe(named)}: {error.strerror}", file=sys.stderr)
        return IO_ERROR
    return 0


def write(named: str, archive: Archive, rests_on: Iterable[tuple[str, str]]) -> None:
    """Make the proof of these entries (stream, id) and put it where ``--prove`` says.

    What is not proven by it is told on stderr. Raises DamagedError if the archive is not what its
    checkpoint says, OSError if the file cannot be written.
    """
    from ops import archive_place, proof_trust  # noqa: PLC0415 - only who proves needs them
    from quantum_ops.history import attest  # noqa: PLC0415 - as above
    from quantum_ops.ledger import durable  # noqa: PLC0415 - as above

    keys = proof_trust.own(archive_place.paths())
    made = attest.attest(archive, rests_on, keys)
    if named == STDOUT:
        sys.stdout.write(made.text())
    else:
        path = Path(os.environ.get("QUANTUM_CALLED_FROM", "")) / Path(named).expanduser()
        if path.exists() and not path.is_file():
            path.write_text(made.text(), encoding="utf-8")  # a pipe or device stays what it is
        else:
            durable.write(path, made.text().encode())
        print(f"{safe(named)}: {len(made.entries)} entries proven; check it with: ./run verify "
              f"{safe(named)}", file=sys.stderr)  # fmt: skip
    if made.later:
        print(f"{len(made.later)} entries are newer than the archive's last checkpoint: "
              f"{UNPROVEN}; ask again in a minute", file=sys.stderr)  # fmt: skip
    for absent in made.absent:
        print(f"{safe(absent.stream)} {safe(absent.id)}: is not in the archive: {UNPROVEN}",
              file=sys.stderr)  # fmt: skip
