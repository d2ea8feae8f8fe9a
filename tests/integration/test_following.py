"""Following streams: each entry once, in order, whatever becomes of the server and the streams."""

from __future__ import annotations

import random
import threading

import pytest

from ops import tailing
from ops.following import COUNT, START, Follower
from quantum_ops import streams
from quantum_ops.replay import filters, offsets
from tests.servers import Server
from tests.waiting import wait_until

PLAN, RESULT = streams.APPLY_PLAN.key, streams.APPLY_RESULT.key


class Reader:
    """A follower whose entries and notes are kept."""

    def __init__(self, server, **after):
        self.notes: list[str] = []
        self.seen: list[str] = []
        self.follower = Follower(
            server.connect(block_ms=1000),
            {PLAN: after.get("plan", START), RESULT: after.get("result", START)},
            self.notes.append,
        )

    def step(self):
        self.seen += [one.flat[1].decode() for one in self.follower.batch()]

    def until(self, *wanted):
        """Read until the newest of ``wanted`` was seen; everything seen is as wanted."""
        wait_until(lambda: self.step() or set(wanted) <= set(self.seen))
        assert self.seen == list(wanted)

    def looked(self):
        """Read until the streams were looked at after the last entry."""
        places = self.follower._places.values()
        wait_until(lambda: self.step() or all(one.looked == one.after for one in places))

    def noted(self, text):
        wait_until(lambda: self.step() or any(text in one for one in self.notes))


def add(db, key, *names, id_="*"):
    for name in names:
        db.execute_command("XADD", key, id_, "name", name)


def anew(db, low, high):
    """The stream of plans from its start: one entry from before the clock, and one by it."""
    line = db.pipeline(transaction=True)
    line.delete(PLAN)
    line.execute_command("XADD", PLAN, "1-1", "name", low)
    line.execute_command("XADD", PLAN, "*", "name", high)
    line.execute()


@pytest.fixture
def reader(server):
    return Reader(server)


def test_entries_of_many_streams_come_in_the_order_of_their_ids(server, db):
    # given more entries than one read takes, all in one stream before the other goes on
    line = db.pipeline(transaction=False)
    for at in range(1, 2 * COUNT):
        line.execute_command("XADD", PLAN, f"{at}-0", "name", f"{at}")
    for at in range(1, 3 * COUNT, 7):
        line.execute_command("XADD", RESULT, f"{at}-1", "name", f"{at}.1")
    line.execute()
    reader = Reader(server)
    # when all of it was read, then the last is the newest, and each came after the ones before
    wanted = len(range(1, 2 * COUNT)) + len(range(1, 3 * COUNT, 7))
    wait_until(lambda: reader.step() or len(reader.seen) == wanted)
    assert reader.seen == sorted(reader.seen, key=float)


def test_a_stream_that_begins_anew_is_read_from_its_start(reader, db):
    add(db, PLAN, "a", "b")
    reader.until("a", "b")
    # when it is deleted, and comes again with lower ids
    db.delete(PLAN)
    reader.noted("apply.plan is gone")
    anew(db, "c", "d")
    reader.until("a", "b", "c", "d")
    # and if nobody looked in between
    db.delete(PLAN)
    add(db, PLAN, "e", id_="1-1")
    reader.until("a", "b", "c", "d", "e")
    assert reader.notes[-1] == "apply.plan begins anew"
    # and when everything is emptied, and goes on by the clock
    db.flushall()
    add(db, PLAN, "f")
    add(db, RESULT, "g")
    reader.until("a", "b", "c", "d", "e", "f", "g")


def test_what_came_of_the_new_stream_is_not_taken_for_the_old_one(reader, db):
    add(db, PLAN, "a", "b", "c")
    reader.until("a", "b", "c")
    reader.looked()
    # when it begins anew, and its newest entry is read before anybody looks
    reader.follower._looked_s = float("inf")
    anew(db, "low", "high")
    reader.until("a", "b", "c", "high")
    # then the ones before it are shown all the same
    reader.follower._looked_s = float("-inf")
    reader.until("a", "b", "c", "high", "low")


@pytest.mark.parametrize(
    ("looked", "told"), [(True, "put back in time; nothing is shown twice"), (False, "begins anew")]
)
def test_a_stream_that_is_put_back_in_time_is_not_shown_twice(reader, db, looked, told):
    add(db, PLAN, "a", "b", "c")
    reader.until("a", "b", "c")
    reader.looked()
    if not looked:
        # All of it came since the last look: it could be of a new stream, and is read again.
        reader.follower._places[PLAN].looked = START
        reader.follower._looked_s = float("inf")
    # when it comes back without its newest entry, as after a power cut or from a backup
    rows = db.xrange(PLAN)
    db.delete(PLAN)
    for id_, fields in rows[:2]:
        db.xadd(PLAN, fields, id=id_)
    reader.follower._looked_s = float("-inf")
    reader.noted(told)
    # then only what is new is shown, also under the id that was lost
    db.xadd(PLAN, {"name": "d"}, id=rows[2][0])
    add(db, PLAN, "e")
    reader.until("a", "b", "c", "d", "e")


