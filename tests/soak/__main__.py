"""Real processes for hours under mixed faults: nothing lost, nothing doubled, nothing that grows.

python -m tests.soak --hours 8               ends by itself
python -m tests.soak --minutes 10 --write    what CI runs, and docs/simulation.md
python -m tests.soak --minutes 3 --leak      a leak is planted: this must fail
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import redis

from quantum_ops import client, codec, streams
from quantum_ops.events import ApplyPlan
from quantum_ops.publisher import run_script
from quantum_ops.scripts import PUBLISH
from tests.arguments import above_zero
from tests.bench import machine
from tests.servers import Server
from tests.simulation import page
from tests.soak import steady
from tests.soak.worker import EFFECTS, GROUP
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
KEY = streams.APPLY_PLAN.key
LETTERS = streams.DEAD_LETTER.key
RATE = 20
FAULT_EVERY_S = 4.0
SAMPLE_EVERY_S = 5.0
SETTLED_S = 45.0
"""Seconds after which an event has to have had its ending, faults and all."""
KEYS_AT_MOST = 40 + RATE * 90
FDS_AT_MOST = 40
REMEMBER_S = 60
ODD = ("flaky", "poison", "killer", "garbage")


class Worker:
    """One consumer process. The steady one is stopped at times, but never killed by us."""

    def __init__(self, url: str, number: int, *, leak: bool) -> None:
        self._number = number
        self._arguments = [sys.executable, "-m", "tests.soak.worker", *(["leak"] * leak)]
        self._environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": url,
            "QUANTUM_ENV_DIR": "/nonexistent", "QUANTUM_BLOCK_MS": "500",
            "QUANTUM_CLAIM_AFTER_SEC": "5", "QUANTUM_RETRY_CAP_SEC": "1",
            "SUPERVISOR_PROCESS_NAME": f"soak-{number:02d}",
        }  # fmt: skip
        self.starts = 0
        self.stopped_until_s = 0.0
        self.start()

    def start(self) -> None:
        """Start it, under its name."""
        self.starts += 1
        self.process = subprocess.Popen(
            self._arguments, cwd=ROOT, env=self._environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def watch(self, now_s: float) -> None:
        """Wake it up in time; start it again if it died."""
        if self.stopped_until_s and now_s >= self.stopped_until_s:
            self.process.send_signal(signal.SIGCONT)
            self.stopped_until_s = 0.0
        if self.process.poll() is not None:
            self.stopped_until_s = 0.0
            self.start()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def descriptors(self) -> int:
        """Open files."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


