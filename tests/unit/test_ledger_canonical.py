"""The canonical form, ids and moments of the ledger: one form for each value, all else refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops.ledger import canonical, entry, ids, moment
from quantum_ops.ledger.errors import InvalidEntryError
from tests.ledger_story import NOON

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-(2**53), 2**53),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
SECOND_YEAR = datetime(2, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone
RECORDS = st.dictionaries(TEXTS, VALUES, max_size=5)


def record(data, **changed):
    fields = {
        "operation_id": "OPS-2026-01-27-001",
        "source": {"stream": "", "stream_id": "", "host": "h"},
        "occurred_at": NOON,
        "recorded_at": NOON,
        **changed,
    }
    return entry.record("operation.recorded", data, **fields)


@given(RECORDS)
def test_a_record_comes_back_as_it_was_and_has_one_form(found):
    line = canonical.dump(found)
    assert canonical.load(line) == found
    assert canonical.dump(dict(reversed(found.items()))) == line
    assert b"\n" not in line
    assert json.loads(line) == found


@given(RECORDS, st.data())
def test_any_other_writing_of_a_record_is_refused(found, data):
    line = canonical.dump(found)
    spaced = json.dumps(found, ensure_ascii=data.draw(st.booleans())).encode()
    if spaced != line:
        with pytest.raises(ValueError, match="canonical"):
            canonical.load(spaced)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_value_error(raw):
    try:
        found = canonical.load(raw)
    except ValueError:
        return
    assert canonical.dump(found) == raw


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1.5, "a float"),
        (float("nan"), "a float"),
        (2**53 + 1, "beyond 2"),
        (-(2**53) - 1, "beyond 2"),
        (None, "null"),
        (b"x", "bytes"),
        ({1: "x"}, "no text"),
        ("\ud800", "surrogate"),
        ({"\udfff": "x"}, "surrogate"),
        (object(), "object"),
        ([[[1.0]]], "a float"),
    ],
)
def test_what_readers_disagree_on_is_refused_by_name(value, why):
    with pytest.raises(InvalidEntryError, match=why) as refused:
        canonical.dump({"data": {"notes": value}})
    assert "data" in str(refused.value) or why == "surrogate"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"a":1,"a":2}', "'a' stands twice"),
        (b'{"a":1.0}', "float"),
        (b'{"a":1e3}', "float"),
        (b'{"a":NaN}', "a float"),
        (b'{"a": 1}', "canonical"),
        (b'{"b":1,"a":1}', "canonical"),
        (b'{"a":"\\u00e9"}', "canonical"),
        (b'{"a":"\xff"}', "utf-8"),
        (b"[1]", "object"),
        (b"", "Expecting value"),
        (b"[" * 5000, "nested"),
        (b'{"a":"' + b"x" * 65536 + b'"}', "more than a line holds"),
    ],
)
def test_a_line_in_another_form_is_refused(line, why):
    with pytest.raises(ValueError, match=why):
        canonical.load(line)


@given(RECORDS, TEXTS, st.tuples(TEXTS, TEXTS, TEXTS), st.integers(1, 2**53))
def test_the_envelope_is_read_from_the_end_whatever_the_data_looks_like(data, name, source, seq):
    host, stream, stream_id = source
    source = {"stream": stream, "stream_id": stream_id, "host": host}
    made = {**record(data, operation_id=name, source=source), "seq": seq}
    of = canonical.envelope(canonical.dump(made))
    assert of == (
        made["digest"], name, made["occurred_at"], made["recorded_at"], seq, host, stream,
        stream_id, "operation.recorded",
    )  # fmt: skip


def test_data_that_imitates_an_envelope_is_not_taken_for_one():
    digest = "sha256:" + "0" * 64
    data = {"x": {}, "digest": digest, "notes": '},"digest":"' + digest + '","id":"OPS-forged"'}
    of = canonical.envelope(canonical.dump({**record(data), "seq": 7}))
    assert (of.id, of.seq) == ("OPS-2026-01-27-001", 7)
    assert of.digest == entry.content_digest(data)


def test_evidence_that_is_too_long_is_left_out_and_that_is_said():
    data = {
        "operation_id": "OPS-2026-01-27-001",
        "redis_snapshot": "\x01" * 30_000,
        "notes": "kept",
    }
    made = record(data)
    assert "redis_snapshot" not in made["data"]
    assert made["data"]["evidence"] == "incomplete"
    assert made["data"]["evidence_problems"][0].startswith("redis_snapshot: left out")
    assert made["data"]["notes"] == "kept"
    assert made["digest"] == record({**data, "redis_snapshot": "x"})["digest"]


@pytest.mark.parametrize("name", [
    "redis_snapshot", "metrics_snapshot", "evidence_problems", "services_logs", "services_status",
])  # fmt: skip
def test_each_kind_of_evidence_can_be_left_out(name):
    made = record({"notes": "kept", name: "x" * 70_000})["data"]
    told = f"{name}: left out, the record would be over 64 KiB"
    assert made == {"notes": "kept", "evidence": "incomplete", "evidence_problems": [told]}


def nested(depth, kind):
    value = "x"
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_what_is_nested_as_deep_as_may_be_is_kept_and_no_deeper(kind):
    deepest = {"data": nested(32, kind)}
    assert canonical.load(canonical.dump(deepest)) == deepest
    with pytest.raises(InvalidEntryError, match="nested deeper than 32; flatten it"):
        canonical.dump({"data": nested(33, kind)})
    with pytest.raises(ValueError, match="nested deeper than 32"):
        canonical.load(json.dumps({"data": nested(33, kind)}, separators=(",", ":")).encode())


def test_a_line_holds_64_kib_to_the_byte():
    full = {"a": "x" * (65_536 - len('{"a":""}'))}
    line = canonical.dump(full)
    assert len(line) == 65_536
    assert canonical.load(line) == full
    with pytest.raises(InvalidEntryError, match=r"65537 bytes .* \(65536\); shorten a, or"):
        canonical.dump({"a": full["a"] + "x"})
    with pytest.raises(ValueError, match=r"65537 bytes are more than a line holds \(65536\)"):
        canonical.load(line[:-2] + b'x"}')
    # Without data there is nothing to name
    with pytest.raises(InvalidEntryError, match="; shorten it, or"):
        canonical.dump({"data": {}, "a": full["a"]})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "record.a: null (None) cannot be recorded; write it as text"),
        (b"x", "record.a: bytes (b'x') cannot be recorded; write it as text"),
        (0.5, "record.a: a float (0.5) cannot be recorded; write it as text"),
        (["x", {"b": None}], "record.a[1].b: null (None) cannot be recorded; write it as text"),
    ],
)
def test_what_cannot_be_recorded_is_told_by_its_place_and_kind(value, told):
    with pytest.raises(InvalidEntryError) as refused:
        canonical.dump({"a": value})
    assert str(refused.value) == told
    # A digest is of the data only
    with pytest.raises(InvalidEntryError) as refused:
        canonical.digest({"a": value})
    assert str(refused.value) == told.replace("record", "data", 1)


def test_a_number_in_a_line_that_no_reader_keeps_is_told_by_its_place():
    with pytest.raises(InvalidEntryError, match=r"^record\.a: 9007199254740993 is beyond"):
        canonical.load(b'{"a":9007199254740993}')


@pytest.mark.parametrize(
    ("text", "around"), [("0123456789" * 3, "01234567890123456789"), ("", '{"a":"')]
)
def test_half_a_character_is_told_by_what_stands_before_it(text, around):
    with pytest.raises(InvalidEntryError) as refused:
        canonical.dump({"a": text + "\ud800"})
    assert f"after {around!r} cannot be written" in str(refused.value)


def test_a_name_that_stands_twice_is_told_however_long_it_is():
    name = "n" * 81
    with pytest.raises(ValueError, match=f"the name '{name[:80]}' stands twice"):
        canonical.load(f'{{"{name}":1,"{name}":2}}'.encode())


@pytest.mark.parametrize(
    ("line", "end"),
    [(b"what?", "what?"), (b"x" * 200, "x" * 120), (b'},"digest":"sha256:\xff', None)],
)
def test_a_line_without_an_envelope_is_told_by_its_end(line, end):
    with pytest.raises(ValueError, match="not a line of the journal") as refused:
        canonical.envelope(line)
    if end:
        assert str(refused.value) == f"not a line of the journal: ...{end!r}"


def test_an_entry_that_is_too_long_is_refused_with_the_field_to_shorten():
    with pytest.raises(InvalidEntryError, match="shorten changes_summary"):
        record({"changes_summary": "x" * 70_000})


@pytest.mark.parametrize(
    "text",
    [
        "", "foo bar: baz", "OPS-2026-01-27-01", "OPS-2026-01-27-0001", "OPS-2026-01-27-010\n",
        " OPS-2026-01-27-010", "OPS-1999-13-45-777", "OPS-2026-02-29-001", "ops-2026-01-27-001",
        "OPS-2026-01-27-1000000", "OPS-2026-01-27-\u0661\u0662\u0663", "OPS-2026-1-27-001",
        "INVALID-FORMAT", "OPS-0000-01-01-001",
    ],
)  # fmt: skip
def test_what_is_no_id_is_refused(text):
    assert not ids.is_valid(text)


@given(st.dates(), st.integers(0, ids.MAX_NUMBER))
def test_every_id_has_one_writing(day, number):
    one = ids.OperationId(day, number)
    assert ids.parse(str(one)) == one
    assert str(ids.parse(str(one))) == str(one)


def test_numbers_go_on_after_999_and_end_before_they_would_be_given_twice():
    day = date(2026, 1, 27)
    assert str(ids.after(day, 0)) == "OPS-2026-01-27-001"
    assert str(ids.after(day, 999)) == "OPS-2026-01-27-1000"
    with pytest.raises(InvalidEntryError, match="last number of its day"):
        ids.after(day, ids.MAX_NUMBER)


@given(st.datetimes(timezones=st.timezones() | st.just(UTC), min_value=SECOND_YEAR))
def test_moments_are_utc_to_the_second(when):
    text = moment.text(when)
    assert abs(moment.parse(text) - when) < timedelta(seconds=1)
    assert moment.text(moment.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-27",
        "2026-01-27T06:15:30",
        "2026-1-27T06:15:30Z",
        "2026-01-27T06:15:30.5Z",
        "2026-01-27T06:15:30+00:00",
    ],
)
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        moment.parse(text)


def test_a_moment_without_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        moment.text(NOON.replace(tzinfo=None))
