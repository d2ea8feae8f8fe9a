"""The only place that puts a scenario together: server, workers, producers, the outside checker."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import redis

from tests.reliability.farm import ROOT, Farm
from tests.reliability.names import BY, EFFECTS, STREAM
from tests.servers import Server
from tests.waiting import wait_until

GROUP = "counting"
ALWAYS = (
    "--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "no",
    "--aof-use-rdb-preamble", "yes", "--aof-load-truncated", "yes",
)  # fmt: skip
"""What the server that ./run starts is told about durability (ops/redis/server.conf)."""
CLAIM_AFTER_S = 0.2
QUICK_CLAIM_S = 0.06
"""Of a process that is to be the first to claim."""
HARD = {
    "QUANTUM_BLOCK_MS": "20",
    "QUANTUM_BATCH": "20",
    "QUANTUM_CLAIM_AFTER_SEC": str(CLAIM_AFTER_S),
    "QUANTUM_RETRY_BASE_SEC": "0.01",
    "QUANTUM_RETRY_CAP_SEC": "0.05",
    # A delivery that a kill ended counts as one; what is looked for here is loss, not patience.
    "QUANTUM_MAX_DELIVERIES": "1000",
}
"""Settings of the workers where a scenario does not say otherwise."""


class Rig:
    """One scenario's world on ``server``. ``close`` ends what was started in it."""

    def __init__(self, server: Server, farm: Farm) -> None:
        self.server = server
        self.farm = farm
        self.folder = Path(tempfile.mkdtemp(prefix="qo-rel-"))
        self.db: Any = redis.Redis.from_url(
            server.url, decode_responses=True, protocol=2, encoding_errors="backslashreplace"
        )
        self.journals: list[Path] = []
        self._read: dict[Path, tuple[int, int]] = {}
        self.sleepers = self.folder / "sleepers"
        self.recovered_s: list[float] = []
        self._pids: dict[int, Any] = {}
        self._numbers = itertools.count()
        self._watching: list[tuple[float, list[str]]] = []
        self._done = threading.Event()
        self._watch: threading.Thread | None = None

    def worker(
        self, number: int, name: str = GROUP, point: str = "", *, url: str = "", after: int = 1,
        signal_: int = signal.SIGKILL, patience_s: float = 0.0, **settings: str,
    ) -> int:  # fmt: skip
        """Process ``number`` of a program of the product; gives its pid."""
        env = {
            **HARD,
            "REDIS_URL": url or self.server.url,
            "SUPERVISOR_PROCESS_NAME": f"{name}-{number:02d}",
            "QUANTUM_HOME": str(self.folder),
            **settings,
        }
        spec = {"name": name, "point": point, "after": after, "signal_": signal_}
        return self._fork("run", f"{name}-{number}", env, patience_s=patience_s, **spec)

    def bad(
        self, name: str, number: int, point: str = "", signal_: int = 9, after: int = 1
    ) -> int:  # fmt: skip
        """A consumer by a protocol that is known to be wrong."""
        spec = {"name": name, "me": f"bad{number}", "point": point, "signal_": signal_}
        return self._fork("bad", f"bad-{number}", {}, url=self.server.url, after=after, **spec)

    def producer(
        self, how: str = "plain", *, url: str = "", backlog: int = 2000, limit: int = 0,
        timeout_s: float = 5.0, pause_s: float = 0.0,
    ) -> int:  # fmt: skip
        """A process that sends events until it is ended, or has sent ``limit``; gives its pid."""
        number = next(self._numbers)
        journal = self.folder / f"journal-{number}"
        journal.touch()
        self.journals.append(journal)
        return self._fork(
            "produce", f"producer-{number}", {}, url=url or self.server.url, journal=str(journal),
            prefix=f"{number}.", how=how, backlog=backlog, limit=limit, timeout_s=timeout_s,
            pause_s=pause_s,
        )  # fmt: skip

    def kill(self, pid: int) -> str:
        """kill -9; gives how it ended."""
        self._pids.pop(pid, None)
        return self.farm.kill(pid)

    def ended(self, pid: int, timeout_s: float) -> str:
        """Wait for it to end by itself (or to be stopped); empty if it does not."""
        state = self.farm.wait(pid, timeout_s)
        if state and not state.startswith("stopped"):
            self._pids.pop(pid, None)
        return state

    def end(self, pid: int) -> str:
        """Stop it in order; gives how it ended."""
        self._pids.pop(pid, None)
        return self.farm.end(pid)

    def me(self, number: int, name: str = GROUP) -> str:
        """The consumer name of process ``number``."""
        return f"{os.uname().nodename}:{name}:{number}"

    def held(self, me: str) -> list[str]:
        """Ids of the entries that are pending with consumer ``me``."""
        return _pending(self.db, "-", "+", me)

    def still_pending(self, ids: list[str]) -> bool:
        """Whether any of these (ascending) is pending with anybody."""
        if not ids:
            return False
        return not set(_pending(self.db, ids[0], ids[-1])).isdisjoint(ids)

    def note_sleeper(self, pid: int, held: list[str]) -> None:
        """Who had done what sleeping process ``pid`` held; the checker compares at the end."""
        plans = []
        for entry_id in held:
            [(_, fields)] = self.db.xrange(STREAM, entry_id, entry_id)
            plans.append(fields["plan_id"])
        doers = self.db.hmget(BY, plans) if plans else []
        with self.sleepers.open("a", encoding="ascii") as to:
            for plan, doer in zip(plans, doers, strict=True):
                to.write(f"{pid} {plan} {doer}\n")

    def watch_recovery(self, ids: list[str], since_s: float) -> None:
        """Note how long it takes from ``since_s`` until none of ``ids`` is pending any more."""
        if not ids:
            return
        self._watching.append((since_s, ids))
        if self._watch is None:
            self._watch = threading.Thread(target=self._look, daemon=True)
            self._watch.start()

    def _look(self) -> None:
        db = redis.Redis.from_url(self.server.url, decode_responses=True, protocol=2)
        while not self._done.is_set():
            for one in list(self._watching):
                since_s, ids = one
                if set(_pending(db, ids[0], ids[-1])).isdisjoint(ids):
                    self.recovered_s.append(time.monotonic() - since_s)
                    self._watching.remove(one)
            self._done.wait(0.003)
        db.close()

    def settled(self) -> bool:
        """Whether all that stands in the stream is delivered and acknowledged."""
        try:
            groups = [g for g in self.db.xinfo_groups(STREAM) if g["name"] == GROUP]
            last = self.db.xinfo_stream(STREAM)["last-generated-id"]
        except redis.ResponseError:
            return False
        return any(g["pending"] == 0 and g["last-delivered-id"] == last for g in groups)

    def settle(self, timeout_s: float = 60.0) -> float:
        """Wait until it is :meth:`settled`; gives the seconds that took."""
        began = time.monotonic()
        wait_until(self.settled, timeout_s, "all is settled")
        return time.monotonic() - began

    def start_again(self) -> float:
        """Start the server; gives the seconds until producers and consumers are at work again."""
        began, before = time.monotonic(), self.acked()
        self.server.start()
        effects = self.effects()
        wait_until(lambda: self.acked() > before, 30, "producers go on")
        wait_until(lambda: self.effects() > effects, 30, "consumers go on")
        return time.monotonic() - began

    def effects(self) -> int:
        """Plans counted so far."""
        return int(self.db.hlen(EFFECTS))

    def acked(self) -> int:
        """Events acknowledged so far, as the journals have it."""
        for path in self.journals:
            # Only what is new: this is asked a hundred times a second.
            offset, count = self._read.get(path, (0, 0))
            with path.open("rb") as lines:
                lines.seek(offset)
                whole = lines.read().rpartition(b"\n")[0]
            self._read[path] = (offset + len(whole), count + whole.count(b"acked "))
        return sum(count for _, count in self._read.values())

    def verdict(self) -> dict[str, Any]:
        """What the outside checker says. Producers and workers MUST have ended, or be idle."""
        said = subprocess.run(
            [sys.executable, "-m", "tests.reliability.checker", self.server.url, GROUP,
             str(self.sleepers), *map(str, self.journals)],
            cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if said.returncode:
            raise AssertionError(f"the checker failed: {said.stderr}")
        verdict: dict[str, Any] = json.loads(said.stdout)
        return verdict

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Lines of the workers' logs whose event is ``kind``."""
        found = []
        needle = f'"{kind}"'.encode()
        for path in sorted(self.folder.glob("*.log")):
            with path.open("rb") as lines:
                for line in lines:
                    if needle in line and line.startswith(b"{") and line.endswith(b"}\n"):
                        said = json.loads(line)
                        if said.get("event") == kind:
                            found.append(said)
        return found

    def fenced(self) -> int:
        """Settlements that were refused because another process had settled the entry."""
        return sum(int(line["error"]) for line in self.told("fenced"))

    def crashes(self) -> list[str]:
        """Tracebacks of workers: none may stand in any log."""
        logs = sorted(self.folder.glob("*.log"))
        return [path.name for path in logs if b"Traceback (most recent" in path.read_bytes()]

    def close(self) -> None:
        """End all."""
        self._done.set()
        if self._watch is not None:
            self._watch.join(5)
        for pid in list(self._pids):
            self.kill(pid)
        self.db.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _fork(self, task: str, log: str, env: dict[str, str], **spec: Any) -> int:
        pid = self.farm.fork(task, log=self.folder / f"{log}.log", env=env, **spec)
        self._pids[pid] = task
        return pid


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie; 0.0 of none."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def each(counts: dict[str, int]) -> str:
    """``a 3, b 5``."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _pending(db: Any, first: str, last: str, me: str | None = None) -> list[str]:
    rows = db.xpending_range(STREAM, GROUP, first, last, 5000, me)
    return [row["message_id"] for row in rows]
