"""A lost server is made again from the archive, and nothing is done a second time."""

from __future__ import annotations

import json
import time

import pytest
import redis

from consumers.order_proof import order_proof
from consumers.position_ledger import position_ledger
from consumers.universe_audit import universe_audit
from ops import restore_view
from quantum_ops import client, codec, streams
from quantum_ops.audit import violations
from quantum_ops.events import (
    AuditFinding,
    DeadLetter,
    DeployCompleted,
    LedgerRecorded,
    UniverseChanged,
)
from quantum_ops.history.books import Books
from quantum_ops.history.reader import Archive
from quantum_ops.publisher import Publisher
from quantum_ops.recovery import orders, verdicts
from quantum_ops.recovery.errors import MovedError, RestoreError
from quantum_ops.recovery.refill import Refill
from quantum_ops.recovery.restore import FINDING, carry_out
from quantum_ops.settings import OrderProofSettings
from quantum_ops.universe import content_sha256, load_universe, symbols_sha256
from tests.archive_rig import ArchiveRig
from tests.audit_rig import AuditRig
from tests.backends import RedisBackend
from tests.p33_rig import P33Rig, hold, publish_universe, send
from tests.p33_stories import opening, plan
from tests.recovery_rig import (
    CONSUMERS,
    archive_all,
    contents,
    keys,
    planned,
    positions,
    restored,
)
from tests.signoff_rig import DEPLOY

PLANS, RESULTS = streams.APPLY_PLAN.key, streams.APPLY_RESULT.key


def results(db, *rows: tuple[str, str]) -> None:
    """Executed results: plan id, order id (none, if empty)."""
    for plan_id, order in rows:
        fields = {"plan_id": plan_id, "symbol": "BTCUSDT", "executed": "true", "timestamp": "17"}
        db.xadd(RESULTS, {**fields, **({"order_id": order} if order else {})})


def changed(epoch: int, *symbols: str) -> UniverseChanged:
    return UniverseChanged(
        epoch=epoch, prev_epoch=epoch - 1, mode="testnet", asof_epoch=int(time.time()),
        count=len(symbols), sha256=content_sha256(symbols, {}), symbols=symbols,
        symbols_sha256=symbols_sha256(symbols), added=symbols,
    )  # fmt: skip


def test_streams_come_back_with_ids_counters_and_groups(server, tmp_path):
    # Given plans and results, hostile bytes among them, read by two groups
    db = server.connect()
    backend = RedisBackend(server.connect)
    for number in range(30):
        send(db, plan(plan_id=f"{number:016x}"))
    odd = [b"plan_id", b"\xff\x00", b"plan_id", b"\x1b[2J", b"", b""]
    db.execute_command("XADD", PLANS, "*", *odd)
    results(db, ("0" * 16, "1"), (f"{1:016x}", "2"))
    runner, _ = backend.runner(order_proof)
    backend.settle(runner)
    before, added = contents(db), db.xinfo_stream(PLANS)["entries-added"]
    archive = archive_all(db, tmp_path)
    # When everything is lost, and restored
    db.flushall()
    done = restored(db, archive)
    # Then the streams are the same to the byte, and the server counts as before
    assert contents(db) == before
    assert db.xinfo_stream(PLANS)["entries-added"] == added == 31
    assert done.sums[PLANS].missing == 31
    # And each group goes on where it was, with a lag that the server knows
    where = positions(db)
    last = before[PLANS][-1][0].decode()
    assert where["apply.plan", "order_proof"] == (last, 31, 0)
    assert where["apply.plan", "p33"] == (last, 31, 0)
    assert {g["lag"] for g in db.xinfo_groups(PLANS)} == {0}
    assert db.get(streams.checkpoint(PLANS, "p33")) == last.encode()
    # And the restore is part of the history
    [told] = [one for one in backend.events(AuditFinding) if one.finding == FINDING]
    assert archive.head.root.hex() in told.detail
    assert not db.exists(streams.RESTORE)


