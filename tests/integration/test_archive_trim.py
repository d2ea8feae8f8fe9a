"""Trimming removes what nobody misses, and nothing else; when in doubt it keeps."""

from __future__ import annotations

import time

import pytest

from quantum_ops import streams
from quantum_ops.consumer import readers
from quantum_ops.history import trim
from quantum_ops.history.reader import Archive
from tests.archive_rig import PLAN, ArchiveRig, flat

DEPLOYS = streams.DEPLOY_COMPLETED
OLD_MS = int(time.time() * 1000) - 400 * streams.DAY_S * 1000
GROUPS = ["archive"]


def now_ms() -> int:
    return int(time.time() * 1000)


class TrimRig(ArchiveRig):
    """An archive of entries that are long past their retention, sealed."""

    def old(self, count: int, stream: str = DEPLOYS.key, start: int = 0) -> list[str]:
        made = []
        for number in range(start, start + count):
            id_ = f"{OLD_MS + number}-0"
            self.db.execute_command("XADD", stream, id_, *flat(number))
            made.append(id_)
        return made

    def sealed(self) -> TrimRig:
        self.settle()
        self.keeper.writer.seal()
        return self

    def plan(self, groups=GROUPS, stream=DEPLOYS, page=trim.PAGE) -> trim.Plan:
        archive = Archive(self.folder, sealed_only=True)
        return trim.plan(self.db, archive, stream, groups, now_ms(), page=page)

    def cut(self, made: trim.Plan, groups=GROUPS) -> int:
        return trim.cut(self.db, made, groups)


@pytest.fixture
def rig(server, tmp_path):
    made = TrimRig(server, tmp_path / "archive")
    yield made
    made.die()


def test_what_is_archived_acknowledged_and_old_goes_but_the_last_that_was_read(rig):
    rig.old(20)
    made = rig.sealed().plan()
    assert (made.count, made.minid) == (19, f"{OLD_MS + 18}-1")
    assert made.kept_by == "group archive has read up to it"
    assert rig.db.xlen(DEPLOYS.key) == 20
    assert rig.cut(made) == 19
    assert rig.db.xlen(DEPLOYS.key) == 1
    # It is no gap, nobody else removed it, and the archive still has all of it
    rig.scan().scan()
    assert rig.told() == []
    assert len(rig.archived(DEPLOYS.key)) == 20


def test_young_entries_stay(rig):
    rig.old(3)
    rig.add(5, stream=DEPLOYS.key)
    made = rig.sealed().plan()
    assert (made.count, made.kept_by) == (3, "younger than 365 days")


@pytest.mark.parametrize("state", ["unread", "pending", "missing"])
def test_what_another_group_needs_stays(rig, state):
    old = rig.old(10)
    rig.sealed()
    groups = ["archive", "ledger"]
    if state != "missing":
        rig.db.xgroup_create(DEPLOYS.key, "ledger", old[3] if state == "unread" else "0")
    if state == "pending":
        rig.db.xreadgroup("ledger", "a", {DEPLOYS.key: ">"}, count=10)
        rig.db.xack(DEPLOYS.key, "ledger", *old[:3], *old[4:])
    made = rig.plan(groups)
    expected = {
        "unread": (3, "group ledger has read up to it"),
        "pending": (3, "group ledger has it pending"),
        "missing": (0, "group ledger is not there"),
    }
    assert (made.count, made.kept_by) == expected[state]


def test_a_group_that_comes_between_plan_and_cut_keeps_its_entries(rig):
    rig.old(10)
    made = rig.sealed().plan()
    rig.db.xgroup_create(DEPLOYS.key, "latecomer", "0")
    assert rig.cut(made) == 0
    assert rig.db.xlen(DEPLOYS.key) == 10


def test_what_is_not_in_a_sealed_segment_stays(rig):
    rig.old(5)
    rig.sealed()
    rig.old(5, start=5)
    rig.settle()
    made = rig.plan()
    assert made.count == 5
    assert made.kept_by.endswith("is not in a sealed segment of the archive")


