"""The only place that finds out how peers recover; ``./run bench --peers`` shows it in its table.

What becomes of entries when a worker is killed, when the server is emptied, when an entry cannot be
handled: for this runtime and its peers, each as its own documentation sets it up.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import redis

from quantum_ops import streams
from tests.bench import machine, recovery_worker, workload
from tests.bench.page import WrongError
from tests.bench.place import Server
from tests.bench.recovery_worker import Job

ENTRIES = 300
KILLED_AFTER = (60, 100, 150)
"""Entries after which the worker is killed, each time anew."""
DELAY_MS = 2.0
FEW = 20
POISON = 13
PATIENCE_S = 20.0
"""Longest wait for what ought to come; whoever needs longer has not recovered here."""
START_S = 20.0
AT_ONCE = 6
"""Peers that are tried at the same time; most of it is waiting."""
KEY = workload.stream(workload.LONG).key


@dataclass(frozen=True, slots=True)
class Told:
    """One scenario's outcome, in words for the table; ``good`` says that nothing is missing."""

    text: str
    good: bool


class Trial:
    """One peer on one server, with a file that its workers note in."""

    def __init__(self, server: Server, peer: str, folder: Path) -> None:
        self.server, self.peer, self.folder = server, peer, folder
        self.job = Job(server.url, KEY, "", "")

    def anew(self, number: int, **changes: Any) -> None:
        """An empty server and an empty file."""
        self.server.db.flushall()
        group = f"recovery_{self.peer}"
        notes = str(self.folder / f"{self.peer}.{number}")
        self.job = replace(Job(self.server.url, KEY, group, notes), **changes)

    def send(self, numbers: range) -> None:
        """Publish as the peer's producers do."""
        if self.peer.startswith("taskiq"):
            asyncio.run(self._send_tasks(numbers))
            return
        for number in numbers:
            self.server.db.xadd(KEY, workload.fields(number))  # type: ignore[arg-type]  # a dict of str is one of EncodableT

    async def _send_tasks(self, numbers: range) -> None:
        broker, count = recovery_worker.taskiq_broker(self.job)
        await broker.startup()
        for number in numbers:
            await count.kiq(number)
        await broker.shutdown()

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A worker's process, killed at the end."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("QUANTUM_", "REDIS_"))}
        command = [sys.executable, "-m", "tests.bench.recovery_worker", self.peer]
        with (self.folder / f"{self.peer}.err").open("ab") as errors:
            process = subprocess.Popen(
                [*command, json.dumps(asdict(self.job))], stderr=errors, cwd=machine.ROOT,
                env={**kept, "QUANTUM_ENV_DIR": "/nonexistent"},
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def handled(self) -> collections.Counter[str]:
        """How often each note (``+7``, ``!13``) stands in the file."""
        try:
            return collections.Counter(Path(self.job.notes).read_text(encoding="ascii").split())
        except FileNotFoundError:
            return collections.Counter()

    def until(self, done: Callable[[], bool], seconds: float) -> float | None:
        """Seconds until ``done``; None if it did not come about."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if done():
                return time.monotonic() - begun
            time.sleep(0.02)
        return None

    def ready(self) -> bool:
        """Whether the worker has made its group: some begin with what comes after that."""
        try:
            return bool(self.server.db.xinfo_groups(KEY))
        except redis.ResponseError:
            return False

    def settled(self) -> bool:
        """Whether the group has read everything and holds nothing."""
        try:
            groups: Any = self.server.db.xinfo_groups(KEY)
        except redis.ResponseError:  # no such stream: nothing is settled in it
            return False
        return bool(groups) and all(one["pending"] == 0 for one in groups)


def kill(trial: Trial) -> Told:
    """kill -9 in the midst of a batch; a worker of the same name is started at once."""
    lost, twice, longest_s = 0, 0, 0.0
    for number, after in enumerate(KILLED_AFTER):
        trial.anew(10 + number, delay_ms=DELAY_MS)
        with trial.worker() as first:
            trial.until(trial.ready, START_S)
            trial.send(range(ENTRIES))
            if trial.until(lambda: len(trial.handled()) >= after, START_S) is None:
                raise WrongError(f"{trial.peer}: handled {len(trial.handled())} of {ENTRIES}")
            first.send_signal(signal.SIGKILL)
        with trial.worker():
            took = trial.until(lambda: len(trial.handled()) == ENTRIES, PATIENCE_S)
            found = trial.handled()
        lost += ENTRIES - len(found)
        twice += sum(count - 1 for count in found.values())
        longest_s = max(longest_s, took or 0.0)
    text = f"{lost} never handled" if lost else f"all, after {longest_s:.1f} s at most"
    return Told(f"{text}; {twice} twice" if twice else text, good=not lost)


def flush(trial: Trial) -> Told:
    """FLUSHALL under a worker that has nothing to do; then new entries come."""
    trial.anew(2)
    with trial.worker() as process:
        trial.until(trial.ready, START_S)
        trial.send(range(FEW))
        if trial.until(lambda: len(trial.handled()) == FEW, START_S) is None:
            raise WrongError(f"{trial.peer}: handled {len(trial.handled())} of {FEW}")
        trial.server.db.flushall()
        trial.send(range(FEW, 2 * FEW))
        took = trial.until(lambda: len(trial.handled()) == 2 * FEW, PATIENCE_S)
        alive = process.poll() is None
        found = len(trial.handled()) - FEW
    if took is not None:
        return Told(f"all {FEW} after {took:.1f} s", good=True)
    state = "still runs" if alive else f"ended with exit code {process.returncode}"
    return Told(f"{found} of {FEW} handled; it {state}", good=False)


def poison(trial: Trial) -> Told:
    """One entry among others on which the handler raises each time."""
    trial.anew(3, poison=POISON)
    with trial.worker() as process:
        trial.until(trial.ready, START_S)
        trial.send(range(FEW))
        others = trial.until(
            lambda: len([note for note in trial.handled() if note[0] == "+"]) == FEW - 1, PATIENCE_S
        )
        trial.until(trial.settled, PATIENCE_S)
        alive = process.poll() is None
        tries = trial.handled()[f"!{POISON}"]
    kept = trial.server.db.xlen(streams.DEAD_LETTER.key)
    where = (
        "in the dead letter, with its bytes and the error" if kept
        else "gone: acknowledged, kept nowhere" if trial.settled()
        else "pending, for ever or until somebody looks"
    )  # fmt: skip
    text = f"tried {'once' if tries == 1 else f'{tries} times'}, then {where}"
    if others is None:
        left = FEW - 1 - len([note for note in trial.handled() if note[0] == "+"])
        text += f"; {left} others not handled"
    if not alive:
        text += f"; the worker ended with exit code {process.returncode}"
    return Told(text, bool(kept) and others is not None and alive)


SCENARIOS: dict[str, Callable[[Trial], Told]] = {
    "kill -9 in mid-batch": kill,
    "FLUSHALL": flush,
    "poison": poison,
}


def all_at_once(
    program: Path, peers: list[str], folder: Path, note: Callable[[str], None]
) -> dict[str, dict[str, Told]]:
    """Every scenario of every peer: outcomes by peer and scenario.

    Most of it is waiting for what does not come, so several wait at once, each on a server of its
    own. Raises :class:`WrongError` if a worker did not do its plain work, or ours did not recover.
    """
    servers = [Server(program) for _ in peers]
    try:
        trials = [Trial(server, peer, folder) for server, peer in zip(servers, peers, strict=True)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rows = pool.map(lambda trial: _one(trial, note), trials)
            told = dict(zip(peers, rows, strict=True))
    finally:
        for server in servers:
            server.close()
    if not all(one.good for one in told.get("ours", {}).values()):
        raise WrongError(f"this runtime did not recover: {told['ours']}")
    return told


def _one(trial: Trial, note: Callable[[str], None]) -> dict[str, Told]:
    told = {}
    for name, scenario in SCENARIOS.items():
        told[name] = scenario(trial)
        note(f"{trial.peer}, {name}: {told[name].text}")
    return told
