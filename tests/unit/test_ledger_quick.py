"""Rendering without parsing gives what parsing gives, or leaves the line alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import emitter, entry, fields, quick, render
from tests import ledger_rig, plain_emitter
from tests.ledger_story import NOON, request
from tests.programs import FULL
from tests.unit.test_ledger_emitter import HOSTILE, TIMES, names, scalars, texts, values

CLOSE = [
    ',"',
    '","',
    '"},"digest":"',
    ',"notes":"x"',
    '{"data":{',
    "abc,",
    '"',
    "\\",
    '\\"',
    "}",
    ",",
]
hostile = st.one_of(
    texts, st.sampled_from([*CLOSE, *TIMES, *HOSTILE, "OPS-2026-01-27-001", "ROLLBACK"])
)
inside = st.one_of(
    hostile, scalars, st.lists(hostile, max_size=4),
    st.dictionaries(names | st.sampled_from(CLOSE), hostile | scalars, max_size=4),
    st.lists(st.dictionaries(names, hostile, max_size=2), max_size=2), values,
)  # fmt: skip
members = st.dictionaries(
    st.sampled_from(fields.ORDER) | st.sampled_from(["unknown", *CLOSE, "digest", "id", "seq"]),
    inside, max_size=8,
)  # fmt: skip
ids = st.one_of(st.just("OPS-2026-01-27-002"), hostile)
times = st.one_of(st.sampled_from(TIMES), hostile)
# What every line has that the tools record; half of them nothing stands in the way of.
data = st.builds(
    lambda found, more, undone: {**found, **more, **undone}, members,
    st.fixed_dictionaries({
        "operation_id": ids, "operation_name": hostile, "outcome": hostile,
        "approval_timestamp": times, "execution_timestamp": times,
    }),
    st.one_of(st.just({}), st.fixed_dictionaries({"rollback_of": hostile})),
)  # fmt: skip


def line_of(found, kind="operation.recorded", seq=7):
    """The line of a record around ``found``, as the journal writes it."""
    made = ledger_rig.record(kind, found)
    source = {"stream": "s", "stream_id": '1-1"}', "host": "h"}
    return ledger_rig.line({**made, "source": source, "seq": seq})


def same(line):
    """Whether the line is shown as parsing it shows it; True too if it is left alone."""
    shown = quick.show(line)
    return shown is None or shown == render.entry(render.parsed(line))


@settings(max_examples=20_000 if FULL else 200, deadline=None)
@given(st.one_of(members, data))
def test_any_operation_is_shown_as_parsing_shows_it(found):
    assert same(line_of(found))


@settings(max_examples=20_000 if FULL else 200, deadline=None)
@given(data, st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_line_is_never_shown_as_if_it_were_whole(found, at, put, taken):
    # given a line in which bytes were changed, put in or taken out
    line = line_of(found)
    damaged = line[: at % len(line)] + put + line[at % len(line) + taken :]
    shown = quick.show(damaged)
    # when it is shown without parsing / then parsing it gives the very same
    if shown is not None:
        assert shown == render.entry(render.parsed(damaged))


PLAIN = {"operation_id": "OPS-2026-01-27-002", "outcome": "y", "operation_name": "x",
         "approval_timestamp": TIMES[0], "execution_timestamp": TIMES[0]}  # fmt: skip
DAMAGED = line_of({**PLAIN, "notes": "n"})


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'1-1\\"}', b"1-1\\e}"), (b'"y"', b' "y"'), (b'"x"', b'"x" '), (b'"n"', b'"\0"'),
        (b'"seq":7', b'"seq":07'), (b'"v":1', b'"v":1.0'), (b'"y"', b'"y"x'), (b'"n"', b"1\0"),
        (b'"x"', b'"\0"'), (b'"x"', b'"\xff"'), (b'"n"', b'"\xff"'), (b'{"data"', b' {"data"'),
        (b'-002","operation_name', b'-003","operation_name'), (b'"x"', b'"a\tb"'),
        (b'"notes":"n"', b'"notes":{"operation_id":"n"}'), (b'"notes"', b'"outcome"'),
        (b'"h"', b'"\\u00g0"'),
        (b'"x"', b'"\\x"'), (b'"x"', b'"x","outcome":"x"'), (b"sha256:", b'sha256:"},"digest":"'),
    ],
)  # fmt: skip
def test_a_line_that_is_not_quite_canonical_is_parsed(part, other):
    line = DAMAGED.replace(part, other)
    assert quick.show(DAMAGED) is not None
    assert line != DAMAGED
    shown = quick.show(line)
    assert shown is None or shown == render.entry(render.parsed(line))


@pytest.mark.parametrize("line", [
    b"", b"{}", b"not json", line_of(PLAIN, "conflict.rejected"), line_of(PLAIN, "drift.detected"),
    line_of(PLAIN).replace(b"recorded", b"record\xff"), line_of({**PLAIN, "operation_id": "x"}),
    line_of({**PLAIN, "notes": "a"}).replace(b'"a"', b'"\x01"'), line_of({**PLAIN, "zzz": "a"}),
    line_of({**PLAIN, "services_status": {"a": "b", "notes": "c"}}), line_of({"notes": "only"}),
    line_of({**PLAIN, "outcome": "ROLLBACK", "rollback_of": "OPS-2026-01-27-001"}),
    line_of({**PLAIN, "operation_name": 'with "quotes"'}), line_of({**PLAIN, "notes": 1.5}),
])  # fmt: skip
def test_what_is_not_plain_is_left_to_parsing(line):
    assert quick.show(line) is None


def test_what_the_tools_record_is_shown_quickly():
    # given an entry as they are, with evidence, and notes that need quotes
    asked = request(notes="a: 100%b %s #c", operation="— 5% of it: #1",
                    allowed_services=["a", "b"], allowed_paths=["x/"],
                    evidence={"git_commit": "a" * 40, "git_dirty": True, "proof_file": {
                        "sha256": "1234", "sha256_full": "12" * 32, "size_bytes": 5,
                        "mtime_utc": "2026-01-27T06:15:30Z"}, "services_status": {"a-b": "active"},
                        "redis_snapshot": "# redis-cli GET x\nv\n"})  # fmt: skip
    line = line_of(entry.data(asked, "OPS-2026-01-27-002", NOON))
    # when they are shown / then nothing had to be parsed, and every byte is the same
    shown = quick.show(line)
    assert shown == render.entry(render.parsed(line))
    assert (shown.operation_id, shown.rollback_of) == ("OPS-2026-01-27-002", "")
    # and again, now that it remembers
    assert quick.show(line) == shown


def test_a_line_that_was_shown_says_nothing_of_one_that_only_looks_like_it():
    # given a line of which everything is remembered
    line = line_of({**PLAIN, "services_status": {"a": "b"}})
    assert quick.show(line) is not None
    # when the same pieces stand in others, at places where they are no members
    for part, other in [
        (b'"data":{', b'"data":{{'),
        (b',"operation_id":', b'"operation_id":'),
        (b'"x"', b'"x""'),
        (b'-002","', b'-002" ,"'),
        (b'}},"dig', b'},"dig'),
    ]:
        damaged = line.replace(part, other, 1)
        assert damaged != line
        # then none of them is taken for an operation
        assert quick.show(damaged) is None


@settings(max_examples=20_000 if FULL else 200, deadline=None)
@given(st.one_of(members, st.dictionaries(names, values, max_size=8)))
def test_the_emitter_writes_what_the_plain_one_writes(found):
    wanted = plain_emitter.ordered(found)
    assert list(fields.ordered(found)) == list(wanted)
    assert emitter.block(fields.ordered(found)) == plain_emitter.block(wanted)
    # and again, now that it remembers
    assert emitter.block(fields.ordered(found)) == plain_emitter.block(wanted)


def test_what_is_remembered_stays_bounded():
    for number in range(3 * emitter._MOST_KEPT):
        emitter.block({"notes": f"text {number}", f"name {number}": ["x"]})
        quick.show(line_of({**PLAIN, "notes": f"text {number}"}))
    assert len(emitter._TEXTS) <= emitter._MOST_KEPT
    assert 0 < len(quick._MEMBERS["notes"]) <= quick._MOST_KEPT
    assert 0 < len(quick._BLOCKS) <= quick._MOST_KEPT


def test_the_rig_s_lines_are_lines_of_the_journal():
    line = ledger_rig.line({**ledger_rig.operation(), "seq": 1})
    assert same(line)
    assert json.loads(line)["seq"] == 1
