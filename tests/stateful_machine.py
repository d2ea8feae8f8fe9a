"""The only place of the stateful machine: programs of steps with the real runner on a real server.

hypothesis makes the programs and cuts a failing one down. Claims have no idle time here, so that
every entry may be taken from whoever holds it at any moment: each other process is a zombie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quantum_ops import client, codec, logs, streams
from quantum_ops.consumer import Bounds, consumer
from quantum_ops.context import Context
from quantum_ops.errors import Reject, Retry
from quantum_ops.events import ApplyPlan
from quantum_ops.inbox import GroupGoneError
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.runner import Runner
from quantum_ops.testing import FrozenClock, Recorder
from tests.servers import Server

KEY = streams.APPLY_PLAN.key
LETTERS = streams.DEAD_LETTER.key
GROUP = "stateful"
EFFECTS = "st:effects"
ONCE = "st:once"
BOUNDS = Bounds(3, 10, 0.0, 4, 0.01, 0.05)
KINDS = ("good", "good", "once", "flaky", "asks", "rejected", "poison", "garbage", "refused")
ROUNDS = 400
NAMES = st.sampled_from(("a", "b"))
RARE = st.sampled_from(range(40)).map(lambda number: number == 23)
"""For steps that start everything anew: a program of nothing else tells little."""


class Parked(BaseException):
    """The process stops here, in the middle of its work; nothing of it notices."""


class ParkedClock(FrozenClock):
    """Stops the process at its next look for a wish to stop, once ``looks`` are used up."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: int | None = None

    def stopping(self) -> bool:
        """See :class:`~quantum_ops.clock.Clock`."""
        if self.looks is not None:
            self.looks -= 1
            if self.looks < 0:
                raise Parked
        return super().stopping()


class Line(RedisInbox):
    """The product's inbox, never blocking.

    ``cut`` breaks its line once, before or after the next thing is sent.
    """

    cut = ""

    def _read_command(self, count: int, block_ms: int) -> tuple[Any, ...]:
        # Time is the program's: nobody waits for it.
        del block_ms
        return super()._read_command(count, 0)

    def _write(self, commands: list[tuple[Any, ...]]) -> None:
        cut, self.cut = self.cut, ""
        if cut == "before":
            raise redis.ConnectionError("cut before it was sent")
        super()._write(commands)
        if cut == "after" and commands:
            # Read and thrown away: whatever was sent has been done when the line breaks.
            for _ in range(len(self._outstanding) + len(commands)):
                self._read()
            self.disconnect()
            raise redis.ConnectionError("cut after it was sent")


@consumer(streams.APPLY_PLAN)
def stateful(event: ApplyPlan, context: Context) -> None:
    """Count the entry; what else it does stands in the event."""
    kind = event.source
    if kind == "flaky" and context.attempt == 1:
        raise ValueError("not this time")
    if kind == "asks" and context.attempt == 1:
        raise Retry(0.02)
    if kind == "poison":
        raise ValueError("never")
    context.hincr(EFFECTS, context.entry_id)
    if kind == "once":
        context.once(f"st:once:{event.plan_id}", ttl_s=1000)
        context.hincr(ONCE, event.plan_id)
    if kind == "refused":
        context.hset("st:text", {"a": 1})
    if kind == "rejected":
        raise Reject("no")