def test_a_restored_gate_decides_nothing_again(server, tmp_path):
    # Given plans that P3.3 decided: one twice under one id, one malformed, one not at all
    gate = P33Rig(server)
    db = gate.db
    publish_universe(db, "BTCUSDT")
    hold(db, "0")
    allowed = opening(plan_id="a" * 16)
    gate.decide(allowed)
    gate.decide(opening(plan_id="a" * 16, side="SELL"))
    db.execute_command("XADD", PLANS, "*", "plan_id", "bad", "decision", b"\xff", "symbol", "X")
    gate.settle()
    undecided = opening(plan_id="c" * 16)
    send(db, undecided)
    memory = keys(db, streams.decided("p33", ""), streams.conflict("p33", "", "")[:-1])
    assert len(memory) == 3
    archive = archive_all(db, tmp_path)
    decisions = len(gate.decided())
    # When the server is lost and restored
    db.flushall()
    made = planned(db, archive)
    assert [plan_id for _, plan_id in made.undecided] == ["c" * 16]
    restored(db, archive)
    # Then the gate's memory is what it was, and one id more is taken
    known = keys(db, streams.decided("p33", ""), streams.conflict("p33", "", "")[:-1])
    taken = {streams.decided("p33", "c" * 16): verdicts.UNKNOWN.encode()}
    assert known == memory | taken
    assert 0 < db.pttl(streams.decided("p33", "a" * 16)) <= 86_400_000
    # And a gate that starts again decides nothing, and gives no permit
    publish_universe(db, "BTCUSDT")
    hold(db, "0")
    again = P33Rig(server)
    again.settle()
    assert len(again.decided()) == decisions
    assert db.keys("quantum:permit:*") == []
    # Nor does it permit what is sent again: the same plan is known, the doubtful one is denied
    again.send(allowed)
    again.settle()
    assert len(again.decided()) == decisions
    [denied] = again.decide(undecided)
    assert (denied.allow, denied.reason) == (False, "plan_id_conflict")
    # While a new plan is decided as ever
    [fresh] = again.decide(opening(plan_id="d" * 16))
    assert fresh.allow


def test_the_index_of_orders_is_the_same_and_findings_are_not_doubled(server, tmp_path):
    # Given executions of every kind, all judged
    db = server.connect()
    backend = RedisBackend(server.connect)
    for number in range(6):
        send(db, plan(plan_id=f"{number:016x}"))
    results(db, (f"{0:016x}", "1"), (f"{1:016x}", "2"), (f"{1:016x}", "2"), (f"{2:016x}", "1"))
    results(db, (f"{0:016x}", "7"), (f"{3:016x}", ""), (f"{3:016x}", ""))
    runner, _ = backend.runner(order_proof)
    backend.settle(runner)
    # And one that nobody has judged
    results(db, (f"{4:016x}", "9"))
    judged = len(backend.events(AuditFinding))
    index = keys(db, *orders.FAMILIES)
    archive = archive_all(db, tmp_path)
    # When the server is lost and restored
    db.flushall()
    restored(db, archive)
    # Then the index is what it was
    assert keys(db, *orders.FAMILIES) == index
    # And the auditor goes on with the one that it had not judged, and only with that
    runner, _ = backend.runner(order_proof)
    backend.settle(runner)
    told = [one for one in backend.events(AuditFinding) if one.auditor == "order_proof"]
    assert len(told) == judged + 1
    assert told[-1].subject == f"{4:016x}"
    # Even if it is handed over everything once more
    db.xgroup_setid(RESULTS, "order_proof", "0")
    db.xgroup_setid(PLANS, "order_proof", "0")
    backend.settle(runner)
    again = [one for one in backend.events(AuditFinding) if one.auditor == "order_proof"]
    assert len(again) == judged + 1


