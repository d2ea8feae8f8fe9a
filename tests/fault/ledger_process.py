"""A process that records operations and tells of each only when it is acknowledged.

``python -m tests.fault.ledger_process FOLDER NAME COUNT``: COUNT operations with ids given out by
the ledger; a line for each: its id and its number.
"""

from __future__ import annotations

import sys
from pathlib import Path

from quantum_ops.ledger import book
from tests.ledger_story import request


def main(base: str, name: str, count: str) -> None:
    folder = book.Folder.at(Path(base))
    for number in range(int(count)):
        asked = request(f"{name}-{number}", stream="fault", stream_id=f"{name}-{number}")
        (receipt,) = book.record_many(folder, [asked], patience_s=120)
        print(receipt.operation_id, receipt.seq, asked.stream_id, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
