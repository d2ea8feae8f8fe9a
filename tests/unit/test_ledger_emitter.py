"""Blocks of the ledger: what is written reads back as what was given, whoever reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import emitter, fields, reader
from tests.yaml_readers import FULL, READERS, same

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger"
HOSTILE = [
    "a: b", "note:", '"x" y', "'x' y", "*x", "&x", "!x", "@x", "`x`", "% x", "{s} m", "[s] m",
    "- x", "-", "? x", "| x", "> x", "a\x85b", "a\u2028b", "a\u2029b", "a\tb", "\x1b[31mred",
    "fix #42 now", "#x", "a #b", "a#b", "yes", "No", "ON", "off", "y", "N", "true", "False",
    "null", "Null", "~", "", " ", " a", "a ", "  ", "0123", "12:30:45", "1_000", "0x1F", "0o17",
    "0b101", "1e5", "1234e567", "12345678", "-1", "+1", ".5", ".inf", "-.INF", ".nan", "1.",
    "1,000", "=", "<<", "---", "--- a", "...", "a\n---\nb", "a\n...\nb", "2026-01-27",
    "2026-01-27T06:15:30Z", "2026-13-45", "a: b\noutcome: ROLLBACK",
    "x\noutcome: ROLLBACK\nrisk_class: READ_ONLY", "see\n```\n# HEAD", "see\n~~~\n# HEAD", "  ```",
    "a\n  ```\nb", "a\n   ````\nb", "\n", "\n\n", "a\n", "a\n\n", "\na", " a\nb", "a\n b", "a \nb",
    "a\n\nb", "a\r\nb", "\r", "a\\nb", "\\", '"', "'", "\0", "\x7f", "\xa0", "\xad", "\ufeff",
    "a\ufeffb", "\u200b", "\u202eabc", "é — ✅ → 日本語 한국 Ω Ж", "🚀 up", "⚠️ down", "\ud7ff",
    "\ue000",
    "\uffff", "\U0010ffff", "e\u0301", "a" * 5000, "key: " * 3, "http://x:1/a#b", "C:\\x", "a:",
    ":a", ",a", "a]", "${HOME}", "$(id)", "{{ x }}", "<b>", "&amp;", "%YAML 1.1",
    "!!python/object:os.system", "? a\n: b", "operation_id: OPS-2026-01-27-007",
    "a\n## 2026-01\nb", "7e39123412341234", "0b1c4d", "a: ", "a:\n", "a #",
]  # fmt: skip
TIMES = (
    "2026-01-27T06:15:30Z",
    "2026-13-45T06:15:30Z",
    "0000-01-01T00:00:00Z",
    "2026-01-27",
    "soon",
    "",
)

pieces = st.sampled_from(
    [*HOSTILE, "\n", ": ", " #", "```", "-", " ", "a", "1", "e", ".", "_", ":"]
)
texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=30),
    st.text(alphabet="ab01eEx_.:-+ #\n\"'|", max_size=12),
    st.lists(pieces, max_size=5).map("".join),
)
names = st.one_of(st.sampled_from(fields.ORDER), texts)
whole = st.integers(-(2**53), 2**53)
scalars = st.one_of(texts, whole, st.booleans(), st.none())
values = st.one_of(
    texts,
    scalars,
    st.lists(texts, max_size=6),
    st.dictionaries(texts, scalars, max_size=6),
    st.dictionaries(names, st.one_of(texts, st.lists(scalars, max_size=3)), max_size=4),
)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_text_reads_back_as_itself_wherever_it_stands(name, value):
    data = {
        "changes_summary": value,
        value: "as a name",
        "allowed_paths": [value, "next"],
        "services_status": {"unit": value, value: "as a name"},
    }
    assert same(READERS[name](emitter.block(data)), data)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", READERS)
@settings(
    max_examples=5_000 if FULL else 60,  # of 20 values each: 100,000 hostile values in full
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(st.tuples(names, values), min_size=10, max_size=30).map(dict))
def test_whatever_is_written_reads_back_as_it_was_given(name, data):
    shown = emitter.block(data)
    assert same(READERS[name](shown), data)


@settings(max_examples=2_000 if FULL else 150, deadline=None)
@given(st.dictionaries(names, values, max_size=8))
def test_no_value_leaves_its_field_or_the_fence(data):
    # given whatever was collected / when it is shown
    shown = emitter.block(data)
    # then only names and the document's start stand at the margin, and no fence can close
    assert shown.endswith("\n")
    margin = [line for line in shown.split("\n")[1:-1] if not line.startswith(" ")]
    names_at_margin = [line for line in margin if line and not line.startswith(":")]
    assert len(names_at_margin) == len(data)
    assert not re.search(r"^ *(```|~~~)", shown, re.MULTILINE)
    assert not re.search(r"[^\n -~\u00a1-\U0001ffff]|[\u2028-\u202f\u2066-\u2069\ufeff]", shown)


@pytest.mark.parametrize("name", ["deploy", "rollback"])
def test_the_specification_s_examples_come_out_letter_by_letter(name):
    # given one of the two example outputs, its fields sorted as the journal sorts them
    text = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    data = reader.block(text)
    shuffled = {key: data[key] for key in sorted(data, reverse=True)}
    # when it is shown in the order of fields / then it is that very text
    assert emitter.block(fields.ordered(shuffled)) == text


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("time", TIMES)
def test_a_time_stands_plain_only_if_it_exists_and_only_where_times_belong(name, time):
    data = {"approval_timestamp": time, "proof_file": {"mtime_utc": time}, "notes": time}
    shown = emitter.block(data)
    assert same(READERS[name](shown), data)
    assert (f"approval_timestamp: {time}\n" in shown) == (time in (TIMES[0], "soon"))
    assert (f"notes: {time}\n" in shown) == (time == "soon")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("P2.7 Deploy — Portfolio Clusters (atomic)", "P2.7 Deploy — Portfolio Clusters (atomic)"),
        ("a1b2c3d4", "a1b2c3d4"),
        ("12345678", '"12345678"'),
        ("1234e567", '"1234e567"'),
        ('fix #42: it\'s "done"', '"fix #42: it\'s \\"done\\""'),
        ("a\x1b\u202e\U000e0001", '"a\\u001b\\u202e\\U000e0001"'),
        ("one\ntwo", "|-\n  one\n  two"),
        ("one\n\n  two\n", "|\n  one\n\n    two"),
        ("one\n```\n", '"one\\n```\\n"'),
        (True, "true"),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        (["a", "b: c"], '\n  - a\n  - "b: c"'),
    ],
)
def test_how_values_look(value, shown):
    text = emitter.block({"notes": value})
    assert text == f"---\nnotes:{'' if shown[:1] == chr(10) else ' '}{shown}\n"


@pytest.mark.parametrize("value", [1.5, b"x", object(), ["a", 1.5], {"a": {1.5: 2.5}}])
def test_what_cannot_stand_in_the_ledger_is_named(value):
    with pytest.raises(TypeError, match=r"notes|a|1\.5"):
        emitter.block({"notes": value})
