"""What is shown of untrusted text."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ops.terminal import safe


def test_escapes_bidi_and_bad_bytes_are_shown_not_obeyed():
    assert safe("a\x1b[2Jb") == "a\\x1b[2Jb"
    assert safe("x\u202ey") == "x\\u202ey"
    assert safe(b"\xff\n") == "\\xff\\n"
    assert safe("龙虾USDT") == "龙虾USDT"


def test_long_text_is_cut_and_the_cut_is_told():
    assert safe("x" * 400) == "x" * 300 + "... (400 characters)"


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_nothing_that_moves_a_cursor_gets_through(value):
    shown = safe(value)
    assert all(unicodedata.category(char)[0] != "C" for char in shown)
    assert "\n" not in shown
