"""The only place where tests make a world for the status page, and serve the page on it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from ops.status_page import readers, serving, web
from ops.status_page.collector import Collector
from ops.status_page.picture import ProcessesSeen, Running
from quantum_ops import streams
from quantum_ops.audit import verdict
from quantum_ops.clock import Clock
from quantum_ops.events import AuditFinding, DeadLetter, PermitDecided
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.ledger.folder import Folder
from quantum_ops.publisher import Publisher
from quantum_ops.settings import StatusPageSettings
from tests.p33_rig import publish_universe
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
EVERY_S = 0.2
HOSTILE = (
    '<img src=x onerror="document.title=1">\x1b[31m\u202e</td><script>document.title=2</script>'
)


class World:
    """What the page looks at, on ``server``: everything in order, until a story changes it."""

    def __init__(self, server: Any) -> None:
        self.db = server.connect()
        self.publisher = Publisher(self.db)

    def in_order(self) -> Self:
        """A fresh universe, every group caught up, every auditor at work, nothing open."""
        self.db.flushall()
        publish_universe(self.db, "BTCUSDT", "ETHUSDT", refresh_s=600)
        for key, group in readers.expected():
            self.db.xgroup_create(key, group, id="0", mkstream=True)
        for auditor, _ in verdict.AUDITORS.values():
            self.beat(auditor)
        self.decide("sanity_checks_passed", allow=True)
        self.catch_up()
        return self

    def beat(self, program: str, state: str = "ready", **fields: Any) -> None:
        Heartbeat(self.db, program).beat(state, force=True, **fields)
        self.db.persist(streams.heartbeat(program, 0))  # a story is longer than a heartbeat
        self.db.hset(streams.heartbeat(program, 0), "updated_ms", str(2**52))

    def catch_up(self) -> None:
        """Every group has read and acknowledged everything."""
        for key, group in readers.expected():
            self.db.execute_command("XGROUP", "SETID", key, group, "$")

    def decide(self, reason: str, *, allow: bool = False, count: int = 1) -> None:
        for number in range(count):
            event = PermitDecided(
                gate="p33", plan_id=f"{number:016x}", symbol="BTCUSDT", allow=allow, reason=reason
            )
            self.publisher.publish(event)

    def violate(self, finding: str = "executed_without_permits", **fields: str) -> str:
        event = AuditFinding(
            auditor="permit_audit", finding=finding, severity="critical",
            **{"subject": "0b2d6ba7470f82c9", "detail": "NOSUCHUSDT executed", **fields},
        )  # fmt: skip
        return self.publisher.publish(event)

    def bury(self, reason: str = "rejected", group: str = "p33") -> str:
        letter = DeadLetter(
            stream=streams.APPLY_PLAN.key, group=group, consumer="c", entry_id="1-0",
            deliveries=1, reason=reason,
        )  # fmt: skip
        return self.publisher.publish(letter)

    def settle(self, key: str, id_: str) -> None:
        self.db.hset(key, id_, json.dumps({"by": "story"}))


class Site:
    """The page served in this process, on the real readers; ``processes`` is the story's to say."""

    def __init__(self, db: Any, ledger: Path, **overridden: Any) -> None:
        self.processes = ProcessesSeen(
            (Running("p33-00", "RUNNING", "READY", fine=True),), "RUNNING"
        )
        environ = {"LEDGER_DIR": str(ledger)}
        every = readers.all_of(db, environ) | {"processes": lambda: self.processes} | overridden
        self._clock = Clock()
        settings = StatusPageSettings(every_s=EVERY_S)
        self.looker = serving.Looker(Collector(every, EVERY_S), settings, self._clock)
        self._socket = serving.listener(0)
        self.port = self._socket.getsockname()[1]
        self.url = serving.url(self.port)
        site = web.Site(lambda: self.looker.newest, lambda: Folder.at(ledger), EVERY_S)
        self._server = serving.server(web.app(site, lambda: self._server.should_exit))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> Self:
        self.looker.start()
        self._thread.start()
        wait_until(lambda: self._server.started and self.looker.newest.number, 30, "page is up")
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.stop()
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        assert not self._thread.is_alive()


class Program:
    """The program itself, as supervisord starts it."""

    def __init__(self, url: str, port: int, **environ: str) -> None:
        self.port = port
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.status_page"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={
                "PATH": os.environ["PATH"], "REDIS_URL": url, "QUANTUM_ENV_DIR": "/nonexistent",
                "QUANTUM_HOME": "/nonexistent", "QUANTUM_STATUS_PAGE_PORT": str(port),
                "QUANTUM_STATUS_PAGE_SEC": str(EVERY_S), "REDIS_TIMEOUT_SEC": "1",
                "LEDGER_DIR": "/nonexistent", **environ,
            },
        )  # fmt: skip

    def __enter__(self) -> Self:
        wait_until(self.is_up, 30, "the page answers")
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def is_up(self) -> bool:
        try:
            return get(self.port, "/verdict")[0] == 200
        except OSError:
            return False

    def end_of_refusal(self) -> tuple[int, str]:
        """Exit code and what it said, of one that is to end by itself."""
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said

    def end(self) -> tuple[int, str]:
        """Exit code and everything it said."""
        if self.process.poll() is None:
            self.process.terminate()
        said, _ = self.process.communicate(timeout=20)
        return self.process.returncode, said


def get(
    port: int, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def verdict_of(port: int) -> list[str]:
    """The word, then each reason."""
    return get(port, "/verdict")[2].splitlines()
