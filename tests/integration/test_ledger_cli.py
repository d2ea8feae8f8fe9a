"""ops/ops_ledger_append.py as the specification documents it, run as an operator runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quantum_ops.ledger import reader, spool
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from tests.contract.reference import ROOT
from tests.ledger_story import Ledger, request

TOOL = ROOT / "ops" / "ops_ledger_append.py"
REQUIRED = {
    "operation": "Self-Test",
    "objective": "Test ledger append",
    "risk_class": "READ_ONLY",
    "blast_radius": "None",
    "changes_summary": "Test entry",
}
HAND_WRITTEN = "# Ops\n\n## 2026-01\n\n```yaml\noperation_id: OPS-2026-01-27-010\n```\n"
# A scalar each that broke YAML, or came back as something else, when it was pasted into a template.
NASTY = [
    "a: b", "note:", '"x" y', "*x", "!x", "@x", "`x`", "% x", "{s} m", "- x", "fix #42 now", "yes",
    "0123", "12:30:45", "null", "~", "1234e567", "a\x85b", "a\u2028b", "tab\there", "\x1b[31m",
    "see\n```\n# HEAD", "x\noutcome: ROLLBACK\nrisk_class: READ_ONLY", "---", "...", "-x",
    "--notes=x", "-", "'", "\\", "|",
    "=", "<<", "? x", "🚀 ship it", "é", " lead", "trail ",
]  # fmt: skip


class Tool:
    """The tool on a ledger of its own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder = Folder.at(base)
        self.environ = {"PATH": os.environ["PATH"], "LEDGER_DIR": str(base),
                        "QUANTUM_ENV_DIR": "/nonexistent"}  # fmt: skip

    def __call__(self, *arguments: str | bytes, cwd=None, without=(), **environ):
        given = [part for name, text in REQUIRED.items() if name not in without
                 for part in (f"--{name}", text)]  # fmt: skip
        ran = subprocess.run(
            [sys.executable, "-I", "-S", TOOL, *given, *arguments], check=False,
            capture_output=True, env={**self.environ, **environ}, cwd=cwd, timeout=60,
        )  # fmt: skip
        self.out, self.err = ran.stdout.decode(), ran.stderr.decode()
        return ran.returncode

    def records(self):
        return [json.loads(line) for line in Journal(self.folder).lines()]

    def data(self):
        """The data of the newest record."""
        return self.records()[-1]["data"]


@pytest.fixture
def tool(tmp_path):
    return Tool(tmp_path / "ledger")


def test_the_self_test_of_the_specification(tool):
    assert tool("--notes", "Testing P5+ auto-ledger") == 0
    found = re.search(
        r"^Auto-generated operation_id: (OPS-\d{4}-\d\d-\d\d-001)$", tool.out, re.MULTILINE
    )
    assert found
    shown = tool.folder.changelog.read_text()
    assert f"operation_id: {found[1]}" in shown
    assert "notes: Testing P5+ auto-ledger" in shown
    assert tool.err == ""


def test_the_documented_invocation_with_every_argument(tool):
    assert (
        tool(
            "--operation", "P2.7 Deploy — Portfolio Clusters", "--allowed_paths",
            "microservices/portfolio_clusters/", "--allowed_services", "quantum-portfolio-clusters",
            "quantum-portfolio-gate", "--proof_path", "/nonexistent/P2_7_PROOF.txt",
            "--metrics_urls", "http://127.0.0.1:1/metrics", "--metrics_grep", "p27_corr_ready",
            "--redis_cmds", "HGETALL quantum:portfolio:cluster_state",
            "--allowed_services", "third", "--notes", "Manual ledger entry",
            without=("operation",),
        )
        == 0
    )  # fmt: skip
    data = tool.data()
    assert data["operation_name"] == "P2.7 Deploy — Portfolio Clusters"
    assert data["allowed_paths"] == ["microservices/portfolio_clusters/"]
    assert data["allowed_services"] == [
        "quantum-portfolio-clusters", "quantum-portfolio-gate", "third",
    ]  # fmt: skip
    assert data["outcome"] == "SUCCESS"
    assert data["evidence"] == "incomplete"  # none of these can be there


def test_services_joined_by_commas_are_so_many_services(tool):
    tool("--allowed_services", "a,b", "c, d")
    assert tool.data()["allowed_services"] == ["a", "b", "c", "d"]