@pytest.mark.parametrize("flavour_of_now", ["soon", "late"])
def test_cases_of_permits_are_judged_by_what_is_known_only(server, tmp_path, flavour_of_now):
    # Given a plan with all its permits, and one that was denied
    audit = AuditRig(server)
    db = audit.db
    audit.plan("a")
    audit.permits("a")
    audit.plan("b")
    audit.decide("b", allow=False, reason="no")
    audit.settle()
    # And one in flight, of whose permits nobody told
    audit.plan("c")
    audit.settle()
    before = audit.told()
    archive = archive_all(db, tmp_path)
    db.flushall()
    # When it is restored at once, or after the cases had been due
    made = planned(
        db, archive, int(time.time() * 1000) + (0 if flavour_of_now == "soon" else 70_000)
    )
    carry_out(made, archive, db, "a test")
    assert made.interrupted == ["c"]
    # And the plans are executed after all, the denied one, too
    again = AuditRig(server)
    for plan_id in ("a", "b", "c"):
        again.execute(plan_id)
    again.next_ms()
    again.settle().pass_s(3).pass_s(70)
    # Then what was denied is told, and nothing that rests on a permit that was lost
    quiet = (FINDING, "group_recreated")  # of a stream without entries, which has none to restore
    told = [one for one in again.told() if not one.startswith(quiet)]
    assert sorted({*told} - {*before}) == ["executed_without_permits b"]
    assert len(told) == len(before) + 1


def test_an_execution_right_after_the_loss_is_no_violation_for_the_permits_that_were_lost(
    server, tmp_path
):
    # Given a plan with all permits, whose execution comes after a server was wiped under everybody
    audit = AuditRig(server)
    db = audit.db
    audit.plan("a")
    audit.settle()
    archive_all(db, tmp_path)
    db.flushall()
    audit = AuditRig(server)
    audit.execute("a")
    # And a new plan, with permits that were seen
    audit.plan("b")
    audit.permits("b")
    audit.settle()
    archive = archive_all(db, tmp_path)
    # When it is restored
    made = planned(db, archive)
    carry_out(made, archive, db, "a test")
    # Then the first is named and not accused, and the second is judged as ever
    assert made.interrupted == ["a"]
    again = AuditRig(server)
    again.execute("b")
    again.settle().pass_s(3).pass_s(70)
    told = [one for one in again.told() if "permit" in one]
    assert told == ["permits_complete b"]


def test_the_universe_comes_back_stale_and_its_auditor_goes_on(server, tmp_path):
    # Given two audited changes of the universe, and one that was not audited
    db = server.connect()
    backend = RedisBackend(server.connect)
    runner, _ = backend.runner(universe_audit)
    for event in (changed(1, "AUSDT"), changed(2, "AUSDT", "BUSDT")):
        Publisher(db).publish(event)
    backend.settle(runner)
    audited = db.hgetall(streams.UNIVERSE_AUDITED)
    last = changed(3, "AUSDT", "BUSDT", "CUSDT")
    Publisher(db).publish(last)
    archive = archive_all(db, tmp_path)
    # When the server is lost and restored
    db.flushall()
    restored(db, archive)
    # Then gates see the symbols and that they are old
    universe = load_universe(db, now_s=time.time())
    assert (universe.status, universe.code) == ("stale", "stale_flag")
    assert universe.symbols == {"AUSDT", "BUSDT", "CUSDT"}
    assert universe.epoch == 3
    assert universe.damage == ""
    # And the auditor audits the one that it had not seen, without a gap
    assert db.hgetall(streams.UNIVERSE_AUDITED) == audited
    runner, _ = backend.runner(universe_audit)
    backend.settle(runner)
    subjects = [one.subject for one in backend.events(AuditFinding) if one.auditor != "operator"]
    assert subjects.count("epoch 3") == 1
    assert "universe_epoch_gap" not in {one.finding for one in backend.events(AuditFinding)}
    # And the producer's retry of an event that it had published adds nothing
    Publisher(db).publish(last)
    assert db.xlen(streams.UNIVERSE_CHANGED.key) == 3


def test_what_operators_settled_stays_settled_to_the_letter(server, tmp_path):
    db = server.connect()
    finding = AuditFinding(auditor="x", finding="y", severity="critical")
    id_ = Publisher(db).publish(finding)
    violations.settle(db, id_, "looked at; by hand; twice")
    notes = db.hgetall(streams.FINDINGS_SETTLED)
    archive = archive_all(db, tmp_path)
    db.flushall()
    restored(db, archive)
    assert db.hgetall(streams.FINDINGS_SETTLED) == notes
    assert json.loads(notes[id_.encode()])["why"] == "looked at; by hand; twice"
    assert [one.finding_id for one in violations.violations(db) if not one.settled] == []