class Machine(RuleBasedStateMachine):
    """Programs against ``server``, which each subclass names."""

    server: Server
    inbox: type[Line] = Line
    programs = 0
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.db = self.server.connect()
        self.entries: dict[bytes, str] = {}
        self.gone: set[bytes] = set()
        self.destroyed = False
        self.runners: dict[str, Runner] = {}
        self.lines: dict[str, Line] = {}
        self.clocks: dict[str, ParkedClock] = {}
        type(self).programs += 1
        self._begin()

    def _begin(self) -> None:
        self.db.flushall()
        self.db.set("st:text", "text")
        self.entries.clear()
        self.gone.clear()

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from("xyz"))
    def publish(self, kind: str, name: str) -> None:
        """An event of some kind; those of ``once`` share their names."""
        plan = ApplyPlan(plan_id=name, decision="EXECUTE", source=kind)
        flat = [b"plan_id", b"\xff"] if kind == "garbage" else codec.encode(plan)
        self.entries[self.db.execute_command("XADD", KEY, "*", *flat)] = kind

    @rule(name=NAMES)
    def deliver(self, name: str) -> None:
        """One step of a process: settle, read, handle. What it handled is not settled yet."""
        self._guarded(name, lambda runner: runner.step(wait=False))

    @rule(name=NAMES, looks=st.integers(1, 12))
    def run_a_while(self, name: str, looks: int) -> None:
        """The whole loop of a process, from its start on, until it is stopped somewhere in it."""
        runner = self._runner(name)
        self.clocks[name].looks = looks
        try:
            runner.run()
        except Parked:
            pass
        finally:
            self.clocks[name].looks = None

    @rule(name=NAMES)
    def crash(self, name: str) -> None:
        """kill -9: what it had in hand is gone; the next one of its name starts with nothing."""
        if name in self.runners:
            self.lines[name].disconnect()
            del self.runners[name]

    @rule(name=NAMES, where=st.sampled_from(("before", "after")))
    def lose_the_line(self, name: str, where: str) -> None:
        """The next thing it sends does not arrive, or its reply does not."""
        self._runner(name)
        self.lines[name].cut = where

    @rule(name=NAMES)
    def claim(self, name: str) -> None:
        """Take everything that anybody holds, and handle it."""
        self._guarded(name, lambda runner: runner._claim())

    @rule(name=NAMES, seconds=st.sampled_from((0.02, 3.0)))
    def let_time_pass(self, name: str, seconds: float) -> None:
        """Retries and claims fall due."""
        self._runner(name)
        self.clocks[name].wait(seconds)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """XDEL of an entry, wherever it is on its way."""
        if self.entries:
            one = data.draw(st.sampled_from(list(self.entries)))
            self.db.xdel(KEY, one)
            self.gone.add(one)

    @rule(keep=st.integers(0, 3))
    def trim(self, keep: int) -> None:
        """XTRIM, past the group if need be."""
        self.db.execute_command("XTRIM", KEY, "MAXLEN", keep)
        self.gone |= set(list(self.entries)[: max(0, len(self.entries) - keep)])

    @rule()
    def forget_scripts(self) -> None:
        """SCRIPT FLUSH."""
        self.db.execute_command("SCRIPT", "FLUSH")

    @rule(now=RARE)
    def destroy_group(self, now: bool) -> None:  # noqa: FBT001 - drawn
        """XGROUP DESTROY: it is made anew at its checkpoint, and some is handled again."""
        if now and self.db.exists(KEY):
            self.db.xgroup_destroy(KEY, GROUP)
            self.destroyed = True

    @rule(now=RARE)
    def flush_everything(self, now: bool) -> None:  # noqa: FBT001 - drawn
        """FLUSHALL: nothing is owed any more but what comes after it."""
        if now:
            self._begin()

    @rule(now=RARE)
    def restart_server(self, now: bool) -> None:  # noqa: FBT001 - drawn
        """kill -9 of the server, and a start on its data."""
        if now:
            self.server.kill()
            self.server.start()
            self.db.connection_pool.disconnect()

    @invariant()
    def nothing_happened_twice(self) -> None:
        """Effects of an entry, or of what is published twice, are never there a second time."""
        type(self).steps += 1
        once = {name: count for name, count in self.db.hgetall(ONCE).items() if count != b"1"}
        assert not once, f"once happened more than once: {once}"
        if not self.destroyed:
            twice = {id_: count for id_, count in self.db.hgetall(EFFECTS).items() if count != b"1"}
            assert not twice, f"effects more than once: {twice}"

    def teardown(self) -> None:
        """Let everything come to rest; then each entry has had its one ending."""
        try:
            self._come_to_rest()
            self.nothing_happened_twice()
            self._endings()
        finally:
            for line in self.lines.values():
                line.disconnect()
            self.db.connection_pool.disconnect()

    def _come_to_rest(self) -> None:
        for name in ("a", "b"):
            self._runner(name)
            self.lines[name].cut = ""
        for _ in range(ROUNDS):
            busy = 0
            for name in ("a", "b"):
                busy += self._guarded(name, lambda runner: runner.step(wait=False)) or 0
                self.clocks[name].wait(0.06)
            if busy or any(runner.due_in_s() is not None for runner in self.runners.values()):
                continue
            for name in ("a", "b"):
                self._guarded(name, lambda runner: runner.flush())
            if not self.db.exists(KEY) or self.db.xpending(KEY, GROUP)["pending"] == 0:
                return
        left = self.db.xpending_range(KEY, GROUP, "-", "+", 9)
        raise AssertionError(f"did not come to rest: {left}")

    def _endings(self) -> None:
        effects = {one: int(count) for one, count in self.db.hgetall(EFFECTS).items()}
        letters: dict[bytes, list[bytes]] = {}
        for _, flat in client.raw(self.db, "XRANGE", LETTERS, "-", "+"):
            row = dict(zip(flat[::2], flat[1::2], strict=True))
            letters.setdefault(row[b"entry_id"], []).append(row[b"reason"])
        for one, kind in self.entries.items():
            reasons = letters.pop(one, [])
            # An effect that the server refuses stops the rest; what came before it stays.
            endings = len(reasons) + (effects.pop(one, 0) if kind != "refused" else 0)
            told = f"{one!r} ({kind}): {endings} endings, letters {reasons}"
            if one not in self.gone:
                assert endings >= 1, told
            if not self.destroyed:
                assert endings <= 1, told

    def _runner(self, name: str) -> Runner:
        found = self.runners.get(name)
        if found is None:
            clock = self.clocks[name] = ParkedClock()
            line = self.lines[name] = self.inbox(self.server.connect(), (KEY,), GROUP, name)
            context = Context(GROUP, None, logs.get(), clock)
            found = Runner(stateful, line, context, BOUNDS, Recorder(), clock=clock)
            self.runners[name] = found
            self._guarded(name, lambda runner: runner.open())
        return found

    def _guarded(self, name: str, do: Callable[[Runner], Any]) -> Any:
        """Do something with a runner; an error ends its session, as it does in its own loop."""
        runner = self._runner(name)
        for _ in range(5):
            try:
                return do(runner)
            except (redis.RedisError, GroupGoneError):
                runner._forget()
                do = _reopen
        raise AssertionError(f"{name} does not come back")


def _reopen(runner: Runner) -> None:
    runner.open()


def machine(server: Server, inbox: type[Line] = Line) -> type[Machine]:
    """The machine against ``server``."""
    return type("Machine", (Machine,), {"server": server, "inbox": inbox})


def settings(programs: int, steps: int) -> hypothesis.settings:
    """As many programs of as many steps; the same ones each time."""
    return hypothesis.settings(
        max_examples=programs, stateful_step_count=steps, deadline=None, database=None,
        derandomize=True, suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
