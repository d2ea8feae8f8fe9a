"""The warden's parts on their own: protocol, spool, hold list, what no event told of."""

from __future__ import annotations

import contextlib
import io
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import naming
from ops.paths import Paths
from ops.warden import holds, listener, recorder, resident
from ops.warden.holds import Hold
from ops.warden.known import Known
from ops.warden.listener import Notice, ProtocolError
from ops.warden.spool import Spool
from quantum_ops import knobs
from quantum_ops.errors import ConfigurationError
from quantum_ops.events import OpsProcess
from quantum_ops.settings import WardenSettings
from tests.unit.test_warden_rules import process


def told(name="PROCESS_STATE_EXITED", serial=7, **fields) -> bytes:
    named = {"processname": "p33-00", "groupname": "p33", "from_state": "RUNNING", "pid": 4}
    payload = " ".join(f"{key}:{value}" for key, value in {**named, **fields}.items()).encode()
    header = f"ver:3.0 server:quantum serial:{serial} pool:warden poolserial:1 eventname:{name}"
    return f"{header} len:{len(payload)}\n".encode() + payload


def test_each_event_is_answered_and_an_end_of_input_is_the_end():
    taken, sink = [], io.BytesIO()
    listener.serve(io.BytesIO(told() + told("TICK_5", 8)), sink, taken.append)
    assert [(one.name, one.serial) for one in taken] == [("PROCESS_STATE_EXITED", 7), ("TICK_5", 8)]
    assert sink.getvalue() == b"READY\nRESULT 2\nOKREADY\nRESULT 2\nOKREADY\n"


@given(st.binary(max_size=400))
def test_garbage_is_an_error_or_the_end_and_never_a_hang(garbage):
    with contextlib.suppress(ProtocolError):
        listener.serve(io.BytesIO(garbage), io.BytesIO(), lambda _: None)


def test_an_event_keeps_its_id_when_it_is_told_twice():
    one = Notice("PROCESS_STATE_EXITED", 7, {"processname": "p33-00", "from_state": "RUNNING"})
    first, again = recorder.event_of(one, "boot"), recorder.event_of(one, "boot")
    assert first.event_id == again.event_id
    assert (first.program, first.process, first.to_state) == ("p33", "p33-00", "EXITED")
    # and neither its successor nor the same number of supervisord's next life is taken for it
    later = Notice("PROCESS_STATE_EXITED", 8, one.fields)
    ids = {
        recorder.event_of(n, b).event_id for n, b in ((one, "boot"), (later, "boot"), (one, "b"))
    }
    assert len(ids) == 3
    assert recorder.event_of(Notice("TICK_5", 9, {"when": "1"}), "boot") is None


def event(number: int) -> OpsProcess:
    return OpsProcess(program="p", process=f"p-{number}", from_state="", to_state="RUNNING")


def test_a_spool_survives_its_process_and_torn_lines(tmp_path):
    # given three events of which one is done, and a kill in the middle of a fourth
    path = tmp_path / "w" / "spool"
    spool = Spool(path)
    for number in range(3):
        spool.add(event(number))
    spool.close()
    with path.open("ab") as file:
        file.write(b'{"event_id": "torn')
    # then the next one has them in order, and goes on behind the torn line
    spool = Spool(path)
    spool.add(event(3))
    seen = []
    while spool.first() is not None:
        seen.append(spool.first().process)
        spool.done()
    assert seen == ["p-0", "p-1", "p-2", "p-3"]
    assert path.stat().st_size == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    spool.close()


def test_a_full_spool_counts_what_it_does_not_keep_and_its_file_stays_small(tmp_path):
    spool = Spool(tmp_path / "spool", max_events=10)
    for number in range(13):
        spool.add(event(number))
    assert (len(spool), spool.dropped) == (10, 3)
    # and one that is filled as fast as it is emptied does not grow for ever
    for number in range(100):
        spool.done()
        spool.add(event(number))
    assert (tmp_path / "spool").stat().st_size < 31 * 250
    spool.close()


