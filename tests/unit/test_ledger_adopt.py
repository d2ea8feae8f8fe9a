"""Changelogs that people kept by hand: taken in byte for byte, read with patience."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import adopt, emitter, reader, render
from tests.ledger_rig import line, record
from tests.yaml_readers import READERS, same

CORPUS = """\
# Operations Changelog

notes: operation_id: OPS-2026-01-01-001

## 2026-01

```yaml
---
operation_id: OPS-2026-01-28-006
operation_name: ESS hardening: idempotent latch + timer
changes_summary: Two fixes: latch, timer
risk_class: SERVICE_RESTART + FILESYSTEM_WRITE
git_commit: pending
blast_radius: Gate only. Fail-safe: stale cache is refused
allowed_services:
  - quantum-a,quantum-b
services_status:
  quantum-a,quantum-b: inactive
proof_file:
  sha256: pending
metrics_snapshot: |
  # http://127.0.0.1:8048/metrics
  FAILED: connection refused
outcome: SUCCESS
notes: fix #42: it's "done", target=base_budget=.93
```

```yaml
---
operation_id: "OPS-2026-01-27-012"
git_commit: 12345678
notes: 'a: b' # said by hand
broken line without a colon
  deeper: than its name
operation_name: still found
```

```bash
operation_id: OPS-2026-01-27-777
```

```yaml
operation_id: OPS-YYYY-MM-DD-NNN
notes: the template
```

```yaml
operation_id: OPS-2026-01-27-011
notes: mentions
  operation_id: OPS-2026-01-27-999
"""


def parts_of(content: bytes) -> list[bytes]:
    return [
        line({**record("legacy.imported", one), "seq": 1}) for one in adopt.parts("X.md", content)
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_people_wrote_is_read_as_they_meant_it(newline):
    content = CORPUS.replace("\n", newline).encode()
    found = {one["operation_id"]: one for one in adopt.entries(content)}
    first = found["OPS-2026-01-28-006"]
    assert first["operation_name"] == "ESS hardening: idempotent latch + timer"
    assert first["blast_radius"] == "Gate only. Fail-safe: stale cache is refused"
    assert first["notes"] == 'fix #42: it\'s "done", target=base_budget=.93'
    assert first["services_status"] == {"quantum-a,quantum-b": "inactive"}
    assert first["metrics_snapshot"].startswith("# http://127.0.0.1:8048/metrics\nFAILED")
    assert found["OPS-2026-01-27-012"]["git_commit"] == "12345678"
    assert found["OPS-2026-01-27-012"]["operation_name"] == "still found"


@pytest.mark.parametrize("name", READERS)
def test_what_was_read_is_written_so_that_every_reader_takes_it(name):
    for one in adopt.entries(CORPUS.encode()):
        assert same(READERS[name](emitter.block(one)), one)


def test_only_the_field_of_an_operation_gives_its_id():
    assert adopt.ids_in(CORPUS.encode()) == {
        "OPS-2026-01-28-006", "OPS-2026-01-27-012", "OPS-2026-01-27-011",
    }  # fmt: skip
    stream = b"operation_id: OPS-2026-01-27-001\r\n---\r\noperation_id: OPS-2026-01-27-002\r\n"
    assert adopt.ids_in(stream) == {"OPS-2026-01-27-001", "OPS-2026-01-27-002"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a" * 1000, "é" * 1000, "🚀" * 999, "\r\n" * 400, '"' * 800, "\0" * 900])
        | st.text(max_size=40)
        | st.binary(max_size=40),
        max_size=60,
    )
)
def test_the_parts_join_to_the_very_file_and_fit_their_lines(pieces):
    content = b"".join(one if isinstance(one, bytes) else one.encode() for one in pieces)
    lines = parts_of(content)
    assert render.legacy(lines) == ({"X.md": content} if content else {})
    assert all(len(one) <= 64 * 1024 for one in lines)


def test_text_stays_text_and_only_the_rest_becomes_base64():
    content = "é".encode() * 30_000 + b"\xff" * 10 + b"z" * 30_000
    kinds = ["text" if "text" in one else "base64" for one in adopt.parts("X.md", content)]
    assert kinds == ["text", "text", "base64", "text"]
    assert [one["part"] for one in adopt.parts("X.md", content)] == [1, 2, 3, 4]
    assert base64.b64decode(adopt.parts("X.md", b"\xff")[0]["base64"]) == b"\xff"


@given(st.text(max_size=300))
def test_reading_by_hand_never_stumbles(text):
    adopt.entries(f"```yaml\noperation_id: x\n{text}\n```\n".encode())


@given(st.text(alphabet="ab:-# |>'\"[]{}?\n ", max_size=60))
def test_a_block_is_read_or_refused_with_its_line(text):
    try:
        reader.block(text)
    except ValueError as error:
        assert str(error).startswith("line ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b\na: c\n", "line 2"),
        ("a: b\nno colon\n", "line 2 of the block, 'no colon': write it as 'name: value'"),
        ("--- a\n", "nothing may follow"),
        ('a: "\\q"\n', "escape"),
        ("? a\nb: c\n", "needs a line with ':'"),
        ("a: b\n   c: d\n", "line 2"),
    ],
)
def test_a_block_that_is_none_names_the_line_and_the_cure(text, told):
    with pytest.raises(ValueError, match="block") as caught:
        reader.block(text)
    assert told in str(caught.value)


def test_what_hand_written_yaml_offers_beyond_ours():
    text = (
        "a: 'it''s'\nb: |-\n    two\n      lines\nc: >\n  folded\n  text\nd:\n- same\n- depth\n"
        "e:\nf: -x\n# a comment\n'g': {}\nh: yes\ni: 007\nj:\n  - k: v\n"
    )
    assert reader.block(text) == {
        "a": "it's", "b": "two\n  lines", "c": "folded text\n", "d": ["same", "depth"], "e": None,
        "f": "-x", "g": {}, "h": "yes", "i": "007", "j": ["k: v"],
    }  # fmt: skip
    assert json.dumps(reader.block("a: 7\nb: true\n", typed=False)) == '{"a": "7", "b": "true"}'
