"""`./run verify`: what is proven, what is forged, and by whose word, as an auditor types it."""

from __future__ import annotations

import io
import json
import shutil
from types import SimpleNamespace

import pytest

from ops import proving
from ops.__main__ import entry as run
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import checkpoint, ed25519
from quantum_ops.ledger.checkpoint import Signer
from quantum_ops.ledger.seal import Seal
from tests.archive_rig import PLAN, RESULT, T0, fill, flat, id_of, writing
from tests.ledger_story import Ledger

ORIGIN = "quantum-ops/archive"
ASKED = [(PLAN, f"{T0 + 1}-0"), (RESULT, f"{T0 + 3}-0")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A system whose archive is signed, a proof that it made, and its public key in a file."""
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANTUM_CALLED_FROM", str(tmp_path))
    monkeypatch.setenv("ARCHIVE_KEY", str(tmp_path / "key.pem"))
    monkeypatch.setenv("LEDGER_DIR", str(tmp_path / "ledger"))
    for name in ("ARCHIVE_DIR", "LEDGER_KEY", "LEDGER_ORIGIN", "VERIFY_KEYS"):
        monkeypatch.delenv(name, raising=False)
    ed25519.make(tmp_path / "key.pem")
    signer = Signer(ORIGIN, tmp_path / "key.pem")
    folder = fill(tmp_path / "home" / "archive", 300, segment_bytes=9000)
    checkpoint.publish(folder, Archive(folder).head, ORIGIN, signer)
    proving.write("one.proof", Archive(folder), ASKED)
    vkey = signer.verifier().text()
    (tmp_path / "key.pub").write_text(vkey + "\n", encoding="utf-8")
    return SimpleNamespace(base=tmp_path, folder=folder, vkey=vkey, signer=signer)


@pytest.fixture
def elsewhere(here, tmp_path, monkeypatch):
    """The auditor's machine: nothing of that system is there but what was handed over."""
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv("ARCHIVE_KEY")
    return here


@pytest.fixture
def verify(capsys, here):
    capsys.readouterr()

    def typed(*arguments, **replaced):
        if replaced:
            path = here.base / "one.proof"
            loose = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps({**loose, **replaced}), encoding="utf-8")
        code = run(["verify", *map(str, arguments or ["one.proof"])])
        out, err = capsys.readouterr()
        return code, out + err

    return typed


def test_with_the_key_it_is_proven_anywhere(elsewhere, verify):
    for key in (elsewhere.vkey, "key.pub"):
        code, told = verify("one.proof", "--key", key)
        assert code == 0, told
        assert "PROVEN: 2 entries of the log quantum-ops/archive of 300 entries, root " in told
        assert f"entry 2: apply.plan {T0 + 1}-0\n  entry 4: apply.result {T0 + 3}-0\n" in told
        assert "signed by quantum-ops/archive+" in told
    pem = elsewhere.base / "key.pem.pub"
    pem.write_text(ed25519.pem(elsewhere.signer.verifier().public), encoding="utf-8")
    assert verify("one.proof", "--key", "key.pem.pub")[0] == 0
    assert verify("one.proof", "--key", "key.pem.pub", "--origin", "another/log")[0] == 1


def test_without_a_key_it_is_not_and_its_own_key_is_none(elsewhere, verify):
    code, told = verify()
    assert code == 3
    assert "FITS TOGETHER: 2 entries" in told
    assert "NOT PROVEN: nothing says whose log this is. Name its public key with --key" in told


def test_a_key_may_be_pinned(elsewhere, verify, monkeypatch):
    monkeypatch.setenv("VERIFY_KEYS", f"some/other+1a2b3c4d+AQ==,{elsewhere.vkey}")
    code, told = verify()
    assert (code, "VERIFY_KEYS: not a key such as" in told) == (78, True)
    monkeypatch.setenv("VERIFY_KEYS", elsewhere.vkey)
    code, told = verify()
    assert (code, "a key of VERIFY_KEYS" in told) == (0, True)


def test_a_kept_checkpoint_serves_as_well_as_a_key(elsewhere, verify):
    shutil.copy(elsewhere.folder.checkpoint, elsewhere.base / "kept")
    code, told = verify("one.proof", "--against", "kept")
    assert (code, "its checkpoint is the one given" in told) == (0, True)
    other = fill(elsewhere.base / "other", 300, start=1000)
    code, told = verify("one.proof", "--against", other.checkpoint)
    assert (code, "BAD: checkpoint: the one given, of 300 entries" in told) == (1, True)


def test_what_was_forged_is_named_by_entry_and_part(elsewhere, verify):
    proof = json.loads((elsewhere.base / "one.proof").read_text(encoding="utf-8"))
    line = proof["entries"][1]["line"].replace("EXECUTE", "BLOCKED")
    forged = [proof["entries"][0], {**proof["entries"][1], "line": line}]
    code, told = verify(entries=forged)
    assert code == 1
    assert f"BAD: entries[1] ({RESULT} {T0 + 3}-0): is not entry 4 of the log of 300" in told
    code, told = verify(entries=[{**one, "hashes": ["!", *one["hashes"][1:]]} for one in forged])
    assert f"entries[0] ({PLAN} {T0 + 1}-0).hashes[0]: not base64: '!'" in told
    code, told = verify(key="", checkpoint=proof["checkpoint"].replace("\n300\n", "\n301\n"))
    assert code == 1


