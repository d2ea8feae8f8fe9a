"""./run scale: spares started and drained one by one, remembered over stops and kills."""

from __future__ import annotations

import os
import signal

import pytest

from ops import scale_plan
from quantum_ops import streams
from tests.exchange import SIX, Exchange, answer, body
from tests.supervised import System
from tests.waiting import wait_until

pytestmark = pytest.mark.whole

SPARE = """
[program:{name}_spare]
command="%(ENV_QUANTUM_PYTHON)s" -m consumers {name}
process_name={name}-%(process_num)02d
numprocs=3
numprocs_start=1
autostart=false
exitcodes=78
startretries=100
stopwaitsecs=30
killasgroup=true
redirect_stderr=true
stdout_logfile=%(ENV_QUANTUM_HOME)s/log/{name}-%(process_num)02d.log
"""


@pytest.fixture
def system():
    system = System()
    for folder in ("conf.d", "demo.d"):
        for path in (system.tree / "supervisor" / folder).glob("*.conf"):
            path.unlink()
    system.with_stand_ins()
    system.add("gate", "consumers")
    path = system.tree / "supervisor" / "conf.d" / "gate_spare.conf"
    path.write_text(SPARE.format(name="gate"))
    yield system
    system.close()


def up(system: System) -> list[str]:
    return sorted(name for name, pid in system.pids().items() if pid and name.startswith("gate"))


def ready(system: System) -> dict[str, str]:
    return {p["name"]: p["ready"] for p in system.status()["processes"] if p["program"] == "gate"}


def test_spares_are_started_and_drained_one_by_one_and_remembered(system):
    # given one process and three spares
    system.start()
    assert up(system) == ["gate-00"]
    assert ready(system) == {
        "gate-00": "READY", "gate-01": "SPARE", "gate-02": "SPARE", "gate-03": "SPARE",
    }  # fmt: skip
    first = system.pids()["gate-00"]
    # when it is scaled up
    done = system.verb("scale", "gate", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "gate-01: READY handled 1", "gate-02: READY handled 1", "gate: 3 of 4 declared run",
    ]  # fmt: skip
    assert up(system) == ["gate-00", "gate-01", "gate-02"]
    assert system.pids()["gate-00"] == first
    # then as many run after a stop, and nothing is done twice
    assert system.verb("stop").returncode == 0
    system.start()
    system.wait_ready()
    assert up(system) == ["gate-00", "gate-01", "gate-02"]
    assert system.verb("scale", "gate", "3").stdout == "gate: 3 of 4 declared run\n"
    # when it is scaled down, the highest goes first and is drained
    done = system.verb("scale", "gate", "1")
    assert done.stdout.splitlines() == [
        "gate-02: drained", "gate-01: drained", "gate: 1 of 4 declared run",
    ]  # fmt: skip
    assert system.connect().lrange("drained", 0, -1)[-2:] == [b"gate-02", b"gate-01"]
    assert ready(system)["gate-01"] == "SPARE"
    assert system.is_ready()


def test_numbers_and_names_that_cannot_be_are_refused(system):
    assert system.verb("scale", "gate", "2").returncode == 3  # not running
    system.start()
    many = system.verb("scale", "gate", "5")
    assert (many.returncode, many.stdout) == (1, "")
    assert "4 are declared, 5 cannot run; raise numprocs in supervisor/conf.d/gate_spare.conf" in (
        many.stderr
    )
    assert system.verb("scale", "gate", "0").returncode == 1
    assert "2 start with the system" in system.verb("scale", "worker", "1").stderr
    assert "1 is declared" in system.verb("scale", "feeder", "2").stderr
    unknown = system.verb("scale", "nobody", "2")
    assert unknown.returncode == 4
    assert "there are: feeder, gate, redis, worker" in unknown.stderr
    assert up(system) == ["gate-00"]


def test_wanted_spare_that_is_down_is_not_ready_and_comes_back_after_kills(system):
    system.start()
    assert system.verb("scale", "gate", "2").returncode == 0
    # when one is stopped by hand, the system is not ready
    assert system.verb("supervisorctl", "stop", "gate_spare:gate-01").returncode == 0
    assert ready(system)["gate-01"] == "DOWN"
    assert not system.is_ready()
    # and saying the number again mends it
    assert system.verb("scale", "gate", "2").returncode == 0
    # when supervisord is killed, the next start brings both back
    os.kill(system.supervisord(), signal.SIGKILL)
    system.start()
    system.wait_ready()
    assert up(system) == ["gate-00", "gate-01"]


def test_scale_that_was_killed_in_the_middle_is_finished_by_the_next_start(system):
    system.start()
    # given that the number was remembered and the verb died before it did anything
    scale_plan.write(system.paths, "gate", 3)
    again = system.verb("start")
    assert again.returncode == 0
    system.wait_ready()
    assert up(system) == ["gate-00", "gate-01", "gate-02"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"gate": "3"}', '{"gate": true}', "[" * 9999])
def test_damaged_memory_is_one_process(system, content):
    system.paths.create()
    system.paths.scale_file.write_text(content)
    assert scale_plan.read(system.paths) == {}


def test_p33_is_scaled_with_its_names_in_its_groups():
    exchange = Exchange(answer(body(*SIX)))
    system = System()
    system.environ["UNIVERSE_URL"] = exchange.url
    try:
        system.start()
        db = system.connect()
        done = system.verb("scale", "p33", "3")
        assert done.returncode == 0, done.stdout + done.stderr

        def names() -> list[bytes]:
            found = db.xinfo_consumers(streams.APPLY_PLAN.key, "p33")
            return sorted(one["name"].partition(b":")[2] for one in found)

        wait_until(lambda: names() == [b"p33:0", b"p33:1", b"p33:2"], 10, "three names")
        assert (system.paths.log / "p33-02.log").exists()
        assert system.verb("scale", "p33", "1").returncode == 0
        assert names() == [b"p33:0"]
        assert system.verb("restart", "p33").returncode == 0
    finally:
        system.close()
        exchange.close()
