"""The only place of the consumer under simulation and of the events it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from quantum_ops import codec, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import Consumer, consumer
from quantum_ops.context import Context
from quantum_ops.errors import Reject, Retry
from quantum_ops.events import ApplyPlan, ApplyResult
from tests.simulation.process import Killed, Process

KEYS = (streams.APPLY_PLAN.key.encode(), streams.APPLY_RESULT.key.encode())
GROUP = "simulated"
EFFECTS = b"sim:effects"
WRONG = b"sim:wrong"
KINDS = (
    "plain", "plain", "plain", "silent", "slow", "late", "flaky", "refused", "refused_noted",
    "poison", "killer", "garbage", "wrong", "twice", "first", "deleted",
)  # fmt: skip
"""``silent`` declares nothing, ``slow`` works for seconds, ``late`` asks for a later delivery,
``flaky`` fails once, ``killer`` takes the process with it, ``wrong`` has an effect that the server
refuses, ``twice`` was published twice and is handled ``once``, ``first`` contradicts another,
``deleted`` is removed from the stream while it may be pending."""


@dataclass
class Given:
    """One event of the workload. ``pair`` is what ``twice`` and ``first`` have in common."""

    name: str
    kind: str
    pair: str
    stream: bytes
    entry_ids: list[bytes] = field(default_factory=list)
    handled: int = 0

    def flat(self) -> list[bytes]:
        """The entry's fields."""
        if self.kind == "garbage":
            return [b"plan_id", b"\xff\xfe", b"sim", self.name.encode()]
        text = f"{self.name}/{self.kind}/{self.pair}"
        if self.stream == KEYS[0]:
            return codec.encode(ApplyPlan(plan_id=text, decision="EXECUTE", symbol="BTCUSDT"))
        return codec.encode(ApplyResult(plan_id=text, symbol="BTCUSDT", executed=True))


def draw(random: Random) -> list[Given]:
    """The events of one seed."""
    found = []
    for number in range(random.choice((4, 8, 12, 20))):
        kind = random.choice(KINDS)
        stream = KEYS[random.random() < 0.3]
        found.append(Given(f"e{number}", kind, f"p{number}", stream))
        if kind in ("twice", "first"):
            # Its twin has the same pair; for ``twice`` it is the same event once more.
            name = found[-1].name if kind == "twice" else f"e{number}b"
            found.append(Given(name, kind, f"p{number}", stream))
    return found


class Disk:
    """What the process made durable outside Redis before it acknowledged; survives kills."""

    def __init__(self) -> None:
        self.names: set[str] = set()


def make(
    process: Process, given: dict[str, Given], disk: Disk, *, prepares: bool, commits: bool
) -> Consumer:
    """The consumer that one process runs. ``commits``: durable on ``disk`` before it is settled."""
    unsaved: list[str] = []

    def handle(event: ApplyPlan | ApplyResult, context: Context) -> None:
        """Count the event."""
        process.step("handler")
        name, kind, pair = event.plan_id.split("/")
        given[name].handled += 1
        process.scheduler.told(process.name, f"handles {name} ({kind}), attempt {context.attempt}")
        unsaved.append(name)
        _act(process.clock, context, name, kind, pair)

    def save(_context: Context) -> None:
        process.step("commit")
        disk.names.update(unsaved)
        unsaved.clear()

    def prepare(events: object, _context: Context) -> object:
        process.step("prepare")
        return events

    handle.__name__ = GROUP
    return consumer(
        streams.APPLY_PLAN, streams.APPLY_RESULT,
        prepare=prepare if prepares else None, commit=save if commits else None,
    )(handle)  # fmt: skip


def _act(clock: Clock, context: Context, name: str, kind: str, pair: str) -> None:
    """What the handler does with an event of ``kind``."""
    effects = EFFECTS.decode()
    if kind == "silent":
        return
    if kind == "slow":
        # The longer one is claimed while its handler works: whoever settles first wins.
        clock.wait(4.0 if pair.endswith(("0", "2", "4", "6", "8")) else 6.0)
    if kind == "late" and context.attempt == 1:
        raise Retry(0.5)
    if kind in ("flaky", "poison") and (kind == "poison" or context.attempt == 1):
        raise ValueError("not this time")
    if kind == "killer":
        raise Killed
    if kind == "twice":
        context.once(f"sim:once:{pair}", ttl_s=100_000)
    if kind == "first" and context.attempt == 1:
        context.first(f"sim:first:{pair}", name, ttl_s=100_000)
    if kind == "wrong":
        context.hincr(WRONG.decode(), "x")
    context.hincr(effects, name)
    if kind in ("refused", "refused_noted"):
        raise Reject("no", keep_effects=kind == "refused_noted")
