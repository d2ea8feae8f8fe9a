"""Redis snapshots from real servers: what they say is recorded, errors and secrets are not."""

from __future__ import annotations

import socket
import threading

import pytest

from quantum_ops.ledger.evidence import commands, resp, snapshot
from quantum_ops.ledger.evidence import server as evidence_server
from tests import servers
from tests.evidence_rig import Host, soon


@pytest.fixture(scope="module", params=servers.FLAVOURS)
def server(request):
    made = servers.Server(request.param)
    yield made
    made.close()


@pytest.fixture
def db(server):
    connected = server.connect()
    connected.flushall()
    return connected


@pytest.fixture
def host(tmp_path, server):
    host = Host(tmp_path)
    host.environ["REDIS_URL"] = server.url
    return host


def shown(host, *asked):
    """The snapshot's lines, and the problems."""
    found = host.collect(redis_cmds=list(asked))
    return found.get("redis_snapshot", "").splitlines(), found.get("evidence_problems", [])


@pytest.mark.parametrize("without_redis_cli", [False, True])
def test_the_specification_s_snapshot(host, db, without_redis_cli):
    db.hset("quantum:portfolio:cluster_state", mapping={
        "cluster_stress": "0.788493010732072", "updated_ts": "1769492127",
    })  # fmt: skip
    if without_redis_cli:
        host.without("redis-cli")
    found = host.collect(redis_cmds=["HGETALL quantum:portfolio:cluster_state"])
    assert found["redis_snapshot"] == (
        "# redis-cli HGETALL quantum:portfolio:cluster_state\n"
        "cluster_stress\n0.788493010732072\nupdated_ts\n1769492127\n"
    )
    assert "evidence" not in found


def test_quoted_arguments_are_single_arguments(host, db):
    db.set("a b", "found")
    assert shown(host, 'GET "a b"') == (['# redis-cli GET "a b"', "found"], [])


def test_replies_of_every_type(host, db):
    db.rpush("l", "a", "b")
    db.xadd("s", {"f": "v"}, id="1-1")
    lines, problems = shown(
        host, "LRANGE l 0 -1", "LLEN l", "GET none", "HGETALL none", "PING", "XRANGE s - +",
        "EXISTS l", "OBJECT ENCODING l", "xinfo groups s",
    )  # fmt: skip
    assert problems == []
    assert [line for line in lines if line[0] != "#"][:-2] == [
        "a", "b", "2", "(nil)", "(empty)", "PONG", "1-1", "f", "v", "1",
    ]  # fmt: skip
    assert lines[-1] == "(empty)"


@pytest.mark.parametrize(("value", "line"), [
    ("x\noutcome: ROLLBACK\nid: 1", '"x\\noutcome: ROLLBACK\\nid: 1"'),
    (b"\xff\x00\x1b[31m", '"\\xff\\x00\\x1b[31m"'),
    ("# redis-cli GET other", '"# redis-cli GET other"'),
    ("", '""'), ("(nil)", '"(nil)"'), (" a ", '" a "'), ("é ✅", "é ✅"),
    ("a\u2028b", '"a\\xe2\\x80\\xa8b"'), ("... 3 more", '"... 3 more"'), ("```", "```"),
    ('"', '"\\""'), ("x" * 1001, "x" * 1000 + "... 1001 bytes"),
])  # fmt: skip
def test_a_value_is_one_line_and_looks_like_nothing_else(host, db, value, line):
    db.set("k", value)
    assert shown(host, "GET k") == (["# redis-cli GET k", line], [])


def test_thirty_lines_are_shown_and_the_rest_is_counted(host, db):
    db.rpush("l", *range(500))
    lines, problems = shown(host, "LRANGE l 0 -1")
    assert len(lines) == 1 + snapshot.LINES + 1
    assert lines[-1] == "... 470 more"
    assert problems == []


def test_twenty_snapshots_of_long_values_still_leave_room_for_the_entry(host, db):
    for number in range(20):
        db.hset(f"h{number}", mapping={f"f{n}": "x" * 5000 for n in range(40)})
    found = host.collect(redis_cmds=[f"HGETALL h{n}" for n in range(20)])
    assert len(found["redis_snapshot"]) < 21 * 1024
    assert found["redis_snapshot"].endswith("... cut at 20 KiB\n")


def test_an_answer_of_more_than_a_mebibyte_is_given_up_and_the_next_one_comes(host, db):
    db.set("big", b"x" * (resp.MOST_BYTES + 1))
    db.rpush("many", *range(300_000))
    db.set("k", "v")
    asked = ["GET big", "LRANGE many 0 -1", "GET k"]
    found = snapshot.look(asked, host.root, host.environ, soon(60))
    lines, problems = found.fields["redis_snapshot"].splitlines(), found.problems
    assert lines == ["# redis-cli GET k", "v"]
    assert [problem.split(":")[0] for problem in problems] == [
        "redis GET big",
        "redis LRANGE many 0 -1",
    ]
    assert all("over 1024 KiB" in problem for problem in problems)


def test_an_error_is_a_problem_and_no_data(host, db):
    db.set("k", "v")
    lines, problems = shown(host, "HGETALL k", "GET k", "GET", "XINFO STREAM none")
    assert lines == ["# redis-cli GET k", "v"]
    assert "WRONGTYPE" in problems[0]
    assert "wrong number of arguments" in problems[1]
    assert "no such key" in problems[2]