def test_what_differs_from_the_archive_stays(rig):
    old = rig.old(4)
    rig.sealed()
    rig.db.delete(DEPLOYS.key)
    for number, id_ in enumerate(old):
        rig.db.execute_command("XADD", DEPLOYS.key, id_, *flat(number if number != 2 else 99))
    rig.db.xgroup_create(DEPLOYS.key, "archive", "$")
    assert rig.plan().count == 2


def test_a_clock_that_differs_from_the_servers_keeps_everything(rig):
    rig.old(5)
    rig.sealed()
    archive = Archive(rig.folder, sealed_only=True)
    for shift in (-86_400_000, 86_400_000):
        made = trim.plan(rig.db, archive, DEPLOYS, GROUPS, now_ms() + shift)
        assert (made.count, made.kept_by) == (
            0,
            "our clock and the server's differ by more than a minute",
        )


def test_a_long_stream_goes_page_by_page(rig):
    rig.old(25)
    rig.sealed()
    removed = []
    for _ in range(3):
        made = rig.plan(page=10)
        removed.append(rig.cut(made))
    assert removed == [10, 10, 4]


def test_somebody_elses_trimming_is_told_beside_ours(rig):
    rig.old(20)
    made = rig.sealed().plan()
    rig.cut(made)
    rig.db.xtrim(DEPLOYS.key, maxlen=0, approximate=False)
    rig.scan()
    assert rig.told() == ["archive_stream_shrank deploy.completed"]
    assert rig.details() == ["somebody else than the trimmer removed 1 entry"]


class TestTheArchiveItself:
    def ready(self, server, tmp_path, **settings) -> TrimRig:
        rig = TrimRig(server, tmp_path / "archive", **settings)
        for stream in streams.CATALOGUE:
            rig.old(10, stream.key)
        rig.sealed()
        for stream in streams.CATALOGUE:
            for group in readers("consumers", stream):
                if group != "archive":
                    rig.db.xgroup_create(stream.key, group, "$")
        rig.keeper._trim_due_s = 0.0
        return rig

    def lengths(self, rig) -> dict[str, int]:
        return {stream.name: rig.db.xlen(stream.key) for stream in streams.CATALOGUE}

    def test_trims_nothing_unless_it_is_told_to(self, server, tmp_path):
        rig = self.ready(server, tmp_path)
        rig.keeper.trim(0.0, time.time())
        assert set(self.lengths(rig).values()) == {10}
        rig.die()

    def test_trims_our_streams_and_never_the_trading_sides(self, server, tmp_path):
        rig = self.ready(server, tmp_path, trim=True)
        rig.keeper.trim(0.0, time.time())
        found = self.lengths(rig)
        assert found["universe.changed"] == found["dead_letter"] == 1
        assert found["apply.plan"] == found["apply.result"] == 10
        assert not [
            one for one in rig.keeper._books._state.outbox if one.finding != "archive_began_late"
        ]
        rig.die()

    def test_trims_those_too_if_it_is_told_to(self, server, tmp_path):
        rig = self.ready(server, tmp_path, trim=True, trim_trading=True)
        rig.keeper.trim(0.0, time.time())
        assert self.lengths(rig)["apply.plan"] == 1
        rig.die()

    def test_a_stream_above_its_cap_is_told_with_who_holds_it(self, server, tmp_path):
        rig = TrimRig(server, tmp_path / "archive", cap=1000)
        rig.db.xgroup_create(PLAN, "stuck", "0", mkstream=True)
        rig.add(1200)
        rig.settle().settle()
        assert rig.told() == ["archive_stream_above_cap apply.plan"]
        [detail] = rig.details()
        assert detail.startswith("1200 entries, more than 1000; it is not trimmed; group ")
        rig.die()


def test_the_groups_that_must_be_there_are_those_of_the_consumers():
    assert {"archive", "p33"} <= set(readers("consumers", streams.APPLY_PLAN))
    assert "p33" not in readers("consumers", DEPLOYS)