def test_nothing_that_was_written_after_the_loss_is_lost(server, tmp_path):
    # Given a server that was emptied and then written to again, part of which is archived
    db = server.connect()
    for number in range(5):
        send(db, plan(plan_id=f"{number:016x}"))
    old = contents(db)[PLANS]
    archive_all(db, tmp_path)
    db.flushall()
    send(db, plan(plan_id="f" * 16))
    archive = archive_all(db, tmp_path)
    send(db, plan(plan_id="e" * 16))
    new = contents(db)[PLANS]
    db.execute_command("XGROUP", "CREATE", PLANS, "p33", new[-1][0])
    db.execute_command("XGROUP", "CREATE", PLANS, "strangers", new[0][0])
    # When it is restored
    done = restored(db, archive)
    # Then all of it stands there in order, and groups are not behind where the server had them
    assert contents(db)[PLANS] == old + new
    assert (done.sums[PLANS].missing, done.sums[PLANS].unarchived) == (5, 1)
    where = positions(db)
    assert where["apply.plan", "p33"] == (new[-1][0].decode(), 7, 0)
    assert where["apply.plan", "strangers"] == (new[0][0].decode(), 6, 0)
    assert where["apply.plan", "archive"] == (new[0][0].decode(), 6, 0)
    # And the archive's books say how it stands, so that it tells of no gap
    book = Books(archive.folder).get(PLANS)
    assert (book.base, book.added, book.removed) == (0, 7, 0)


def test_entries_out_of_order_and_ids_that_came_again_find_their_place(server, tmp_path):
    # Given an archive in which late entries stand behind later ones, and an id stands twice
    from tests.archive_rig import flat, writing

    now = int(time.time() * 1000)
    with writing(tmp_path) as made:
        for offset in (1, 5, 3, 9, 2):
            made.add(PLANS, b"%d-0" % (now + offset), flat(offset))
        made.add(PLANS, b"%d-0" % (now + 5), flat(55))
        made.commit()
    from quantum_ops.history.folder import Folder

    db = server.connect()
    restored(db, Archive(Folder(tmp_path)))
    rows = [(int(id_.split(b"-")[0]) - now, parts[1]) for id_, parts in contents(db)[PLANS]]
    assert rows == [(n, b"%016x" % (55 if n == 5 else n)) for n in (1, 2, 3, 5, 9)]


AHEAD = f"{2**64 - 1}-{2**64 - 1}"
"""An id that whoever may append may choose: after it a stream takes no honest one."""


def test_a_stream_that_an_id_ahead_of_the_clock_holds_up_takes_entries_again(server, tmp_path):
    # Given deploys, and an entry behind which the stream takes no other; all of it read, archived,
    # and noted how far each group is
    rig = ArchiveRig(server, tmp_path, origin="quantum-ops/archive")
    db, deploys = rig.db, streams.DEPLOY_COMPLETED.key
    for group in ("ledger", "strangers"):
        db.execute_command("XGROUP", "CREATE", deploys, group, "0", "MKSTREAM")
    honest = rig.add(3, stream=deploys)
    db.execute_command("XADD", deploys, AHEAD, "a", "b")
    for group in ("ledger", "strangers"):
        db.execute_command("XREADGROUP", "GROUP", group, "c", "NOACK", "STREAMS", deploys, ">")
    with pytest.raises(redis.ResponseError, match="last possible ID"):
        rig.add(1, stream=deploys)
    rig.settle()
    rig.keeper.close()
    archive = Archive(rig.folder)
    # When it is restored, though nothing is missing
    made = planned(db, archive)
    assert (made.missing, made.held_up, made.ahead) == (0, [deploys], {deploys: 1})
    shown = "\n".join(restore_view.lines(made, archive))
    assert "deploy.completed takes no honest entry now; restored, it does again" in shown
    assert made.newest_ms < time.time() * 1000 + 1000
    restored(db, archive)
    # Then only the archive has that entry, no group stands behind the end of time, and the next
    # ones are taken and handed out
    left = [id_.decode() for id_, _ in contents(db)[deploys]]
    assert left == honest
    assert positions(db)["deploy.completed", "strangers"][0] == honest[-1]
    after = rig.add(2, stream=deploys)
    [(_, got)] = client.raw(db, "XREADGROUP", "GROUP", "strangers", "c", "STREAMS", deploys, ">")
    assert [id_.decode() for id_, _ in got] == after
    assert planned(db, archive).held_up == []
    # And the archive goes on: it told of that id once, and of nothing that came after
    again = ArchiveRig(server, tmp_path, "two", origin="quantum-ops/archive").settle()
    assert again.archived(deploys)[-2:] == after
    assert [one for one in again.told() if "deploy.completed" in one] == [
        "archive_id_in_future deploy.completed"
    ]
    again.keeper.close()
    # And a server that lost everything comes back without that entry, too
    db.flushall()
    restored(db, Archive(rig.folder))
    assert [id_.decode() for id_, _ in contents(db)[deploys]] == [*honest, *after]


