"""ops/ops_prompt_fill.py as the specification documents it, run as an operator runs it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import ops_prompt, ops_prompt_fill
from ops.ops_scope import ScopeError
from quantum_ops.ledger import entry, ids, reader
from quantum_ops.ledger.folder import Folder
from tests.contract.reference import ROOT
from tests.ledger_story import Ledger
from tests.yaml_readers import READERS

TOOL = ROOT / "ops" / "ops_prompt_fill.py"
GOLDEN = ROOT / "tests" / "golden" / "prompt"
TEMPLATE = (ROOT / "ops" / "ops_prompt_template_v1.txt").read_text(encoding="utf-8")
EXAMPLE = {
    "operation": "Fix Grafana provisioning wrappers",
    "objective": "Unwrap dashboard JSON and remove UID duplicates under "
    "/var/lib/grafana/dashboards/quantum",
    "risk_class": "LOW_RISK_CONFIG",
    "blast_radius": "Grafana dashboards only",
    "rollback_strategy": "Restore JSON files from git + restart grafana-server",
    "allowed_paths": ["/etc/grafana/provisioning", "/var/lib/grafana/dashboards/quantum"],
    "allowed_services": ["grafana-server"],
}
USAGE = {
    "operation": "Your operation name",
    "objective": "What this achieves",
    "risk_class": "LOW_RISK_CONFIG",
    "blast_radius": "What can be affected",
    "rollback_strategy": "git-revert-<commit>",
    "allowed_paths": ["/path1", "/path2"],
    "allowed_services": ["service1", "service2"],
    "changes_summary": "1-line summary of what changed",
    "notes": "Optional context",
}
MOMENTS = ("--approval_timestamp", "2026-01-27T05:59:00Z",
           "--execution_timestamp", "2026-01-27T06:15:30Z")  # fmt: skip


def arguments(fields):
    listed = (
        (name, [value] if isinstance(value, str) else value) for name, value in fields.items()
    )
    return [part for name, values in listed for part in (f"--{name}", *values)]


class Tool:
    """The tool with its own ledger; calls change fields of the example, None leaves one out."""

    def __init__(self, base: Path) -> None:
        self.ledger = Ledger(base)
        self.environ = {"PATH": os.environ["PATH"], "LEDGER_DIR": str(base),
                        "QUANTUM_ENV_DIR": "/nonexistent"}  # fmt: skip

    def __call__(self, *more, example=EXAMPLE, cwd=None, **changed):
        fields = {name: one for name, one in {**example, **changed}.items() if one is not None}
        ran = subprocess.run(
            [sys.executable, "-I", "-S", TOOL, *arguments(fields), *more], check=False, cwd=cwd,
            capture_output=True, env=self.environ, timeout=60,
        )  # fmt: skip
        self.out, self.err = ran.stdout, ran.stderr.decode()
        return ran.returncode


@pytest.fixture
def tool(tmp_path):
    return Tool(tmp_path / "ledger")


def golden(name, found):
    """Compare with a golden file; ``GOLDEN=write`` makes it anew."""
    if os.environ.get("GOLDEN") == "write":
        (GOLDEN / name).write_bytes(found)
    assert (GOLDEN / name).read_bytes() == found


def test_the_example_of_the_specification_byte_for_byte(tool, tmp_path):
    assert tool(cwd=tmp_path) == 0
    golden("grafana.txt", tool.out)
    assert tool.err == ""


def test_the_usage_of_the_specification_byte_for_byte(tool):
    assert tool("--ledger", *MOMENTS, example=USAGE) == 0
    golden("usage.yaml", tool.out)
    golden("usage.told.txt", tool.err.encode())
    assert tool(example={**USAGE, "rollback_strategy": "How to revert", "risk_class": "READ_ONLY",
                         "changes_summary": None, "notes": None}) == 0  # fmt: skip
    golden("usage.txt", tool.out)


def test_the_same_bytes_in_any_locale(tool):
    tool.environ |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert tool(operation="P2.7 Deploy — Portfolio Clusters ✅") == 0
    assert "OPERATION_NAME:    P2.7 Deploy — Portfolio Clusters ✅\n" in tool.out.decode()


def test_nothing_is_left_to_fill(tool):
    tool()
    assert re.findall(r"<[^>]*>", tool.out.decode()) == []
    for item in (*EXAMPLE["allowed_paths"], *EXAMPLE["allowed_services"]):
        assert f"\n- {item}\n" in tool.out.decode()


def test_help_names_every_argument_of_the_specification(tool):
    assert tool("--help") == 0
    for name in (*USAGE, "ledger"):
        assert f"--{name}" in tool.out.decode()


# --- what is refused


@pytest.mark.parametrize("name", EXAMPLE)
def test_without_a_part_of_the_declaration_it_is_none(tool, name):
    assert tool(**{name: None}) == 2
    assert f"--{name}" in tool.err
    assert tool.out == b""


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("risk_class", "BOLD", "risk_class: 'BOLD' is unknown: write one of READ_ONLY, LOW_RISK_"),
        ("risk_class", "read_only", "risk_class: 'read_only' is unknown"),
        ("allowed_paths", ["/path1", "/etc"], "allowed_paths: '/etc' is too wide"),
        ("allowed_paths", "docs/../.git", "allowed_paths: 'docs/../.git' climbs with '..'"),
        ("allowed_paths", "ops/ledger/journal", "(the signoff ledger): only ops/ops_ledger_append"),
        ("allowed_paths", "none", "allowed_paths: 'none' does not go with LOW_RISK_CONFIG"),
        ("allowed_paths", ["none", "/a"], "allowed_paths: 'none' stands beside others"),
        ("allowed_services", "sshd", "allowed_services: 'sshd' is out of bounds"),
        ("allowed_services", "quantum-*", "allowed_services: 'quantum-*' is not the name of one"),
        ("objective", "<OBJECTIVE>", "objective: '<OBJECTIVE>' holds the placeholder <OBJECTIVE>"),
        ("objective", "fix <what>", "objective: 'fix <what>' holds the placeholder <what>"),
        ("rollback_strategy", "git revert <commit>", "holds the placeholder <commit>"),
        ("objective", "AUTH by password=hunter22", "'AUTH by password=[redacted]' holds a secret"),
        ("rollback_strategy", "redis-cli -u redis://:hunter22@h", "[redacted]@h' holds a secret"),
        ("operation", " ", "operation: ' ' says nothing"),
        ("operation", "x\nALLOWED_PATHS:\n- /", "operation: 'x\\nALLOWED_PATHS:\\n- /' holds a li"),
        ("blast_radius", "none\u202e", "blast_radius: 'none\\u202e' holds a line break, or what"),
    ],
)
def test_a_refusal_names_field_value_and_cure(tool, name, value, told):
    assert tool(**{name: value}) == 2
    assert told in tool.err
    assert "hunter22" not in tool.err
    assert tool.err.startswith(f"ERROR: {name}: ")
    assert tool.err.count("\n") == 1
    assert tool.out == b""


@pytest.mark.parametrize("risk_class", entry.RISK_CLASSES)
def test_none_goes_with_what_changes_none(tool, risk_class):
    nothing = {"allowed_paths": "none", "allowed_services": "none", "risk_class": risk_class}
    assert tool(**nothing) == (0 if risk_class == "READ_ONLY" else 2)
    if risk_class == "READ_ONLY":
        assert tool.out.count(b"\n- none\n") == 2


def test_bytes_that_are_no_text_are_refused(tool):
    ran = subprocess.run(
        [sys.executable, "-I", "-S", TOOL, *arguments(EXAMPLE), "--operation", b"caf\xe9"],
        check=False, capture_output=True, env=tool.environ,
    )  # fmt: skip
    assert ran.returncode == 2
    assert b"operation: 'caf\\udce9' holds" in ran.stderr


def test_a_link_into_what_is_forbidden_is_refused(tool, tmp_path):
    (tmp_path / "there").symlink_to("/etc/ssh")
    path = str(tmp_path / "there")
    assert tool(allowed_paths=path) == 2
    assert f"allowed_paths: {path!r}, a link to '/etc/ssh', reaches /etc/ssh (access," in tool.err


def test_a_ledger_that_lies_elsewhere_is_no_scope_either(tool, tmp_path):
    assert tool(allowed_paths=str(tmp_path / "ledger" / "journal")) == 2
    assert "(the signoff ledger)" in tool.err


# --- templates


def test_a_template_that_hides_the_scope_is_refused(tool, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text(TEMPLATE.replace("<ALLOWED_PATHS_BLOCK>", "-"))
    assert tool("--template", short) == 2
    assert f"{short}: has no <ALLOWED_PATHS>; put it where it is read" in tool.err


def test_a_placeholder_that_nothing_fills_is_named_with_its_line(tool, tmp_path):
    more = tmp_path / "more.txt"
    more.write_text(f"one\n<TICKET>\n{TEMPLATE}")
    assert tool("--template", more) == 2
    assert f"{more}, line 2: nothing fills <TICKET>; known are OPERATION_NAME, " in tool.err
    assert tool.out == b""


@pytest.mark.parametrize("content", [None, b"\xff<OPERATION_NAME>"])
def test_a_template_that_cannot_be_read_is_told(tool, tmp_path, content):
    path = tmp_path / "other.txt"
    if content:
        path.write_bytes(content)
    assert tool("--template", path) == 1
    assert "ERROR: --template: " in tool.err


def test_a_template_with_its_lists_on_one_line_and_dos_line_ends(tool, tmp_path):
    text = "".join(f"<{one}>\r\n" for one in (*ops_prompt.TEXTS, *ops_prompt.LISTS))
    (tmp_path / "t.txt").write_bytes(text.encode())
    assert tool("--template", "t.txt", cwd=tmp_path) == 0
    assert tool.out.decode().splitlines()[-2:] == [
        "/etc/grafana/provisioning, /var/lib/grafana/dashboards/quantum", "grafana-server",
    ]  # fmt: skip
    assert b"\r" not in tool.out


@given(st.text(max_size=40))
def test_whatever_is_filled_in_adds_no_line_and_no_placeholder(text):
    """Given any text, when it is taken, the prompt has its lines and its placeholders, no more."""
    try:
        ops_prompt.check_text("objective", text)
    except ScopeError:
        return
    values = {
        **dict.fromkeys(ops_prompt.TEXTS, text),
        **{name: [text] for name in ops_prompt.LISTS},
    }
    filled = ops_prompt.fill("t", TEMPLATE, values)
    assert len(filled.splitlines()) == len(TEMPLATE.splitlines())
    assert not re.search(r"<[A-Z]", filled.replace(text, ""))
    assert filled.count(text) >= len(values)


# --- the signoff


def test_the_next_free_id_comes_from_the_journal(tool):
    tool("--ledger", *MOMENTS, example=USAGE)
    assert tool.out.startswith(b"---\noperation_id: OPS-2026-01-27-001\n")
    tool.ledger.fill(2)  # on the day of the example
    assert tool("--ledger", *MOMENTS, example=USAGE) == 0
    assert tool.out.startswith(b"---\noperation_id: OPS-2026-01-27-003\n")
    assert tool("--ledger", "--operation_id", "OPS-2026-01-27-042", *MOMENTS, example=USAGE) == 0
    assert tool.out.startswith(b"---\noperation_id: OPS-2026-01-27-042\n")


def test_without_moments_it_is_now(tool):
    before = ops_prompt_fill.moment.text(ops_prompt_fill.moment.now())
    assert tool("--ledger", example=USAGE) == 0
    block = reader.block(tool.out.decode())
    after = ops_prompt_fill.moment.text(ops_prompt_fill.moment.now())
    assert before <= block["approval_timestamp"] == block["execution_timestamp"] <= after
    assert ids.is_valid(block["operation_id"])


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=30), st.sampled_from(["a: b", 'fix #42: it\'s "done"', "yes", "1e5", "- x"])
)
def test_any_text_comes_back_from_the_block(tmp_path_factory, text, nasty):
    """Given any text, when it is signed off, every YAML reader finds it again, or it is refused."""
    environ = {"LEDGER_DIR": str(tmp_path_factory.getbasetemp() / "none")}
    fields = {**USAGE, "operation": nasty, "changes_summary": nasty, "notes": text}
    argv = [f"--{name}={one}" for name, one in fields.items() if isinstance(one, str)]
    lists = {name: one for name, one in fields.items() if not isinstance(one, str)}
    printed = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(None):
        code = ops_prompt_fill.main([*argv, *arguments(lists), "--ledger", *MOMENTS], environ)
    out = printed.buffer.getvalue().decode()
    assert code == (0 if out else 2)
    for read in READERS.values():
        if out:
            block = read(out)
            found = (block["operation_name"], block["changes_summary"], block["notes"])
            assert found == (nasty, nasty, text)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("changes_summary", None, "changes_summary: is missing: say in one line what changed"),
        ("changes_summary", "a\nb", "changes_summary: 'a\\nb' holds a line break"),
        ("changes_summary", "fixed <what>", "holds the placeholder <what>"),
        ("operation_id", "OPS-2026-01-27-NNN", "'OPS-2026-01-27-NNN' does not match expected"),
        ("operation_id", "OPS-2026-02-30-001", "'OPS-2026-02-30-001' does not match expected"),
        ("outcome", "FINE", "outcome: 'FINE' is none of SUCCESS, PARTIAL, ROLLBACK"),
        ("outcome", "ROLLBACK", "outcome=ROLLBACK requires --rollback_of parameter"),
        ("rollback_of", "OPS-2026-01-27-001", "rollback_of is for outcome=ROLLBACK"),
        ("approval_timestamp", "soon", "approval_timestamp: 'soon' is no moment: write it in UTC"),
        ("approval_timestamp", "2026-01-27T07:00:00Z", "is after the execution"),
        ("approved_by", "", "approved_by: '' says nothing"),
    ],
)
def test_a_signoff_that_is_none_is_refused(tool, name, value, told):
    fields = {**USAGE, "execution_timestamp": "2026-01-27T06:15:30Z",
              "approval_timestamp": "2026-01-27T06:15:30Z", name: value}  # fmt: skip
    assert tool("--ledger", example=fields) == 2
    assert told in tool.err
    assert tool.out == b""


def test_a_journal_that_cannot_be_read_is_told(tool):
    tool.ledger.fill(1)
    (segment,) = tool.ledger.folder.segments()
    segment.write_bytes(b"{}\n")
    assert tool("--ledger", *MOMENTS, example=USAGE) == 1
    assert "give --operation_id, and see docs/ledger-proof.md" in tool.err
    assert tool("--ledger", "--operation_id", "OPS-2026-01-27-001", *MOMENTS, example=USAGE) == 0


def test_what_belongs_to_the_signoff_is_missed_by_the_prompt_and_told(tool):
    assert tool("--notes", "context") == 0
    assert "WARNING: --notes: is part of the signoff" in tool.err


def test_the_command_that_it_tells_records_the_operation(tool):
    """Given a signoff, when the command below it is run, the ledger holds the operation."""
    tool("--ledger", *MOMENTS, example=USAGE, operation='it\'s "done" $HOME', requested_by="ann")
    command = tool.err[tool.err.index("python3 ops/") :]
    subprocess.run(["sh", "-c", command], check=True, cwd=ROOT, env=tool.environ)
    (record,) = [one["data"] for one in tool.ledger.records()]
    assert record["operation_name"] == 'it\'s "done" $HOME'
    assert record["requested_by"] == "ann"
    assert record["allowed_paths"] == USAGE["allowed_paths"]
    assert record["notes"] == "Optional context; rollback: git-revert-<commit>"


def test_it_writes_nothing(tool, tmp_path):
    tool("--ledger", *MOMENTS, example=USAGE)
    assert list(tmp_path.iterdir()) == []


def test_the_default_ledger_is_the_checkouts():
    assert Folder.find({}, ops_prompt_fill.ROOT).changelog == ROOT / "docs" / "OPS_CHANGELOG.md"


def test_a_reader_that_has_seen_enough_is_no_error(tool):
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [sys.executable, "-I", "-S", TOOL, *arguments(EXAMPLE)], check=False, stdout=write,
        stderr=subprocess.PIPE, env=tool.environ,
    )  # fmt: skip
    os.close(write)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_the_next_free_id_is_that_of_the_ledger_which_the_env_files_name(tool, tmp_path):
    """Given a host whose ledger is named in a file, as that of the consumer and the tool is."""
    tool.ledger.one(1, operation_id="OPS-2026-01-27-007")
    del tool.environ["LEDGER_DIR"]
    tool.environ["QUANTUM_ENV_DIR"] = str(tmp_path)
    (tmp_path / "ledger.env").write_text(f"LEDGER_DIR={tool.ledger.folder.base}\n")
    assert tool("--ledger", *MOMENTS, example=USAGE) == 0
    assert b"operation_id: OPS-2026-01-27-008\n" in tool.out
    (tmp_path / "ledger.env").write_text("LEDGER_DIR=~nobody-of-this-name/x\n")
    assert tool("--ledger", *MOMENTS, example=USAGE) == 1
    assert tool.err.startswith("ERROR: LEDGER_DIR: ")


def test_what_could_not_be_printed_is_told_and_no_success(tool):
    """Given a full disk or no output at all, half a contract must not pass for a whole one."""
    given = [sys.executable, "-I", "-S", str(TOOL), *arguments(EXAMPLE)]
    for where, cause in ((">/dev/full", "No space left"), (">&-", "closed")):
        ran = subprocess.run(
            ["sh", "-c", f'"$@" {where}', "sh", *given], check=False, capture_output=True,
            env=tool.environ, timeout=60,
        )  # fmt: skip
        told = ran.stderr.decode()
        assert (ran.returncode, told.count("\n")) == (1, 1)
        assert told.startswith("ERROR: the text cannot be printed: ")
        assert cause in told
