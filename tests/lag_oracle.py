"""The only place of the brute-force oracle of lag: a model of streams and groups, step by step."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import walrus

from quantum_ops import entry_id, lag_reading
from quantum_ops.lag import Id

STREAMS = ("s:one", "s:two")
GROUPS = ("a", "b", "c")
CONSUMERS = ("x", "y")
CEILING = 2**64 - 1


@dataclass
class Group:
    delivered: Id
    lied_to: bool = False
    """ENTRIESREAD told how much it had read."""
    consumers: set[str] = field(default_factory=set)
    pending: dict[Id, str] = field(default_factory=dict)


@dataclass
class Stream:
    """What was ever added, what is left of it, and who read how far."""

    there: list[Id] = field(default_factory=list)
    gone: list[Id] = field(default_factory=list)
    newest: Id = (0, 0)
    groups: dict[str, Group] = field(default_factory=dict)
    lied_to: bool = False
    """XSETID told it counts of its own: what was removed cannot be known any more."""


class Oracle:
    """Random steps on a server, and the answer to each question about lag found by force."""

    def __init__(self, db: walrus.Database, seed: int) -> None:
        self.db = db
        self.random = random.Random(seed)
        self.streams: dict[str, Stream] = {}
        self.checks = self.lost = 0
        self.shown = {"exact": 0, "counted": 0, "atleast": 0, None: 0}

    def step(self) -> str:
        """One random command, done on the server and in the model; gives the stream's key."""
        key = self.random.choice(STREAMS)
        if key not in self.streams:
            self.add(key)
            return key
        weights = {
            self.add: 22, self.read: 14, self.acknowledge: 10, self.delete: 8, self.trim: 4,
            self.set_group: 4, self.create: 6, self.destroy: 1, self.set_stream: 1,
            self.leave: 1, self.drop: 0.2, self.burst: 1,
        }  # fmt: skip
        self.random.choices(list(weights), list(weights.values()))[0](key)
        return key

    def add(self, key: str) -> None:
        stream = self.streams.setdefault(key, Stream())
        ms, seq = stream.newest
        # By the server's clock, or by hand: a later one of the same or of another millisecond.
        ms, seq = self.random.choice([(ms, seq + 1), (ms + self.random.randrange(1, 5), 0)])
        ms = max(ms, 1)
        wanted = (
            "*" if self.random.random() < 0.1 and ms < time.time() * 1000 - 9 else f"{ms}-{seq}"
        )
        added = entry_id.parse(self.db.execute_command("XADD", key, wanted, "k", "v"))
        stream.there.append(added)
        stream.newest = added

    def burst(self, key: str) -> None:
        stream = self.streams[key]
        line = self.db.pipeline(transaction=False)
        for _ in range(self.random.randrange(60)):
            stream.newest = (stream.newest[0], stream.newest[1] + 1)
            stream.there.append(stream.newest)
            line.execute_command("XADD", key, entry_id.text(stream.newest), "k", "v")
        line.execute()

    def read(self, key: str) -> None:
        name, group = self.any_group(key)
        if group is None:
            return
        me, count = self.random.choice(CONSUMERS), self.random.choice([1, 2, 5, 30])
        quiet = self.random.random() < 0.2
        self.db.execute_command(
            "XREADGROUP", "GROUP", name, me, "COUNT", count, *["NOACK"] * quiet,
            "STREAMS", key, ">",
        )  # fmt: skip
        # Whether a read that finds nothing makes a consumer, servers see differently.
        group.consumers = {row["name"].decode() for row in self.db.xinfo_consumers(key, name)}
        ahead = [one for one in self.streams[key].there if one > group.delivered][:count]
        if ahead:
            group.delivered = ahead[-1]
        if not quiet:
            group.pending.update(dict.fromkeys(ahead, me))

    def acknowledge(self, key: str) -> None:
        name, group = self.any_group(key)
        if group is None or not group.pending:
            return
        for one in self.random.sample(sorted(group.pending), min(3, len(group.pending))):
            self.db.execute_command("XACK", key, name, entry_id.text(one))
            del group.pending[one]

    def delete(self, key: str) -> None:
        stream = self.streams[key]
        for one in self.random.sample(stream.there, min(2, len(stream.there))):
            self.db.execute_command("XDEL", key, entry_id.text(one))
        self.settle(key)

    def trim(self, key: str) -> None:
        there = self.streams[key].there
        how = self.random.choice(["=", "~"])
        if self.random.random() < 0.5 or not there:
            keep = self.random.randrange(len(there) + 2)
            self.db.execute_command("XTRIM", key, "MAXLEN", how, keep)
        else:
            least = self.random.choice(there)
            self.db.execute_command("XTRIM", key, "MINID", how, entry_id.text(least))
        self.settle(key)

    def settle(self, key: str) -> None:
        """Let the model forget what the server holds no more, whichever it chose."""
        stream = self.streams[key]
        left = {entry_id.parse(row[0]) for row in self.db.xrange(key)}
        stream.gone += [one for one in stream.there if one not in left]
        stream.there = [one for one in stream.there if one in left]

    def set_group(self, key: str) -> None:
        name, group = self.any_group(key)
        if group is None:
            return
        place = self.place(key)
        self.db.execute_command(
            "XGROUP", "SETID", key, name, entry_id.text(place), *(told := self.told())
        )
        group.delivered, group.lied_to = place, group.lied_to or bool(told)

    def create(self, key: str) -> None:
        name, groups = self.random.choice(GROUPS), self.streams[key].groups
        if name in groups:
            return
        place = self.random.choice([(0, 0), self.place(key)])
        self.db.execute_command(
            "XGROUP", "CREATE", key, name, entry_id.text(place), *(told := self.told())
        )
        groups[name] = Group(place, bool(told))

    def told(self) -> list[object]:
        """ENTRIESREAD, right or wrong."""
        return ["ENTRIESREAD", self.random.randrange(50)] if self.random.random() < 0.2 else []

    def place(self, key: str) -> Id:
        """An id: of an entry that is or was there, between two of them, or beyond them all."""
        stream = self.streams[key]
        ms, seq = self.random.choice([*stream.there, *stream.gone, stream.newest, (0, 0)])
        beyond = (CEILING, CEILING) if self.random.random() < 0.02 else (ms, seq + 7)
        return self.random.choice([(ms, seq), (ms, seq), (ms, max(0, seq - 1)), beyond])

    def destroy(self, key: str) -> None:
        name, group = self.any_group(key)
        if group is not None:
            self.db.execute_command("XGROUP", "DESTROY", key, name)
            del self.streams[key].groups[name]

    def leave(self, key: str) -> None:
        name, group = self.any_group(key)
        if group is not None and group.consumers:
            who = self.random.choice(sorted(group.consumers))
            self.db.execute_command("XGROUP", "DELCONSUMER", key, name, who)
            group.consumers.discard(who)
            group.pending = {one: by for one, by in group.pending.items() if by != who}

    def set_stream(self, key: str) -> None:
        stream = self.streams[key]
        told: list[object] = []
        if self.random.random() < 0.5:
            added = len(stream.there) + self.random.randrange(20)
            told = ["ENTRIESADDED", added, "MAXDELETEDID", entry_id.text((0, 0))]
            stream.lied_to = True
        stream.newest = (stream.newest[0], stream.newest[1] + self.random.randrange(3))
        self.db.execute_command("XSETID", key, entry_id.text(stream.newest), *told)

    def drop(self, key: str) -> None:
        self.db.delete(key)
        del self.streams[key]

    def any_group(self, key: str) -> tuple[str, Group | None]:
        groups = self.streams[key].groups
        if not groups:
            return "", None
        name = self.random.choice(sorted(groups))
        return name, groups[name]

    def check(self, *keys: str) -> list[str]:
        """Whatever the product says of the streams' groups that is not so."""
        limit = self.random.choice([3, 20, 10_000])
        least = max(limit, lag_reading.AHEAD)
        before_s = time.time()
        told = lag_reading.look(self.db, keys, limit=limit)
        after_s = time.time()
        wrong = []
        wanted = [(key, name) for key in keys for name in sorted(self.groups(key))]
        if [(one.stream, one.group) for one in told] != wanted:
            return [f"groups {told} instead of {wanted}"]
        for one in told:
            self.checks += 1
            self.shown[one.exactness] += 1
            stream, group = self.streams[one.stream], self.groups(one.stream)[one.group]
            ahead = [at for at in stream.there if at > group.delivered]
            held = min(group.pending, default=None)
            lost = [at for at in stream.gone if at > group.delivered]
            if one.exactness == "atleast":
                right = one.entries == least < len(ahead)
            else:
                right = one.entries == len(ahead) and one.exactness is not None
            facts = (one.pending, one.consumers, one.delivered, one.newest, one.waiting, one.held)
            right &= facts == (
                len(group.pending), len(group.consumers), group.delivered, stream.newest,
                ahead[0] if ahead else None, held,
            )  # fmt: skip
            unsure = one.lost is None or stream.lied_to or group.lied_to
            self.lost += 0 if unsure else bool(one.lost)
            right &= unsure or one.lost == len(lost)
            right &= _is_age(one.seconds, ahead[0] if ahead else None, before_s, after_s, 0.0)
            right &= _is_age(one.pending_s, held, before_s, after_s, None)
            if not right:
                wrong.append(f"{one} but {len(ahead)} ahead, {len(lost)} lost, {group}, {stream}")
        return wrong

    def groups(self, key: str) -> dict[str, Group]:
        return self.streams[key].groups if key in self.streams else {}


def _is_age(told, which, before_s, after_s, otherwise):
    if which is None:
        return told == otherwise
    low, high = (max(0.0, at - which[0] / 1000) for at in (before_s - 0.001, after_s))
    return low - 1e-6 <= told <= high + 1e-6
