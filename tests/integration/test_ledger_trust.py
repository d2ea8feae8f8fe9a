"""verify, prove, key and tag as an auditor types them, with what he kept from earlier."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from ops import ledger_tags
from quantum_ops.ledger import checkpoint, tags
from quantum_ops.ledger import verify as module
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.seal import Seal
from tests import ledger_typed
from tests.contract.reference import ROOT
from tests.ledger_story import rewritten


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    return ledger_typed.found(tmp_path, monkeypatch)


@pytest.fixture
def told(capsys):
    return ledger_typed.verb(capsys)


@pytest.fixture
def key(told, tmp_path, ledger):
    """A key made by the verb; the ledger signs with it."""
    code, out, _ = told("key", tmp_path / "ledger.pem")
    assert code == 0
    assert out.startswith("key quantum-ops/ledger+")
    ledger.seal = Seal.find({"LEDGER_KEY": str(tmp_path / "ledger.pem")}, tmp_path)
    (tmp_path / "key.txt").write_text(out.splitlines()[0].removeprefix("key "))
    return tmp_path / "ledger.pem.pub"


def keep(ledger, tmp_path, name="kept"):
    return shutil.copy(ledger.folder.checkpoint, tmp_path / name)


def segment(ledger, lines):
    ledger.segment.write_bytes(b"".join(line + b"\n" for line in lines))


def test_a_ledger_that_holds_says_how_much_is_covered(ledger, told):
    ledger.fill(4)
    code, out, err = told("verify")
    assert (code, err) == (0, "")
    assert out.startswith("HOLDS: 4 records, root ")
    assert "checkpoints cover 4\nNOT CHECKED: who signed; give the log's key with --key\n" in out
    found = json.loads(told("verify", "--json")[1])
    head = checkpoint.newest(ledger.folder).head
    assert found == {
        "ok": True, "records": 4, "root_sha256": head.root.hex(), "covered": 4, "signed": False,
        "faults": [], "notes": [],
    }  # fmt: skip


CHANGES = {
    "flipped": lambda lines: [*lines[:2], lines[2].replace(b"fix", b"fiX"), *lines[3:]],
    "deleted": lambda lines: [*lines[:2], *lines[3:]],
    "inserted": lambda lines: [*lines[:2], lines[0], *lines[2:]],
    "reordered": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "cut": lambda lines: [*lines[:2], lines[2][:30], *lines[3:]],
}


@pytest.mark.parametrize("how", CHANGES)
def test_the_first_bad_line_is_named_with_segment_and_number(ledger, told, how):
    ledger.fill(6)
    segment(ledger, CHANGES[how](ledger.lines()))
    code, out, _ = told("verify")
    assert code == 1
    assert out.startswith("BAD: 2026-01.jsonl line 3: ")
    assert "HOLDS" not in out
    fault = json.loads(told("verify", "--json")[1])["faults"][0]
    assert (fault["segment"], fault["line"], fault["record"]) == ("2026-01.jsonl", 3, 3)


def test_a_cut_tail_is_told_with_how_much_is_missing(ledger, told):
    ledger.fill(6)
    segment(ledger, ledger.lines()[:4])
    code, out, _ = told("verify")
    assert code == 1
    assert "BAD: 2026-01.jsonl line 4: after it, 2 records are missing" in out


def test_many_faults_are_cut_and_the_first_is_shown(ledger, told):
    ledger.fill(30)
    segment(ledger, [line.replace(b"fix", b"fiX") for line in ledger.lines()])
    out = told("verify")[1]
    assert out.startswith("BAD: 2026-01.jsonl line 1: ")
    faults = json.loads(told("verify", "--json")[1])["faults"]
    assert f"and {len(faults) - 20} more; the first one is what to look at" in out
    assert len(faults) >= 30


def test_a_rewritten_history_fails_the_checkpoint_that_was_kept(
    ledger, told, tmp_path, monkeypatch
):
    ledger.fill(7)
    kept = keep(ledger, tmp_path)
    history = shutil.copy(ledger.folder.checkpoints, tmp_path / "history")
    other = rewritten(ledger, 5)
    monkeypatch.setenv("LEDGER_DIR", str(other.folder.base))
    assert told("verify")[0] == 0  # by itself it is a perfect ledger
    code, out, _ = told("verify", "--against", kept)
    assert code == 1
    assert "not those of the checkpoint of 7 records" in out
    code, out, _ = told("verify", "--against", history)
    assert (code, out.splitlines()[0][:32]) == (1, "BAD: 2026-01.jsonl line 5: recor")
    assert told("prove", "--since", kept)[0] == 1


def test_several_checkpoints_may_be_given_and_a_damaged_one_is_no_silent_yes(
    ledger, told, tmp_path
):
    ledger.fill(3)
    kept = keep(ledger, tmp_path)
    ledger.fill(6)
    later = keep(ledger, tmp_path, "later")
    assert told("verify", "--against", kept, "--against", later)[0] == 0
    for content in ("", "nonsense", "a\n1\nAAAA\n\n", "\udcff"):
        (tmp_path / "damaged").write_bytes(content.encode("utf-8", "surrogateescape"))
        code, _, err = told("verify", "--against", kept, "--against", tmp_path / "damaged")
        assert code == 1
        assert "damaged" in err


def test_a_checkpoint_that_contradicts_the_journal_is_told_not_covered_up(ledger, told, tmp_path):
    """Given a sound journal, when its newest checkpoint was changed, then verify says that."""
    ledger.fill(6)
    kept = keep(ledger, tmp_path)
    name, size, root, *rest = ledger.folder.checkpoint.read_text().split("\n")
    other = "\n".join([name, size, ("A" if root[0] != "A" else "B") + root[1:], *rest])
    ledger.folder.checkpoint.write_text(other)
    (tmp_path / "other").write_text(other)
    code, out, _ = told("verify")
    assert (code, out[:27]) == (1, "BAD: a checkpoint says root")
    assert "of 6 records, which is none of these" in out
    with pytest.raises(CheckpointError):
        ledger.one()

    # What the page of the ledger says to do: put it aside, make it again.
    ledger.folder.checkpoint.rename(tmp_path / "aside")
    assert told("rebuild")[0] == 0
    assert told("verify")[0] == 0
    ledger.one()
    # Two that somebody kept, of one size: one of them is not of this log.
    for given in ((kept, tmp_path / "other"), (tmp_path / "other", kept)):
        code, out, _ = told("verify", "--against", given[0], "--against", given[1])
        assert (code, "which is none of these" in out) == (1, True)


def test_without_its_checkpoint_a_cut_journal_is_still_not_continued(ledger, told):
    ledger.fill(4)
    segment(ledger, ledger.lines()[:2])
    ledger.folder.checkpoint.unlink()
    with pytest.raises(CheckpointError, match="its checkpoint says 4"):
        ledger.one()
    assert told("rebuild")[0] == 1
    assert len(ledger.lines()) == 2


def test_a_journal_that_is_gone_is_not_taken_for_a_new_one(ledger, told):
    """Given a ledger, when all of its lines are lost, then no verb says that all is well."""
    ledger.fill(4)
    ledger.segment.unlink()
    for verb in (["rebuild"], ["rebuild", "--check"], ["list"], ["list", "--json"]):
        code, out, err = told(*verb)
        assert (code, out) == (1, "")
        assert "its checkpoint says 4" in err


# --- signatures -------------------------------------------------------------------------------


def test_a_key_is_made_once_and_given_in_any_form(ledger, told, key, tmp_path):
    ledger.fill(2)
    for given in (key, tmp_path / "ledger.pem", tmp_path / "key.txt"):
        code, out, _ = told("verify", "--key", given)
        assert code == 0, out
        assert "the signature fits the key" in out
    code, _, err = told("key", tmp_path / "ledger.pem")
    assert code == 1
    assert "is there already" in err
    assert (tmp_path / "ledger.pem").stat().st_mode & 0o777 == 0o600
    (tmp_path / "other").write_text("nonsense")
    assert told("verify", "--key", tmp_path / "other")[0] == 1


def test_an_unsigned_or_foreign_checkpoint_fails_where_a_key_is_given(ledger, told, key, tmp_path):
    ledger.seal = Seal()
    ledger.one()
    code, out, _ = told("verify", "--key", key)
    assert code == 1
    assert "the newest checkpoint: the checkpoint has no signature of" in out
    told("key", tmp_path / "another.pem")
    ledger.seal = Seal.find({"LEDGER_KEY": str(tmp_path / "another.pem")}, tmp_path)
    ledger.one(2)
    assert told("verify", "--key", key)[0] == 1
    assert told("verify", "--key", tmp_path / "another.pem.pub")[0] == 0


def test_an_older_checkpoint_whose_signature_does_not_fit_is_told(ledger, told, key):
    ledger.fill(5)
    text = ledger.folder.checkpoints.read_text()
    notes = checkpoint.split(text)
    root = notes[2].split("\n")[2]
    notes[2] = notes[2].replace(root, notes[3].split("\n")[2])
    ledger.folder.checkpoints.write_text("".join(notes))
    code, out, _ = told("verify", "--key", key)
    assert code == 1
    assert "checkpoints.log, the one of 3 records: the signature of quantum-ops/ledger" in out


def test_checkpoints_from_before_the_key_are_no_fault(ledger, told, key):
    with_key = ledger.seal
    ledger.seal = Seal()
    ledger.fill(3)
    ledger.seal = with_key
    ledger.one(3)
    assert told("verify", "--key", key)[0] == 0


def test_a_damaged_checkpoint_of_the_past_is_noted(ledger, told):
    ledger.fill(4)
    notes = checkpoint.split(ledger.folder.checkpoints.read_text())
    ledger.folder.checkpoints.write_text("".join([notes[0], notes[1][:30] + "\n\n", *notes[2:]]))
    code, out, _ = told("verify")
    assert code == 0
    assert "note: checkpoints.log: 1 of its checkpoints cannot be read, and prove nothing" in out


# --- proofs -----------------------------------------------------------------------------------


def test_a_proof_file_is_checked_on_a_host_that_has_nothing_else(ledger, told, key, tmp_path):
    ledger.fill(5)
    proof = tmp_path / "one.proof"
    code, out, _ = told("prove", ledger.ids()[2], "-o", proof)
    assert (code, f"--key PUBLIC.pem {proof}" in out) == (0, True)
    assert told("prove", "3")[1] == proof.read_text()
    kept = keep(ledger, tmp_path)
    shutil.rmtree(ledger.folder.base)
    code, out, _ = told("verify", "--key", key, proof)
    assert code == 0
    assert out.startswith(
        f"PROVEN: record 3 of the log quantum-ops/ledger of 5 records is {OPS}-003"
    )
    assert "the signature of its checkpoint fits the key" in out
    assert "NOT CHECKED: who signed its checkpoint" in told("verify", proof)[1]
    assert told("verify", "--against", kept, proof)[0] == 0
    found = json.loads(told("verify", "--key", key, "--json", proof)[1])
    assert (found["ok"], found["proof"], found["seq"], found["signed"]) == (True, "record", 3, True)
    assert found["data"]["operation_name"] == "Operation 2"
    # another origin is another log, whoever signed
    code, _, err = told("verify", "--key", key, "--origin", "example.com/other", proof)
    assert (code, "no signature of example.com/other" in err) == (1, True)


OPS = "OPS-2026-01-27"


@pytest.mark.parametrize("what", ["extra", "index", "hash", "size", "root", "signature"])
def test_a_proof_file_that_was_changed_is_refused(ledger, told, key, tmp_path, what):
    ledger.fill(5)
    lines = told("prove", "3")[1].split("\n")
    at = {"extra": 1, "index": 2, "hash": 3, "size": -5, "root": -4, "signature": -2}[what]
    wrong = {"index": "index 3", "size": "6"}.get(what)
    old = lines[at]
    lines[at] = wrong or old[:-9] + ("A" if old[-9] != "A" else "B") + old[-8:]
    (tmp_path / "changed").write_text("\n".join(lines))
    code, out, err = told("verify", "--key", key, tmp_path / "changed")
    assert (code, out) == (1, "")
    assert err.startswith("ledger: ")


def test_a_proof_that_leads_elsewhere_than_the_checkpoint_given_proves_nothing(
    ledger, told, tmp_path
):
    ledger.fill(5)
    told("prove", "3", "-o", tmp_path / "proof")
    ledger.fill(6)
    code, _, err = told("verify", "--against", keep(ledger, tmp_path), tmp_path / "proof")
    assert (code, "prove with: ./run ledger prove --since" in err) == (1, True)


def test_that_the_log_only_grew_is_proven_without_the_journal(ledger, told, key, tmp_path):
    ledger.fill(5)
    kept = keep(ledger, tmp_path)
    ledger.fill(9)
    proof = tmp_path / "grew"
    assert told("prove", "--since", kept, "-o", proof)[0] == 0
    assert told("prove", "--since", kept)[1] == proof.read_text()
    size = checkpoint.newest(ledger.folder).head.size
    other = keep(ledger, tmp_path, "later")
    shutil.rmtree(ledger.folder.base)
    code, out, _ = told("verify", "--against", kept, "--key", key, proof)
    assert code == 0
    assert f"of {size} records starts with the 5 records of the checkpoint given" in out
    assert json.loads(told("verify", "--against", kept, "--json", proof)[1])["since"] == 5
    assert told("verify", "--against", other, proof)[0] == 1
    code, _, err = told("verify", proof)
    assert (code, "--against FILE" in err) == (1, True)


def test_what_has_no_proof_is_told(ledger, told, tmp_path):
    ledger.folder.base.mkdir()
    ledger.folder.changelog.write_text("```yaml\noperation_id: OPS-2026-01-20-001\n```\n")
    ledger.one()
    assert told("prove", "OPS-2026-01-27-009")[0] == 4
    code, _, err = told("prove", "OPS-2026-01-20-001")
    assert (code, "is of before the ledger" in err) == (4, True)
    assert told("prove", "1")[0] == 0  # the record that holds the file
    ledger.folder.checkpoint.unlink()
    code, _, err = told("prove", "2")
    assert (code, "there is no checkpoint" in err) == (4, True)
    assert told("rebuild")[0] == 0  # makes one
    assert told("prove", "2")[0] == 0


def test_verify_beside_a_writer_never_cries_wolf(ledger, told, tmp_path):
    ledger.one()
    command = [
        sys.executable,
        "-m",
        "tests.fault.ledger_process",
        str(ledger.folder.base),
        "w",
        "80",
    ]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    looked = 0
    while writer.poll() is None:
        kept = keep(ledger, tmp_path)
        code, out, _ = told("verify", "--against", kept)
        assert code == 0, out
        assert told("list", "--all", "--json")[0] == 0
        looked += 1
    assert writer.communicate()[0].count("\n") == 80
    assert looked > 2


def test_half_a_line_that_a_writer_ends_meanwhile_is_not_read_as_two(ledger):
    """A reader at the end of the file may see the first half of a line, and then the second."""
    ledger.fill(3)
    whole = ledger.segment.read_bytes()
    ledger.segment.write_bytes(whole[:-40])
    read = module._lines(ledger.folder)
    seen = [next(read)[2] for _ in range(3)]
    with ledger.segment.open("ab") as file:
        file.write(whole[-40:])
    assert b"".join(seen) == whole[:-40]
    assert list(read) == []


# --- tags -------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    root.mkdir()
    monkeypatch.setattr(ledger_tags, "ROOT", root)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("config", "user.name", "Ops")
    git("config", "user.email", "ops@example.org")
    git("commit", "-q", "--allow-empty", "-m", "first")
    return git


def test_an_operation_is_tagged_once(ledger, told, repository):
    ledger.fill(2)
    name = f"{OPS}-002"
    assert told("tag", name) == (0, "tagged: ops-2026-01-27-002\n", "")
    before = repository("rev-parse", "ops-2026-01-27-002")
    assert told("tag", name) == (0, "ops-2026-01-27-002 is there already\n", "")
    assert repository("rev-parse", "ops-2026-01-27-002") == before
    assert repository("tag") == "ops-2026-01-27-002"
    assert told("tag", f"{OPS}-003")[0] == 4


def test_all_that_are_missing_are_tagged_and_none_is_moved(ledger, told, repository):
    ledger.fill(3)
    ledger.one("other", operation_id=f"{OPS}-002")  # a conflict: no operation, no tag
    repository("tag", "-a", "ops-2026-01-27-002", "-m", "mine")
    before = repository("rev-parse", "ops-2026-01-27-002")
    code, out, _ = told("tag", "--missing")
    assert code == 0
    assert out.splitlines() == [
        "tagged: ops-2026-01-27-001", "tagged: ops-2026-01-27-003",
        "2 tagged, 0 failed; what had a tag was left as it is",
    ]  # fmt: skip
    assert repository("rev-parse", "ops-2026-01-27-002") == before
    assert told("tag", "--missing")[1].startswith("0 tagged, 0 failed")
    assert told("tag", f"{OPS}-002")[0] == 1  # asked for by name, the other message is told
    assert repository("rev-parse", "ops-2026-01-27-002") == before


def test_only_newer_ones_may_be_asked_for(ledger, told, repository):
    ledger.one()
    ledger.now = ledger.now.replace(day=29)
    ledger.one(2)
    assert "1 tagged" in told("tag", "--missing", "--since", "2026-01-28")[1]
    assert repository("tag") == "ops-2026-01-29-001"


def test_what_git_refuses_is_told_and_the_rest_goes_on(ledger, told, repository, monkeypatch):
    ledger.fill(3)
    real = tags.tag

    def refuse(root, record):
        if record["seq"] == 2:
            raise tags.TagError("tag ops-x: git says no")
        return real(root, record)

    monkeypatch.setattr(tags, "tag", refuse)
    code, out, err = told("tag", "--missing")
    assert (code, err) == (1, "tag ops-x: git says no\n")
    assert "2 tagged, 1 failed" in out


def test_without_a_repository_that_is_told(ledger, told, tmp_path, monkeypatch):
    ledger.one()
    (tmp_path / "bare").mkdir()
    monkeypatch.setattr(ledger_tags, "ROOT", tmp_path / "bare")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    code, _, err = told("tag", "--missing")
    assert (code, "not a git repository" in err) == (1, True)


def test_what_programs_read_is_one_object_whatever_the_verb(ledger, told, repository, tmp_path):
    """Given --json, then stdout is JSON and nothing else, of good news and of bad."""
    ledger.fill(2)

    def objects(*arguments, code=0):
        found, out, _ = told(*arguments, "--json")
        assert found == code
        return json.loads(out)

    proven = objects("prove", "1")
    (tmp_path / "one.proof").write_text(proven["text"])
    assert (proven["proof"], proven["seq"], proven["size"]) == ("record", 1, 2)
    assert objects("verify", tmp_path / "one.proof")["ok"] is True
    (tmp_path / "bad.proof").write_text(proven["text"].replace("index 0", "index 1"))
    assert objects("verify", tmp_path / "bad.proof", code=1)["ok"] is False
    assert objects("tag", "OPS-2026-01-27-001")["tagged"] == ["ops-2026-01-27-001"]
    assert objects("tag", "--missing") == {
        "ok": True, "tagged": ["ops-2026-01-27-002"], "failed": [],
    }  # fmt: skip
    assert objects("rebuild") == {"ok": True, "differs": []}
    ledger.folder.changelog.write_text("edited")
    told_of = objects("rebuild", "--check", code=3)
    assert told_of["ok"] is False
    assert "OPS_CHANGELOG.md" in told_of["differs"][0]
