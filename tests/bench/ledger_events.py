"""The ledger's consumer under load: deploy events on a server of its own, until all are proven.

What is compared is a bare loop, which reads, writes the lines, syncs and acknowledges and keeps
none of the ledger's promises; and the same consumer on a short ledger.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from consumers.ledger import ledger
from quantum_ops import client, logs, streams
from quantum_ops.ledger import book, project
from quantum_ops.ledger.verify import verify
from quantum_ops.settings import LedgerSettings, RuntimeSettings
from tests.backends import RedisBackend
from tests.bench.page import WrongError
from tests.servers import Server

SOURCE = streams.DEPLOY_COMPLETED.key
BATCH = 200
"""What the consumer takes at once; so does the bare loop."""
DEPLOY = {
    "objective": "Deploy correlation matrix + capital clustering",
    "risk_class": "SERVICE_RESTART",
    "blast_radius": "Portfolio gating layer only",
    "changes_summary": "Deployed P2.7 with warmup observability: fix #42",
    "allowed_paths": "microservices/portfolio_clusters/",
}
Timed = Callable[[Callable[[], Any]], float]


class Desk:
    """A consumer of the ledger in ``folder``, on a server of its own."""

    def __init__(self, server: Server, folder: book.Folder) -> None:
        self.folder = folder
        self.backend = RedisBackend(server.connect)
        settings = LedgerSettings(folder=str(folder.base))
        runtime = RuntimeSettings(block_ms=10)
        self.runner, _ = self.backend.runner(ledger, runtime=runtime, settings=settings)
        self.sent = 0

    def send(self, count: int) -> None:
        """Add so many deploy events."""
        with self.backend.db.pipeline(transaction=False) as pipe:
            for number in range(self.sent, self.sent + count):
                pipe.xadd(SOURCE, {"operation": f"P2.7 Deploy — {number}", **DEPLOY})
            pipe.execute()
        self.sent += count

    def settle(self) -> None:
        """Record all that was sent."""
        self.backend.settle(self.runner)

    def check(self, records: int) -> None:
        """Raise :class:`WrongError` unless all of it is recorded, rendered, told of and proven."""
        report = verify(self.folder)
        told = self.backend.db.xlen(streams.LEDGER_RECORDED.key)
        pending = self.backend.db.xpending(SOURCE, "ledger")["pending"]
        if report.faults or project.check(self.folder) or pending:
            raise WrongError(f"{self.folder.base}: {report.faults[:1]}, {pending} pending")
        if (report.lines, told) != (records, records):
            raise WrongError(f"{report.lines} recorded, {told} told of, of {records}")


@contextlib.contextmanager
def desk(folder: book.Folder) -> Iterator[Desk]:
    """A desk, and its server, for as long as it is needed."""
    server = Server("valkey")
    logs.configure("bench", "error")
    try:
        yield Desk(server, folder)
    finally:
        server.close()


def many(base: Path, pairs: int, count: int, timed: Timed) -> tuple[list[float], list[float]]:
    """Seconds for ``count`` events: by the bare loop, by the consumer."""
    compared, ours = [], []
    with desk(book.Folder.at(base / "events")) as made:
        for pair in range(pairs):
            made.send(count)
            compared.append(timed(lambda: bare(made, base, count)))
            ours.append(timed(made.settle))
            made.check((pair + 1) * count)
    return compared, ours


def bare(made: Desk, base: Path, count: int) -> None:
    """Read, write the values as a line each, sync, acknowledge: the least that is any record."""
    db = made.backend.db
    with contextlib.suppress(*client.SERVER_ERRORS):
        db.xgroup_create(SOURCE, "bare", id="0")
    number = os.open(base / "bare-events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    done = 0
    try:
        while done < count:
            ((_, entries),) = client.raw(
                db, "XREADGROUP", "GROUP", "bare", "b", "COUNT", BATCH, "STREAMS", SOURCE, ">"
            )
            os.write(number, b"".join(b" ".join(flat) + b"\n" for _, flat in entries))
            os.fdatasync(number)
            db.execute_command("XACK", SOURCE, "bare", *(id_ for id_, _ in entries))
            done += len(entries)
    finally:
        os.close(number)


def single(
    short: book.Folder, long: book.Folder, pairs: int, runs: int, timed: Timed
) -> tuple[list[float], list[float]]:
    """Seconds for ``runs`` events one by one: into the short ledger, into the long one."""
    seconds: list[list[float]] = [[], []]
    with desk(short) as one, desk(long) as other:
        sizes = [verify(folder).lines for folder in (short, long)]

        def run(made: Desk) -> None:
            for _ in range(runs):
                made.send(1)
                made.settle()

        for made in (one, other):
            run(made)  # the first ones fill caches, and tell of what was there
        for _ in range(pairs):
            for made, taken in zip((one, other), seconds, strict=True):
                taken.append(timed(lambda made=made: run(made)))  # type: ignore[misc]
        for made, size in zip((one, other), sizes, strict=True):
            made.check(size + (pairs + 1) * runs)
    return seconds[0], seconds[1]
