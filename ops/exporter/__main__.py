"""The program `exporter`: serves the metrics of the whole system to Prometheus, on 127.0.0.1.

It only reads, and nothing waits for it: without it the system works, unseen.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from pathlib import Path

import walrus
from prometheus_client import CollectorRegistry

from ops.exporter import catalogue, gates, records, standing, tally, web
from ops.exporter.collector import Source, SystemCollector
from ops.exporter.denials import Denials
from ops.exporter.groups import Groups
from ops.exporter.processes import Processes
from ops.exporter.supervised import Supervised
from quantum_ops import checkout, client, knobs, lifeline, logs, metrics_socket, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import readers
from quantum_ops.errors import ConfigurationError
from quantum_ops.history.folder import Folder as ArchiveFolder
from quantum_ops.ledger.folder import Folder as LedgerFolder
from quantum_ops.settings import (
    ArchiveSettings,
    ExporterSettings,
    LedgerSettings,
    RedisSettings,
    RuntimeSettings,
)

PATIENCE_S = 2.0
"""Longest wait for a reply of Redis: a scrape must not run into Prometheus's own limit."""


def sources(
    db: walrus.Database, settings: ExporterSettings, run_dir: Path | None = None
) -> list[Source]:
    """Everything there is to read; of processes only where ``run_dir`` says where they are."""
    ledger, archive = _folders()
    found = [
        Source("groups", "redis", Groups(db, settings.count, _readers()).read),
        Source("universe", "redis", gates.Universe(db).read),
        Source("allowlists", "redis", gates.Gates(db).read),
        Source("permits", "redis", tally.permits(db).read),
        Source("findings", "redis", tally.findings(db).read),
        Source("restarts", "redis", tally.restarts(db, _programs()).read),
        Source("dead_letters", "redis", standing.dead_letters(db).read),
        Source("violations", "redis", standing.violations(db).read),
        Source("denials", "redis", Denials(db).read),
        Source("ledger", "redis", records.Keeper(db, "ledger", records.LEDGER).read),
        Source("archive", "redis", records.Keeper(db, "archive", records.ARCHIVE).read),
        Source("ledger_head", "disk", records.Head(ledger.checkpoint, catalogue.LEDGER_HEAD).read),
        Source(
            "archive_head", "disk", records.Head(archive.checkpoint, catalogue.ARCHIVE_HEAD).read
        ),
    ]
    if run_dir is not None:
        folder = run_dir / metrics_socket.FOLDER
        found += [
            Source("processes", "processes", Processes(folder, settings.process_timeout_s).read),
            Source("supervisord", "supervisord", Supervised().read),
        ]
    return found


def main() -> int:
    """Run the program; gives its exit code: 0 after a stop, 78 for wrong settings."""
    try:
        return _main()
    except ConfigurationError as error:
        return lifeline.refuse(*(f"exporter: {line}" for line in error.lines))


def _main() -> int:
    lifeline.die_with_parent()
    settings = knobs.load(ExporterSettings)
    redis = knobs.load(RedisSettings)
    logs.configure("exporter", knobs.load(RuntimeSettings).log_level)
    clock = Clock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    if settings.port:
        redis = dataclasses.replace(redis, timeout_s=min(redis.timeout_s, PATIENCE_S))
        _serve(client.connect(redis, name="exporter", user="exporter"), settings, clock)
    else:
        logs.get().info("off", why="QUANTUM_EXPORTER_PORT=0")
        while not clock.stopping():
            clock.wait(60.0)
    logs.get().info("stopped")
    return 0


def _serve(db: walrus.Database, settings: ExporterSettings, clock: Clock) -> None:
    run_dir = os.environ.get("QUANTUM_RUN_DIR")
    registry = CollectorRegistry()
    registry.register(SystemCollector(sources(db, settings, Path(run_dir) if run_dir else None)))
    server = web.serve(registry, settings.port)
    thread = threading.Thread(target=server.serve_forever, name="http")
    thread.start()
    logs.get().info("started", url=f"http://{web.HOST}:{settings.port}/metrics")
    while not clock.stopping():
        clock.wait(60.0)
    server.shutdown()
    thread.join()
    server.server_close()


def _readers() -> list[tuple[str, str]]:
    """(stream key, group) of every consumer there is."""
    return [
        (stream.key, group)
        for stream in streams.CATALOGUE
        for group in readers("consumers", stream)
    ]


def _programs() -> list[str]:
    """Programs that have a stanza of their own; a spare is one of the program it is a spare of."""
    stanzas = (checkout.root() / "supervisor").glob("*.d/*.conf")
    return sorted({path.stem.removesuffix("_spare") for path in stanzas})


def _folders() -> tuple[LedgerFolder, ArchiveFolder]:
    """Where ledger and archive lie, as their own consumers find them."""
    ledger, archive = knobs.load(LedgerSettings), knobs.load(ArchiveSettings)
    return (
        LedgerFolder.find({"LEDGER_DIR": ledger.folder}, checkout.root()),
        ArchiveFolder.find({**os.environ, "ARCHIVE_DIR": archive.folder}),
    )


if __name__ == "__main__":
    sys.exit(main())
