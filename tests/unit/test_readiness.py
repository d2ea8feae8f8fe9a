"""What a process is judged to be doing, from what supervisord and its heartbeat say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.daemon import Process
from ops.readiness import Server, judge

NOW_MS = 1_764_000_000_000
UP = Server(owned=True, flavour="valkey 9.1.2")


def process(name="universe_audit-01", state="RUNNING", up_s=60, **changes) -> Process:
    fields = {
        "group": "universe_audit", "name": name, "state": state, "pid": 42, "now": 1000,
        "started_at": 1000 - up_s, "exit_status": 0, "said": "", "autostart": True,
        "command": '"/a path/python" -m consumers universe_audit', "priority": 999,
        "stop_wait_s": 30, "log": "",
    }  # fmt: skip
    return Process(**{**fields, **changes})


def beat(**changes) -> dict[str, str]:
    fields = {"pid": "42", "host": "here", "state": "ready", "updated_ms": str(NOW_MS - 1000)}
    return {**fields, **changes}


def judged(process, beat, server=UP, **options):
    return judge(process, beat, server, host="here", now_ms=NOW_MS, **options)


@pytest.mark.parametrize(
    ("given_process", "given_beat", "ready"),
    [
        (process(), beat(), "READY"),
        (process(), beat(state="waiting"), "WAITING"),
        (process(), beat(state="standby"), "STANDBY"),
        (process(), beat(state="draining"), "DRAINING"),
        (process(state="STOPPING"), beat(), "DRAINING"),
        (process(), beat(updated_ms=str(NOW_MS - 16_000)), "STALE"),
        (process(), None, "STALE"),
        (process(up_s=3), None, "WAITING"),
        (process(), beat(pid="41"), "STALE"),
        (process(up_s=3), beat(pid="41"), "WAITING"),
        (process(up_s=3), beat(host="elsewhere"), "WAITING"),
        (process(), beat(state="\x1b[2J"), "STALE"),
        (process(), beat(updated_ms="soon"), "STALE"),
        (process(state="BACKOFF"), beat(), "DOWN"),
        (process(state="FATAL"), None, "DOWN"),
        (process(state="STOPPED", started_at=900), None, "DOWN"),
        (process(state="STOPPED", autostart=False), None, "DOWN"),
        (process(command="python -m ops.web"), None, "READY"),
    ],
)
def test_running_is_not_consuming(given_process, given_beat, ready):
    assert judged(given_process, given_beat).ready == ready


def test_spare_that_nobody_asked_for_is_no_trouble():
    spare = process(state="STOPPED", autostart=False)
    assert judged(spare, None, wanted=False).ready == "SPARE"
    assert judged(process(state="FATAL", autostart=False), None, wanted=False).ready == "DOWN"
    assert judged(process(state="STOPPED"), None, wanted=False).ready == "DOWN"


def test_nobody_is_ready_without_a_server():
    away = Server(owned=True, problem="no answer")
    assert judged(process(), beat(), away).ready == "WAITING"
    server = process(name="redis", command="python -m ops server")
    assert judged(server, None, away).ready == "WAITING"
    assert judged(server, None).detail == "valkey 9.1.2"


def test_only_what_will_not_come_by_itself_is_final():
    assert judged(process(state="EXITED", exit_status=78), None).is_final
    assert not judged(process(state="EXITED", exit_status=1), None).is_final
    assert judged(process(state="FATAL"), None).is_final
    assert not judged(process(state="BACKOFF"), None).is_final


@pytest.mark.parametrize(
    ("name", "program", "number"),
    [("universe", "universe", 0), ("p33-07", "p33", 7), ("a-b", "a-b", 0), ("-3", "-3", 0)],
)
def test_a_process_name_tells_program_and_number(name, program, number):
    assert (process(name=name).program, process(name=name).number) == (program, number)


@given(st.dictionaries(st.sampled_from(["pid", "host", "state", "updated_ms"]), st.text()))
def test_no_heartbeat_whatever_breaks_the_look(strange):
    # given what anybody with access to the server may have written
    verdict = judged(process(), strange)
    # then it is judged, and never as ready unless it says everything rightly
    assert verdict.ready in {"WAITING", "STALE"}
