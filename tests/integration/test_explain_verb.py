"""`./run explain`: one plan's story, from the archive and from what Redis has beyond it."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from ops.__main__ import entry as run
from quantum_ops import codec, streams
from quantum_ops.events import (
    AuditFinding,
    DeadLetter,
    DeployCompleted,
    LedgerRecorded,
    PermitDecided,
    UniverseChanged,
)
from tests.archive_rig import T0
from tests.recovery_rig import archive_all

PLAN = "84c95a8537d51c1d"
RED = "\x1b[31m\u202e"


@pytest.fixture
def world(server, tmp_path, monkeypatch):
    """A server and an archive; ``say`` adds an entry with the id of that second."""
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANTUM_CALLED_FROM", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", server.url)
    for name in ("ARCHIVE_DIR", "ARCHIVE_KEY", "VERIFY_KEYS"):
        monkeypatch.delenv(name, raising=False)
    db = server.connect()
    db.flushall()

    def say(stream, at_s, *flat, **fields):
        flat = flat or [part for pair in fields.items() for part in pair]
        id_ = db.execute_command("XADD", stream.key, f"{T0 + at_s * 1000}-*", *flat)
        return id_.decode()

    def tell(at_s, event):
        return say(streams.of(event), at_s, *codec.encode(event))

    base = tmp_path / "home" / "archive"
    return SimpleNamespace(db=db, say=say, tell=tell, base=base, folder=tmp_path,
                           archive=lambda: archive_all(db, base))  # fmt: skip


@pytest.fixture
def explain(capsys, world):
    def typed(*argv):
        code = run(["explain", *map(str, argv)])
        out, err = capsys.readouterr()
        return code, out, err

    return typed


def plan(world, at_s, plan_id=PLAN, **more):
    fields = {"plan_id": plan_id, "decision": "EXECUTE", "symbol": "BTCUSDT", "side": "BUY",
              "qty": "0.002", **more}  # fmt: skip
    return world.say(streams.APPLY_PLAN, at_s, **fields)


def decided(world, at_s, *, allow=True, epoch=2, reason="sanity_checks_passed"):
    event = PermitDecided(gate="p33", plan_id=PLAN, symbol="BTCUSDT", allow=allow, reason=reason,
                          universe_epoch=epoch)  # fmt: skip
    return world.tell(at_s, event)


def universe(world, at_s, epoch, *symbols):
    event = UniverseChanged(epoch=epoch, prev_epoch=epoch - 1, mode="testnet", asof_epoch=1,
                            count=len(symbols), sha256="a", symbols_sha256="b",
                            symbols=symbols)  # fmt: skip
    return world.tell(at_s, event)


def test_the_whole_story_of_a_trade_stands_in_order(world, explain):
    # Given a universe, two deploys of which one is too old, a plan and all that followed
    universe(world, -9000, 1, "ETHUSDT")
    universe(world, -8000, 2, "BTCUSDT", "ETHUSDT")
    universe(world, -1, 3, "ETHUSDT")
    deploy = {"objective": "o", "risk_class": "SERVICE_RESTART", "blast_radius": "b",
              "changes_summary": "c"}  # fmt: skip
    world.tell(-7200, DeployCompleted(operation="too old", **deploy))
    deployed = world.tell(-600, DeployCompleted(operation="P2.7 Deploy", **deploy))
    world.tell(-599, LedgerRecorded(seq=1, record_type="operation.recorded", tree_size=1,
                                    operation_id="OPS-2026-01-27-001", entry_sha256="a",
                                    root_sha256="b", source=streams.DEPLOY_COMPLETED.key,
                                    source_id=deployed))  # fmt: skip
    plan(world, 0)
    plan(world, 0, plan_id="another")
    decided(world, 1)
    world.say(streams.APPLY_RESULT, 2, plan_id=PLAN, executed="true", symbol="BTCUSDT",
              details='{"order_id": 8899}')  # fmt: skip
    finding = world.tell(3, AuditFinding(auditor="permit_audit", finding="permit_missing",
                                         severity="critical", subject=PLAN,
                                         detail="p26 did not appear"))  # fmt: skip
    world.tell(4, AuditFinding(auditor="operator", finding="violation_settled", severity="info",
                               subject=finding, detail="by qt@vm; known"))  # fmt: skip
    world.archive()
    # When it is asked for
    code, out, err = explain(PLAN)
    # Then it stands there in order, with the universe that the gate saw, not the newest one
    assert (code, err) == (0, "")
    rows = [line[25:].rpartition("  [")[0] for line in out.splitlines()[2:]]
    assert rows == [
        "universe.changed  epoch 2: 2 symbols, testnet; BTCUSDT is in it",
        "deploy.completed  SUCCESS 'P2.7 Deploy', SERVICE_RESTART; OPS-2026-01-27-001",
        f"apply.plan        EXECUTE BUY 0.002 BTCUSDT, plan {PLAN}",
        f"permit.decided    p33 ALLOW BTCUSDT: sanity_checks_passed, plan {PLAN}, epoch 2",
        f"apply.result      executed, BTCUSDT, plan {PLAN}; order 8899",
        f"audit.finding     CRITICAL permit_audit permit_missing {PLAN}: p26 did not appear",
        f"audit.finding     INFO operator violation_settled {finding}: by qt@vm; known",
    ]
    assert out.splitlines()[0] == f"plan {PLAN} in BTCUSDT"
    # And for programs
    told = json.loads(explain(PLAN, "--json")[1])
    assert (told["universe_epoch"], told["symbol_in_universe"], told["remarks"]) == (2, True, [])
    assert [one["entry"] is not None for one in told["steps"]] == [True] * 7
    # What it rests on is all of them, the ledger's word on the deploy, and what says not stale
    beside = [stream for stream, _ in told["rests_on"][7:]]
    assert beside == [streams.LEDGER_RECORDED.key, streams.UNIVERSE_CHANGED.key]


def test_a_universe_that_was_stale_and_a_symbol_that_leaves_are_said(world, explain):
    world.tell(-20, UniverseChanged(epoch=2, prev_epoch=1, mode="testnet", asof_epoch=1, count=1,
                                    sha256="a", symbols_sha256="b", symbols=("BTCUSDT",),
                                    close_only=("BTCUSDT",)))  # fmt: skip
    flag = world.tell(-10, AuditFinding(auditor="universe", finding="universe_stale",
                                        severity="warning", detail="http_429"))  # fmt: skip
    plan(world, 0)
    world.tell(5, AuditFinding(auditor="universe", finding="universe_fresh", severity="info"))
    world.archive()
    out = explain(PLAN)[1]
    assert "BTCUSDT is in it, and can only be closed" in out
    assert "! the universe was STALE: http_429" in out
    told = json.loads(explain(PLAN, "--json")[1])
    assert (told["universe_stale"], told["close_only"]) == (True, True)
    assert [streams.AUDIT_FINDING.key, flag] in told["rests_on"]


def test_what_is_not_archived_yet_is_told_from_redis(world, explain):
    universe(world, -5, 2, "ETHUSDT")
    plan(world, 0)
    world.archive()
    decided(world, 1, allow=False, reason="symbol_not_allowed")
    plan(world, 2, plan_id="another")
    code, out, _ = explain(PLAN)
    assert code == 0
    assert f"p33 deny BTCUSDT: symbol_not_allowed, plan {PLAN}, epoch 2" in out
    assert out.count("(only in Redis yet)") == 1
    assert "BTCUSDT is NOT in it" in out
    assert "! no result of it is known" in out
    assert "another" not in out


def test_without_an_archive_redis_alone_tells(world, explain):
    plan(world, 0)
    code, out, _ = explain(PLAN)
    assert (code, "note: there is no archive in" in out) == (0, True)
    assert "! no gate's decision on it is known" in out
    assert "! no universe is known of that time" in out
    code, _, err = explain(PLAN, "--prove", "x")
    assert (code, "there is no archive that could prove it" in err) == (1, True)


def test_without_redis_the_archive_alone_tells(world, explain, monkeypatch):
    plan(world, 0)
    world.archive()
    monkeypatch.setenv("REDIS_URL", f"unix://{world.folder}/nobody")
    code, out, _ = explain(PLAN)
    assert (code, "note: Redis does not answer" in out) == (0, True)
    assert "EXECUTE BUY 0.002 BTCUSDT" in out
    shutil.rmtree(world.base)
    assert explain(PLAN)[0] == 69


def test_nobody_knows_it(world, explain):
    plan(world, 0, plan_id="another")
    world.archive()
    code, out, err = explain(PLAN)
    assert (code, out) == (4, "")
    assert err == f"{PLAN}: there is no such plan, and nothing that names one\n"


def test_an_id_that_came_twice_and_a_result_before_its_plan(world, explain):
    world.say(streams.APPLY_RESULT, 0, plan_id=PLAN, executed="True", symbol="BTCUSDT")
    plan(world, 1)
    plan(world, 2, qty="5")
    world.archive()
    out = explain(PLAN)[1]
    assert "! its id came 2 times, with DIFFERENT content: a gate decides the first one" in out
    assert "! a result stands BEFORE the plan" in out
    assert f"executed, BTCUSDT, plan {PLAN}; WITHOUT an order id" in out
    assert "! it was executed although" not in out


def test_an_execution_against_a_denial_is_said(world, explain):
    plan(world, 0)
    decided(world, 1, allow=False, reason="cooldown_in_flight", epoch=7)
    world.say(streams.APPLY_RESULT, 2, plan_id=PLAN, executed="true", order_id="1")
    world.say(streams.APPLY_RESULT, 3, plan_id=PLAN, executed="true", order_id="2")
    world.archive()
    out = explain(PLAN)[1]
    assert "! it was executed although p33 denied it" in out
    assert "! 2 orders are told of: 1, 2" in out
    assert "note: the universe of epoch 7, which the gate saw, is not known" in out


def test_hostile_bytes_move_no_cursor_and_are_found_by_their_own_id(world, explain):
    world.say(streams.APPLY_PLAN, 0, "plan_id", b"\xff\xfe", "decision", RED, "symbol", "X")
    world.say(streams.APPLY_PLAN, 1, "plan_id", f'"{RED}', "decision", RED, "symbol", RED)
    world.say(streams.APPLY_PLAN, 2, "plan_id", f'"{RED}', "decision", "EXECUTE", "odd", "row", "x",
              "y", "plan_id", "doubled")  # fmt: skip
    letter = DeadLetter(stream=streams.APPLY_PLAN.key, group="p33", consumer="c", entry_id="1-1",
                        deliveries=1, reason="malformed", error=RED)  # fmt: skip
    world.say(streams.DEAD_LETTER, 3, *codec.encode(letter), "original.plan_id", f'"{RED}')
    world.archive()
    for found, count in ((b"\xff\xfe".decode("utf-8", "surrogateescape"), 1), (f'"{RED}', 3)):
        code, out, _ = explain(found)
        assert code == 0
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert out.count("[17694945") == count
        json.loads(explain(found, "--json")[1])
    assert "of its entries cannot be read" in explain(f'"{RED}')[1]
    assert explain("doubled")[0] == 0
    assert explain("EXECUTE")[0] == 4


def test_the_story_can_be_proven(world, explain, capsys):
    plan(world, 0)
    decided(world, 1)
    world.archive()
    world.say(streams.APPLY_RESULT, 2, plan_id=PLAN, executed="true", order_id="1")
    code, _, err = explain(PLAN, "--prove", "story.proof")
    assert code == 0
    assert "story.proof: 2 entries proven; check it with: ./run verify story.proof" in err
    assert "apply.result 1769494532000-0: is not in the archive: not proven yet" in err
    code = run(["verify", "story.proof"])
    out = capsys.readouterr().out
    assert (code, "PROVEN: 2 entries" in out) == (3, True)
    world.archive()
    code, out, _ = explain(PLAN, "--prove")
    (world.folder / "piped").write_text(out, encoding="utf-8")
    assert (code, run(["verify", "piped"])) == (0, 0)
