"""The model server answers as the real ones do: the same commands, the same replies, the same data.

What the simulation proves on the model it proves for a server as far as this holds.
"""

from __future__ import annotations

import os
import time
from random import Random

import pytest
import redis

from quantum_ops import client, streams
from quantum_ops.dead_letter import RESOLVE
from quantum_ops.effects import Effects, bury
from quantum_ops.inbox import GroupGoneError, Letter, Settlement
from quantum_ops.redis_inbox import RedisInbox
from tests.simulation.direct import Direct
from tests.simulation.server import Server

KEYS = ("model:one", "model:two")
GROUP = "model"
NAMES = ("a", "b")
LETTERS = streams.DEAD_LETTER.key
PROGRAMS = 600 if os.environ.get("QUANTUM_FAULTS") == "full" else 25
STEPS = 60


class Side:
    """One of the two servers, with a client of each of two consumers."""

    def __init__(self, pool, ask):
        self.ask = ask
        self.inboxes = [RedisInbox(pool, KEYS, GROUP, name) for name in NAMES]

    def call(self, number, name, *args):
        try:
            found = getattr(self.inboxes[number], name)(*args)
        except GroupGoneError:
            self.inboxes[number].disconnect()
            return "the group is gone"
        return found

    def told(self, *command):
        reply = self.ask(*command)
        return f"error {reply}" if isinstance(reply, Exception) else reply

    def state(self):
        """All that there is, but for ids and times that the server's clock made."""
        found = []
        for key in KEYS:
            found += [self.told("XRANGE", key, "-", "+")]
            rows = self.told("XPENDING", key, GROUP, "-", "+", 1000)
            found += [rows if isinstance(rows, str) else [(*row[:2], row[3]) for row in rows]]
            found += [self.told("XPENDING", key, GROUP)]
            found += [self.told("GET", streams.checkpoint(key, GROUP))]
        letters = []
        for _, flat in self.told("XRANGE", LETTERS, "-", "+"):
            pairs = list(zip(flat[::2], flat[1::2], strict=True))
            letters.append([pair for pair in pairs if pair[0] != b"occurred_at"])
        effects = [self.told("HGET", "model:hash", f"f{number}") for number in range(4)]
        others = [self.told("GET", key) for key in ("model:once", "model:first", "model:text")]
        return [*found, letters, effects, others]


def random_effects(random, number):
    """What a handler might declare: every kind that the runner's script knows."""
    made = Effects()
    if random.random() < 0.2:
        made.first("model:first", random.choice(("x", "y")), ttl_s=1000)
    if random.random() < 0.2:
        made.once("model:once", str(number), ttl_s=1000)
    if random.random() < 0.1:
        # The key holds text: the server refuses, and the entry is buried.
        made.hset("model:text", {"a": 1})
    made.hincr("model:hash", f"f{number % 4}")
    if random.random() < 0.2:
        made.commands.append(bury("rejected", "no"))
    return made.commands


def random_settlements(random, known):
    """Acknowledgements, effects and letters of entries, some of them pending, some long done."""
    found = {}
    for key in KEYS:
        ids = [one for one in known[key] if random.random() < 0.4]
        random.shuffle(ids)
        settlement = Settlement()
        for number, id_ in enumerate(ids):
            ending = random.randrange(3)
            if ending == 0:
                settlement.acks.append(id_)
            elif ending == 1:
                settlement.applied.append((id_, 1, random_effects(random, number)))
            else:
                settlement.letters.append(Letter(id_, 2, "rejected", "no"))
        if settlement:
            found[key] = settlement
    return found


