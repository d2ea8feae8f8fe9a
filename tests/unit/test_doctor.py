"""Each check of the doctor goes red for its reason, and says what to do; a healthy system is ok."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import server_binary
from ops.doctor import checks, exchange_clock, flaws, server_checks
from ops.doctor.snapshot import Disk, FileMode, Port, ServerFacts, Snapshot
from ops.leftovers import Leftover
from ops.readiness import Verdict
from ops.server_binary import Flavour
from ops.warden.holds import Hold
from quantum_ops import streams
from quantum_ops.lag import Lag
from quantum_ops.settings import UniverseSettings
from tests.exchange import Exchange, answer
from tests.unit.test_warden_rules import process

GIB = 1 << 30
PLAN = streams.APPLY_PLAN.key
GOOD_LAG = Lag(PLAN, "p33", entries=0, exactness="exact", delivered=(1, 0))
SERVER = ServerFacts(
    flavour=Flavour("valkey", (9, 1, 2)),
    info={"role": "master", "loading": "0", "aof_last_write_status": "ok", "maxmemory": "0"},
    config={
        "appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no",
        "maxmemory-policy": "noeviction",
    },
    skew_ms=3.0, trip_ms=1.0, user="quantum", may_write_trading=False, has_no_password=False,
    types={**server_checks.EXPECTED, streams.RESTORE: "none"}, groups=(GOOD_LAG,),
)  # fmt: skip
WARDEN = Verdict(
    process(name="warden", group="warden", command="x -m ops.warden"), "READY", "", {"dropped": "0"}
)
HEALTHY = Snapshot(
    url="redis://quantum:***@box", owned=False, supervisor="RUNNING",
    verdicts=(WARDEN, Verdict(process(), "READY")),
    disks=(Disk("home", "/srv", 50 * GIB, 100 * GIB, 900, 1000),),
    files=(FileMode("/srv/run", 0o700, True),), server=SERVER,
)  # fmt: skip


NOTE = "100 h 7 30000 a:1=2000 b:1=2000"
"""What ops/redis/failover.sh notes."""


def with_server(**changes) -> Snapshot:
    return replace(HEALTHY, server=replace(SERVER, **changes))


def with_config(name, value) -> Snapshot:
    return with_server(config={**SERVER.config, name: value})


def with_info(**changes) -> Snapshot:
    return with_server(info={**SERVER.info, **changes})


def with_type(key, kind) -> Snapshot:
    return with_server(types={**SERVER.types, key: kind})


def with_verdict(*more) -> Snapshot:
    return replace(HEALTHY, verdicts=(WARDEN, *more))


def with_lag(**changes) -> Snapshot:
    return with_server(groups=(replace(GOOD_LAG, **changes),))


RED = [
    (checks.settings, replace(HEALTHY, settings=("P33_X=1: no",)), "problem", "P33_X=1"),
    (checks.ports, replace(HEALTHY, ports=(Port(6379, "redis", "REDIS_PORT", taken=True),)),
     "problem", "port 6379"),
    (checks.disk, replace(HEALTHY, disks=(Disk("data", "/d", GIB // 2, 100 * GIB),)), "problem",
     "512 MiB free"),
    (checks.disk, replace(HEALTHY, disks=(Disk("data", "/d", GIB, GIB, 1, 1000),)), "problem",
     "1 inodes free"),
    (checks.clock, with_server(skew_ms=-4000.0), "problem", "-4000 ms off the server's"),
    (checks.clock, replace(HEALTHY, exchange_skew_ms=2500.0), "problem", "off the exchange's"),
    (checks.clock, replace(HEALTHY, exchange_problem="no route"), "warning", "no route"),
    (checks.supervisor, replace(HEALTHY, supervisor="", verdicts=()), "problem", "nothing runs"),
    (checks.supervisor, replace(HEALTHY, supervisor_problem="hangs"), "problem", "hangs"),
    (checks.supervisor, replace(HEALTHY, supervisor="SHUTDOWN"), "warning", "SHUTDOWN"),
    (checks.processes, with_verdict(Verdict(process("FATAL"), "DOWN", "gone")), "problem", "gone"),
    (checks.processes, with_verdict(Verdict(process(), "STALE", "61 s")), "problem", "61 s"),
    (checks.processes, with_verdict(Verdict(process(), "WAITING", "x")), "warning", "WAITING"),
    (checks.processes, replace(HEALTHY, verdicts=HEALTHY.verdicts[1:]), "problem", "no warden"),
    (checks.warden, replace(HEALTHY, held={"p33": Hold("then", "ann")}), "note", "p33 is on hold"),
    (checks.warden, replace(HEALTHY, held={"everything": Hold("?", "?", "unreadable")}), "problem",
     "unreadable"),
    (checks.warden, replace(HEALTHY, verdicts=(replace(WARDEN, beat={"dropped": "7"}),)),
     "warning", "7 process events"),
    (checks.orphans, replace(HEALTHY, orphans=(Leftover(9, "python p33", "program"),)), "problem",
     "pid 9"),
    (checks.files, replace(HEALTHY, files=(FileMode("/srv/run", 0o755, True),)), "problem", "0755"),
    (checks.files, replace(HEALTHY, files=(FileMode("/srv/q", 0o777, True, 0o002),)), "problem",
     "0777"),
    (checks.files, replace(HEALTHY, files=(FileMode("/srv/run", 0o700, False),)), "problem",
     "another user"),
    (checks.files, replace(HEALTHY, files=(FileMode("/etc/q.env", 0o644, True, 0o007),)), "problem",
     "0644"),
    (server_checks.reachable, with_server(problem="refused"), "problem", "refused"),
    (server_checks.reachable, with_server(refused=("CONFIG GET",)), "warning", "CONFIG GET"),
    (server_checks.reachable, with_info(loading="1"), "warning", "loading"),
    (server_checks.reachable, with_info(role="slave"), "problem", "replica"),
    (server_checks.version, with_server(flavour=Flavour("redis", (6, 2, 24))), "problem",
     "too old"),
    (server_checks.version, with_server(flavour=Flavour("redis", (7, 2, 10))), "problem",
     "CVE-2025-49844"),
    (server_checks.version, with_server(flavour=Flavour("redis", (7, 0, 15))), "warning",
     "no mend for this series"),
    (server_checks.persistence, with_config("appendonly", "no"), "problem", "appendonly is no"),
    (server_checks.persistence, with_config("appendfsync", "everysec"), "problem", "everysec"),
    (server_checks.persistence, with_config("no-appendfsync-on-rewrite", "yes"), "warning", "yes"),
    (server_checks.persistence, with_config("maxmemory-policy", "allkeys-lru"), "problem", "lru"),
    (
        server_checks.persistence,
        with_server(flavour=Flavour("redis", (7, 0, 15))),
        "note",
        "a transaction twice",
    ),
    (server_checks.persistence, with_info(aof_last_write_status="err"), "problem", "err"),
    (server_checks.persistence, with_info(maxmemory="1000", used_memory="950"), "problem", "used"),
    (server_checks.rights, with_server(has_no_password=True), "problem", "no password"),
    (server_checks.rights, with_server(may_write_trading=True), "problem", PLAN),
    (server_checks.rights, replace(with_server(may_write_trading=True), owned=True), "problem",
     "before it had users"),
    (server_checks.rights, replace(with_server(lets_anybody_in=True), owned=True), "note",
     "without a password"),
    (server_checks.rights, with_server(denied=("p33: xadd",)), "warning", "p33: xadd"),
    (server_checks.keys, with_type(streams.UNIVERSE_META, "none"), "problem", "not there"),
    (server_checks.keys, with_type(PLAN, "string"), "problem", "is a string"),
    (server_checks.keys, with_type(streams.RESTORE, "hash"), "warning", "restore"),
    (server_checks.keys, with_server(letters=2), "warning", "2 dead letters"),
    (server_checks.failover, with_server(failover=NOTE, now_s=99), "note", "7 on h), or was"),
    (server_checks.failover, with_server(failover=NOTE, now_s=100), "problem", "a:1, before 2000"),
    (server_checks.failover, with_server(failover="\x1b", now_s=100), "problem", "on )"),
    (server_checks.groups, with_server(groups=()), "problem", "no stream has a group"),
    (server_checks.groups, with_lag(lost=5), "problem", "5 entries were removed"),
    (server_checks.groups, with_lag(pending=1, pending_s=999.0), "warning", "1 pending"),
    (server_checks.groups, with_lag(entries=8, seconds=999.0), "warning", "8 entries behind"),
]  # fmt: skip


def test_a_healthy_system_has_nothing_to_mend():
    report = checks.examine(HEALTHY)
    assert (report.findings, report.verdict) == ((), "ok")
    assert {"config", "disk", "version", "groups"} <= set(report.checked)


@pytest.mark.parametrize(("check", "sick", "level", "words"), RED)
def test_each_check_goes_red_and_names_a_cure(check, sick, level, words):
    assert list(check(HEALTHY)) == []
    found = [one for one in check(sick) if words in one.what]
    assert [one.level for one in found][:1] == [level], list(check(sick))
    assert all(len(one.cure) > 3 for one in found)
    assert checks.examine(sick).verdict == ("problems" if level == "problem" else "ok") or any(
        one.level == "problem" for one in check(sick)
    )


def test_no_check_is_left_without_its_red_case():
    assert {check for _, check in checks.CHECKS} == {check for check, *_ in RED}


def test_what_is_not_known_is_no_finding():
    # A server that refuses every question is told once, and nothing is made up about it.
    blind = ServerFacts(flavour=None, refused=("INFO", "CONFIG GET", "ACL WHOAMI"))
    found = checks.examine(replace(HEALTHY, server=blind, verdicts=(WARDEN,))).findings
    assert [one.subject for one in found] == ["server"]


@pytest.mark.parametrize("flaw", flaws.FLAWS, ids=lambda flaw: f"{flaw.name}-{flaw.flavour}")
def test_a_flaw_is_told_below_its_release_and_not_from_it_on(flaw):
    assert flaw.source.startswith("https://")
    for (major, minor), patch in flaw.mended.items():
        below = Flavour(flaw.flavour, (major, minor, patch - 1))
        assert (flaw, f"{major}.{minor}.{patch}") in flaws.of(below)
        assert flaw.name not in [
            f.name for f, _ in flaws.of(Flavour(flaw.flavour, (major, minor, patch)))
        ]
    later = Flavour(flaw.flavour, (max(flaw.mended)[0] + 1, 0, 0))
    assert flaw not in [one for one, _ in flaws.of(later)]


def test_the_pinned_server_has_no_known_flaw():
    assert flaws.of(server_binary.probe(server_binary.wheel_path())) == []


@given(st.sampled_from(["redis", "valkey"]), st.tuples(*[st.integers(0, 30)] * 3))
def test_any_version_is_judged(name, version):
    for flaw, mended in flaws.of(Flavour(name, version)):
        assert flaw.flavour == name
        assert not mended or tuple(map(int, mended.split("."))) > version


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'{"serverTime": "soon"}', "soon"), (b"[]", "exchange"), (b"<html>", "exchange")],
)
def test_an_exchange_that_tells_no_time_is_a_warning(content, words):
    exchange = Exchange(answer(content))
    skew, why = exchange_clock.skew_ms(UniverseSettings(url=exchange.url))
    exchange.close()
    assert skew is None
    assert why


def test_the_exchange_tells_how_far_this_clock_is_off():
    exchange = Exchange(answer(b'{"serverTime": 1000}'))
    skew, why = exchange_clock.skew_ms(UniverseSettings(url=exchange.url))
    exchange.close()
    assert why == ""
    assert abs(skew / 1000 - time.time()) < 3600


def test_a_port_is_no_problem_when_its_own_program_has_it():
    mine = Port(9790, "p33", "QUANTUM_EXPORTER_PORT", taken=True)
    assert list(checks.ports(replace(HEALTHY, ports=(mine,)))) == []
