"""The promises of a consumer that takes raw bytes and makes them durable before they are settled.

In memory, on fakeredis, on the embedded Valkey and on Debian's redis-server 7.0.
"""

from __future__ import annotations

from quantum_ops import codec, streams
from quantum_ops.consumer import consumer
from quantum_ops.errors import Hold
from quantum_ops.events import ApplyPlan, DeadLetter
from quantum_ops.testing import FrozenClock

PLANS = streams.APPLY_PLAN.key
RESULTS = streams.APPLY_RESULT.key
HOSTILE = [
    [b"plan_id", b"\xff\xfe"],
    [b"plan_id", b"a", b"plan_id", b"b"],
    [b"\x00", b""],
    [b"schema", b"nonsense/9"],
]


class Shelf:
    """What a raw consumer writes: first in memory, by ``commit`` for good."""

    def __init__(self, **constraints):
        self.memory: list[tuple[str, str, list[bytes]]] = []
        self.durable: list[tuple[str, str, list[bytes]]] = []
        self.refusing = 0
        self.commits = 0

        @consumer(
            streams.APPLY_PLAN,
            streams.APPLY_RESULT,
            raw=True,
            commit=self.commit,
            max_deliveries=1000,
            **constraints,
        )
        def shelf(flat, context):
            self.memory.append((context.stream, context.entry_id, list(flat)))

        self.consumer = shelf

    def commit(self, _context) -> None:
        if self.refusing:
            self.refusing -= 1
            raise Hold("the shelf is full")
        self.commits += 1
        self.durable += self.memory
        self.memory.clear()


def added(backend, count: int) -> list[tuple[str, str, list[bytes]]]:
    rows = []
    for number in range(count):
        flat = HOSTILE[number % 5] if number % 5 < 4 else codec.encode(
            ApplyPlan(plan_id=f"p{number}", decision="EXECUTE")
        )  # fmt: skip
        key = RESULTS if number % 7 == 0 else PLANS
        rows.append((key, backend.add(key, flat).decode(), flat))
    return rows


def test_every_entry_arrives_as_it_stands_whether_or_not_it_is_an_event(backend):
    rows = added(backend, 120)
    shelf = Shelf()
    runner, observer = backend.runner(shelf.consumer)
    backend.settle(runner)
    assert sorted(shelf.durable) == sorted(rows)
    assert backend.events(DeadLetter) == []
    assert observer.troubles == []
    assert backend.pending(PLANS, "shelf") == backend.pending(RESULTS, "shelf") == 0


def test_a_batch_is_committed_once_and_before_it_is_acknowledged(backend):
    rows = added(backend, 40)
    shelf = Shelf()
    runner, _ = backend.runner(shelf.consumer)
    # When a batch was handled but not settled
    runner.step(wait=False)
    # Then nothing of it is durable, and all of it is pending
    assert (shelf.durable, len(shelf.memory)) == ([], 40)
    assert backend.pending(PLANS, "shelf") + backend.pending(RESULTS, "shelf") == 40
    # When it is settled
    runner.flush()
    assert (len(shelf.durable), shelf.commits) == (len(rows), 1)
    assert backend.pending(PLANS, "shelf") + backend.pending(RESULTS, "shelf") == 0


class Waits(FrozenClock):
    """A clock that looks round at each wait, and asks for a stop at the ``last``."""

    def __init__(self, look, last=1 << 30) -> None:
        super().__init__()
        self._look = look
        self._left = last

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        self._left -= 1
        self._look()
        if not self._left:
            self.stop()


def test_what_cannot_be_committed_waits_in_hand_uncharged(backend):
    # Given a commit that fails three times
    rows = added(backend, 20)
    shelf = Shelf()
    seen = []
    clock = Waits(lambda: seen.append((len(shelf.durable), waiting(backend))))
    runner, observer = backend.runner(shelf.consumer, clock=clock)
    shelf.refusing = 3
    runner.step(wait=False)
    runner.flush()
    # Then nothing was acknowledged meanwhile, and everything after it, in one piece
    assert seen == [(0, 20)] * 3
    assert (sorted(shelf.durable), shelf.commits) == (sorted(rows), 1)
    assert waiting(backend) == 0
    assert observer.kinds() == ["held_up"]


def test_asked_to_stop_meanwhile_it_leaves_everything_pending(backend):
    added(backend, 20)
    stopped = []
    shelf = Shelf(teardown=lambda _context: stopped.append(len(shelf.durable)))
    clock = Waits(lambda: None, last=2)
    runner, _ = backend.runner(shelf.consumer, clock=clock)
    shelf.refusing = 99
    runner.run()
    assert (shelf.durable, waiting(backend), stopped) == ([], 20, [0])


def waiting(backend) -> int:
    return backend.pending(PLANS, "shelf") + backend.pending(RESULTS, "shelf")


def test_a_crash_between_the_commit_and_the_settlement_delivers_again(backend):
    rows = added(backend, 10)
    shelf = Shelf()
    first, _ = backend.runner(shelf.consumer)
    first.step(wait=False)
    shelf.commit(None)  # durable, and the process dies before it says so
    second, _ = backend.runner(shelf.consumer)
    backend.settle(second)
    # A consumer that commits recognises what it has: the runtime promises at least once
    assert sorted(shelf.durable) == sorted(rows + rows)
    assert backend.pending(PLANS, "shelf") + backend.pending(RESULTS, "shelf") == 0


def test_an_entry_trimmed_while_pending_is_recorded_as_lost(backend):
    rows = added(backend, 3)
    shelf = Shelf()
    first, _ = backend.runner(shelf.consumer)
    first.step(wait=False)
    key, id_, _ = rows[1]
    backend.remove(key, id_.encode())
    shelf.memory.clear()
    second, observer = backend.runner(shelf.consumer)
    backend.settle(second)
    [letter] = backend.events(DeadLetter)
    assert (letter.reason, letter.entry_id) == ("payload_lost", id_)
    assert observer.kinds() == ["lost"]
    assert len(shelf.durable) == 2
