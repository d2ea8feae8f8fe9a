"""A line of the archive: the original bytes come back, whatever they are, and the form is one."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops import codec, events
from quantum_ops.errors import DecodeError
from quantum_ops.history import entry, segment
from tests.archive_rig import PLAN, flat
from tests.script_box import without

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Nothing here may depend on how busy the machine is."""
ANY_FIELDS = st.lists(
    st.binary(max_size=30) | st.text(max_size=30).map(lambda t: t.encode("utf-8", "replace")),
    min_size=2,
    max_size=12,
)


@LOADED
@given(ANY_FIELDS)
def test_any_bytes_come_back_exactly(parts):
    line = entry.encode(PLAN, b"1769494530123-7", parts)
    found = entry.decode(line)
    assert (found.stream, found.id, found.flat) == (PLAN, "1769494530123-7", parts)
    assert b"\n" not in line
    assert segment.wrong(line) == ""


@LOADED
@given(ANY_FIELDS)
def test_the_form_is_the_canonical_one_that_any_json_library_writes(parts):
    line = entry.encode(PLAN, b"1-0", parts)
    again = json.dumps(json.loads(line), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert again.encode() == line


def test_a_plain_entry_reads_as_it_looks():
    line = entry.encode(PLAN, b"1769494530123-0", [b"plan_id", b"9a3f", b"qty", b"1"])
    assert line == (
        b'{"fields":["plan_id","9a3f","qty","1"],"id":"1769494530123-0",'
        b'"stream":"quantum:stream:apply.plan"}'
    )


def test_bytes_that_are_no_text_stand_in_base64_and_are_listed():
    line = entry.encode(PLAN, b"1-0", [b"a", b"\xff\x00", b"b", b"c\x00d"])
    assert line == (
        b'{"base64":[1],"fields":["a","/wA=","b","c\\u0000d"],"id":"1-0",'
        b'"stream":"quantum:stream:apply.plan"}'
    )


def test_doubled_names_and_their_order_are_kept():
    parts = [b"qty", b"1", b"qty", b"1000"]
    assert entry.decode(entry.encode(PLAN, b"1-0", parts)).flat == parts


@without("jq", "jq")
@settings(LOADED, max_examples=10)
@given(st.lists(st.text(max_size=9).map(lambda t: t.encode("utf-8", "replace")), min_size=2))
def test_jq_reads_what_was_written(parts):
    line = entry.encode(PLAN, b"1-0", parts)
    done = subprocess.run(["jq", "-c", "-S", "."], input=line, capture_output=True, check=True)
    # jq writes DEL as an escape; to a reader of JSON it is the same text.
    assert json.loads(done.stdout) == json.loads(line)


def test_an_entry_becomes_its_event():
    made = events.ApplyPlan(plan_id="9a3f", decision="EXECUTE", symbol="BTCUSDT")
    found = entry.decode(entry.encode(PLAN, b"1-0", codec.encode(made)))
    assert found.event() == made


def test_an_entry_that_is_no_event_says_why():
    found = entry.decode(entry.encode(PLAN, b"1-0", [b"plan_id", b"\xff"]))
    with pytest.raises(DecodeError, match="decision"):
        found.event()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not an archived entry"),
        (b"[]", "not an archived entry"),
        (b'{"fields":["a","b"],"id":"x","stream":"s"}', "not an archived entry"),
        (b'{"fields":["a","b"],"id":"1-0","stream":"s","more":1}', "not an archived entry"),
        (b'{"id":"1-0","fields":["a","b"],"stream":"s"}', "not in canonical form"),
        (b'{"fields":["a", "b"],"id":"1-0","stream":"s"}', "not in canonical form"),
        (b'{"base64":[1],"fields":["a","!"],"id":"1-0","stream":"s"}', "not an archived entry"),
        (b'{"base64":[1],"fields":["a","YQ=="],"id":"1-0","stream":"s"}', "not in canonical form"),
        (b'{"base64":[9],"fields":["a","YQ=="],"id":"1-0","stream":"s"}', "not an archived entry"),
    ],
)
def test_what_is_no_line_of_ours_is_told(line, why):
    assert segment.wrong(line).startswith(why)


def test_an_entry_is_found_by_how_its_line_ends():
    tricky = b'x","id":"1-0","stream":"quantum:stream:apply.plan"}'
    line = entry.encode(PLAN, b"2-0", [b"note", tricky, *flat(1)])
    assert (line + b"\n").find(entry.ending(PLAN, (1, 0))) == -1
    assert (line + b"\n").endswith(entry.ending(PLAN, (2, 0)))
