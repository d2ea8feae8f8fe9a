"""What a live consumer process shows: heartbeat, metrics, log lines, its list."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import requests

from quantum_ops import program, streams
from quantum_ops.events import AuditFinding
from quantum_ops.measures import BatchHistogram, Registry
from quantum_ops.metrics import MAX_REASONS, MetricsObserver
from quantum_ops.observe import Trouble
from quantum_ops.publisher import Publisher
from tests.contract.reference import ROOT
from tests.fault.test_kill import Process
from tests.integration.test_demo import free_port
from tests.waiting import wait_until


@pytest.fixture
def process(valkey, monkeypatch):
    port = free_port()
    made = Process.__new__(Process)
    Process.__init__(made, valkey.url, 3)
    made.end()
    made._environment["QUANTUM_METRICS_PORT"] = str(port)
    made.port = port
    made.start()
    yield made
    made.end()


def test_heartbeat_and_metrics_of_a_live_process(process, valkey):
    db = valkey.connect()
    publisher = Publisher(db)
    for number in range(5):
        publisher.publish(
            AuditFinding(auditor="t", finding="f", severity="info", subject=str(number))
        )
    wait_until(lambda: db.hlen("count") == 5, 15)
    beat = db.hgetall(streams.heartbeat("counting", 3))
    assert beat[b"state"] == b"ready"
    assert 0 < db.ttl(streams.heartbeat("counting", 3)) <= 15
    url = f"http://127.0.0.1:{process.port}/metrics"

    def scraped() -> str:
        found = requests.get(url, timeout=5).text
        return found if 'outcome="ack"} 5.0' in found else ""

    text = wait_until(scraped, 10)
    assert 'quantum_handled_total{group="counting",outcome="ack"} 5.0' in text
    assert 'quantum_handler_duration_seconds_count{group="counting"} 5.0' in text
    assert process.end() == 0
    assert db.exists(streams.heartbeat("counting", 3)) == 0


def test_consumers_are_listed_with_their_streams():
    done = subprocess.run(
        [sys.executable, "-m", "consumers", "--list"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "universe_audit" in done.stdout
    assert "universe.changed" in done.stdout


def test_unknown_consumer_is_exit_78_and_lists_the_known(capfd):
    done = subprocess.run(
        [sys.executable, "-m", "consumers", "nosuch"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert "universe_audit" in done.stderr


def test_names_are_stable_over_restarts(monkeypatch):
    monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", "p33-02")
    assert program.consumer_name("p33") == program.consumer_name("p33")
    assert program.consumer_name("p33").endswith(":p33:2")


def test_hostile_reasons_do_not_grow_the_series():
    observer = MetricsObserver(Registry())
    for number in range(500):
        observer.trouble(Trouble("g", "retry", reason=f"Error{number}"))
    family = next(f for f in observer.registry.collect() if f.name == "quantum_retries")
    totals = [one for one in family.samples if one.name.endswith("_total")]
    assert len(totals) == MAX_REASONS + 1


def test_histogram_counts_cumulatively():
    histogram = BatchHistogram("h", "doc", (0.1, 1.0))
    histogram.observe("g", [0.05, 0.5, 5.0, 0.1])
    [family] = histogram.collect()
    values = {s.labels.get("le", s.name): s.value for s in family.samples}
    assert (values["0.1"], values["1.0"], values["+Inf"], values["h_sum"]) == (2, 3, 4, 5.65)


def test_log_lines_are_json_and_hostile_text_stays_in_its_line(log_lines):
    from quantum_ops import logs

    logs.get().warning("dead_letter", error='x\n\x1b[2J"', raw=b"\xff", long="y" * 9000)
    [line] = log_lines.getvalue().splitlines()
    told = json.loads(line)
    assert told["program"] == "test"
    assert "\x1b" not in line
    assert told["long"].endswith("(9000 in all)")
