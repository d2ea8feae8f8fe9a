"""Entries that no producer of ours would send, among good ones, to a consumer that decodes them."""

from __future__ import annotations

import random
import time
from collections import Counter

from quantum_ops import codec
from tests.reliability.names import DEAD, EFFECTS, STREAM
from tests.reliability.result import Result
from tests.reliability.rig import GROUP, Rig
from tests.reliability.workers import event
from tests.waiting import wait_until

TITLE = "hostile entries"
GOAL = 100_000
NOT_TESTED = "entries of 512 MB and more, which the server itself refuses"
GOOD_EVERY = 10
HUGE = "64 MiB value"
HEAVY = {"200,000 fields": 3, HUGE: 1, "1 MiB value": 20}
"""Kind -> how many of them."""
LAST = "18446744073709551615-18446744073709551615"


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` hostile entries and a tenth as many good ones; all of them must be accounted for."""
    chance = random.Random(result.seed)
    workers = [rig.worker(number, QUANTUM_BATCH="200", patience_s=0.0) for number in range(2)]
    kinds: Counter[str] = Counter()
    good = added = 0
    began = time.monotonic()
    wait_until(lambda: rig.db.exists(STREAM), 10, "the group")
    while sum(kinds.values()) < goal:
        with rig.db.pipeline(transaction=False) as pipe:
            for _ in range(200):
                kind, flat = _hostile(chance, kinds, goal)
                kinds[kind] += 1
                pipe.execute_command("XADD", STREAM, "*", *flat)
                added += 1
                if added % GOOD_EVERY == 0:
                    pipe.execute_command("XADD", STREAM, "*", *codec.encode(event(f"g{good}")))
                    good += 1
            pipe.execute()
        wait_until(lambda: _behind(rig) < 5000, 60, "the workers keep up")
    # The last id that there is: after it nothing can be added to this stream any more.
    rig.db.execute_command("XADD", STREAM, LAST, *codec.encode(event(f"g{good}")))
    good += 1
    rig.settle(120)
    took_s = time.monotonic() - began
    counts = {id_: int(count) for id_, count in rig.db.hgetall(EFFECTS).items()}
    letters = rig.db.xlen(DEAD)
    hostile = sum(kinds.values())
    # Some of what is hostile is an event all the same: more fields, odd text. Those are counted.
    taken = sum(counts.values())
    lost = sum(1 for number in range(good) if f"g{number}" not in counts)
    doubled = sum(1 for number in range(good) if counts.get(f"g{number}", 0) > 1)
    for pid in workers:
        state = rig.end(pid)
        result.expect(f"a worker {state}", holds=state == "exited 0")
    result.faults = dict(kinds)
    result.verdict = {
        "acked": hostile + good, "lost": lost, "doubled": doubled, "dead_letters": letters,
        "effects": taken, "pending": rig.db.xpending(STREAM, GROUP)["pending"],
    }  # fmt: skip
    result.figures["entries/s, slowest kinds included"] = round((hostile + good) / took_s)
    result.expect(
        f"done {taken} + dead-lettered {letters} is not what was added, {hostile + good}",
        holds=taken + letters == hostile + good,
    )
    result.expect(f"{lost} good ones lost", holds=lost == 0)
    result.expect(f"{doubled} good ones doubled", holds=doubled == 0)


def _behind(rig: Rig) -> int:
    [group] = [one for one in rig.db.xinfo_groups(STREAM) if one["name"] == GROUP]
    return int(rig.db.xlen(STREAM) - (group["entries-read"] or 0))


def _hostile(chance: random.Random, kinds: Counter[str], goal: int) -> tuple[str, list[bytes]]:
    """A kind of hostile entry and its names and values."""
    for kind, most in HEAVY.items():
        # A few of them, all over the run; one of most kinds even in a short one.
        if kind == HUGE and goal < GOAL // 10:
            continue
        if kinds[kind] < max(1, most * goal // GOAL) and chance.random() < 40 * most / goal:
            return kind, _heavy(kind)
    kind = chance.choice(list(_KINDS))
    return kind, _KINDS[kind](chance)


def _heavy(kind: str) -> list[bytes]:
    if kind == "200,000 fields":
        return [b"%d" % number for number in range(400_000)]
    size = (64 if kind == HUGE else 1) << 20
    return _with(b"reason", b"x" * size)


def _with(name: bytes, value: bytes) -> list[bytes]:
    """A good event, but for one field."""
    flat = [bytes(part) for part in codec.encode(event("h"))]
    at = flat.index(name)
    return [*flat[: at + 1], value, *flat[at + 2 :]]


def _bytes(chance: random.Random, most: int) -> bytes:
    return chance.randbytes(chance.randint(0, most))


_KINDS = {
    "bad UTF-8": lambda c: _with(b"plan_id", b"\xff\xfe" + _bytes(c, 20)),
    "random bytes": lambda c: [_bytes(c, 30) for _ in range(2 * c.randint(1, 8))],
    "empty values": lambda _: [
        part if number % 2 == 0 else b"" for number, part in enumerate(_with(b"gate", b""))
    ],
    "empty name": lambda _: [b"", b"", b"", b""],
    "a field twice": lambda _: [*_with(b"gate", b"t"), b"plan_id", b"other"],
    "all fields twice": lambda _: _with(b"gate", b"t") * 2,
    "no field that we know": lambda c: [b"x%d" % c.randrange(9), b"y"],
    "a number that is none": lambda c: _with(
        b"safe_qty", c.choice([b"NaN", b"Infinity", b"1e999999999", b"--1", b"0x10", b"\xd9\xa1"])
    ),
    "a moment that is none": lambda c: _with(
        b"occurred_at", c.choice([b"yesterday", b"9999999999999999", b"2026-13-40T99:99:99Z", b""])
    ),
    "nested JSON": lambda c: _with(b"allow", b"[" * c.choice([10, 1000, 100_000])),
    "another schema": lambda c: _with(b"schema", c.choice([b"permit.decided/999", b"", b"\x00"])),
    "control characters": lambda _: _with(b"allow", b"\x1b[2J\r\n\x00\xe2\x80\xaetrue"),
    "64 KiB of text": lambda _: _with(b"allow", b"x" * 65_536),
}
