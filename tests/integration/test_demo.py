"""The demo as a newcomer sees it: one command, and everything is flowing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import redis
import requests

from ops.demo.exchange import Failures, serve
from ops.demo.listing import symbol_row
from ops.demo.plans import KINDS, TRADED, Plans
from ops.demo.trading import TradingSide
from quantum_ops import client, codec, streams
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import RedisSettings
from tests.contract.reference import ROOT
from tests.p33_rig import P33Rig, publish_universe
from tests.waiting import wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Demo:
    """A demo in a home of its own."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="qo-"))
        self.port, self.page_port = free_port(), free_port()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "QUANTUM_HOME": str(self.home),
            "QUANTUM_ENV_DIR": str(self.home / "etc"),
            "REDIS_PORT": str(self.port),
            "QUANTUM_STATUS_PAGE_PORT": str(self.page_port),
            "QUANTUM_EXPORTER_PORT": "0",
            "UNIVERSE_REFRESH_SEC": "1",
        }

    def ops(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ops", *argv],
            cwd=ROOT, env={**self.environment, **environment}, text=True, capture_output=True,
            check=False, timeout=90,
        )  # fmt: skip

    def proof(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "ops/proof_universe.sh"],
            cwd=ROOT, env=self.environment, text=True, capture_output=True, check=False, timeout=30,
        )  # fmt: skip

    @property
    def db(self):
        settings = RedisSettings(
            url=f"unix://{self.home}/run/redis.sock", acl_dir=str(self.home / "acl")
        )
        return client.connect(settings, user="admin")

    def denials(self) -> list[object]:
        """What the server refused to its users, if it is up: every program has rights enough."""
        try:
            db = self.db
        except ConfigurationError:
            return []
        try:
            return [(row["username"], row["object"]) for row in db.execute_command("ACL", "LOG")]
        except redis.RedisError:
            return []
        finally:
            db.connection_pool.disconnect()

    def symbols(self) -> list[str]:
        return json.loads(self.db.get(streams.UNIVERSE_ACTIVE) or b'{"symbols":[]}')["symbols"]


@pytest.fixture
def demo():
    made = Demo()
    yield made
    denied = made.denials()
    made.ops("stop")
    shutil.rmtree(made.home)
    assert denied == []


@pytest.mark.slow
def test_one_command_and_everything_flows(demo):
    started = demo.ops("demo")
    assert started.returncode == 0, started.stderr
    assert "universe.changed" in started.stdout
    db = demo.db
    # Within 15 seconds the universe is fresh, changes are told and judged, trades and deploys flow
    wait_until(lambda: db.hget(streams.UNIVERSE_META, "stale") == b"0", 15, "fresh")
    # The pretend exchange fails now and then, so the proof may be stale at a glance, not for long
    wait_until(lambda: demo.proof().returncode == 0, 10, "proof_universe.sh says fresh")
    for stream, least in (
        (streams.UNIVERSE_CHANGED, 2),
        (streams.AUDIT_FINDING, 2),
        (streams.APPLY_PLAN, 5),
        (streams.APPLY_RESULT, 3),
        (streams.PERMIT_DECIDED, 10),
        (streams.DEPLOY_COMPLETED, 1),
    ):
        wait_until(lambda s=stream, n=least: db.xlen(s.key) >= n, 15, stream.name)
    kinds = {fields[b"finding"] for _, fields in db.xrange(streams.AUDIT_FINDING.key)}
    assert b"universe_consistent" in kinds
    assert not {kind for kind in kinds if kind.startswith(b"universe_keys")}
    # Plans are decided live, with reasons
    decided = demo.ops("decisions", "-n", "100").stdout
    assert re.search(r"ALLOW +sanity_checks_passed", decided)
    assert re.search(r"deny +symbol_not_allowed", decided)
    # And of all that happened, exactly the two planted violations are named
    names = "executed_without_permits", "executed_without_order_id"
    wait_until(lambda: all(name in demo.ops("audit").stdout for name in names), 40, "both")
    # The status page, which start named, says the same in its first lines
    page = f"http://127.0.0.1:{demo.page_port}/"
    assert page in started.stdout
    assert f"page      {page}" in demo.ops("status").stdout

    def is_told() -> bool:
        told = requests.get(f"{page}verdict", timeout=10).text
        return told.startswith("VIOLATION\n") and all(name in told for name in names)

    wait_until(is_told, 20, "the page tells both")
    audit = demo.ops("audit", "--json")
    told = json.loads(audit.stdout)
    assert sorted(one["finding"] for one in told["violations"]) == sorted(names)
    assert audit.returncode == 2
    # Deployments became entries of the demo's own ledger, signed with its own key
    changelog = demo.home / "demo" / "ledger" / "OPS_CHANGELOG.md"
    wait_until(changelog.exists, 15, "a deployment is an entry")
    assert 'changes_summary: "limits #' in changelog.read_text()
    assert "quantum-ops/demo" in (demo.home / "demo" / "ledger" / "checkpoint").read_text()
    wait_until(lambda: db.xlen(streams.LEDGER_RECORDED.key) >= 1, 15, "and told of")
    assert "Demo deploy 1" in demo.ops("ledger", "list").stdout
    assert demo.ops("ledger", "verify").returncode == 0
    letters = {fields[b"reason"] for _, fields in db.xrange(streams.DEAD_LETTER.key)}
    assert letters <= {b"rejected"}
    # And it ends with one command, and begins afresh
    assert demo.ops("stop").returncode == 0
    assert demo.ops("status").returncode == 3


