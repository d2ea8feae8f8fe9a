"""Commands for Redis: what is read as redis-cli reads it, and what is never sent."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops.ledger.evidence import commands
from quantum_ops.ledger.evidence.commands import CommandError

WRITES = [
    "FLUSHALL", "SET a b", "DEL a", "EVAL x 0", "--eval x.lua", "-x", "CONFIG GET requirepass",
    "CONFIG SET dir /", "DEBUG SLEEP 9", "KEYS *", "MONITOR", "SUBSCRIBE a", "BLPOP a 0", "SORT a",
    "GETEX a PERSIST", "GETDEL a", "SCRIPT LOAD x", "ACL LIST", "CLIENT LIST", "SLOWLOG GET",
    "XREAD BLOCK 0 STREAMS a 0", "XGROUP DESTROY a g", "SHUTDOWN", "REPLICAOF NO ONE", "MIGRATE",
    "RESTORE a 0 x", "OBJECT HELP", "OBJECT", "MEMORY PURGE", "MEMORY DOCTOR", "XINFO HELP",
    "FUNCTION LIST", "MODULE LOAD /x.so", "SAVE", "GEORADIUS a 1 1 1 m STORE b", "PFCOUNT a",
    "redis-cli FLUSHALL", "redis-cli -a pw GET x", "EXEC", "MULTI", "HVALS a", "AUTH a", "QUIT",
    "ZRANGESTORE a b 0 1", "SINTERSTORE a b", "BITFIELD a SET u8 0 1", "get\x01", "GET;FLUSHALL x",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITES)
def test_what_does_more_than_read_is_never_sent(text):
    with pytest.raises(CommandError, match="is not taken"):
        commands.parse(text)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("HGETALL quantum:portfolio:state", [b"HGETALL", b"quantum:portfolio:state"]),
        ('GET "a b"', [b"GET", b"a b"]),
        ("get 'a b'", [b"get", b"a b"]),
        (r'GET "\x00\xfF\n\t\"\\"', [b"GET", b'\x00\xff\n\t"\\']),
        (r"GET 'it\'s \n'", [b"GET", rb"it's \n"]),
        ("  XINFO   STREAM s ", [b"XINFO", b"STREAM", b"s"]),
        ("redis-cli GET x", [b"GET", b"x"]),
        ('GET ""', [b"GET", b""]),
        ('GET a"b c"', [b"GET", b"ab c"]),
        ("GET é", [b"GET", "é".encode()]),
    ],
)  # fmt: skip
def test_a_line_is_split_as_redis_cli_does(text, arguments):
    assert list(commands.parse(text).arguments) == arguments


@pytest.mark.parametrize(
    "text", ['GET "a', "GET 'a", 'GET "a"b', "GET 'a'b", "", "  ", "redis-cli"]
)
def test_a_line_that_redis_cli_refuses_is_refused(text):
    with pytest.raises(CommandError):
        commands.parse(text)


@pytest.mark.parametrize("text", [
    "GET quantum:secret", "HGET h api_key", "HMGET h a password", 'GET "quantum:token"',
    "GETRANGE db:password 0 1", "LRANGE apiKeys 0 1",
])  # fmt: skip
def test_what_is_called_like_a_secret_is_not_asked_for(text):
    with pytest.raises(CommandError, match="looks like a secret"):
        commands.parse(text)


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=5))
def test_what_is_shown_is_read_back_as_it_was(arguments):
    shown = " ".join(commands.shown(one) for one in arguments)
    assert commands.split(shown) == arguments
    assert shown.isprintable()


@given(st.text(max_size=40))
def test_any_line_is_split_or_refused(text):
    with contextlib.suppress(CommandError):
        assert all(isinstance(one, bytes) for one in commands.split(text))


def test_the_documented_user_may_do_exactly_what_is_asked():
    rules = commands.acl_rules().split()
    given = {one[1:] for one in rules if one.startswith("+")} - {"select"}
    assert given == {one.lower().replace(" ", "|") for one in commands.ALLOWED}
    assert "-@all" in rules
    assert "%R~quantum:*" in rules
