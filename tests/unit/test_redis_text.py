"""How the built-in Redis client writes replies and reads lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.redis_line import ReplyError, Status
from ops.redis_text import formatted, plain, split


@given(st.lists(st.binary()))
def test_what_a_terminal_shows_may_be_typed_back(words):
    line = b" ".join(formatted(word) for word in words)
    assert split(line) == words


@given(st.binary())
def test_no_value_can_steer_a_terminal(value):
    shown = formatted(value)
    assert all(32 <= byte < 127 for byte in shown)


@given(st.binary())
def test_any_line_is_words_or_refused(line):
    words = split(line)
    assert words is None or all(isinstance(word, bytes) for word in words)


@pytest.mark.timeout(5)
def test_a_long_word_with_an_open_quote_is_refused_at_once():
    assert split(b"a" * 5000 + b'"') is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"  SET k 'it\\'s' \n", [b"SET", b"k", b"it's"]),
        (b'ECHO "\\x00\\xfF\\n\\q"', [b"ECHO", b"\x00\xff\nq"]),
        (b"a\"b\" ''", [b"ab", b""]),
        (b'"a"b', None),
        (b"'a", None),
        (b'"a\\"', None),
        (b"\n", []),
    ],
)
def test_quotes(line, words):
    assert split(line) == words


def test_forms_of_each_reply():
    reply = [Status(b"OK"), 7, None, b"a\nb", [], [b"x", [ReplyError(b"ERR no")]]]
    assert formatted(reply) == (
        b'1) OK\n2) (integer) 7\n3) (nil)\n4) "a\\nb"\n5) (empty array)\n'
        b'6) 1) "x"\n   2) 1) (error) ERR no'
    )
    assert plain(reply) == b"OK\n7\n\na\nb\n\nx\nERR no\n"
