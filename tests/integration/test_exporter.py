"""The exporter: true figures, and an answer in time whatever state its sources are in."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry

from ops import start
from ops.exporter import __main__ as exporter
from ops.exporter import standing, tally, web
from ops.exporter.collector import Source, SystemCollector
from ops.exporter.denials import Denials
from ops.exporter.gates import Gates, Universe
from ops.exporter.groups import Groups
from ops.exporter.processes import Processes
from ops.exporter.records import LEDGER, Head, Keeper
from ops.paths import Paths
from quantum_ops import client, measures, metrics_socket, streams
from quantum_ops.dead_letter import DeadLetters
from quantum_ops.errors import ConfigurationError
from quantum_ops.events import AuditFinding, DeadLetter, OpsProcess, PermitDecided
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.measures import Counter, Registry
from quantum_ops.metrics import MAX_REASONS, MetricsObserver
from quantum_ops.metrics_socket import MetricsSocket
from quantum_ops.observe import BatchReport
from quantum_ops.publisher import Publisher
from quantum_ops.settings import ExporterSettings, RedisSettings
from tests.contract.reference import ROOT
from tests.p33_rig import publish_universe
from tests.silent import Silent
from tests.supervised import free_port
from tests.waiting import wait_until


def told(metrics) -> dict[str, float]:
    """``name{label=value}`` -> value; labels in alphabetical order."""
    return {
        sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in metrics
        for sample in family.samples
    }


@pytest.fixture
def run_dir(monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="qm-"))  # not tmp_path: too long for a socket
    monkeypatch.setenv("QUANTUM_RUN_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def publisher(server):
    return Publisher(server.connect())


# Processes


def consumer_metrics(group: str, acked: int) -> Registry:
    registry = Registry()
    observer = MetricsObserver(registry)
    observer.expect(group)
    observer.settled(BatchReport(group, acked=acked, durations_s=[0.02], ages_s=[0.5]))
    return registry


def test_processes_of_one_consumer_are_told_apart_and_dead_ones_drop_out(run_dir, monkeypatch):
    # Given two processes of p33 and one of another kind, each serving its own
    served = []
    for number, acked in ((0, 3), (1, 4)):
        monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", f"p33-0{number}")
        served.append(metrics_socket.serve(consumer_metrics("p33", acked), "p33"))
    processes = Processes(run_dir / metrics_socket.FOLDER, 1.0)
    found = told(processes.read())
    assert found["quantum_handled_total group=p33 outcome=ack process=p33-00"] == 3
    assert found["quantum_handled_total group=p33 outcome=ack process=p33-01"] == 4
    assert found["quantum_handled_total group=p33 outcome=dead_letter process=p33-00"] == 0
    assert found["quantum_handler_duration_seconds_bucket group=p33 le=0.1 process=p33-01"] == 1
    assert found["quantum_process_answers process=p33-01"] == 1
    # When one ends well and one is killed, whose socket stays behind
    served[0].close()
    served[1]._socket.shutdown(socket.SHUT_RDWR)
    served[1]._socket.close()
    assert told(processes.read()) == {}
    # Then what it left is removed, but not at once: the next process may just be moving in
    assert [path.name for path in (run_dir / "m").iterdir()] == ["p33-01"]
    later = time.time() + 5
    monkeypatch.setattr("ops.exporter.processes.time.time", lambda: later)
    assert told(processes.read()) == {}
    assert list((run_dir / "m").iterdir()) == []
    # And one that takes the name over is heard at once
    again = metrics_socket.serve(consumer_metrics("p33", 1), "p33")
    assert told(processes.read())["quantum_process_answers process=p33-01"] == 1
    again.close()
    assert list((run_dir / "m").iterdir()) == []


def test_a_hanging_process_costs_the_limit_once_and_hides_nobody(run_dir):
    folder = run_dir / "m"
    folder.mkdir()
    # Given a process that answers, three that hang in different ways, and one that speaks nonsense
    alive = MetricsSocket(consumer_metrics("ledger", 2), folder / "ledger-00")
    lines = []

    def listen(name: str, backlog: int) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.bind(str(folder / name))
        line.listen(backlog)
        lines.append(line)
        return line

    listen("archive-00", 8)  # takes the call, says nothing
    listen("archive-01", 0)  # its queue is full
    full = socket.socket(socket.AF_UNIX)
    full.connect(str(folder / "archive-01"))
    lines.append(full)
    half = listen("p33-00", 8)
    mad = listen("p33-01", 8)

    def answer(line: socket.socket, content: bytes, *, end: bool) -> None:
        reader, _ = line.accept()
        reader.sendall(content)
        if end:
            reader.close()
        else:
            lines.append(reader)

    threads = [
        threading.Thread(target=answer, args=(half, b'[["quantum_x"'), kwargs={"end": False}),
        threading.Thread(target=answer, args=(mad, b'{"not": "ours"}'), kwargs={"end": True}),
    ]
    for thread in threads:
        thread.start()
    # When all are asked
    begin = time.monotonic()
    found = told(Processes(folder, 0.3).read())
    # Then it took about the limit, not a multiple, and the healthy one is told
    assert time.monotonic() - begin < 3
    answers = {k.split("=")[1]: v for k, v in found.items() if k.startswith("quantum_process_a")}
    assert answers == {
        "ledger-00": 1, "archive-00": 0, "archive-01": 0, "p33-00": 0, "p33-01": 0,
    }  # fmt: skip
    assert found["quantum_handled_total group=ledger outcome=ack process=ledger-00"] == 2
    for thread in threads:
        thread.join()
    for line in lines:
        line.close()
    alive.close()


def test_a_process_cannot_speak_for_the_system_nor_spoil_a_metric_of_others(run_dir):
    folder = run_dir / "m"
    folder.mkdir()
    honest, odd = Registry(), Registry()
    Counter("quantum_retries", "x", (), honest).inc()
    odd.add(lambda: [measures.gauge("quantum_universe_stale", "x", 0)])
    odd.add(lambda: [measures.gauge("quantum_retries", "another kind", 7)])
    sockets = [MetricsSocket(honest, folder / "a-00"), MetricsSocket(odd, folder / "b-00")]
    found = told(Processes(folder, 1.0).read())
    assert found == {
        "quantum_process_answers process=a-00": 1,
        "quantum_process_answers process=b-00": 1,
        "quantum_retries_total process=a-00": 1,
    }
    for one in sockets:
        one.close()


def test_metrics_that_cannot_be_served_stop_no_process(run_dir, log_lines):
    (run_dir / "m").write_text("a file where a folder should be")
    assert metrics_socket.serve(Registry(), "p33") is None
    assert "metrics_not_served" in log_lines.getvalue()


# Redis


def test_groups_are_told_as_they_are_and_what_is_unknown_is_absent(server):
    db = server.connect()
    key = streams.APPLY_PLAN.key
    db.xgroup_create(key, "p33", "0", mkstream=True)
    ids = [db.xadd(key, {"a": str(n)}) for n in range(8)]
    db.xreadgroup("p33", "one", {key: ">"}, count=2)
    db.xdel(key, ids[4])
    groups = Groups(db, 100, [(key, "p33"), (key, "never_ran")])
    found = told(groups.read())
    at = " group=p33 stream=apply.plan"
    assert found["quantum_group_lag_entries" + at] == 5
    assert found["quantum_group_lag_exact" + at] == 1
    assert found["quantum_group_pending_entries" + at] == 2
    wait_until(lambda: told(groups.read())["quantum_group_lag_seconds" + at] > 0)
    assert told(groups.read())["quantum_group_oldest_pending_age_seconds" + at] > 0
    assert found["quantum_stream_entries stream=apply.plan"] == 7
    # A group that does not exist has no lag, which is not the same as none
    gone = " group=never_ran stream=apply.plan"
    assert found["quantum_group_lag_exact" + gone] == 0
    assert "quantum_group_lag_entries" + gone not in found
    assert "quantum_group_lag_seconds" + gone not in found
    # More than are counted is a floor, and says so
    with db.pipeline() as pipe:
        for n in range(300):
            pipe.xadd(key, {"a": str(n)})
        pipe.execute()
    found = told(groups.read())
    assert found["quantum_group_lag_entries" + at] == 100
    assert found["quantum_group_lag_exact" + at] == 0


def test_what_was_refused_is_counted_where_the_server_counts_it(server):
    db = server.connect()
    db.execute_command("ACL", "SETUSER", "few", "on", ">x", "+get", "~a")
    few = client.connect(RedisSettings(url=server.url.replace("unix://", "unix://few:x@")))
    before = told(Denials(db).read())
    for command in (("GET", "b"), ("SET", "a", "1"), ("SET", "a", "2")):
        with pytest.raises(redis.ResponseError):
            few.execute_command(*command)
    after = told(Denials(db).read())
    more = {name.partition("=")[2]: after[name] - before[name] for name in after}
    counts = "valkey_version" in db.info("server")
    assert more == ({"auth": 0, "cmd": 2, "key": 1, "channel": 0} if counts else {})


def test_universe_and_allowlists(server, monkeypatch):
    db = server.connect()
    universe, gates = Universe(db), Gates(db)
    # Nothing published: stale, and no figure that could be taken for one
    assert told(universe.read()) == {"quantum_universe_stale": 1}
    publish_universe(db, "BTCUSDT", "ETHUSDT")
    found = told(universe.read())
    assert found["quantum_universe_stale"] == 0
    assert found["quantum_universe_symbols"] == 2
    assert 0 <= found["quantum_universe_age_seconds"] < 30
    db.set(streams.UNIVERSE_ACTIVE, b"\xff{")
    assert told(universe.read()) == {"quantum_universe_stale": 1}
    # Of gates their own word counts, if it is one
    monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", "p33-02")
    Heartbeat(db, "p33").beat(
        "ready", allowlist_source="fallback", allowlist_count=3, universe_epoch="1_0"
    )
    assert told(gates.read()) == {
        "quantum_allowlist_source process=p33-02 source=universe": 0,
        "quantum_allowlist_source process=p33-02 source=fallback": 1,
        "quantum_allowlist_symbols process=p33-02": 3,
    }


def permit(**fields) -> PermitDecided:
    plain = {"gate": "p33", "plan_id": "p", "symbol": "BTCUSDT", "allow": True,
             "reason": "sanity_checks_passed", "safe_qty": "0", "universe_epoch": 1}  # fmt: skip
    return PermitDecided(**{**plain, **fields})


def test_permits_findings_and_restarts_are_counted_from_the_start_on(server, publisher):
    db = server.connect()
    publisher.publish(permit())  # before the exporter: history
    permits, findings, restarts = tally.permits(db), tally.findings(db), tally.restarts(db, ["p33"])
    allowed = "quantum_permits_total gate=p33 reason=sanity_checks_passed verdict=allow"
    assert told(permits.read())[allowed] == 0
    assert told(findings.read())["quantum_findings_total auditor=archive severity=critical"] == 0
    assert told(restarts.read()) == {"quantum_process_restarts_total program=p33": 0}
    publisher.publish(permit())
    publisher.publish(permit(allow=False, reason="symbol_not_allowed"))
    publisher.publish(AuditFinding(auditor="archive", finding="x", severity="critical"))
    for before, after in (("RUNNING", "EXITED"), ("EXITED", "STARTING"), ("STOPPED", "STARTING")):
        publisher.publish(
            OpsProcess(program="p33", process="p33-00", from_state=before, to_state=after)
        )
    found = told(permits.read())
    assert found[allowed] == 1
    assert found["quantum_permits_total gate=p33 reason=symbol_not_allowed verdict=deny"] == 1
    assert told(findings.read())["quantum_findings_total auditor=archive severity=critical"] == 1
    assert told(restarts.read()) == {"quantum_process_restarts_total program=p33": 1}
    # A stream that begins anew, under a clock set back, is followed from there
    db.delete(streams.PERMIT_DECIDED.key)
    db.xadd(streams.PERMIT_DECIDED.key, {"gate": "p33"}, id="5-0")
    permits.read()
    db.xadd(streams.PERMIT_DECIDED.key, {"gate": "p33", "allow": "true"}, id="6-0")
    assert told(permits.read())["quantum_permits_total gate=p33 reason=other verdict=allow"] == 1


def test_whoever_writes_a_stream_cannot_grow_the_series(server):
    db = server.connect()
    findings = tally.findings(db)
    before = len(told(findings.read()))
    for n in range(MAX_REASONS + 30):
        db.xadd(streams.AUDIT_FINDING.key, {"auditor": f"a{n}", "severity": b"\xff" * n or "x"})
    found = told(findings.read())
    assert len(found) == before + MAX_REASONS + 1
    assert found["quantum_findings_total auditor=other severity=other"] == 30


def test_open_dead_letters_and_violations_fall_as_they_are_settled(server, publisher, monkeypatch):
    db = server.connect()
    monkeypatch.setattr(standing, "PAGE", 2)
    letters, violations = standing.dead_letters(db), standing.violations(db)
    assert told(letters.read()) == {}
    for n in range(3):
        publisher.publish(
            DeadLetter(
                stream="s", group="ledger", consumer="c", entry_id=f"{n + 1}-0", deliveries=1,
                reason="undecodable", error="e",
            )
        )  # fmt: skip
    db.xadd(streams.DEAD_LETTER.key, {"a": "stranger"})
    at = "quantum_dead_letters_open group=ledger reason=undecodable"
    assert told(letters.read()) == {at: 3}
    desk = DeadLetters(db)
    newest, *_ = desk.newest()
    assert desk.drop(newest, "seen") == "done"
    assert told(letters.read()) == {at: 2}
    # What was trimmed away cannot be settled any more, and counts no more
    db.xtrim(streams.DEAD_LETTER.key, minid=newest.letter_id, approximate=False)
    assert told(letters.read()) == {}
    publisher.publish(AuditFinding(auditor="order_proof", finding="x", severity="critical"))
    publisher.publish(AuditFinding(auditor="order_proof", finding="x", severity="warning"))
    assert told(violations.read()) == {"quantum_violations_open auditor=order_proof": 1}
    # The whole history is known before anything is told: half of it would be a wrong figure
    monkeypatch.setattr(standing, "PAGES", 1)
    fresh = standing.violations(db)
    assert fresh.read() == []
    assert told(fresh.read()) == {"quantum_violations_open auditor=order_proof": 1}
    db.delete(streams.AUDIT_FINDING.key)
    assert told(violations.read()) == {}


def test_ledger_and_archive_by_their_keeper_and_their_checkpoint(server, tmp_path, monkeypatch):
    db = server.connect()
    keeper = Keeper(db, "ledger", LEDGER)
    assert keeper.read() == []
    Heartbeat(db, "ledger").beat("standby", entries=1)
    assert keeper.read() == []
    monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", "ledger-01")
    Heartbeat(db, "ledger").beat("ready", entries=12, spooled=2)
    assert told(keeper.read()) == {
        "quantum_ledger_entries": 12, "quantum_ledger_spooled_entries": 2,
    }  # fmt: skip
    head = Head(tmp_path / "checkpoint", exporter.catalogue.LEDGER_HEAD)
    assert told(head.read()) == {"quantum_ledger_head_entries": 0}
    (tmp_path / "checkpoint").write_text(f"quantum-ops/ledger\n11\n{'A' * 43}=\n\n")
    assert told(head.read()) == {"quantum_ledger_head_entries": 11}
    (tmp_path / "checkpoint").write_text("half")
    with pytest.raises(CheckpointError):
        head.read()


# The answer as a whole


def test_a_source_that_fails_or_hangs_takes_nothing_with_it(log_lines):
    stuck = threading.Event()
    state = {"broken": True}

    def broken():
        if state["broken"]:
            raise OSError("disk on fire")
        return [exporter.catalogue.LEDGER_HEAD.of(3)]

    def hangs():
        stuck.wait(20)
        return []

    collector = SystemCollector(
        [
            Source("good", "a", lambda: [exporter.catalogue.UNIVERSE_STALE.of(0)]),
            Source("bad", "b", broken),
            Source("late", "c", hangs),
        ],
        round_s=0.3,
    )
    begin = time.time()
    found = told(collector.collect())
    assert found["quantum_universe_stale"] == 0
    assert [found[f"quantum_collector_up source={one}"] for one in ("good", "bad", "late")] == [
        1, 0, 0,
    ]  # fmt: skip
    last = "quantum_collector_last_success_timestamp_seconds source="
    assert found[last + "good"] >= begin
    assert found[last + "bad"] == 0
    # It comes back, and is told once each way; the one that hangs is asked by one thread only
    state["broken"] = False
    threads = threading.active_count()

    def again():
        return told(collector.collect()).get("quantum_ledger_head_entries") == 3

    wait_until(again)
    wait_until(again)
    assert threading.active_count() <= threads
    assert log_lines.getvalue().count("disk on fire") == 1
    assert "source_back" in log_lines.getvalue()
    stuck.set()
    wait_until(lambda: told(collector.collect())["quantum_collector_up source=late"] == 1)


def test_a_silent_server_costs_one_wait_and_not_one_for_each_source():
    with Silent() as silent:
        db = client.connect(RedisSettings(host="127.0.0.1", port=silent.port, timeout_s=0.2))
        collector = SystemCollector(exporter.sources(db, ExporterSettings()))
        begin = time.monotonic()
        found = told(collector.collect())
        assert time.monotonic() - begin < 3
        ups = {k: v for k, v in found.items() if k.startswith("quantum_collector_up")}
        assert {k.split("=")[1] for k, v in ups.items() if v} == {"ledger_head", "archive_head"}
        assert not any(name.startswith("quantum_group") for name in found)


def test_the_program_answers_and_a_taken_port_is_a_line_that_names_the_ways_out(valkey, tmp_path):
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"], "REDIS_URL": valkey.url, "QUANTUM_EXPORTER_PORT": str(port),
        "QUANTUM_ENV_DIR": str(tmp_path), "QUANTUM_HOME": str(tmp_path),
        "LEDGER_DIR": str(tmp_path / "ledger"),
    }  # fmt: skip
    command = [sys.executable, "-m", "ops.exporter"]
    first = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE)

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return answer.read().decode()

    def scraped():
        try:
            return get("/metrics")
        except urllib.error.URLError:
            return ""

    try:
        text = wait_until(scraped, 20)
        assert 'quantum_collector_up{source="groups"} 1.0' in text
        assert "quantum_universe_stale 1.0" in text
        for path, host, status in (
            ("/", "", "404"),
            ("/metrics", "rebound.example", "421"),
            ("/metrics", "[::", "421"),
        ):
            asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
            if host:
                asked.add_header("Host", host)
            with pytest.raises(urllib.error.HTTPError, match=status) as refused:
                urllib.request.urlopen(asked, timeout=10)  # noqa: S310 - our own server
            refused.value.close()
        second = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=30
        )
        assert second.returncode == 78
        [line] = second.stderr.splitlines()
        for word in (f"QUANTUM_EXPORTER_PORT={port}", "taken", "prometheus.yml", "0 to serve"):
            assert word in line
    finally:
        first.terminate()
        said, _ = first.communicate(timeout=20)
    assert first.returncode == 0
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["started", "stopped"]


def test_a_start_refuses_what_the_exporter_would_refuse(monkeypatch, tmp_path):
    paths = Paths.find(environ={"QUANTUM_HOME": str(tmp_path)})
    with socket.socket() as taken:
        taken.bind((web.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("QUANTUM_EXPORTER_PORT", str(port))
        with pytest.raises(start.StartError, match=f"QUANTUM_EXPORTER_PORT={port}: .*taken"):
            start._require_exporter_port(paths)
        with pytest.raises(ConfigurationError, match="another instance"):
            web.serve(CollectorRegistry(), port)
    start._require_exporter_port(paths)
    monkeypatch.setenv("QUANTUM_EXPORTER_PORT", "0")
    start._require_exporter_port(paths)