MISSING = "outcome=ROLLBACK requires --rollback_of parameter"
MALFORMED = "rollback_of 'INVALID-FORMAT' does not match expected format OPS-YYYY-MM-DD-NNN"
EXAMPLES = {"1": ([], MISSING), "2": (["--rollback_of", "INVALID-FORMAT"], MALFORMED)}


@pytest.mark.parametrize("example", EXAMPLES)
def test_validation_examples_warn_and_record(tool, example):
    arguments, told = EXAMPLES[example]
    assert tool("--outcome", "ROLLBACK", *arguments) == 0
    assert tool.err == f"WARNING: ERROR: {told} (continuing in non-strict mode)\n"
    assert tool.out.startswith("Auto-generated operation_id: OPS-")
    assert tool.data()["outcome"] == "ROLLBACK"


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("by", ["--strict", "environment"])
def test_validation_examples_fail_in_strict_mode(tool, example, by):
    arguments, told = EXAMPLES[example]
    strict = ["--strict"] if by == "--strict" else []
    environ = {} if strict else {"STRICT_LEDGER": "true"}
    assert tool("--outcome", "ROLLBACK", *arguments, *strict, **environ) == 1
    assert tool.err == f"ERROR: {told}\n"
    assert tool.records() == []


def test_validation_example_3_a_valid_rollback_has_no_warning(tool):
    tool.base.mkdir()
    tool.folder.changelog.write_text(HAND_WRITTEN)
    assert tool("--outcome", "ROLLBACK", "--rollback_of", "OPS-2026-01-27-010") == 0
    assert re.match(r"Auto-generated operation_id: OPS-\d{4}-\d\d-\d\d-\d{3}\n", tool.out)
    assert tool.err == ""
    assert HAND_WRITTEN in tool.folder.changelog.read_text()


@pytest.mark.parametrize("value", ["false", "0", "no", "off", "", "FALSE"])
def test_strict_ledger_false_really_is_false(tool, value):
    assert tool("--outcome", "ROLLBACK", STRICT_LEDGER=value) == 0


@pytest.mark.parametrize("value", ["true", "1", "yes", "True"])
def test_strict_ledger_true_really_is_true(tool, value):
    assert tool("--outcome", "ROLLBACK", STRICT_LEDGER=value) == 1


def test_strict_ledger_neither_is_a_usage_error(tool):
    assert tool(STRICT_LEDGER="maybe") == 2
    assert "STRICT_LEDGER: 'maybe' is neither true nor false" in tool.err


def day(tool):
    return tool.records()[0]["id"][4:14]


def test_the_same_operation_again_is_already_recorded(tool):
    tool()
    name = f"OPS-{day(tool)}-042"
    assert tool("--operation_id", name) == 0
    assert "Auto-generated" not in tool.out
    assert tool("--operation_id", name) == 0
    assert tool.out == f"{name} already recorded (record 2)\n"
    assert len(tool.records()) == 2


def test_another_operation_under_the_same_id_is_a_conflict(tool):
    tool()
    name = f"OPS-{day(tool)}-042"
    tool("--operation_id", name)
    assert tool("--operation_id", name, "--notes", "other") == 0
    assert f"WARNING: ERROR: operation_id {name} belongs to other content" in tool.err
    assert "kept as a conflict in record 3" in tool.err
    assert tool("--operation_id", name, "--notes", "other", "--strict") == 1
    assert [one["type"] for one in tool.records()].count("conflict.rejected") == 1


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_argument_is_a_usage_error(tool, missing):
    assert tool(without=(missing,)) == 2
    assert f"--{missing}" in tool.err


@pytest.mark.parametrize(
    "arguments",
    [("--risk_class", "BOLD"), ("--outcome", "FINE"), ("--what", "x"), ("--oper", "abbreviated")],
)
def test_an_unknown_argument_or_value_is_a_usage_error(tool, arguments):
    assert tool(*arguments) == 2
    assert arguments[0] in tool.err
    assert tool.records() == []


def test_help_names_every_argument_of_the_specification(tool):
    assert tool("--help") == 0
    for name in (*REQUIRED, "operation_id", "allowed_paths", "allowed_services", "proof_path",
                 "metrics_urls", "metrics_grep", "redis_cmds", "outcome", "rollback_of", "notes",
                 "strict"):  # fmt: skip
        assert f"--{name}" in tool.out