@pytest.mark.parametrize("ahead_ms", [4_102_444_800_000, 2**64 - 2])
def test_a_stream_that_goes_on_behind_an_id_of_the_future_comes_back_whole(
    server, tmp_path, ahead_ms
):
    # Given an id of the future, and honest entries that the server numbers behind it
    rig = ArchiveRig(server, tmp_path, origin="quantum-ops/archive")
    db, deploys = rig.db, streams.DEPLOY_COMPLETED.key
    db.execute_command("XGROUP", "CREATE", deploys, "strangers", "0", "MKSTREAM")
    rig.add(2, stream=deploys)
    db.execute_command("XADD", deploys, f"{ahead_ms}-7", "a", "b")
    Publisher(db).publish(DeployCompleted(**DEPLOY, event_id="mine"))
    assert rig.add(1, stream=deploys) == [f"{ahead_ms}-9"]
    rig.settle()
    rig.keeper.close()
    before, archive = contents(db)[deploys], Archive(rig.folder)
    # When everything is lost, and restored
    db.flushall()
    made = planned(db, archive)
    assert (made.sums[deploys].missing, made.held_up, made.ahead) == (5, [], {})
    assert "the newest 2" in "\n".join(restore_view.lines(made, archive))
    restored(db, archive)
    # Then all of it is back, honest entries too, and the next one follows
    assert contents(db)[deploys] == before
    assert positions(db)["deploy.completed", "strangers"][0] == f"{ahead_ms}-9"
    assert rig.add(1, stream=deploys) == [f"{ahead_ms}-10"]


def test_an_entry_ahead_of_the_clock_that_only_the_server_has_is_not_thrown_away(server, tmp_path):
    db, deploys = server.connect(), streams.DEPLOY_COMPLETED.key
    db.xadd(deploys, {"a": "b"})
    archive = archive_all(db, tmp_path)
    db.execute_command("XADD", deploys, AHEAD, "a", "b")
    with pytest.raises(RestoreError, match="is not archived; let the archive read it first"):
        planned(db, archive)


def test_old_entries_stay_in_the_archive_unless_asked_for(server, tmp_path):
    from quantum_ops.history.folder import Folder
    from tests.archive_rig import flat, writing

    now = int(time.time() * 1000)
    old = now - 31 * 86_400_000
    with writing(tmp_path) as made:
        made.add(PLANS, b"%d-0" % old, flat(1))
        made.add(PLANS, b"%d-0" % now, flat(2))
        made.commit()
    db, archive = server.connect(), Archive(Folder(tmp_path))
    restored(db, archive)
    assert db.xlen(PLANS) == 1
    assert db.xinfo_stream(PLANS)["entries-added"] == 2
    assert {g["lag"] for g in db.xinfo_groups(PLANS)} == {0}
    restored(db, archive, everything=True)
    assert db.xlen(PLANS) == 2


def test_a_strangers_server_is_refused(server, tmp_path):
    # Given a server that has another entry under an id of the archive
    db = server.connect()
    id_ = send(db, plan(plan_id="a"))
    archive = archive_all(db, tmp_path)
    db.flushall()
    db.execute_command("XADD", PLANS, id_, "plan_id", "other")
    with pytest.raises(RestoreError, match="another system"):
        restored(db, archive)
    assert contents(db)[PLANS] == [[id_.encode(), [b"plan_id", b"other"]]]


