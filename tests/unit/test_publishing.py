"""What an operator types becomes an event, or is told what would be right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import publishing
from quantum_ops import codec, streams
from quantum_ops.events import AuditFinding, DeployCompleted

FINDING = [("auditor", "me"), ("finding", "looked"), ("severity", "info")]


def test_fields_become_an_event_and_the_envelope_is_filled_in():
    made = publishing.event(streams.AUDIT_FINDING, [*FINDING, ("detail", "a=b")])
    assert isinstance(made, AuditFinding)
    assert (made.detail, len(made.event_id)) == ("a=b", 32)
    given_ = publishing.event(streams.AUDIT_FINDING, [*FINDING, ("event_id", "mine")])
    assert given_.event_id == "mine"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([*FINDING, ("detial", "x")], "no field 'detial'; did you mean detail?"),
        ([*FINDING, ("zzz", "x")], "no field 'zzz'; there are event_id, occurred_at, auditor"),
        (FINDING[:2], "'severity'.* is missing"),
        ([*FINDING[:2], ("severity", "grave")], "is none of info, warning, critical"),
        ([*FINDING, ("detail", "a"), ("detail", "b")], "stands 2 times"),
        ([*FINDING, ("detail", "\udcff")], "is no UTF-8"),
        ([*FINDING, ("schema", "audit.finding/9")], "is not 'audit.finding/1'"),
        ([*FINDING, ("detail", "x" * 300_000)], "bytes; at most"),
    ],
)
def test_a_field_that_a_consumer_would_bury_is_refused_by_name(fields, told):
    with pytest.raises(ValueError, match=told):
        publishing.event(streams.AUDIT_FINDING, fields)


def test_streams_of_others_and_of_programs_are_not_written_by_hand():
    assert publishing.stream_of("deploy", by_hand=False) is streams.DEPLOY_COMPLETED
    assert publishing.stream_of("permit.decided", by_hand=True) is streams.PERMIT_DECIDED
    for name in ("apply.plan", "quantum:stream:apply.result"):
        with pytest.raises(ValueError, match="of the trading side"):
            publishing.stream_of(name, by_hand=True)
    for stream in publishing.WITH_KEYS:
        with pytest.raises(ValueError, match="add --by-hand"):
            publishing.stream_of(stream.key, by_hand=False)
    with pytest.raises(KeyError, match="no stream 'nowhere'"):
        publishing.stream_of("nowhere", by_hand=False)


def test_a_line_is_json_or_words_and_numbers_stay_as_written():
    text = '{"a":"x","n":0.10,"big":12345678901234567890,"yes":true,"l":["1",2]}'
    assert publishing.line(text) == [
        ("a", "x"), ("n", "0.10"), ("big", "12345678901234567890"), ("yes", "true"),
        ("l", '["1", 2]'),
    ]  # fmt: skip
    assert publishing.line("a=x b='two words' c=") == [("a", "x"), ("b", "two words"), ("c", "")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a":1,"a":2}', "a name stands twice"),
        ('{"a":{"b":1,"b":2}}', "a name stands twice"),
        ('{"a":null}', "a: null is no value"),
        ('{"a"', "Expecting"),
        ("{", "Expecting"),
        ("word", "'word' is no field; write name=value"),
        ("=x", "'=x' is no field"),
        ("a='", "No closing quotation"),
    ],
)
def test_a_line_that_is_neither_says_why(text, told):
    with pytest.raises(ValueError, match=told):
        publishing.line(text)


def test_a_secret_in_a_deploy_does_not_reach_the_stream():
    fields = [("operation", "x"), ("objective", "y"), ("risk_class", "READ_ONLY"),
              ("blast_radius", "n"), ("changes_summary", "password=hunter2hunter2"),
              ("redis_cmds", '["AUTH hunter2hunter2", "GET k"]'), ("event_id", "e")]  # fmt: skip
    made = publishing.redacted(publishing.event(streams.DEPLOY_COMPLETED, fields))
    assert isinstance(made, DeployCompleted)
    assert b"hunter2" not in b" ".join(codec.encode(made)[:12])
    assert made.event_id == "e"
    assert isinstance(made.redis_cmds, tuple)


@given(st.text())
def test_any_line_is_fields_or_a_value_error(text):
    try:
        found = publishing.line(text)
    except ValueError:
        return
    assert all(name for name, _ in found)
