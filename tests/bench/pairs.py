"""The only place that runs cases: each in its own process, each right after the baseline.

Neighbours on the machine slow everything by turns, so absolute rates mean little. A case and the
baseline run within the same two seconds, and their ratio is what is kept.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from quantum_ops import streams
from tests.bench import workload
from tests.bench.cases import BASELINE, CASES
from tests.bench.place import CLIENT_CPU, Server, born_on
from tests.bench.results import CaseResult, Pair, Run

PATIENCE_S = 20.0
"""For one event, or for a process to start."""
RUN_S = 120.0
LAST_S = 2.0


class CaseFailedError(Exception):
    """A case did not do what it had to: its numbers mean nothing."""


def missing(name: str) -> str:
    """Why case ``name`` cannot run here; empty if it can."""
    needs = CASES[name].needs
    if needs and importlib.util.find_spec(needs) is None:
        return f"{needs} is not installed (pip install -r requirements-dev.txt)"
    return ""


class Worker:
    """The process of one case, ready to go."""

    def __init__(self, name: str, job: dict[str, Any], *, profile: bool = False) -> None:
        self.name = name
        command = [sys.executable, "-m", "tests.bench.worker", name, json.dumps(job)]
        # Settings of the machine must not reach the runtime under test.
        kept = {key: value for key, value in os.environ.items() if not key.startswith("QUANTUM_")}
        with born_on(CLIENT_CPU):
            self.process = subprocess.Popen(
                command + ["--profile"] * profile,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=kept,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        try:
            self.expect(b"ready\n")
        except CaseFailedError:
            self.close()
            raise

    def go(self) -> None:
        """Start the clock."""
        self._in.write(b"go\n")

    def expect(self, wanted: bytes) -> None:
        """Read ``wanted`` and nothing more; raises :class:`CaseFailedError` if it does not come."""
        got = b""
        while len(got) < len(wanted):
            got += self._read(len(wanted) - len(got), PATIENCE_S)
        if got != wanted:
            raise CaseFailedError(f"{self.name}: said {got!r} instead of {wanted!r}")

    def answer(self) -> dict[str, Any]:
        """What it measured."""
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(1 << 16, RUN_S)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it if it does not end by itself: a case that hangs must not hang the benchmark."""
        self._in.close()
        try:
            self.process.wait(LAST_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._out.close()

    def _read(self, most: int, patience_s: float) -> bytes:
        ready, _, _ = select.select([self._out], [], [], patience_s)
        if not ready:
            raise CaseFailedError(f"{self.name}: silent for {patience_s:.0f} s")
        piece = self._out.read(most)
        if not piece:
            raise CaseFailedError(f"{self.name}: its process died")
        return piece


def make_group(server: Server, key: str, group: str) -> None:
    """A group that has read nothing yet."""
    drop_group(server, key, group)
    server.db.xgroup_create(key, group, id="0", mkstream=True)


def drop_group(server: Server, key: str, group: str) -> None:
    """Take the group and what the runtime keeps beside it away."""
    if server.db.exists(key):
        server.db.xgroup_destroy(key, group)
    server.db.delete(streams.checkpoint(key, group))


def run_once(
    server: Server, name: str, entries: int, *, profile: bool = False, stream: str = ""
) -> tuple[Run, dict[str, int]]:
    """One run of case ``name`` over ``entries`` entries; gives its numbers and its samples.

    It reads ``stream``, or the one that its case names.
    Raises :class:`CaseFailedError` unless each entry was handled once, none is pending and every
    effect was applied.
    """
    case = CASES[name]
    stream = stream or case.stream
    key = workload.stream(stream).key
    group = f"bench_{name}"
    if case.applies:
        workload.clear_effects(server.db)
    make_group(server, key, group)
    job = {
        "url": server.url, "stream_name": stream, "key": key, "group": group, "count": entries,
    }  # fmt: skip
    worker = Worker(name, job, profile=profile)
    try:
        cpu_s = server.cpu_s()
        worker.go()
        said = worker.answer()
        cpu_s = server.cpu_s() - cpu_s
    finally:
        worker.close()
    pending: Any = server.db.xpending(key, group)
    if said["seen"] != entries:
        raise CaseFailedError(f"{name}: handled {said['seen']} of {entries} entries")
    if pending["pending"]:
        raise CaseFailedError(f"{name}: left {pending['pending']} entries pending")
    wrong = ""
    if case.applies:
        wrong = workload.effects_missing(server.db, entries, unordered=case.unordered)
    if wrong:
        raise CaseFailedError(f"{name}: {wrong}")
    drop_group(server, key, group)
    run = Run(
        entries / said["wall_s"], said["cpu_s"] / entries * 1e6, cpu_s / entries * 1e6,
        said["rss_mib"],
    )  # fmt: skip
    return run, said["samples"]


def compare(
    server: Server,
    names: list[str],
    rounds: int,
    sizes: dict[str, int],
    note: Callable[[str], None],
) -> dict[str, CaseResult]:
    """Results of the cases ``names``: ``rounds`` pairs each, rounds interleaved.

    ``sizes`` is stream name -> entries. The baseline itself is paired too: its ratio shows the
    noise. A case that fails keeps its reason and no numbers.
    """
    results = {name: CaseResult(name) for name in names}
    for number in range(rounds):
        for name in names:
            result = results[name]
            result.failure = result.failure or missing(name)
            if result.failure:
                continue
            note(f"round {number + 1}/{rounds}: {name}")
            try:
                base, _ = run_once(server, BASELINE, sizes[CASES[BASELINE].stream])
                run, _ = run_once(server, name, sizes[CASES[name].stream])
            except CaseFailedError as error:
                result.failure = str(error)
                result.pairs.clear()
            else:
                result.pairs.append(Pair(base, run))
    return results