def test_whoever_writes_meanwhile_stops_the_restore_and_loses_nothing(
    server, tmp_path, monkeypatch
):
    db = server.connect()
    send(db, plan(plan_id="a"))
    archive = archive_all(db, tmp_path)
    db.flushall()
    finish = Refill.finish

    def written_to(self, *args):
        finish(self, *args)
        send(db, plan(plan_id="meanwhile"))

    monkeypatch.setattr(Refill, "finish", written_to)
    with pytest.raises(MovedError, match=r"apply\.plan"):
        restored(db, archive)
    assert [row[1][1] for row in contents(db)[PLANS]] == [b"meanwhile"]
    # And the next attempt takes it in
    monkeypatch.undo()
    restored(db, archive)
    assert [row[1][1] for row in contents(db)[PLANS]] == [b"a", b"meanwhile"]


def test_a_key_that_is_no_stream_is_named(server, tmp_path):
    db = server.connect()
    send(db, plan(plan_id="a"))
    archive = archive_all(db, tmp_path)
    db.flushall()
    db.set(PLANS, "rubbish")
    with pytest.raises(RestoreError, match=r"apply\.plan is no stream"):
        restored(db, archive)


def test_trading_streams_are_left_alone_unless_asked_for(server, tmp_path):
    db = server.connect()
    send(db, plan(plan_id="a"))
    Publisher(db).publish(changed(1, "AUSDT"))
    archive = archive_all(db, tmp_path)
    db.flushall()
    made = planned(db, archive, trading=False)
    carry_out(made, archive, db, "a test")
    assert made.left_out == [PLANS]
    assert not db.exists(PLANS)
    assert db.xlen(streams.UNIVERSE_CHANGED.key) == 1
    # Yet whoever makes the group knows where it was
    assert db.get(streams.checkpoint(PLANS, "p33"))


def test_rebuilding_twice_gives_the_same_bytes(server, tmp_path):
    db = server.connect()
    backend = RedisBackend(server.connect)
    for number in range(3):
        send(db, plan(plan_id=f"{number:016x}"))
    results(db, (f"{0:016x}", "1"), (f"{1:016x}", ""))
    backend.settle(backend.runner(order_proof)[0])
    archive = archive_all(db, tmp_path)
    now_ms = int(time.time() * 1000)
    made = [b"\n".join(orders.rebuild(archive, OrderProofSettings(), now_ms).keys.lines())
            for _ in range(2)]  # fmt: skip
    assert made[0] == made[1] != b""
    # And it says what a live one says, and notices one key that it does not
    index = orders.rebuild(archive, OrderProofSettings(), now_ms).keys
    assert index.compare(db, orders.FAMILIES) == []
    db.hset(streams.proof_of_plan(f"{0:016x}"), "order_id", "\x1b[2J")
    db.set(streams.planned("intruder"), "1-1")
    db.delete(streams.planned(f"{2:016x}"))
    assert sorted(one.what for one in index.compare(db, orders.FAMILIES)) == [
        "different", "missing", "unexpected",
    ]  # fmt: skip


def test_every_stream_that_is_read_has_a_group_after_it(server, tmp_path):
    db = server.connect()
    for stream in streams.CATALOGUE:
        db.execute_command("XADD", stream.key, "*", "a", "b")
    archive = archive_all(db, tmp_path)
    db.flushall()
    restored(db, archive)
    wanted = {(stream.name, one.name) for one in CONSUMERS for stream in one.streams}
    assert wanted <= positions(db).keys()


def test_a_dead_letter_that_was_put_back_stays_resolved(server, tmp_path):
    from quantum_ops.dead_letter import DeadLetters

    db = server.connect()
    letter = DeadLetter(
        stream=PLANS, group="p33", consumer="c", entry_id="1-1", deliveries=1, reason="rejected"
    )
    id_ = client.raw(db, "XADD", streams.DEAD_LETTER.key, "*", *codec.encode(letter)).decode()
    letters = DeadLetters(db)
    assert letters.drop(letters.get(id_), "why; not") == "done"
    notes = db.hgetall(streams.DEAD_LETTER_RESOLVED)
    archive = archive_all(db, tmp_path)
    db.flushall()
    restored(db, archive)
    assert db.hgetall(streams.DEAD_LETTER_RESOLVED) == notes