class Soak:
    """One run; ``broken`` says in words what did not hold."""

    def __init__(self, seed: int, *, leak: bool) -> None:
        self.random = Random(seed)
        self.server = Server("valkey", "--appendonly", "yes", "--appendfsync", "no")
        self.db = self.server.connect()
        # Number 0 is the steady one: whoever is killed all the time has no slope.
        self.workers = [Worker(self.server.url, number, leak=leak) for number in range(2)]
        self.sent: dict[int, tuple[float, str, bytes]] = {}
        self.number = 0
        self.next: tuple[str, list[bytes]] | None = None
        self.floor = 0
        self.faults: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.buried: dict[bytes, list[bytes]] = {}
        self.memory: list[tuple[float, float]] = []
        self.held: list[tuple[float, float]] = []
        self.most = Counter({"keys": 0, "open files": 0, "consumer names": 0})
        self.broken: list[str] = []
        self.last_letter = "-"

    def run(self, seconds: float) -> None:
        """Publish, do harm, look; then let it come to rest and look for the last time."""
        began = time.monotonic()
        due = {"publish": began, "fault": began + 10, "sample": began + 5}
        while (now := time.monotonic()) - began < seconds:
            for worker in self.workers:
                worker.watch(now)
            if now >= due["publish"]:
                due["publish"] = max(due["publish"] + 1 / RATE, now - 1)
                self._publish(now)
            elif now >= due["fault"]:
                due["fault"] = now + self.random.uniform(0.5, 1.5) * FAULT_EVERY_S
                self._harm(now)
            elif now >= due["sample"]:
                due["sample"] = now + SAMPLE_EVERY_S
                self._look(now, now - began)
            else:
                time.sleep(max(0.001, min(due.values()) - now))
        self._rest()

    def close(self) -> None:
        """End everything that was started."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        self.db.connection_pool.disconnect()
        self.server.close()

    def _publish(self, now: float) -> None:
        if self.next is None:
            kind = self.random.choice(ODD) if self.random.random() < 0.08 else ""
            if kind == "killer" and self.random.random() < 0.8:
                kind = ""
            plan = ApplyPlan(plan_id=str(self.number), decision="EXECUTE", source=kind)
            flat = [b"plan_id", b"\xff"] if kind == "garbage" else codec.encode(plan)
            self.next = (kind, flat)
        kind, flat = self.next
        keys = [KEY, f"soak:sent:{self.number}"]
        try:
            id_ = run_script(self.db, PUBLISH, keys, [REMEMBER_S, *flat])[0]
        except redis.RedisError:
            # Unknown: the very same again next time, under the same name.
            return
        self.sent[self.number] = (now, kind, id_)
        self.number += 1
        self.next = None

    def _harm(self, now: float) -> None:
        kind = self.random.choice(
            ("kill", "kill", "stop", "stop", "stop steady", "lines", "scripts", "server")
        )
        if kind == "kill":
            self.workers[1].kill()
        elif kind.startswith("stop"):
            worker = self.workers[0 if kind == "stop steady" else 1]
            worker.process.send_signal(signal.SIGSTOP)
            worker.stopped_until_s = now + self.random.uniform(0.5, 8.0)
        elif kind == "server":
            self.server.kill()
            try:
                self.server.start()
            except AssertionError:  # a busy machine: it may take longer than a story's patience
                wait_until(self.server._answers, 100, "the server is back")
            self.db.connection_pool.disconnect()
        else:
            command = (
                ("CLIENT", "KILL", "TYPE", "NORMAL") if kind == "lines" else ("SCRIPT", "FLUSH")
            )
            try:
                self.db.execute_command(*command)
            except redis.RedisError:
                return
        self.faults[kind] += 1

    def _look(self, now: float, second: float) -> None:
        try:
            self._check(now)
            self.most["keys"] = max(self.most["keys"], self.db.dbsize())
            names = len(self.db.xinfo_consumers(KEY, GROUP))
            self.most["consumer names"] = max(self.most["consumer names"], names)
            self.held.append((second, self.db.info("memory")["used_memory"]))
        except redis.RedisError:
            return
        steady_one = self.workers[0]
        if steady_one.process.poll() is None:
            self.memory.append((second, steady_one.memory()))
            most = max(self.most["open files"], steady_one.descriptors())
            self.most["open files"] = most

    def _check(self, now: float) -> None:
        """Each event that is old enough had exactly one ending; then it is forgotten."""
        rows = client.raw(self.db, "XRANGE", LETTERS, self.last_letter, "+")
        for id_, flat in rows:
            row = dict(zip(flat[::2], flat[1::2], strict=True))
            self.buried.setdefault(row[b"entry_id"], []).append(row[b"reason"])
            self.last_letter = f"({id_.decode()}"
        old = [number for number, (at, _, _) in self.sent.items() if now - at > SETTLED_S]
        if not old:
            return
        counts = self.db.hmget(EFFECTS, old)
        for number, count in zip(old, counts, strict=True):
            _, kind, id_ = self.sent.pop(number)
            letters = self.buried.pop(id_, [])
            effects = int(count or 0)
            self.endings[kind or "plain"] += 1
            # Who was killed too often with an entry in hand has an excuse.
            honest = [one for one in letters if one != b"too_many_deliveries"]
            wrong_way = effects if kind in ("poison", "garbage") else honest
            if effects + len(letters) != 1 or wrong_way:
                self.broken.append(f"event {number} ({kind}): {effects} effects, {letters}")
        late = [name for name in self.db.hkeys(EFFECTS) if int(name) < self.floor]
        if late:
            self.broken.append(f"effects that came late, a second time: {late[:5]}")
        self.db.hdel(EFFECTS, *old)
        self.floor = max(old) + 1
        oldest = min((id_ for _, _, id_ in self.sent.values()), default=None)
        if oldest:
            self.db.execute_command("XTRIM", KEY, "MINID", oldest)
        if rows:
            self.db.execute_command("XTRIM", LETTERS, "MAXLEN", 1)

    def _rest(self) -> None:
        until_s = time.monotonic() + 2 * SETTLED_S
        while self.sent and time.monotonic() < until_s:
            for worker in self.workers:
                worker.watch(time.monotonic())
            time.sleep(0.5)
            try:
                self._check(time.monotonic())
            except redis.RedisError:
                continue
        if self.sent:
            self.broken.append(f"{len(self.sent)} events have no ending")
        left = self.db.xpending(KEY, GROUP)["pending"]
        if left:
            self.broken.append(f"{left} entries are still pending")

    def judge(self) -> dict[str, str]:
        """What was seen, in words; adds to ``broken`` what grew."""
        names = {"memory of the steady process": self.memory, "memory of the server": self.held}
        rows = {
            "events": f"{sum(self.endings.values())} ({dict(self.endings)})",
            "faults": f"{sum(self.faults.values())} ({dict(self.faults)})",
            "starts of a process": str(sum(worker.starts for worker in self.workers)),
        }
        for label, samples in names.items():
            grown = steady.growth(samples)
            middle = sorted(value for _, value in samples)[len(samples) // 2]
            rows[label] = (
                f"{middle / 2**20:.1f} MiB, {grown / 2**20:+.2f} MiB by the fitted line of "
                f"{len(samples)} samples"
            )
            if steady.grows(samples):
                self.broken.append(f"{label} grew by {grown / 2**20:.1f} MiB")
        bounds = {"keys": KEYS_AT_MOST, "open files": FDS_AT_MOST, "consumer names": 2}
        for label, most in bounds.items():
            rows[f"{label}, at most"] = f"{self.most[label]} (bound {most})"
            if self.most[label] > most:
                self.broken.append(f"{self.most[label]} {label}: more than {most}")
        return rows


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; exit code 1 if something did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=above_zero, help="instead of minutes")
    parser.add_argument("--minutes", type=above_zero, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--leak", action="store_true", help="plant a leak: it must fail")
    parser.add_argument("--write", action="store_true", help="write docs/simulation.md")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    facts = machine.facts()
    seconds = 3600 * asked.hours if asked.hours else 60 * asked.minutes
    run = Soak(asked.seed, leak=asked.leak)
    began = time.monotonic()
    try:
        run.run(seconds)
        rows = run.judge()
    finally:
        run.close()
    rows = {
        "length": f"{seconds / 60:g} minutes, {RATE} events a second, seed {asked.seed}",
        **rows,
    }
    for label, value in rows.items():
        print(f"{label}: {value}")
    for one in run.broken[:20]:
        print(f"BROKEN {one}")
    if asked.write:
        page.keep(
            "soak", rows=rows, broken=run.broken[:20], machine=facts,
            took_s=round(time.monotonic() - began),
        )  # fmt: skip
    return bool(run.broken)


if __name__ == "__main__":
    sys.exit(main())