def test_entries_trimmed_before_their_turn_are_told(server, db):
    add(db, PLAN, *map(str, range(10)))
    reader = Reader(server)
    reader.until(*map(str, range(10)))
    # when more comes, and goes, than is read
    line = db.pipeline(transaction=True)
    for at in range(10, 20):
        line.execute_command("XADD", PLAN, "*", "name", str(at))
    line.xtrim(PLAN, maxlen=3, approximate=False)
    reader.follower._read = lambda: line.execute() and []
    reader.step()
    del reader.follower._read
    reader.noted("apply.plan: 7 entries were removed before they were shown")
    reader.until(*map(str, [*range(10), 17, 18, 19]))
    # and trimming what was shown is nobody's business
    db.xtrim(PLAN, maxlen=0, approximate=False)
    add(db, PLAN, "20")
    reader.until(*map(str, [*range(10), 17, 18, 19, 20]))
    assert len(reader.notes) == 1


def test_another_type_under_the_name_is_no_stream(reader, db):
    add(db, PLAN, "a")
    reader.until("a")
    db.delete(PLAN)
    db.set(PLAN, "no stream")
    reader.noted("apply.plan is gone")
    db.delete(PLAN)
    add(db, PLAN, "b")
    reader.until("a", "b")


@pytest.fixture(params=["valkey", pytest.param("redis7", marks=pytest.mark.needs_redis7)])
def own(request):
    server = Server(request.param, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.close()


def test_a_server_that_is_killed_and_comes_back_costs_nothing(own):
    reader = Reader(own)
    add(own.connect(), PLAN, "a", "b")
    reader.until("a", "b")
    own.kill()
    reader.noted("Redis is away")
    own.start()
    add(own.connect(), PLAN, "c")
    reader.until("a", "b", "c")
    assert reader.notes[-1] == "Redis is back"
    assert len(reader.notes) == 2


def test_whatever_happens_each_entry_that_stays_is_shown_once(server, db):
    # given a writer that adds, empties, trims what is old, and starts again at low ids
    chance, reader = random.Random(5), Reader(server)
    added: list[str] = []
    stop = threading.Event()

    def write():
        writer = server.connect()
        while not stop.is_set():
            key = chance.choice([PLAN, RESULT])
            what = chance.random()
            if what < 0.02:
                # once all was shown, so that nothing may be missed
                wait_until(lambda: stop.is_set() or len(reader.seen) == len(added))
                if not stop.is_set():
                    writer.delete(key)
            else:
                added.append(f"{len(added)}")
                low = what < 0.1 and not writer.exists(key)
                add(writer, key, added[-1], id_=f"{len(added)}-1" if low else "*")

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: reader.step() or len(added) > 600, timeout_s=60)
    stop.set()
    thread.join()
    # then nothing is missing and nothing doubled
    wait_until(lambda: reader.step() or len(reader.seen) >= len(added))
    assert sorted(reader.seen, key=int) == added


def shown(db, *keys, **wanted):
    found = []
    wanted = {"since": offsets.Offset("last", entries=10), **wanted}
    tailing.run(db, tailing.Wanted(keys, **wanted), found.append, print)
    return [one.flat[1].decode() for one in found]


def test_what_stands_there_is_chosen_by_count_place_and_field(db):
    for at in range(1, 31):
        key = PLAN if at % 3 else RESULT
        db.xadd(key, {"name": str(at), "symbol": "BTC" if at % 2 else "ETH"}, id=f"{at}000-0")
    last = offsets.Offset("last", entries=4)
    assert shown(db, PLAN, RESULT, since=last) == ["27", "28", "29", "30"]
    eth = [filters.parse("symbol!=BTC")]
    assert shown(db, PLAN, RESULT, since=last, filters=eth) == ["24", "26", "28", "30"]
    moment = offsets.Offset("moment", ms=27_000)
    assert shown(db, PLAN, since=moment) == ["28", "29"]
    assert shown(db, PLAN, RESULT, since=moment, until=(29_000, 0)) == ["27", "28", "29"]
    assert shown(db, PLAN, RESULT, since=offsets.Offset("start"), most=2) == ["1", "2"]
    assert shown(db, PLAN, since=offsets.Offset("end")) == []
    # and following goes on where the first look ended
    assert shown(db, PLAN, since=last, most=4, follow=True) == ["25", "26", "28", "29"]
    assert shown(db, PLAN, since=moment, until=(29_000, 0), follow=True) == ["28", "29"]