def test_the_ledger_goes_on_with_the_first_deployment_that_is_not_recorded(server, tmp_path):
    # Given deployments: recorded by entry id, by event id, refused, and one that is neither
    db = server.connect()
    key = streams.DEPLOY_COMPLETED.key
    ids = [
        client.raw(db, "XADD", key, "*", "operation", "x", *more).decode()
        for more in ((), ("event_id", "mine"), (), (), ())
    ]
    for seq, source_id in ((1, ids[0]), (2, "mine"), (3, ids[4])):
        recorded = LedgerRecorded(
            seq=seq, record_type="operation.recorded", entry_sha256="0", tree_size=seq,
            root_sha256="0", source=key, source_id=source_id,
        )  # fmt: skip
        Publisher(db).publish(recorded)
    letter = DeadLetter(
        stream=key, group="ledger", consumer="c", entry_id=ids[2], deliveries=1, reason="rejected"
    )
    client.raw(db, "XADD", streams.DEAD_LETTER.key, "*", *codec.encode(letter))
    archive = archive_all(db, tmp_path)
    # When the server is lost and restored
    db.flushall()
    restored(db, archive)
    # Then the ledger is handed over the one that it had not recorded
    [(_, entries)] = db.xreadgroup("ledger", "c", {key: ">"})
    assert [id_.decode() for id_, _ in entries] == ids[3:]


def test_notes_of_last_orders_come_back_beside_what_executors_write(server, tmp_path):
    # Given results that position_ledger has noted
    db = server.connect()
    backend = RedisBackend(server.connect)
    results(db, ("a", "1"), ("b", "2"), ("c", ""))
    backend.settle(backend.runner(position_ledger)[0])
    noted = db.hgetall(streams.position_ledger("BTCUSDT"))
    assert noted[b"last_order_id"] == b"2"
    archive = archive_all(db, tmp_path)
    db.flushall()
    # When the executors have written their amount already before the restore
    db.hset(streams.position_ledger("BTCUSDT"), "last_known_amt", "7")
    restored(db, archive)
    # Then both stand there
    assert db.hgetall(streams.position_ledger("BTCUSDT")) == {**noted, b"last_known_amt": b"7"}
    assert positions(db)["apply.result", "position_ledger"][1] == 3


def test_nothing_is_restored_where_nothing_is_missing(server, tmp_path):
    db = server.connect()
    send(db, plan(plan_id="a"))
    archive = archive_all(db, tmp_path)
    assert planned(db, archive).missing == 0
    db.flushall()
    assert planned(db, archive).missing == 1


def test_records_that_a_running_ledger_told_again_are_named(server, tmp_path):
    # Given three records told of, a loss, and a ledger that went on and told all of them again
    db = server.connect()
    for seq in (1, 2, 3):
        Publisher(db).publish(told_of(seq))
    archive = archive_all(db, tmp_path)
    db.flushall()
    for seq in (1, 2, 3, 4):
        Publisher(db).publish(told_of(seq))
    # Then nothing is dropped, and whoever restores is told
    made = planned(db, archive)
    assert made.sums[streams.LEDGER_RECORDED.key].kept == 7
    assert made.twice.startswith("3 records of the ledger are told of twice on ledger.recorded")
    assert "(seq 1 to 3)" in made.twice
    restored(db, archive)
    found = [one for one in RedisBackend(server.connect).events(AuditFinding)
             if one.finding == FINDING]  # fmt: skip
    assert "(seq 1 to 3)" in found[-1].detail
    assert "told_twice" in restore_view.as_object(made, archive)


def told_of(seq: int) -> LedgerRecorded:
    return LedgerRecorded(
        event_id=f"ledger/{seq}", seq=seq, record_type="operation.recorded", entry_sha256="a",
        tree_size=seq, root_sha256="b",
    )  # fmt: skip
