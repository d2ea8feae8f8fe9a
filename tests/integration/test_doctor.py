"""The doctor at real servers: what they answer, what they may refuse, what mends it."""

from __future__ import annotations

import shlex

import pytest
import redis

from ops.doctor import checks, server_facts
from ops.doctor.snapshot import Snapshot
from ops.paths import ROOT
from quantum_ops import client, streams
from quantum_ops.events import OpsProcess
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.publisher import Publisher
from quantum_ops.settings import RedisSettings
from tests.servers import FLAVOURS, Server


@pytest.fixture(params=FLAVOURS)
def server(request):
    server = Server(request.param)
    yield server
    server.close()


def found(server, url="") -> dict[str, set[str]]:
    facts = server_facts.take(RedisSettings(url=url or server.url))
    report = checks.examine(Snapshot(owned=False, supervisor="RUNNING", server=facts, url="here"))
    by_level: dict[str, set[str]] = {"problem": set(), "warning": set(), "note": set()}
    for one in report.findings:
        if one.subject not in ("processes", "keys"):
            by_level[one.level].add(one.subject)
    return by_level


def test_a_careless_server_is_told_apart_from_one_that_was_set_up(server):
    # given a server as it comes
    assert found(server)["problem"] == {"acl", "persistence"}
    # when the cures that stand there are typed
    db = server.connect()
    db.config_set("appendonly", "yes")
    db.config_set("appendfsync", "always")
    db.execute_command("ACL", "SETUSER", "ops", "on", ">secret", "+@all", "~*")
    db.execute_command("ACL", "SETUSER", "ops", "resetkeys", "~quantum:ops:*", "%R~quantum:*")
    # then it is content
    url = server.url.replace("unix://", "unix://ops:secret@")
    assert found(server, url)["problem"] == set()
    facts = server_facts.take(RedisSettings(url=url))
    assert (facts.user, facts.may_write_trading, facts.has_no_password) == ("ops", False, False)
    assert abs(facts.skew_ms) < 1000
    server.kill()  # it would rewrite its file for seconds first


def test_the_user_that_the_page_shows_can_work_and_cannot_write_plans(server):
    # given the user as it is to be typed
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    text = page.partition("<!-- user: tested -->\n```sh\n")[2].partition("```")[0]
    db = server.connect()
    db.execute_command(*shlex.split(text.replace("\\\n", " "))[1:])
    user = client.connect(
        RedisSettings(url=server.url.replace("unix://", "unix://quantum:PASSWORD@"))
    )
    # then a consumer of plans and a publisher find all that they need
    event = OpsProcess(program="p33", process="p33-00", from_state="", to_state="RUNNING")
    assert Publisher(user).publish(event)
    Heartbeat(user, "p33").beat("ready", force=True)
    user.xgroup_create(streams.APPLY_PLAN.key, "p33", "0", mkstream=True)
    db.xadd(streams.APPLY_PLAN.key, {"plan_id": "1"})
    raw = client.raw(
        user, "XREADGROUP", "GROUP", "p33", "box", "STREAMS", streams.APPLY_PLAN.key, ">"
    )
    [[_, [[entry_id, _]]]] = raw
    acked = user.eval("return redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])", 1,
                      streams.APPLY_PLAN.key, "p33", entry_id)  # fmt: skip
    assert acked == 1
    # and whatever it tries, by itself or from a script, plans are not written
    facts = server_facts.take(
        RedisSettings(url=server.url.replace("unix://", "unix://quantum:PASSWORD@"))
    )
    assert (facts.may_write_trading, facts.refused) == (False, ())
    with pytest.raises(redis.ResponseError, match=r"(?i)perm|can't access"):
        user.xadd(streams.APPLY_PLAN.key, {"plan_id": "2"})
    script = "return redis.call('XADD', KEYS[1], '*', 'plan_id', '2')"
    with pytest.raises(redis.ResponseError, match=r"(?i)perm|can't access"):
        user.eval(script, 1, streams.APPLY_PLAN.key)
    user.connection_pool.disconnect()
    assert db.xlen(streams.APPLY_PLAN.key) == 1


def test_a_user_who_may_ask_little_is_told_what_was_not_looked_at(server):
    db = server.connect()
    db.execute_command("ACL", "SETUSER", "few", "on", ">x", "~*", "+ping", "+client", "+time")
    facts = server_facts.take(RedisSettings(url=server.url.replace("unix://", "unix://few:x@")))
    assert {"INFO", "CONFIG GET", "ACL WHOAMI", "TYPE"} <= set(facts.refused)
    assert facts.flavour is None
    assert facts.skew_ms is not None


def test_a_wrong_type_and_open_letters_are_seen(server):
    db = server.connect()
    db.set(streams.APPLY_PLAN.key, "overwritten")
    db.xadd(streams.DEAD_LETTER.key, {"a": "b"})
    facts = server_facts.take(RedisSettings(url=server.url))
    assert facts.types[streams.APPLY_PLAN.key] == "string"
    assert facts.letters == 1
    words = [one.what for one in checks.examine(Snapshot(server=facts)).findings]
    assert any("is a string, not a stream" in one for one in words)


def test_a_server_that_is_gone_is_one_problem_and_no_crash(server):
    server.kill()
    facts = server_facts.take(RedisSettings(url=server.url))
    assert facts.problem
    assert found(server)["problem"] == {"server"}
