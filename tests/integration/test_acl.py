"""What each user may and may not do, on real servers: alone, inside Lua, inside MULTI."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
from functools import cache

import pytest
import redis

from ops import acl_check
from quantum_ops import client, consumer, streams
from quantum_ops.acl import catalogue, text
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.settings import RedisSettings
from tests.servers import Server
from tests.waiting import wait_until

PASSWORD = "a password of the tests"
USERS = {user.name: user for user in catalogue.users(demo=True)}
LIMITED = [name for name in USERS if name != "admin"]
PLAN, RESULT = "quantum:stream:apply.plan", "quantum:stream:apply.result"
DEPLOY = "quantum:stream:deploy.completed"
P33 = "quantum:permit:p33:00112233445566aa"
# One key of each family, and some that are nobody's.
KEYS = [
    *(stream.key for stream in streams.CATALOGUE),
    "quantum:stream:trade.intent", "quantum:stream:ai.decision",
    "quantum:cfg:universe:active", "quantum:cfg:universe:last_ok", "quantum:cfg:universe:meta",
    "quantum:cfg:universe:symbols", "quantum:cfg:universe:lease", "quantum:cfg:universe:accept",
    "quantum:ops:heartbeat:p33:0", "quantum:ops:heartbeat:warden:0",
    "quantum:ops:checkpoint:p33:apply.plan", "quantum:ops:checkpoint:archive:apply.plan",
    "quantum:ops:published:audit.finding:x", "quantum:ops:published:apply.plan:x",
    "quantum:ops:unreplicated:" + P33, "quantum:ops:home:archive",
    P33, "quantum:permit:p26:00112233445566aa", "quantum:permit:00112233445566aa",
    "quantum:ops:p33:decided:00112233445566aa", "quantum:ops:p33:conflict:00112233445566aa:f",
    "quantum:ops:order_proof:plan:x", "quantum:ops:order_proof:order:S:1",
    "quantum:ops:permit_audit:open", "quantum:ops:permit_audit:case:x",
    "quantum:ops:universe_audit:last", "quantum:ops:ledger:told", "quantum:ops:ledger:warned:a:b",
    "quantum:ops:archive:trimmed", "quantum:ops:dead_letter:resolved", "quantum:ops:audit:settled",
    "quantum:ops:warden:restarts", "quantum:ops:positions:lease", "quantum:ops:restore",
    "quantum:ops:failover",
    "quantum:state:positions:BTCUSDT", "quantum:position:ledger:BTCUSDT",
    "quantum:cooldown:last_exec_ts:BTCUSDT", "quantum:reconcile:hold:BTCUSDT",
    "elsewhere",
]  # fmt: skip
# Each command by the name that a right has, with what follows its key ({} is the key's place).
COMMANDS = {
    "get": "GET {}", "set": "SET {} v", "del": "DEL {}", "getdel": "GETDEL {}", "incr": "INCR {}",
    "append": "APPEND {} v", "expire": "EXPIRE {} 100", "persist": "PERSIST {}",
    "hset": "HSET {} f v", "hgetall": "HGETALL {}", "hincrby": "HINCRBY {} f 1",
    "zadd": "ZADD {} 1 m", "rpush": "RPUSH {} v", "sadd": "SADD {} v", "type": "TYPE {}",
    "xadd": "XADD {} * f v", "xdel": "XDEL {} 1-1", "xtrim": "XTRIM {} MINID 1",
    "xsetid": "XSETID {} 9-9", "xrange": "XRANGE {} - + COUNT 1",
    "xreadgroup": "XREADGROUP GROUP g c COUNT 1 STREAMS {} >", "xack": "XACK {} g 1-1",
    "xclaim": "XCLAIM {} g c 0 1-1", "xautoclaim": "XAUTOCLAIM {} g c 0 0 COUNT 1",
    "xgroup|create": "XGROUP CREATE {} g 0 MKSTREAM", "xgroup|setid": "XGROUP SETID {} g 0",
    "xgroup|destroy": "XGROUP DESTROY {} other", "xgroup|delconsumer": "XGROUP DELCONSUMER {} g z",
    "xinfo|groups": "XINFO GROUPS {}", "dump": "DUMP {}", "restore": "RESTORE {} 0 junk",
    "rename": "RENAME {} {}", "copy": "COPY {} {}", "lpop": "LPOP {}",
}  # fmt: skip
IN_SCRIPTS = (
    "get", "set", "del", "hset", "expire", "zadd", "xadd", "xack", "xtrim", "xgroup|setid",
)  # fmt: skip
RULING = {
    "acl|setuser": "ACL SETUSER x", "acl|list": "ACL LIST", "acl|getuser": "ACL GETUSER admin",
    "acl|load": "ACL LOAD", "config|set": "CONFIG SET maxmemory 0", "config|get": "CONFIG GET port",
    "flushall": "FLUSHALL", "flushdb": "FLUSHDB", "keys": "KEYS *", "shutdown": "SHUTDOWN",
    "debug": "DEBUG SLEEP 0", "module|list": "MODULE LIST", "script|load": "SCRIPT LOAD return",
    "script|flush": "SCRIPT FLUSH", "function|load": "FUNCTION LOAD x",
    "replicaof": "REPLICAOF NO ONE", "monitor": "MONITOR", "client|kill": "CLIENT KILL ID 0",
    "client|list": "CLIENT LIST", "swapdb": "SWAPDB 0 1", "save": "SAVE",
    "bgrewriteaof": "BGREWRITEAOF", "slowlog|get": "SLOWLOG GET", "failover": "FAILOVER",
    "sync": "SYNC", "subscribe": "SUBSCRIBE c", "publish": "PUBLISH c m",
}  # fmt: skip
MAY_RULE = {"operator": {"config|get"}}
"""What of it is given to somebody who is no administrator, by hand."""


@pytest.fixture(
    scope="module", params=["valkey", pytest.param("redis7", marks=pytest.mark.needs_redis7)]
)
def guarded(request, tmp_path_factory):
    """A server that was started on the ACL file of its generation, with the default user in it."""
    path = tmp_path_factory.mktemp("acl") / "users.acl"
    path.write_text(file_for(request.param, default=request.param == "valkey"))
    started = Server(request.param, "--aclfile", str(path))
    started.flavour, started.file = request.param, path
    yield started
    started.close()


def file_for(flavour, *, default):
    logins = dict.fromkeys(USERS, text.login(PASSWORD))
    return text.file(generation(flavour), logins, demo=True, default=default)


def generation(flavour):
    return "7.0" if flavour == "redis7" else "9"


def only_with_a_name(server, name):
    """Redis 7.0 lets nobody in who names no user: it would drop data when it starts."""
    if name == "default" and server.flavour == "redis7":
        with As(server, name) as user, pytest.raises(redis.RedisError, match=r"(?i)auth"):
            user.db.ping()
        return True
    return False


class As:
    """A connection of one user, which sends many commands at once and tells what was refused."""

    def __init__(self, server, name):
        login = {} if name == "default" else {"username": name, "password": PASSWORD}
        self.db = client.connect(RedisSettings(url=server.url))
        self.db.connection_pool.connection_kwargs |= login

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.db.connection_pool.disconnect()

    def replies(self, commands):
        line = self.db.connection_pool.get_connection()
        line.send_packed_command(line.pack_commands(commands))
        found = []
        for _ in commands:
            try:
                found.append(line.read_response())
            except redis.ResponseError as error:
                found.append(error)
        self.db.connection_pool.release(line)
        return found

    def load(self):
        """ACL LOAD, after which redis 7.0 closes every connection."""
        self.replies([("ACL", "LOAD")])
        self.db.connection_pool.disconnect()

    def refused(self, commands):
        """Of each command, whether the server refuses it to this user for want of a right."""
        return [is_refusal(reply) for reply in self.replies(commands)]

    def refused_in_lua(self, commands):
        scripts = [("EVAL", "return redis.call(unpack(ARGV))", 0, *one) for one in commands]
        return self.refused(scripts)

    def refused_in_multi(self, commands):
        wrapped = [part for one in commands for part in (("MULTI",), one, ("EXEC",))]
        return self.refused(wrapped)[1::3]


def has_loaded(server):
    with As(server, "admin") as admin:
        try:
            return admin.db.ping()
        except redis.BusyLoadingError:
            return False


def is_refusal(reply):
    return isinstance(reply, Exception) and client.is_refusal(reply)


def spelt(template, key):
    return tuple(key if word == "{}" else word for word in template.split())


@cache
def may(name, command, key):
    """What the catalogue says, by the rule that quantum_ops/acl/rights.py gives."""
    user = USERS.get(name, catalogue.DEFAULT)
    return user.all_rights or any(
        command in grant.commands
        and any(fnmatch.fnmatchcase(key, one) for one in (*grant.read, *grant.write, *grant.both))
        for grant in user.grants
    )


def everything():
    return [(command, key) for command in COMMANDS for key in KEYS]


@pytest.mark.parametrize("name", [*LIMITED, "default"])
def test_server_and_catalogue_agree_on_every_command_and_every_key(guarded, name):
    if only_with_a_name(guarded, name):
        return
    pairs = everything()
    commands = [spelt(COMMANDS[command], key) for command, key in pairs]
    allowed = [may(name, *pair) for pair in pairs]
    with As(guarded, name) as user:
        assert wrong(pairs, user.refused(commands), allowed) == []
        # and inside a script each command is judged as it is alone
        scripted = "eval" in {word for grant in grants_of(name) for word in grant.commands}
        chosen = [at for at, (command, _) in enumerate(pairs) if command in IN_SCRIPTS]
        inside = [scripted and allowed[at] for at in chosen]
        refused = user.refused_in_lua([commands[at] for at in chosen])
        assert wrong([pairs[at] for at in chosen], refused, inside) == []


def grants_of(name):
    return USERS.get(name, catalogue.DEFAULT).grants


def wrong(pairs, refused, allowed):
    return [
        (*pair, "refused" if was else "taken")
        for pair, was, should in zip(pairs, refused, allowed, strict=True)
        if was == should
    ]


# The facts that must hold whatever the catalogue says, written by hand and looked at on the server.
TRADING = (PLAN, RESULT, "quantum:stream:trade.intent", "quantum:stream:ai.decision")
WAYS_TO_WRITE = (
    "XADD {} * f v", "XADD {} MAXLEN 0 * f v", "XDEL {} 1-1", "XSETID {} 9-9", "SET {} v",
    "DEL {}", "UNLINK {}", "RENAME quantum:x {}", "COPY quantum:x {}", "RESTORE {} 0 junk",
    "EXPIRE {} 1", "RPUSH {} v", "HSET {} f v", "SADD {} v", "ZADD {} 1 m", "APPEND {} v",
    "SETRANGE {} 0 v", "BITOP NOT {} quantum:x", "SUNIONSTORE {} quantum:x", "PFADD {} v",
    "SORT quantum:x STORE {}", "GEOADD {} 1 1 m", "MOVE {} 1", "XGROUP DESTROY {} g", "GETDEL {}",
    "SETEX {} 9 v", "MSET {} v", "GETSET {} v", "LMOVE quantum:x {} LEFT LEFT",
)  # fmt: skip


def expect_all_refused(user, commands):
    for how in (user.refused, user.refused_in_lua, user.refused_in_multi):
        refused = how(commands)
        assert [one for one, was in zip(commands, refused, strict=True) if not was] == []


@pytest.mark.parametrize("name", [*(one for one in LIMITED if one != "demo_trading"), "default"])
def test_nobody_of_ours_writes_a_trading_stream_nor_another_gates_permit(guarded, name):
    if only_with_a_name(guarded, name):
        return
    commands = [spelt(way, key) for key in TRADING for way in WAYS_TO_WRITE]
    if name != "p33":
        commands += [spelt(way, P33) for way in WAYS_TO_WRITE if way != "GETDEL {}"]
    others = ("quantum:permit:00112233445566aa", "quantum:permit:p26:00112233445566aa")
    commands += [spelt("SET {} v", key) for key in others]
    with As(guarded, name) as user:
        expect_all_refused(user, commands)


def test_the_demos_trading_side_writes_its_streams_and_no_permit_of_p33(guarded):
    with As(guarded, "demo_trading") as user:
        for stream in (PLAN, RESULT, DEPLOY):
            assert user.refused([("XADD", stream, "*", "f", "v")]) == [False]
        expect_all_refused(user, [("SET", P33, "v"), ("SET", P33, "v", "EX", "60")])
        expect_all_refused(user, [("XADD", one, "*", "f", "v") for one in TRADING[2:]])
        expect_all_refused(user, [("XADD", streams.PERMIT_DECIDED.key, "*", "f", "v")])


def test_p33_permits_and_an_executor_takes_a_permit_once(guarded):
    with As(guarded, "p33") as gate, As(guarded, "executor") as executor:
        assert gate.refused([("SET", P33, "permit", "EX", "60")]) == [False]
        assert executor.replies([("GET", P33), ("GETDEL", P33), ("GETDEL", P33)]) == [
            b"permit", b"permit", None,
        ]  # fmt: skip
        expect_all_refused(executor, [("SET", P33, "v"), ("XADD", PLAN, "*", "f", "v")])


@pytest.mark.parametrize("name", ["deployer", "default"])
def test_who_announces_a_deploy_appends_there_and_writes_nothing_else(guarded, name):
    if only_with_a_name(guarded, name):
        return
    with As(guarded, name) as user:
        assert user.refused([("XADD", DEPLOY, "*", "f", "v")]) == [False]
        assert user.refused_in_multi([("XADD", DEPLOY, "*", "f", "v")]) == [False]
        elsewhere = [spelt(way, key) for key in KEYS if key != DEPLOY for way in WAYS_TO_WRITE]
        refused = user.refused(elsewhere)
        assert [one for one, was in zip(elsewhere, refused, strict=True) if not was] == []
        here = [spelt(way, DEPLOY) for way in WAYS_TO_WRITE if not way.startswith("XADD")]
        assert all(user.refused(here))
        # a deployer reads nothing; whoever names no user reads as the specification's commands do
        reads = [("GET", "quantum:cfg:universe:active"), ("HGETALL", "quantum:cfg:universe:meta")]
        assert user.refused(reads) == [name == "deployer"] * 2


@pytest.mark.parametrize("name", ["audit", "exporter", "status_page"])
def test_who_only_reads_changes_nothing_but_its_own_heartbeat(guarded, name):
    own = f"quantum:ops:heartbeat:{name}:0"
    with As(guarded, name) as user:
        some = [PLAN, P33, DEPLOY, *KEYS[::6]]
        expect_all_refused(user, [spelt(way, key) for key in some for way in WAYS_TO_WRITE])
        assert user.refused([("HSET", own, "f", "v")]) == [name == "audit"]
        assert not any(user.refused([("GET", key) for key in KEYS if key != "elsewhere"]))


@pytest.mark.parametrize("name", [*LIMITED, "default"])
def test_nobody_but_the_administrator_rules_the_server(guarded, name):
    if only_with_a_name(guarded, name):
        return
    with As(guarded, "admin") as admin, As(guarded, name) as user:
        for right, command in RULING.items():
            said = admin.replies([("ACL", "DRYRUN", name, *command.split())])[0]
            assert (said == b"OK") == (right in MAY_RULE.get(name, ())), f"{name} {command}: {said}"
        expect_all_refused(user, [("KEYS", "*"), ("FLUSHALL",)])
        # no script may send these at all
        alone = [("ACL", "LIST"), ("CONFIG", "SET", "maxmemory", "0"), ("CLIENT", "LIST")]
        assert all(user.refused(alone) + user.refused_in_multi(alone))


def test_who_consumes_a_stream_with_a_lie_for_a_declared_key_gains_nothing(guarded):
    # given a script that declares a key that its user owns and writes another one
    lie = ("EVAL", "return redis.call('XADD', ARGV[1], '*', 'f', 'v')", 1, P33, PLAN)
    hidden = ("EVAL", "return redis.pcall('SET', ARGV[1], 'v')", 0, "quantum:cfg:universe:active")
    with As(guarded, "p33") as gate:
        assert gate.refused([lie, hidden]) == [True, True]


@pytest.mark.parametrize("name", consumer.names("consumers"))
def test_each_consumer_may_make_its_groups_anew_and_tell_that_they_had_vanished(guarded, name):
    keys = tuple(stream.key for stream in consumer.find("consumers", name).streams)
    with As(guarded, name) as user, As(guarded, "admin") as admin:
        # Given a consumer that has its groups, as a user of its own
        admin.replies([("FLUSHALL",)])
        inbox = RedisInbox(user.db, keys, name, "one")
        inbox.ensure_groups()
        # When the server is emptied
        admin.replies([("FLUSHALL",)])
        made = inbox.ensure_groups()
        inbox.disconnect()
        # Then it has the rights to do both in one step
        assert [(one.stream, one.vanished, one.untold) for one in made] == [
            (key, True, "") for key in keys
        ]
        assert admin.replies([("XLEN", streams.AUDIT_FINDING.key)]) == [len(keys)]


def test_with_the_default_user_off_nobody_without_a_name_gets_in(guarded):
    with As(guarded, "admin") as admin:
        guarded.file.write_text(file_for(guarded.flavour, default=False))
        admin.load()
        try:
            with pytest.raises(redis.RedisError, match=r"(?i)auth"), As(guarded, "default") as user:
                user.db.ping()
            with As(guarded, "p33") as gate:
                assert gate.db.ping()
        finally:
            guarded.file.write_text(file_for(guarded.flavour, default=guarded.flavour == "valkey"))
            admin.load()


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize(
    "flavour", ["valkey", pytest.param("redis7", marks=pytest.mark.needs_redis7)]
)
def test_a_server_with_users_has_all_that_was_written_when_it_starts_again(
    flavour, default, tmp_path
):
    # Given a server that keeps an append-only file, and users, with or without a nameless one
    path = tmp_path / "users.acl"
    if default and flavour == "redis7":
        with pytest.raises(ValueError, match="drops what the default user may not do"):
            file_for(flavour, default=default)
        return
    path.write_text(file_for(flavour, default=default))
    durable = ("--appendonly", "yes", "--appendfsync", "always")  # kill -9 costs everysec some
    server = Server(flavour, "--aclfile", str(path), *durable)
    try:
        both = "redis.call('SET', KEYS[1], '1') redis.call('XADD', KEYS[2], '*', 'f', 'v')"
        with As(server, "admin") as admin:
            keys = ("quantum:ops:one", "quantum:stream:one")
            admin.replies([("EVAL", both, 2, *keys)])
            admin.replies([("MULTI",), ("SET", "quantum:ops:two", "2"), ("INCR", "n"), ("EXEC",)])
            before = sorted(admin.replies([("KEYS", "*")])[0])
            assert len(before) == 4
        # When it is started again
        server.kill()
        server.start()
        wait_until(lambda: has_loaded(server), what="it has read its file")
        # Then what scripts and transactions wrote is there, and the administrator is told nothing
        with As(server, "admin") as admin:
            assert sorted(admin.replies([("KEYS", "*")])[0]) == before
            assert list(acl_check.of_default(admin.db)) == []
            # but of a default user that lacks rights, where that costs data
            admin.replies([("ACL", "SETUSER", "default", "off", "reset")])
            told = list(acl_check.of_default(admin.db))
            assert ["drops what scripts and transactions wrote" in one for one in told] == (
                [True] if flavour == "redis7" else []
            )
    finally:
        server.close()


def test_a_server_whose_users_differ_is_told_user_by_user(guarded):
    def found():
        of = acl_check.generation(admin.db)
        assert of == generation(guarded.flavour)
        return [
            f"{user.name} {told}"
            for user in USERS.values()
            for told in acl_check.differences(admin.db, user, of, text.login(PASSWORD)[1:])
        ]

    with As(guarded, "admin") as admin:
        assert found() == []
        # when somebody gives, takes and removes
        admin.replies([
            ("ACL", "SETUSER", "p33", f"(%W~{PLAN} +xadd)"),
            ("ACL", "SETUSER", "audit", "-info"),
            ("ACL", "SETUSER", "ledger", "off", "nopass"),
            ("ACL", "SETUSER", "warden", "resetpass", ">another"),
            ("ACL", "DELUSER", "universe"),
        ])  # fmt: skip
        told = found()
        admin.load()
        assert found() == []
    assert f"p33 has rights that it should not have: %W~{PLAN} +xadd" in told
    assert any(one.startswith("audit lacks rights: ") for one in told)
    assert {"ledger is switched off", "ledger needs no password", "universe is not there"} < set(
        told
    )
    assert "warden has another password than its file" in told


@pytest.mark.needs_redis7
def test_a_server_of_your_own_is_given_its_users_and_programs_connect_as_themselves(tmp_path):
    flavour = "redis7"
    # given the file as it is printed for it
    folder = tmp_path / "passwords"
    environ = {**os.environ, "QUANTUM_ACL_DIR": str(folder), "QUANTUM_HOME": str(tmp_path / "home")}

    def acl(*argv):
        return subprocess.run(
            [sys.executable, "-m", "ops", "acl", *argv],
            env=environ, text=True, capture_output=True, check=False, timeout=60,
        )  # fmt: skip

    refused = acl("show", "--server", generation(flavour), "--default", "spec")
    assert (refused.returncode, "take off" in refused.stderr) == (2, True)
    shown = acl("show", "--server", generation(flavour))
    assert shown.returncode == 0, shown.stderr
    path = tmp_path / "users.acl"
    path.write_text(shown.stdout)
    server = Server(flavour, "--aclfile", str(path))
    try:
        environ["REDIS_URL"] = server.url
        # then each program comes in by its own name
        settings = RedisSettings(url=server.url, acl_dir=str(folder))
        for name in ("p33", "operator", "admin"):
            db = client.connect(settings, user=name)
            assert db.execute_command("ACL", "WHOAMI") == name.encode()
            db.connection_pool.disconnect()
        assert acl("check").stdout == "every user is as it should be\n"
        # and what somebody changes there is told
        admin = client.connect(settings, user="admin")
        admin.execute_command("ACL", "SETUSER", "p33", "+flushall")
        differs = acl("check")
        assert differs.returncode == 3
        assert "p33: has rights that it should not have: " in differs.stdout
        assert acl("apply").returncode == 78, "a server of your own is yours to change"
        admin.connection_pool.disconnect()
    finally:
        server.close()