@pytest.mark.slow
def test_demo_after_a_crash_begins_afresh_on_the_pretend_exchange(demo):
    # Given a demo serving a recorded body of the main network, whose supervisord is killed
    body = demo.home / "recorded.json"
    rows = [symbol_row("BTCUSDT"), symbol_row("ETHUSDT")]
    weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
    limits = [weight | {"limit": 2400}]
    body.write_text(json.dumps({"serverTime": 1, "rateLimits": limits, "symbols": rows}))
    assert demo.ops("demo", "--body", str(body)).returncode == 0
    wait_until(lambda: demo.symbols() == ["BTCUSDT", "ETHUSDT"], 15, "the recorded symbols")
    demo.db.set("left-behind", "1")
    os.kill(int((demo.home / "run" / "supervisord.pid").read_text()), signal.SIGKILL)
    # When it is started again, current.env of the dead one still lying there
    again = demo.ops("demo", "--seed", "3")
    # Then it runs on its own exchange (nothing goes to the real one) and nothing old is left
    assert again.returncode == 0, again.stderr
    wait_until(lambda: len(demo.symbols()) > 50, 15, "the generated symbols")
    assert not demo.db.exists("left-behind")
    # And a second command changes nothing under the running one
    demo.db.set("kept", "1")
    assert demo.ops("demo").returncode == 0
    assert demo.db.exists("kept")


@pytest.mark.parametrize("program", ["exchange", "trading"])
def test_stand_ins_refuse_settings_that_they_cannot_use(program):
    refused = subprocess.run(
        [sys.executable, "-m", f"ops.demo.{program}"],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "DEMO_SEED": "x"},
        text=True, capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    assert refused.returncode == 78
    assert re.search(r"DEMO_SEED='x' \(environment\): not a whole number", refused.stderr)


def test_demo_never_writes_into_a_server_of_yours(demo):
    refused = demo.ops("demo", REDIS_URL="redis://127.0.0.1:1/0")
    assert refused.returncode == 2
    assert "pretend trades" in refused.stderr


@pytest.mark.parametrize("content", [None, b"<html>", b"\x1f\x8b half"])
def test_body_that_cannot_be_served_is_told(demo, content):
    path = demo.home / "body.json.gz"
    if content is not None:
        path.write_bytes(content)
    refused = demo.ops("demo", "--body", str(path))
    assert refused.returncode == 2
    assert f"--body: {path}: cannot be served" in refused.stderr