@pytest.mark.parametrize("text", NASTY)
def test_no_text_breaks_or_forges_an_entry(tool, text):
    assert tool("--notes", text, "--operation", text, without=("operation",)) == 0
    assert (tool.data()["operation_name"], tool.data()["notes"]) == (text, text)
    (block,) = reader.fenced(tool.folder.changelog.read_text())
    fields = reader.block(block)
    assert (fields["operation_name"], fields["notes"]) == (text, text)
    assert (fields["outcome"], fields["risk_class"]) == ("SUCCESS", "READ_ONLY")


def test_an_argument_that_is_no_utf8_is_recorded_readably(tool):
    assert tool("--notes", b"caf\xe9") == 0
    assert tool.data()["notes"] == "caf\\xe9"


def test_an_empty_value_fails_no_deploy_and_is_kept_with_the_reason(tool):
    assert tool("--changes_summary", "") == 0
    assert "NOT RECORDED: nobody can record this entry as it is" in tool.err
    (kept,) = (tool.folder.spool / "rejected").glob("*.json")
    assert "changes_summary" in kept.with_suffix(".reason.txt").read_text()
    assert tool("--changes_summary", "", "--strict") == 1


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the tool needs, in a repository of its own: its ledger is the checkout's."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "quantum_ops" / "ledger", root / "quantum_ops" / "ledger")
    for name in ("__init__.py", "env_files.py"):
        shutil.copy(ROOT / "quantum_ops" / name, root / "quantum_ops")
    (root / "ops").mkdir()
    shutil.copy(TOOL, root / "ops")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "start")
    return root


def git(root, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    ran = subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)
    return ran.stdout.decode()


def run_copy(root, cwd, **environ):
    given = [part for name, text in REQUIRED.items() for part in (f"--{name}", text)]
    return subprocess.run(
        [sys.executable, "-I", "-S", root / "ops" / TOOL.name, *given], check=True, cwd=cwd,
        env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True,
    )  # fmt: skip


