"""The ledger's consumer on a server of its own, and the files that come of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from consumers.ledger import ledger
from quantum_ops import streams
from quantum_ops.clock import Clock
from quantum_ops.events import AuditFinding, DeadLetter, LedgerRecorded
from quantum_ops.ledger import outbox, project
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.verify import verify
from quantum_ops.settings import LedgerSettings
from tests.backends import RedisBackend

SOURCE = streams.DEPLOY_COMPLETED.key
DEPLOY = {
    "operation": "P2.7 Deploy — Portfolio Clusters",
    "objective": "Deploy correlation matrix",
    "risk_class": "SERVICE_RESTART",
    "blast_radius": "Portfolio gating layer only",
    "changes_summary": 'fix #42: it\'s "done"',
}


class SignoffRig:
    """What a story needs: send deploys, run the consumer, look at ledger and streams."""

    def __init__(self, server: Any, base: Path, **settings: Any) -> None:
        self.backend = RedisBackend(server.connect)
        self.db = self.backend.db
        self.folder = Folder.at(base)
        self.settings = LedgerSettings(folder=str(base), **settings)
        self.observer: Any = None

    def send(self, id_: str = "*", /, **fields: str) -> str:
        """One deploy.completed as a script sends it; gives its entry id."""
        sent = {name: value for name, value in {**DEPLOY, **fields}.items() if value is not None}
        flat = [part for pair in sent.items() for part in pair]
        return self.db.execute_command("XADD", SOURCE, id_, *flat).decode()

    def opened(self, name: str = "one", clock: Clock | None = None) -> Any:
        """A process that is up, before it read anything."""
        runner, self.observer = self.backend.runner(
            ledger, name, settings=self.settings, clock=clock
        )
        return runner

    def settle(self, name: str = "one") -> SignoffRig:
        """A process that starts, does all there is to do, and goes."""
        runner = self.opened(name)
        self.backend.settle(runner)
        self.leave(runner)
        return self

    @staticmethod
    def leave(runner: Any) -> None:
        """What the death of its process does."""
        runner._context.held.keeper.close()
        runner._inbox.disconnect()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Journal(self.folder).lines()]

    def operations(self) -> list[dict[str, Any]]:
        """The data of all recorded operations."""
        return [one["data"] for one in self.records() if one["type"] == "operation.recorded"]

    def ids(self) -> list[str]:
        return [one["operation_id"] for one in self.operations()]

    def told(self) -> list[LedgerRecorded]:
        return self.backend.events(LedgerRecorded)

    def findings(self) -> list[AuditFinding]:
        return self.backend.events(AuditFinding)

    def found(self) -> list[str]:
        return [one.finding for one in self.findings()]

    def letters(self) -> list[DeadLetter]:
        return self.backend.events(DeadLetter)

    def pending(self) -> int:
        return self.backend.pending(SOURCE, "ledger")

    def holds(self) -> None:
        """The journal is whole, rendered, and each of its records was told of once, in order."""
        report = verify(self.folder)
        assert report.ok, report.faults
        assert project.check(self.folder) == []
        lines = list(Journal(self.folder).lines())
        told = self.told()
        assert [one.seq for one in told] == list(range(1, len(lines) + 1))
        assert [one.entry_sha256 for one in told] == [outbox.sha256(line) for line in lines]
        if told:
            assert (told[-1].tree_size, told[-1].root_sha256) == (
                report.head.size, report.head.root.hex(),
            )  # fmt: skip