def test_a_full_disk_stalls_nothing_and_is_counted(tmp_path):
    spool = Spool(tmp_path / "spool")
    os.close(spool._fd)
    spool._fd = os.open("/dev/full", os.O_WRONLY)
    spool.add(event(1))
    assert (len(spool), spool.unsaved) == (1, 1)
    spool.done()
    assert spool.first() is None
    spool.close()


def test_a_change_that_no_event_told_of_is_noticed_at_the_second_look():
    known = Known()
    known.told("p33-00", "RUNNING")
    fell = process("FATAL", pid=0)
    assert known.missed([fell]) == []
    assert known.missed([fell]) == [(fell, "RUNNING")]
    assert known.missed([fell]) == []
    # while an event that was only on its way is not doubled
    assert known.missed([process("STARTING")]) == []
    known.told("p33-00", "STARTING")
    assert known.missed([process("STARTING")]) == []


@pytest.fixture
def paths(tmp_path):
    return Paths.find(environ={"QUANTUM_HOME": str(tmp_path)})


def test_holds_outlive_everything_and_say_who_and_why(paths):
    assert holds.read(paths) == {}
    holds.add(paths, ["p33"], Hold("2026-01-27T06:15:30.000Z", "ann@box", "under repair"))
    holds.add(paths, ["archive"], Hold("now", "bob@box", until_started=True))
    # A stop of what is on hold must not make the hold end at the next start.
    holds.add(paths, ["p33"], Hold("later", "bob@box", until_started=True))
    assert holds.read(paths)["p33"].why == "under repair"
    assert holds.is_held(holds.read(paths), "p33-02", "p33")
    holds.started(paths)
    assert list(holds.read(paths)) == ["p33"]
    assert holds.remove(paths, ["p33", "archive"]) == ["p33"]
    assert holds.read(paths) == {}


@pytest.mark.parametrize("text", [b"", b"[]", b'{"p33": 1}', b'{"p33": {"x": 1}}', b"\xff"])
def test_a_hold_list_that_cannot_be_read_is_said_and_left_as_it_is(paths, text):
    holds.add(paths, ["p33"], Hold("now", "ann@box"))
    file = paths.warden / holds.FILE
    file.write_bytes(text)
    with pytest.raises(holds.UnreadableHoldsError, match="touches nothing"):
        holds.read(paths)
    holds.started(paths)
    assert file.read_bytes() == text


def test_usage_of_ourselves_is_known_and_of_the_dead_is_nothing(tmp_path):
    assert resident.of(os.getpid()).resident > 1024 * 1024
    assert resident.of(os.getpid()).cpu_s > 0
    assert resident.of(2**22 + 1) == resident.Usage()


def test_memory_limits_are_read_or_refused_by_name():
    found = knobs.load(WardenSettings, {"WARDEN_MEMORY_LIMITS": "p33=300, archive=0"})
    assert found.memory_limits == (("p33", 300), ("archive", 0))
    for wrong in ("p33", "p33=-1", "p33=1,p33=2", "p 33=1=2"):
        with pytest.raises(ConfigurationError, match="WARDEN_MEMORY_LIMITS"):
            knobs.load(WardenSettings, {"WARDEN_MEMORY_LIMITS": wrong})


def test_names_mean_processes_programs_and_roles():
    p0, p1 = process(), process("STOPPED", pid=0, name="p33-01", autostart=False)
    single = process(name="universe", group="universe", command="x -m producers universe")
    all_ = [p0, p1, single]
    assert naming.meant(all_, ["p33"], {}) == [p0]
    assert naming.meant(all_, ["p33"], {"p33": 2}) == [p0, p1]
    assert naming.meant(all_, ["p33-01"], {}) == [p1]
    assert naming.meant(all_, ["consumers:*", "p33:p33-00"], {}) == [p0]
    assert naming.meant(all_, ["producers", "universe"], {}) == [single]
    assert naming.programs(all_, ["consumers", "universe", "p33-01"]) == [
        "p33", "universe", "p33-01",
    ]  # fmt: skip
    with pytest.raises(naming.UnknownNameError, match="there are: p33, universe"):
        naming.meant(all_, ["p34"], {})