def test_it_records_into_the_same_ledger_wherever_it_is_run(checkout, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for cwd in (checkout, tmp_path / "elsewhere", Path("/")):
        run_copy(checkout, cwd)
    text = (checkout / "docs" / "OPS_CHANGELOG.md").read_text()
    assert text.count("operation_id: OPS-") == 3
    assert len(list(Journal(Folder.find({}, checkout)).lines())) == 3
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_tag_is_made_where_it_is_asked_for(checkout):
    who = {
        f"GIT_{who}_{what}": "t@example.com"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    said = run_copy(checkout, checkout, LEDGER_TAGS="true", **who)
    (name,) = git(checkout, "tag").split()
    assert f"tagged: {name}\n" in said.stdout
    assert f"operation_id: {name.upper()}" in git(checkout, "cat-file", "tag", name)
    # And of what had to wait, once it is recorded
    waits = request(stream="cli", stream_id="1")
    spool.put(Folder.find({}, checkout), waits)
    said = run_copy(checkout, checkout, LEDGER_TAGS="true", **who)
    assert said.stdout.count("tagged: ") == 2
    assert len(git(checkout, "tag").split()) == 3


def test_without_git_the_record_stands_and_the_tag_is_missed(checkout, tmp_path):
    said = run_copy(checkout, checkout, LEDGER_TAGS="true", PATH=str(tmp_path))
    assert "Ledger entry recorded" in said.stdout
    assert "the record stands" in said.stderr


def test_a_locked_or_unwritable_ledger_spools_and_the_next_run_records(tool):
    tool()
    (segment,) = tool.folder.segments()
    damaged = segment.read_bytes()
    segment.write_bytes(b"")
    assert tool("--notes", "in the meantime") == 0
    assert "NOT RECORDED YET" in tool.err
    assert tool("--strict") == 1
    segment.write_bytes(damaged)
    assert tool() == 0
    assert "taken in from the spool: OPS-" in tool.out
    assert spool.waiting(tool.folder) == []
    assert tool.data()["notes"] == "in the meantime"


def test_a_folder_that_cannot_be_made_is_told_with_the_entry(tmp_path):
    (tmp_path / "file").write_text("")
    tool = Tool(tmp_path / "file" / "ledger")
    assert tool("--notes", "kept here") == 0
    assert '"notes": "kept here"' in tool.err
    assert tool("--strict") == 1


def test_a_closed_pipe_or_a_poor_terminal_fails_no_deploy(tool):
    command = [sys.executable, "-I", "-S", TOOL]
    command += [part for name, text in REQUIRED.items() for part in (f"--{name}", text)]
    read, write = os.pipe()
    os.close(read)
    for stream in ("stdout", "stderr"):
        ran = subprocess.run(
            [*command, "--outcome", "ROLLBACK", "--rollback_of", "—"], check=False,
            env={**tool.environ, "PYTHONIOENCODING": "ascii"}, **{stream: write},
        )  # fmt: skip
        assert ran.returncode == 0, stream
    os.close(write)
    assert len(tool.records()) == 2


def test_whether_to_tag_is_true_or_false(tool):
    assert tool(LEDGER_TAGS="perhaps") == 2
    assert "LEDGER_TAGS" in tool.err


def test_the_ledger_is_the_one_that_the_env_files_name(tmp_path):
    # given a folder that only a file names, as it does for the ledger's consumer
    named, etc = tmp_path / "named", tmp_path / "etc"
    etc.mkdir()
    (etc / "ledger.env").write_text(f"LEDGER_DIR={named}\nLEDGER_ORIGIN='example.com/ops'\n")
    tool = Tool(named)
    del tool.environ["LEDGER_DIR"]
    # then a script of a deployment records there, and keeps no second ledger
    assert tool(QUANTUM_ENV_DIR=str(etc)) == 0
    assert [record["data"]["objective"] for record in tool.records()] == [REQUIRED["objective"]]
    assert tool.err == ""
    # and what the environment says goes before the file
    other = Tool(tmp_path / "other")
    assert other(QUANTUM_ENV_DIR=str(etc)) == 0
    assert len(other.records()) == len(tool.records()) == 1


def test_env_files_that_nobody_can_follow_are_told_and_fail_no_deploy(tool, tmp_path):
    (tmp_path / "a.env").write_text("LEDGER_ORIGIN=one.example\nREDIS_PASSWORD: hunter2\n")
    (tmp_path / "b.env").write_text("LEDGER_ORIGIN=two.example\n")
    assert tool(QUANTUM_ENV_DIR=str(tmp_path)) == 0
    assert f"LEDGER_ORIGIN: {tmp_path}/a.env:1 and {tmp_path}/b.env:1 disagree" in tool.err
    assert f"{tmp_path}/a.env:2: (hidden) is no NAME=value line" in tool.err
    assert "hunter2" not in tool.err
    assert len(tool.records()) == 1


def test_a_key_signs_what_the_tool_records(tool, tmp_path):
    from quantum_ops.ledger import checkpoint, ed25519

    ed25519.make(tmp_path / "key.pem")
    assert tool(LEDGER_KEY=str(tmp_path / "key.pem"), LEDGER_ORIGIN="example.com/ops") == 0
    made = checkpoint.newest(tool.folder)
    checkpoint.Signer("example.com/ops", tmp_path / "key.pem").verifier().verify(made)
    assert tool(LEDGER_ORIGIN="two words") == 0
    assert "LEDGER_ORIGIN" in tool.err


def test_the_core_needs_the_standard_library_alone():
    paths = sorted((ROOT / "quantum_ops" / "ledger").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    names = [name.removesuffix(".__init__") for name in names]
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(names)}\n"
        "print([one for one in sys.modules if one.split('.')[0] == 'quantum_ops'\n"
        "       and not one.startswith('quantum_ops.ledger') and one != 'quantum_ops'])"
    )
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, check=True)
    assert ran.stdout == b"[]\n"


def test_entries_of_the_tool_and_of_others_share_one_sequence(tool):
    ledger = Ledger(tool.base)
    tool()
    ledger.now = ledger.now.fromisoformat(tool.records()[0]["recorded_at"].replace("Z", "+00:00"))
    ledger.one()
    tool()
    assert [name[15:] for name in ledger.ids()] == ["001", "002", "003"]


def test_the_benchmark_runs_and_checks_what_it_measures(capsys):
    from tests.bench import ledger as bench

    assert bench.main(["--quick"]) == 0
    assert "append and sync" in capsys.readouterr().out


def test_the_same_operation_is_the_same_from_whichever_folder_it_is_recorded(tool, tmp_path):
    """Given a shell's PWD, when a path below it is named, then it is recorded as it is."""
    proof = tmp_path / "proof.txt"
    proof.write_text("seen")
    given = ("--allowed_paths", f"{tmp_path}/ops", "--proof_path", str(proof),
             "--notes", f"see {proof}")  # fmt: skip
    assert tool(*given, cwd=tmp_path, PWD=str(tmp_path), OLDPWD="/usr/local") == 0
    first = tool.data()
    assert first["allowed_paths"] == [f"{tmp_path}/ops"]
    assert first["notes"] == f"see {proof}"
    again = ("--operation_id", first["operation_id"], "--strict")
    assert tool(*given, *again, cwd="/", PWD="/") == 0
    assert "already recorded" in tool.out