def test_pretend_exchange_speaks_as_the_real_one_and_fails_in_turn():
    server = serve(0, lambda: b'{"symbols":[]}', Failures(4))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/fapi/v1/exchangeInfo"
        answers = []
        with requests.Session() as session:
            answers += [session.get(url, timeout=5) for _ in range(12)]
            assert session.get(f"{url}/other", timeout=5).status_code == 404
        statuses = [answer.status_code for answer in answers]
        assert statuses == [200, 200, 200, 503, 200, 200, 200, 200, 200, 200, 200, 429]
        assert answers[11].headers["Retry-After"] == "3"
        assert answers[0].headers["Content-Encoding"] == "gzip"
        with pytest.raises(ValueError, match=r"."):
            answers[7].json()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_pretend_trading_side_writes_what_our_types_read(valkey):
    # Given a trading side with a P3.3 beside it, for a minute of its time
    db = valkey.connect()
    publish_universe(db, *TRADED)
    gate = P33Rig(valkey, reconcile_key="k", cooldown_s=0.0)
    side = TradingSide(db, seed=3, reconcile_key="k")
    now_s = time.time()
    for _ in range(120):
        side.turn(now_s)
        gate.settle()
    places, decode_plan = [], codec.decoder(streams.APPLY_PLAN.event)
    for stream in (streams.APPLY_RESULT, streams.DEPLOY_COMPLETED):
        decode = codec.decoder(stream.event)
        for _, flat in client.raw(db, "XRANGE", stream.key, "-", "+"):
            event = decode(flat)
            if stream is streams.APPLY_RESULT:
                named = [n for n in ("order_id", "details", "steps_results") if getattr(event, n)]
                places.append(tuple(named))
                assert db.exists(streams.governor_permit(event.plan_id))
    # Then every result has its order id in one of three places, but for the one that is planted
    assert set(places) == {("order_id",), ("details",), ("steps_results",), ()}
    assert places.count(()) == 1
    assert db.xlen(streams.DEPLOY_COMPLETED.key) == 5
    plans = [
        decode_plan(flat) for _, flat in client.raw(db, "XRANGE", streams.APPLY_PLAN.key, "-", "+")
    ]
    assert len(plans) == 120
    assert {p.decision for p in plans} == {"EXECUTE", "RECONCILE_CLOSE", "SKIP", "BLOCKED"}
    assert {p.action for p in plans} >= {"HOLD", "FULL_CLOSE_PROPOSED", "PARTIAL_25"}
    assert {p.symbol for p in plans} >= {"NOSUCHUSDT", "BTCUSDT"}
    # And the gate had much to say
    reasons = {event.reason for event in gate.decided()}
    assert reasons >= {
        "sanity_checks_passed", "symbol_not_allowed", "position_already_open", "malformed_plan",
        "reconcile_close_verified", "reconcile_unsigned", "plan_id_conflict",
    }  # fmt: skip
    # Executed was only what it permitted, but for the one that is planted
    allowed = {event.plan_id for event in gate.decided() if event.allow}
    results = [fields for _, fields in db.xrange(streams.APPLY_RESULT.key)]
    assert sum(fields[b"plan_id"].decode() not in allowed for fields in results) == 1
    assert len(db.keys("quantum:state:positions:*")) == 12
    assert set(db.hgetall(streams.position("BTCUSDT"))) >= {b"position_amt", b"ts_epoch"}


def test_same_seed_makes_the_same_plans():
    def made() -> list:
        plans = Plans(7, "k")
        return [plans.next(1_790_000_000.0, {"BTCUSDT": 0.02}, ["OLDUSDT"]) for _ in range(200)]

    first = made()
    assert first == made()
    assert {wish.kind for wish in first} >= {*KINDS, "unpermitted", "conflict"}
    assert any(wish.fields["symbol"] == "OLDUSDT" for wish in first)