def random_step(random, known, last):
    """What to do on both sides: a method of an inbox, or a command."""
    key, number = random.choice(KEYS), random.randrange(2)
    kind = random.choice(
        ("add", "add", "add", "read", "read", "read", "settle", "settle", "submit", "pending",
         "reread", "claim", "claim", "check", "delete", "trim", "destroy", "groups", "groups",
         "forget", "requeue", "flush", "renew", "ahead")
    )  # fmt: skip
    some = random.choice(known[key] or [b"5-5"])
    if kind == "add":
        last[key] += random.randrange(1, 3)
        made = f"{last[key] // 3 + 1}-{last[key]}"
        known[key].append(made.encode())
        return ("told", "XADD", key, made, "n", last[key], *(("x", "") * random.randrange(2)))
    if kind in ("settle", "read"):
        what = random_settlements(random, known) if kind == "settle" else {}
        return (number, "exchange", what, random.choice((1, 2, 10)), 0)
    if kind == "submit":
        return (number, "submit", random_settlements(random, known))
    if kind == "flush" and random.random() < 0.1:
        for ids in known.values():
            ids.clear()
    else:
        kind = "check" if kind == "flush" else kind
    return {
        "flush": ("told", "FLUSHALL"),
        "pending": (number, "pending", key, some, 3),
        "renew": (number, "renew", key, known[key][-4:]),
        "ahead": ("ahead", number, random.choice((1, 3))),
        "reread": (number, "reread", key, some),
        "claim": (number, "claim", key, random.choice((0, 10**9))),
        "check": (number, "checkpoint"),
        "delete": ("told", "XDEL", key, some),
        "trim": ("told", "XTRIM", key, "MAXLEN", 4),
        "destroy": ("told", "XGROUP", "DESTROY", key, GROUP),
        "groups": (number, "ensure_groups"),
        "forget": ("told", "SCRIPT", "FLUSH"),
        "requeue": ("requeue", key, some),
    }[kind]


def requeue(side, key, id_):
    """As ``./run dlq requeue`` has it: the one claim with FORCE of an operator's hand."""
    rows = side.told("XRANGE", LETTERS, "-", "+")
    if not rows:
        return None
    keys = [LETTERS, "model:resolved", "model:findings", key]
    argv = [rows[0][0], "note", GROUP, id_, "n", "1"]
    reply = side.told("EVAL", RESOLVE.source, 4, *keys, *argv)
    # A NOGROUP inside a script comes with the place where it happened, which is the server's own.
    return reply if not isinstance(reply, str) else "refused"


def step(side, doing):
    if doing[0] == "told":
        return side.told(*doing[1:])
    if doing[0] == "ahead":
        # What is asked for ahead comes with the next exchange, behind what was settled before it.
        _, number, count = doing
        return [side.call(number, "read_ahead", count), side.call(number, "exchange", {}, count, 0)]
    if doing[0] == "requeue":
        return requeue(side, *doing[1:])
    return side.call(doing[0], *doing[1:])


def test_the_same_commands_have_the_same_replies(server):
    db = server.connect()

    def ask(*command):
        try:
            return client.raw(db, *command)
        except redis.ResponseError as error:
            return error

    model = Direct(Server(lambda: int(time.time() * 1000)))
    for seed in range(PROGRAMS):
        # Given two empty servers, one of them the model
        random = Random(seed)
        both = [Side(db, ask), Side(model, model.ask)]
        known = {key: [] for key in KEYS}
        last = dict.fromkeys(KEYS, 0)
        for side in both:
            side.told("FLUSHALL")
            side.told("SET", "model:text", "text")
            side.call(0, "ensure_groups")
        for number in range(STEPS):
            # When both are asked the same
            doing = random_step(random, known, last)
            real, modelled = (step(side, doing) for side in both)
            # Then both answer the same, and hold the same
            where = f"seed {seed}, step {number}: {doing}"
            assert modelled == real, where
            if number % 10 == 9:
                real, modelled = (side.state() for side in both)
                assert modelled == real, where
        for side in both:
            for inbox in side.inboxes:
                inbox.disconnect()
    db.connection_pool.disconnect()


def test_a_model_that_answers_otherwise_is_noticed(valkey, monkeypatch):
    # Given a model whose pending entries are given to anybody who asks
    monkeypatch.setattr(
        "tests.simulation.stream.Group.ordered", lambda self, _consumer=None: sorted(self.pending)
    )
    # Then the comparison does not pass
    with pytest.raises(AssertionError, match="seed"):
        test_the_same_commands_have_the_same_replies(valkey)
