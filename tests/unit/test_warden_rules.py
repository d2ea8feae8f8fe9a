"""What the warden decides about a process: pure, over every history that hypothesis thinks of."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from ops.daemon import Process
from ops.readiness import Verdict
from ops.warden import rules
from ops.warden.rules import Deed, Record, Trouble
from quantum_ops.settings import WardenSettings

SETTINGS = WardenSettings(
    backoff_base_s=5, backoff_cap_s=60, reset_s=600, silence_s=60, memory_grace_s=30
)
MIB = 1024 * 1024


def process(state="RUNNING", pid=42, up_s=60, exit_status=0, name="p33-00", **changes) -> Process:
    fields = {
        "group": "p33", "name": name, "state": state, "pid": pid, "now": 1000,
        "started_at": 1000 - up_s, "exit_status": exit_status, "said": "", "autostart": True,
        "command": "python -m consumers p33", "priority": 999, "stop_wait_s": 30, "log": "",
    }  # fmt: skip
    return Process(**{**fields, **changes})


@pytest.mark.parametrize(
    ("seen", "ready", "resident", "heard", "trouble"),
    [
        (process(), "READY", 0, True, Trouble.NONE),
        (process(), "STALE", 0, True, Trouble.SILENT),
        # A server that takes no writes makes everybody silent: that is no reason to kill them all.
        (process(), "STALE", 0, False, Trouble.NONE),
        (process(), "READY", 101 * MIB, True, Trouble.MEMORY),
        (process(), "READY", 100 * MIB, True, Trouble.NONE),
        (process(), "DRAINING", 0, True, Trouble.NONE),
        (process("FATAL", pid=0), "DOWN", 0, True, Trouble.FATAL),
        (process("FATAL", pid=0), "DOWN", 0, False, Trouble.FATAL),
        # Refused settings are not cured by another start, however supervisord came to call it.
        (process("FATAL", pid=0, exit_status=78), "DOWN", 0, True, Trouble.REFUSED),
        (process("EXITED", pid=0, exit_status=78), "DOWN", 0, True, Trouble.REFUSED),
        (process("EXITED", pid=0, exit_status=1), "DOWN", 0, True, Trouble.NONE),
        (process("STOPPED", pid=0), "DOWN", 0, True, Trouble.NONE),
        (process("BACKOFF", pid=0), "DOWN", 0, True, Trouble.NONE),
    ],
)
def test_what_counts_as_trouble(seen, ready, resident, heard, trouble):
    assert rules.trouble(Verdict(seen, ready), resident, 100 * MIB, heard=heard) is trouble
    assert rules.trouble(Verdict(seen, ready), resident, 0, heard=heard) in (trouble, Trouble.NONE)


def test_limits_are_for_every_program_but_the_server_and_the_warden_itself():
    settings = WardenSettings(memory_mb=100, memory_limits=(("archive", 0), ("redis", 1)))
    assert rules.limit_bytes(process(), settings) == 100 * MIB
    assert rules.limit_bytes(process(name="archive-00"), settings) == 0
    exporter = process(name="exporter", command="x -m ops.exporter")
    assert rules.limit_bytes(exporter, settings) == 100 * MIB
    assert rules.limit_bytes(process(name="redis", command="x -m ops server"), settings) == 0
    assert rules.limit_bytes(process(name="warden", command="x -m ops.warden"), settings) == 0


def test_a_program_that_gave_up_is_started_again_after_growing_waits():
    # given a program that supervisord gives up again and again, looked at each second
    record, starts = Record(), []
    with freeze_time("2026-01-27 06:15:30") as clock:
        for _ in range(300):
            record, deed = decide(record, process("FATAL", pid=0), Trouble.FATAL, time.time())
            if deed is Deed.START:
                starts.append(time.time())
            clock.tick(timedelta(seconds=1))
    # then the waits double up to the cap
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps[:4] == [11, 21, 41, 61]  # one second each until the next look
    assert set(gaps[4:]) <= {61}
    # and after ten quiet minutes they begin anew
    record, _ = decide(record, process(up_s=601), Trouble.NONE, starts[-1] + 601)
    assert record.heals == 0


def test_a_process_that_always_grows_too_big_is_restarted_ever_more_rarely():
    # given one that is over its limit from its first second on, in each of its lives
    record, pid, restarts = Record(), 1, []
    for second in range(600):
        record, deed = decide(record, process(pid=pid, up_s=1), Trouble.MEMORY, float(second))
        if deed is Deed.TERM:
            restarts.append(second)
            pid += 1
    # then the grace of 30 s is followed by waits that double beyond it
    gaps = [later - earlier for earlier, later in itertools.pairwise(restarts)]
    assert gaps[:4] == [31, 31, 31, 40]
    assert set(gaps[4:]) == {60}


def test_a_hung_process_is_asked_then_killed():
    # given a process that is silent and deaf
    record, deeds = Record(), []
    for second in range(200):
        record, deed = decide(record, process(), Trouble.SILENT, float(second))
        if deed:
            deeds.append((second, deed))
    # then SIGTERM after a minute, SIGKILL when its stopwaitsecs are over, until it is gone
    assert deeds[:3] == [(60, Deed.TERM), (95, Deed.KILL), (130, Deed.KILL)]


def test_a_process_that_beats_again_in_time_is_left_alone():
    record, _ = decide(Record(), process(), Trouble.SILENT, 0.0)
    record, _ = decide(record, process(), Trouble.NONE, 59.0)
    record, deed = decide(record, process(), Trouble.SILENT, 60.0)
    assert deed is Deed.NOTHING


def test_two_neighbours_are_not_restarted_at_once():
    record, _ = decide(Record(), process(), Trouble.MEMORY, 0.0)
    assert decide(record, process(), Trouble.MEMORY, 31.0, leaving=True)[1] is Deed.NOTHING
    assert decide(record, process(), Trouble.MEMORY, 32.0)[1] is Deed.TERM


def decide(record, seen_process, seen, now_s, **options):
    return rules.decide(record, seen_process, seen, now_s, SETTINGS, **options)


looks = st.lists(
    st.tuples(
        st.floats(0.1, 400),
        st.sampled_from(
            [("RUNNING", t) for t in (Trouble.NONE, Trouble.SILENT, Trouble.MEMORY)]
            + [("FATAL", Trouble.FATAL), ("FATAL", Trouble.REFUSED), ("EXITED", Trouble.REFUSED)]
            + [(s, Trouble.NONE) for s in ("STOPPED", "STARTING", "BACKOFF", "STOPPING")]
        ),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=60,
)


@given(looks)
def test_whatever_happens_the_bounds_hold(history):
    record, now_s, healed, asked = Record(), 0.0, [], {}
    for passed_s, (state, seen), pid, held in history:
        now_s += passed_s
        seen_process = process(state, pid=pid if state == "RUNNING" else 0)
        before = record
        record, deed = decide(record, seen_process, seen, now_s, held=held)
        # What is held, stopped, refused or on its way is never touched.
        if held or state not in ("RUNNING", "FATAL") or seen is Trouble.REFUSED:
            assert deed is Deed.NOTHING
        if deed is Deed.START:
            assert state == "FATAL"
        # SIGKILL is only for a process that was asked and had its stopwaitsecs.
        if deed is Deed.TERM:
            asked[pid] = now_s
        if deed is Deed.KILL:
            assert now_s - asked[pid] >= seen_process.stop_wait_s
        # Restarts keep their distance, which never exceeds what the operator set as the longest.
        if deed in (Deed.START, Deed.TERM):
            if healed:
                least = min(SETTINGS.backoff_cap_s, SETTINGS.backoff_base_s)
                assert now_s - healed[-1] >= least
            healed.append(now_s)
            assert record.heals == before.heals + 1
        assert rules.wait_s(record.heals, SETTINGS) <= SETTINGS.backoff_cap_s


@given(st.integers(0, 10_000), st.floats(0.1, 3600), st.floats(0.1, 86_400))
def test_waits_grow_to_the_cap_and_never_overflow(heals, base, cap):
    settings = replace(SETTINGS, backoff_base_s=base, backoff_cap_s=cap)
    assert base <= rules.wait_s(heals, settings) <= max(base, cap)
    assert rules.wait_s(heals, settings) <= rules.wait_s(heals + 1, settings)
