"""The one style of the verbs: formats, colour, tables, times."""

from __future__ import annotations

import argparse
import io
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import output
from ops.output import Format

LETTERS = {"i": "id", "d": "data"}


def is_calm(line: str) -> bool:
    return all(unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp") for char in line)


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("%i", "7-0"),
        ("%i %{data.symbol}", "7-0 BTC"),
        (r"a\tb %% %{n} %{none}|%{deep.x.y}", "a\tb % 3 |true"),
        ("%d", '{"symbol": "BTC", "a.b": 1}'),
        ("%{data.a.b}", "1"),
        (r"\q\\", r"\q" + "\\"),
    ],
)
def test_a_template_shows_parts_of_a_row(template, line):
    row = {"id": "7-0", "n": 3, "none": None, "data": {"symbol": "BTC", "a.b": 1},
           "deep": {"x": {"y": True}}}  # fmt: skip
    wanted = Format(template if "%" in template else template + "%{none}", LETTERS)
    assert wanted.line(row) == line


def test_a_format_that_is_none_says_what_to_write():
    for wrong, told in {"jsn": "text, json, raw", "%z": "%i %d", "%{": "no such part"}.items():
        with pytest.raises(ValueError, match=told):
            Format(wrong, LETTERS)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=4))
def test_a_hostile_row_stays_one_calm_line_of_the_same_content(row):
    line = Format("json", {}).line(row)
    assert json.loads(line) == row
    assert line.isprintable()
    assert line.isascii()
    raw = Format("raw", {}).line(row)
    assert is_calm(raw.replace("\t", ""))
    assert is_calm(Format("%i%{x}", LETTERS).line({"id": "".join(map(str, row.values()))}))


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "out", "environ", "coloured"),
    [
        ("auto", Screen(), {}, True),
        ("auto", Screen(), {"NO_COLOR": "1"}, False),
        ("auto", Screen(), {"NO_COLOR": ""}, True),
        ("auto", Screen(), {"TERM": "dumb"}, False),
        ("auto", io.StringIO(), {}, False),
        ("auto", io.StringIO(), {"CLICOLOR_FORCE": "1"}, True),
        ("auto", io.StringIO(), {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        ("always", io.StringIO(), {"NO_COLOR": "1"}, True),
        ("never", Screen(), {"CLICOLOR_FORCE": "1"}, False),
    ],
)
def test_colour_is_for_screens_unless_somebody_says_otherwise(choice, out, environ, coloured):
    painted = output.painter(choice, out, environ)("x", "bad")
    assert painted == ("\x1b[31mx\x1b[0m" if coloured else "x")


def test_a_table_stands_in_columns_and_shows_no_escape_of_anybody():
    lines = output.table(("NAME", "N>"), [("a", "1", ""), ("\x1b[2J", "100", "bad")], output.plain)
    assert lines == ["NAME       N", "a          1", "\\x1b[2J  100"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "?"), (0.0, "0 s"), (0.44, "0.4 s"), (59.9, "59 s"), (200, "3 m 20 s"),
     (7500, "2 h 5 m"), (349_200, "4 d 1 h")],
)  # fmt: skip
def test_times_are_said_in_two_units_and_the_unknown_as_such(seconds, shown):
    assert output.duration(seconds) == shown


def test_times_and_numbers_are_read_as_people_write_them():
    assert [output.positive(one) for one in ("30", "0.5s", "500ms", "2m", "1d")] == [
        30, 0.5, 0.5, 120, 86_400,
    ]  # fmt: skip
    for wrong in ("0", "-1", "x", "1y", "", "nan", "1e9", "٣"):
        with pytest.raises(argparse.ArgumentTypeError):
            output.positive(wrong)
    for wrong in ("-1", "1.5", "", "٣"):
        with pytest.raises(argparse.ArgumentTypeError):
            output.whole(wrong)