@pytest.mark.parametrize("named", ["~nobody-of-this-name/ledger", "/dev/null/ledger"])
def test_a_ledger_that_can_be_nowhere_fails_no_deploy_and_shows_the_entry(tool, named):
    assert tool(LEDGER_DIR=named) == 0
    assert "NOT RECORDED, NOT KEPT" in tool.err
    assert '"changes_summary": "Test entry"' in tool.err
    assert "Traceback" not in tool.err
    assert tool("--strict", LEDGER_DIR=named) == 1
    cause = "there is no such user" if named.startswith("~") else "is in the way"
    assert tool.err.startswith("ERROR: ")
    assert cause in tool.err


def test_scripts_are_told_in_json_what_became_of_it(tool):
    """Given --json, then stdout is one object, whatever happens; people read on at stderr."""
    found = []
    (tool.base / "journal").mkdir(parents=True)
    same = ("--operation_id", "OPS-2026-01-27-001", "--json")
    id_ = ""
    for given in (
        ("--json",), ("--json", "--outcome", "ROLLBACK"), ("--json", "--notes", "other"),
        ("--json", "--notes", ""), ("--json", "--changes_summary", ""), (*same, "--strict"),
    ):  # fmt: skip
        more = ("--operation_id", id_) if "--notes" in given else ()
        tool(*given, *more)
        told = json.loads(tool.out)
        id_ = id_ or told["operation_id"]
        found.append((told["outcome"], told["seq"], bool(told["problems"])))
    assert found == [
        ("recorded", 1, False), ("recorded", 2, True), ("conflict", 3, True),
        ("already", 1, False), ("refused", None, True), ("failed", None, True),
    ]  # fmt: skip
    with Journal(tool.folder).locked():
        tool.folder.segments()[-1].write_bytes(b"")
    assert tool("--json") == 0
    assert json.loads(tool.out)["outcome"] == "waits"
    assert "NOT RECORDED YET" in tool.err


def test_a_blank_folder_is_none(tmp_path):
    root = tmp_path
    assert Folder.find({"LEDGER_DIR": " "}, root) == Folder.find({}, root)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_entry_whose_run_is_interrupted_is_kept(tool, number):
    """Given a lock that somebody holds, when somebody gives up, then the entry waits."""
    with Journal(tool.folder).locked():
        given = [part for name, text in REQUIRED.items() for part in (f"--{name}", text)]
        run = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", HELD, str(TOOL), *given],
            env=tool.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert run.stdout
        assert run.stdout.readline() == b"waits\n"
        run.send_signal(number)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"Traceback" not in err
    assert b"NOT RECORDED YET" in err
    assert tool("--operation_id", "") == 0
    assert "taken in from the spool" in tool.out
    assert len(tool.records()) == 2


HELD = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/ops/")[0])
from quantum_ops.ledger import journal
real = journal._lock
def tell(*given):
    print("waits", flush=True)
    real(*given)
journal._lock = tell
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files that others cannot write")
def test_what_root_records_in_another_s_ledger_belongs_to_him(tool):
    """Given the consumer's folder, when root records, then nothing in it is root's."""
    tool.base.mkdir()
    os.chown(tool.base, 65534, 65534)
    assert tool("--operation_id", "junk", "--redis_cmds", "GET x") == 0
    shutil.rmtree(tool.folder.cache)
    spool.put(tool.folder, request(stream="cli", stream_id="1"))
    with tool.folder.changelog.open("a") as file:
        file.write("edited\n")
    assert tool() == 0
    made = [path for path in tool.base.rglob("*") if path.stat().st_uid != 65534]
    assert made == []
    assert len(tool.records()) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nothing_that_a_link_leads_to_is_given_away(tool, tmp_path):
    """Given links that the folder's owner put there, root gives him nothing of its own."""
    tool.base.mkdir()
    os.chown(tool.base, 65534, 65534)
    mine, new = tmp_path / "mine", tmp_path / "new"
    mine.write_text("root's")
    for name in (".OPS_CHANGELOG.md.tmp", f".{tool.folder.checkpoint.name}.tmp"):
        (tool.base / name).symlink_to(mine)
    for path in (tool.folder.lock, tool.folder.checkpoints):
        path.symlink_to(new)
    assert tool() == 0
    assert mine.read_text() == "root's"
    assert (mine.stat().st_uid, new.stat().st_uid) == (0, 0)