def test_a_command_that_writes_is_not_sent(host, db):
    db.set("k", "v")
    lines, problems = shown(host, "FLUSHALL", "SET k x", "EVAL 'redis.call(\"DEL\",KEYS[1])' 1 k")
    assert lines == []
    assert len(problems) == 3
    assert db.get("k") == b"v"


def test_values_of_fields_that_look_secret_are_taken_out(host, db):
    db.hset("h", mapping={"api_secret": "hunter2word", "n": "1", "note": "password=hunter2word"})
    db.xadd("s", {"token": "hunter2word", "n": "1"})
    db.set("json", '{"apiKey":"hunter2word","n":1}')
    lines, problems = shown(
        host, "HGETALL h", "XRANGE s - +", "XREVRANGE s + -", "XINFO STREAM s", "HSCAN h 0",
        "GET json", "GET quantum:secret", "HGET h api_secret",
    )  # fmt: skip
    assert "hunter2word" not in "\n".join([*lines, *problems])
    assert sum("[redacted]" in line for line in lines) >= 8
    assert len(problems) == 2


def test_the_documented_user_reads_and_nothing_else(host, db, server):
    # given the user as documented
    rules = commands.acl_rules().split()
    db.execute_command("ACL", "SETUSER", "audit", "on", ">hunter2word", *rules)
    db.set("quantum:k", "v")
    db.set("other", "v")
    host.environ |= {"REDIS_AUDIT_PASSWORD": "hunter2word"}
    # when everything that is allowed is asked for / then only keys of another name are refused
    lines, problems = shown(host, "GET quantum:k", "GET other", "PING", "XINFO STREAM quantum:s")
    assert lines == ["# redis-cli GET quantum:k", "v", "# redis-cli PING", "PONG"]
    assert "no permissions" in problems[0].lower() or "NOPERM" in problems[0]
    assert "no such key" in problems[1]
    # and whoever has its password cannot write
    with resp_connection(server) as made:
        made.call([b"AUTH", b"audit", b"hunter2word"])
        for command in ([b"SET", b"quantum:k", b"x"], [b"CONFIG", b"GET", b"*"], [b"KEYS", b"*"]):
            with pytest.raises(resp.ReplyError, match="NOPERM"):
                made.call(command)
    # a wrong password is one problem, not one for each command
    host.environ["REDIS_AUDIT_PASSWORD"] = "wrong-word"
    lines, problems = shown(host, "GET quantum:k", "PING")
    assert lines == []
    (told,) = problems
    assert "WRONGPASS" in told
    assert "wrong-word" not in told
    db.execute_command("ACL", "DELUSER", "audit")


class resp_connection:  # noqa: N801 - reads as a function
    def __init__(self, server):
        self.made = resp.Connection.open(str(server.socket), soon(), tls=False)

    def __enter__(self):
        return self.made

    def __exit__(self, *_):
        self.made.close()


def test_the_database_of_the_settings_is_asked(host, db):
    db.execute_command("SELECT", 3)
    db.set("k", "in 3")
    host.environ["REDIS_DB"] = "3"
    assert shown(host, "GET k")[0] == ["# redis-cli GET k", "in 3"]
    db.execute_command("SELECT", 0)


def _script(*replies):
    """A server that answers with these bytes, whatever it is asked, and then keeps silent."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve():
        with listener, listener.accept()[0] as made:
            made.settimeout(10)
            try:
                for reply in replies:
                    made.recv(65536)
                    for part in reply if isinstance(reply, list) else [reply]:
                        made.sendall(part)
                made.recv(1)
            except OSError:
                pass
        ended.set()

    threading.Thread(target=serve, daemon=True).start()
    return f"redis://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(("reply", "told"), [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer as Redis does"), (b"", "in time"),
    (b"*1\r\n" * 20, "nested too deeply"), (b"$99999999999\r\n", "over 1024 KiB"),
    (b"$x\r\n", "does not answer as Redis does"), (b"$5\r\nab", "in time"),
    (b"*1000000000\r\n", "in time"), ([b"+", *[b"a"] * 50], "in time"),
    (b"-LOADING Redis is loading\r\n", "LOADING"), (b":1" + b"0" * 70000, "does not answer"),
])  # fmt: skip
def test_a_server_that_is_none_is_a_problem(tmp_path, reply, told):
    environ = {"REDIS_URL": _script(reply), "QUANTUM_ENV_DIR": "/nonexistent"}
    found = snapshot.look(["PING"], tmp_path, environ, soon(0.5))
    assert found.fields == {}
    assert told in found.problems[0]


def test_the_master_is_asked_of_the_sentinels(tmp_path):
    master = _script(b"+PONG\r\n")
    port = master.rpartition(":")[2].encode()
    sentinel = _script(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(port), port))
    where = sentinel.removeprefix("redis://")
    environ = {"REDIS_URL": f"sentinel://127.0.0.1:1,{where}/mymaster"}
    found = snapshot.look(["PING"], tmp_path, environ, soon())
    assert found.fields == {"redis_snapshot": "# redis-cli PING\nPONG\n"}
    assert found.problems == []


def test_service_and_database_of_a_sentinel_url_are_told_apart(tmp_path):
    environ = {"REDIS_URL": "sentinel://u:p@h1:1,h2/my%20master/3", "QUANTUM_ENV_DIR": "/none"}
    found = evidence_server.find(tmp_path, environ)
    assert (found.service, found.db, found.username) == ("my master", 3, "u")
    assert found.sentinels == (("h1", 1), ("h2", 26379))
