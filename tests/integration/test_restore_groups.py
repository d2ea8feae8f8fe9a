"""Where the archive saw each group last is noted, survives the server, and is never forgotten."""

from __future__ import annotations

import pytest

from quantum_ops import client, streams
from quantum_ops.history import groups
from quantum_ops.history.blocks import FIRST
from quantum_ops.history.reader import Archive
from quantum_ops.recovery.errors import RestoreError
from tests.archive_rig import PLAN, RESULT, ArchiveRig
from tests.recovery_rig import planned, positions, restored

OTHERS = b"executors\xff"


@pytest.fixture
def rig(server, tmp_path):
    return ArchiveRig(server, tmp_path)


def note(rig):
    """What is noted of the group of others on plans."""
    rig.keeper._note_due_s = 0.0
    rig.scan()
    return groups.read(rig.folder.groups)[PLAN].groups.get("executors\udcff")


def read(db, count: int, *, ack: int) -> list[bytes]:
    """Read so many plans as a group of others, and acknowledge the first of them."""
    reply = client.raw(db, "XREADGROUP", "GROUP", OTHERS, "c", "COUNT", count, "STREAMS", PLAN, ">")
    ids = [row[0] for row in reply[0][1]]
    if ack:
        client.raw(db, "XACK", PLAN, OTHERS, *ids[:ack])
    return ids


def key(id_: bytes | str) -> tuple[int, int]:
    return groups._key(id_)


def test_how_far_each_group_is_stands_in_the_archive(rig):
    rig.add(5)
    client.raw(rig.db, "XGROUP", "CREATE", PLAN, OTHERS, "0")
    rig.settle()
    assert note(rig) == groups.Held(FIRST, None)
    ids = read(rig.db, 3, ack=2)
    found = note(rig)
    assert found == groups.Held(key(ids[2]), key(ids[2]))
    assert found.settled == groups.before(key(ids[2]))
    client.raw(rig.db, "XACK", PLAN, OTHERS, ids[2])
    assert note(rig).settled == key(ids[2])
    # A group that is set back, or destroyed, is noted as it is
    client.raw(rig.db, "XGROUP", "SETID", PLAN, OTHERS, "0")
    assert note(rig) == groups.Held(FIRST, None)
    client.raw(rig.db, "XGROUP", "DESTROY", PLAN, OTHERS)
    assert note(rig) is None


def test_a_wiped_server_does_not_wipe_the_note(rig):
    rig.add(5)
    client.raw(rig.db, "XGROUP", "CREATE", PLAN, OTHERS, "0")
    ids = read(rig.db, 3, ack=3)
    rig.settle()
    before = note(rig)
    assert before == groups.Held(key(ids[2]), None)
    # When everything is lost, others begin anew, and the archive starts again, too
    rig.die()
    rig.db.flushall()
    rig.add(2)
    client.raw(rig.db, "XGROUP", "CREATE", PLAN, OTHERS, "0")
    again = ArchiveRig(rig.server, rig.folder.base, "two").settle()
    assert note(again) == before
    again.die()


def test_a_group_of_others_comes_back_and_is_handed_nothing_again(rig):
    rig.add(5)
    client.raw(rig.db, "XGROUP", "CREATE", PLAN, OTHERS, "0")
    read(rig.db, 3, ack=2)
    rig.settle()
    note(rig)
    last = rig.archived()[-1]
    rig.die()
    # When everything is lost, checkpoints and heartbeats, too
    rig.db.flushall()
    archive = Archive(rig.folder)
    plan = planned(rig.db, archive)
    (mine,) = [one for one in plan.positions if one.group == "executors\udcff"]
    # Then it is behind everything, and how far it had been is said
    assert "handles nothing again; up to " in mine.why
    restored(rig.db, archive)
    where = {info["name"]: info["last-delivered-id"].decode() for info in rig.db.xinfo_groups(PLAN)}
    assert where[OTHERS] == last
    assert positions(rig.db)["apply.plan", "p33"][0] == last


def test_a_server_that_came_back_from_an_older_state_sends_no_group_back(rig):
    rig.add(5)
    client.raw(rig.db, "XGROUP", "CREATE", PLAN, OTHERS, "0")
    ids = read(rig.db, 5, ack=5)
    rig.settle()
    note(rig)
    rig.die()
    # Given that it forgot one entry, and that all of them were handled
    rig.db.xdel(PLAN, ids[4])
    client.raw(rig.db, "XGROUP", "SETID", PLAN, OTHERS, ids[0])
    restored(rig.db, Archive(rig.folder))
    where = {info["name"]: info["last-delivered-id"] for info in rig.db.xinfo_groups(PLAN)}
    assert where[OTHERS] == ids[4]


def test_groups_of_others_on_streams_that_stay_are_left_alone(rig):
    rig.add(2)
    rig.add(1, stream=streams.OPS_PROCESS.key)
    client.raw(rig.db, "XGROUP", "CREATE", PLAN, OTHERS, "0")
    rig.settle()
    note(rig)
    rig.die()
    rig.db.flushall()
    restored(rig.db, Archive(rig.folder), trading=False)
    assert not rig.db.exists(PLAN)
    kept = rig.db.keys("quantum:ops:checkpoint:executors*")
    assert kept == []


def test_a_damaged_note_is_said_and_stops_neither_the_archive_nor_anything_else(rig):
    rig.add(2, stream=RESULT)
    rig.settle()
    rig.folder.groups.write_bytes(b'{"a": 1}')
    with pytest.raises(RestoreError, match=r"groups\.json: not a note of groups"):
        planned(rig.db, Archive(rig.folder))
    rig.die()
    again = ArchiveRig(rig.server, rig.folder.base, "two").settle()
    assert groups.read(rig.folder.groups)[RESULT].groups.keys() >= {"archive"}
    again.die()