def test_here_the_archive_itself_is_compared(here, verify):
    code, told = verify()
    assert code == 0, told
    assert f"the archive in {here.folder.base} begins with these 300 entries" in told
    assert "this system's own key" in told
    # The archive grew: the proof stays good.
    with writing(here.folder.base) as made:
        made.add(PLAN, id_of(900), flat(900))
        made.commit()
    assert verify()[0] == 0
    # Another history under the same name and key.
    shutil.rmtree(here.folder.base)
    rewritten = fill(here.folder.base, 300, start=5000)
    checkpoint.publish(rewritten, Archive(rewritten).head, ORIGIN, here.signer)
    code, told = verify()
    assert (code, "does not begin with these 300 entries" in told) == (1, True)
    code, told = verify("one.proof", "--alone")
    assert (code, "archive in" in told) == (0, False)


def test_what_is_newer_than_the_checkpoint_is_never_called_proven(here, verify, capsys):
    with writing(here.folder.base) as made:
        made.add(PLAN, id_of(900), flat(900))
        made.commit()
    wanted = [*ASKED, (PLAN, f"{T0 + 900}-0"), (PLAN, "5-5")]
    proving.write("two.proof", Archive(here.folder), wanted)
    err = capsys.readouterr().err
    assert "1 entries are newer than the archive's last checkpoint: not proven yet" in err
    assert f"{PLAN} 5-5: is not in the archive: not proven yet" in err
    code, told = verify("two.proof")
    assert code == 3
    assert f"NOT PROVEN YET: entry 301: apply.plan {T0 + 900}-0" in told
    assert "NOT PROVEN: apply.plan 5-5: was not in the archive when this was made" in told


def test_for_programs_and_through_a_pipe(here, verify, capsys, monkeypatch):
    proving.write("-", Archive(here.folder), ASKED)
    piped = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(piped.encode())))
    code, told = verify("-", "--json")
    found = json.loads(told)
    assert (code, found["ok"], found["size"], found["faults"]) == (0, True, 300, [])
    assert [one["id"] for one in found["entries"]] == [id_ for _, id_ in ASKED]
    assert found["signed_by"] == here.vkey


def test_hostile_text_in_it_moves_no_cursor(elsewhere, verify):
    code, told = verify(absent=[{"stream": "\x1b[2J", "id": "\u202e"}], sha256="")
    assert (code, "\x1b" in told) == (1, False)


def test_a_ledgers_proofs_are_verified_by_the_same_verb(here, verify, capsys, monkeypatch):
    monkeypatch.chdir(here.base)
    ledger = Ledger(here.base / "ledger")
    run(["ledger", "key", str(here.base / "ledger.pem")])
    ledger.seal = Seal.find({"LEDGER_KEY": str(here.base / "ledger.pem")}, here.base)
    ledger.fill(3)
    shutil.copy(ledger.folder.checkpoint, here.base / "kept")
    ledger.fill(2)
    assert run(["ledger", "prove", "2", "-o", str(here.base / "record.proof")]) == 0
    grew = ["--since", str(here.base / "kept"), "-o", str(here.base / "grew.proof")]
    assert run(["ledger", "prove", *grew]) == 0
    capsys.readouterr()
    code, told = verify("record.proof", "--key", "ledger.pem.pub", "--origin", "quantum-ops/ledger")
    assert (code, "PROVEN: record 2 of the log quantum-ops/ledger of 5 records" in told) == (
        0,
        True,
    )
    assert f"the ledger in {ledger.folder.base} begins with these 5 records" in told
    assert verify("record.proof", "--alone")[0] == 3
    code, told = verify("grew.proof", "--against", "kept", "--alone")
    assert (code, "starts with the 3 of the checkpoint given" in told) == (0, True)
    text = (here.base / "record.proof").read_text(encoding="utf-8")
    (here.base / "bad.proof").write_text(text.replace("index 1", "index 2"), encoding="utf-8")
    code, told = verify("bad.proof", "--alone")
    assert (code, "BAD: the record is not number 3" in told) == (1, True)


def test_usage_and_files_that_are_not_there(here, verify):
    gone = f"verify: {here.base}/nowhere.proof: No such file or directory\n"
    assert verify("nowhere.proof") == (74, gone)
    assert verify("one.proof", "--key", "a+b+c")[0] == 2
    assert verify("one.proof", "--key", "nowhere.pub")[0] == 74
    (here.base / "text").write_bytes(b"\xff hello")
    code, told = verify("text")
    assert (code, told.startswith("BAD: not a proof of archived entries")) == (1, True)


def test_the_archive_tells_its_public_key(here, capsys, monkeypatch):
    assert run(["archive", "key"]) == 0
    assert capsys.readouterr().out.strip() == here.vkey
    monkeypatch.delenv("ARCHIVE_KEY")
    assert run(["archive", "key"]) == 4
    assert "signed by nobody" in capsys.readouterr().err


def test_a_proof_never_replaces_a_device(here, capsys):
    proving.write("/dev/null", Archive(Folder(here.folder.base)), ASKED)
    assert not (here.base / "/dev/null").is_file()
