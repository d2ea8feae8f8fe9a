"""Every kind of tampering is named by its line; checkpoints and proofs hold for openssl, too."""

from __future__ import annotations

import base64
import builtins
import itertools
import random
import subprocess
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import canonical, checkpoint, ed25519, entry, merkle, proof
from quantum_ops.ledger.checkpoint import Checkpoint, Signer, Verifier
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.seal import Seal
from quantum_ops.ledger.verify import verify
from tests.ledger_story import Ledger, request, rewritten

LINES = 9
MONTHS = 3


@pytest.fixture
def ledger(tmp_path):
    """Nine records over three months, written by runs of different sizes."""
    made = Ledger(tmp_path / "ledger")
    for month in range(MONTHS):
        made.record(request(month, evidence={"hostname": "prod-1"}), request(10 + month))
        made.one(20 + month)
        made.now += timedelta(days=31)
    return made


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "ledger.pem"
    ed25519.make(path)
    return path


@pytest.fixture
def without_cryptography(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def first(ledger, *trusted):
    """Where the first fault is: segment and line."""
    report = verify(ledger.folder, trusted)
    assert not report.ok
    return report.faults[0].segment, report.faults[0].number


def forget_index(ledger):
    for path in ledger.folder.cache.iterdir():
        path.unlink()


def test_an_untouched_journal_holds(ledger):
    report = verify(ledger.folder)
    assert (report.ok, report.lines, report.proven, report.notes) == (True, LINES, LINES, [])
    assert report.head == checkpoint.newest(ledger.folder).head
    sizes = [one.head.size for one in checkpoint.history(ledger.folder)]
    assert sizes == [2, 3, 5, 6, 8, 9]


def test_an_empty_ledger_holds(tmp_path):
    assert verify(Ledger(tmp_path).folder).ok


def test_a_flipped_byte_anywhere_is_named_by_its_line(ledger):
    """Every segment, the last but one included; every byte of some lines, some bytes of all."""
    chance = random.Random(5)
    for path in ledger.folder.segments():
        whole = path.read_bytes()
        for at in chance.sample(range(len(whole)), 120):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            # A line end that was flipped joins two lines: the fault stands in the first of them.
            number = whole[:at].count(b"\n") + 1
            assert first(ledger) == (path.name, number), (path.name, at, flipped[at])
        path.write_bytes(whole)
    assert verify(ledger.folder).ok


PARTS = {
    "a name of the data": b'"operation_name"',
    "a value of the data": b"to tell a story",
    "a brace": b'{"data":{',
    "the end of the data": b'},"digest"',
    "digest": b'"sha256:',
    "id": b'"id":"OPS-',
    "occurred_at": b'"occurred_at":"',
    "recorded_at": b'"recorded_at":"',
    "seq": b'"seq":',
    "host": b'"host":"',
    "stream": b'"stream":"',
    "stream_id": b'"stream_id":"',
    "type": b'"type":"',
    "version": b'"v":1}',
    "end of line": b"}\n",
}


@pytest.mark.parametrize("index", ["index", "no index"])
def test_a_flipped_byte_of_each_kind_is_named_in_each_line_of_each_segment(ledger, index):
    if index == "no index":
        forget_index(ledger)
    for path, (part, mark) in itertools.product(ledger.folder.segments(), PARTS.items()):
        whole = path.read_bytes()
        start = 0
        for number in range(1, 4):
            at = whole.index(mark, start) + len(mark) - 1
            flipped = bytearray(whole)
            flipped[at] ^= 1
            path.write_bytes(flipped)
            assert first(ledger) == (path.name, number), part
            start = whole.index(b"\n", at) + 1
        path.write_bytes(whole)
    assert verify(ledger.folder).ok


def test_a_flipped_byte_of_a_signed_checkpoint_is_told(ledger, key, tmp_path):
    ledger.seal = Seal.find({"LEDGER_KEY": str(key)}, tmp_path)
    ledger.one("signed")
    verifier = ledger.seal.signer.verifier()
    whole = ledger.folder.checkpoint.read_bytes()
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        ledger.folder.checkpoint.write_bytes(flipped)
        assert not verify(ledger.folder, verifier=verifier).ok, at


def test_evidence_that_was_changed_is_named_with_and_without_an_index(ledger):
    path = ledger.folder.segments()[1]
    path.write_bytes(path.read_bytes().replace(b"prod-1", b"prod-2"))
    assert first(ledger) == (path.name, 1)
    forget_index(ledger)
    assert first(ledger) == (path.name, 1)


@pytest.mark.parametrize("index", ["index", "no index"])
@pytest.mark.parametrize("segment", range(MONTHS))
@pytest.mark.parametrize("line", range(3))
@pytest.mark.parametrize("how", ["deleted", "doubled", "moved", "cut", "inserted", "emptied"])
def test_lines_that_are_not_where_they_were_are_named(ledger, segment, line, how, index):
    path = ledger.folder.segments()[segment]
    lines = path.read_bytes().splitlines(keepends=True)
    expected = line + 1
    if how == "deleted":
        del lines[line]
    elif how == "doubled":
        lines.insert(line, lines[line])
        expected = line + 2
    elif how == "moved":
        lines[line], lines[line - 1] = lines[line - 1], lines[line]
        expected = min(line, (line - 1) % 3) + 1
    elif how == "cut":
        lines[line] = lines[line][:40]
    elif how == "emptied":
        lines[line] = b"\n"
    else:
        lines.insert(line, canonical.dump({**canonical.load(lines[line][:-1]), "id": "x"}) + b"\n")
    path.write_bytes(b"".join(lines))
    if index == "no index":
        forget_index(ledger)
    wanted = (path.name, expected)
    if how in ("deleted", "cut") and segment == MONTHS - 1 and line == 2:
        assert first(ledger) in (wanted, (path.name, 2))  # nothing is left there to be named
    elif how == "deleted" and line == 2:
        assert first(ledger) == (ledger.folder.segments()[segment + 1].name, 1)
    elif how == "doubled":
        assert first(ledger) in (wanted, (path.name, expected - 1))
    else:
        assert first(ledger) == wanted


def test_a_segment_that_is_gone_is_told_where_it_should_have_been(ledger):
    names = [path.name for path in ledger.folder.segments()]
    kept = [path.read_bytes() for path in ledger.folder.segments()]
    for number, path in enumerate(ledger.folder.segments()):
        path.unlink()
        where = first(ledger)
        assert where == ((names[number + 1], 1) if number < MONTHS - 1 else (names[-2], 3))
        path.write_bytes(kept[number])


def test_a_tail_that_was_cut_is_told_by_what_is_missing(ledger):
    path = ledger.segment
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    report = verify(ledger.folder)
    assert "2 records are missing" in str(report.faults[0])
    ledger.folder.checkpoint.unlink()
    ledger.folder.checkpoints.unlink()
    assert verify(ledger.folder).notes == [
        "there is no checkpoint: a rewritten history would not be noticed"
    ]


def test_the_torn_end_of_an_interrupted_write_is_no_fault_while_nothing_proven_is_missing(ledger):
    with ledger.segment.open("ab") as file:
        file.write(b'{"data":')
    report = verify(ledger.folder)
    assert report.ok
    assert "8 bytes without an end of line" in report.notes[0]


def test_a_history_that_was_rewritten_consistently_fails_an_older_checkpoint(ledger):
    kept = checkpoint.newest(ledger.folder)
    other = rewritten(ledger, 5)
    assert verify(other.folder).ok  # by itself it is a perfect ledger
    report = verify(other.folder, [kept])
    assert not report.ok
    assert "checkpoint of 9 records" in str(report.faults[0])
    earlier = checkpoint.history(ledger.folder)
    where = first(other, *earlier)
    # The checkpoint of 5 records is the first that does not fit, the one of 3 the last that does.
    assert where == ("2026-02.jsonl", 1)


def test_a_ledger_that_grew_still_has_its_older_checkpoints(ledger):
    kept = checkpoint.newest(ledger.folder)
    ledger.fill(3)
    assert verify(ledger.folder, [kept]).ok


def test_a_longer_checkpoint_than_the_journal_is_a_fault(ledger):
    head = merkle.Head(LINES + 4, merkle.leaf(b"x"))
    report = verify(ledger.folder, [Checkpoint("x", head)])
    assert "4 records are missing" in str(report.faults[0])


def test_an_operation_recorded_twice_is_a_fault(ledger, monkeypatch):
    monkeypatch.setattr("quantum_ops.ledger.index.Index.operation", lambda *_: None)
    ledger.one("x", operation_id=ledger.ids()[-1], occurred_at=ledger.now - timedelta(days=31))
    report = verify(ledger.folder)
    assert "was recorded before, in record 9" in str(report.faults[0])


def test_a_damaged_checkpoint_is_told(ledger):
    ledger.folder.checkpoint.write_text("what\n")
    report = verify(ledger.folder)
    assert not report.ok
    assert str(ledger.folder.checkpoint) in str(report.faults[0])


# --- signatures -------------------------------------------------------------------------------


def test_checkpoints_are_signed_and_openssl_agrees(ledger, key, tmp_path):
    ledger.seal = Seal.find(
        {"LEDGER_KEY": str(key), "LEDGER_ORIGIN": "example.com/ledger"}, tmp_path
    )
    ledger.one("signed")
    made = checkpoint.newest(ledger.folder)
    verifier = ledger.seal.signer.verifier()
    assert verify(ledger.folder, verifier=verifier).signed
    text = ledger.folder.checkpoint.read_text()
    body, _, signed = text.partition("\n\n")
    raw = base64.b64decode(signed.split(" ")[2])
    (tmp_path / "body").write_text(body + "\n")
    (tmp_path / "signature").write_bytes(raw[4:])
    public = ["openssl", "pkey", "-in", key, "-pubout", "-out", tmp_path / "public.pem"]
    subprocess.run(public, check=True)
    command = [
        "openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", tmp_path / "public.pem",
        "-in", tmp_path / "body", "-sigfile", tmp_path / "signature",
    ]  # fmt: skip
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    (tmp_path / "body").write_text(body.replace("\n10\n", "\n11\n") + "\n")
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0
    assert made.origin == "example.com/ledger"


@pytest.mark.usefixtures("without_cryptography")
def test_without_cryptography_openssl_signs_the_same_and_checks_it(ledger, key, tmp_path):
    ledger.seal = Seal.find({"LEDGER_KEY": str(key)}, tmp_path)
    ledger.one("signed")
    verifier = ledger.seal.signer.verifier()
    made = checkpoint.newest(ledger.folder)
    verifier.verify(made)
    with pytest.raises(CheckpointError, match="does not fit"):
        verifier.verify(Checkpoint(made.origin, made.head._replace(size=3), made.signatures))


def test_both_ways_of_signing_give_the_same_bytes(key):
    # Ed25519 signatures are deterministic, so the two can be compared.
    ours = ed25519.sign(key, b"text")
    by_hand = subprocess.run(
        ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", "/dev/stdin"],
        input=b"text", capture_output=True, check=False,
    )  # fmt: skip
    assert ed25519.verify(ed25519.public(key), b"text", ours)
    assert not ed25519.verify(ed25519.public(key), b"Text", ours)
    assert by_hand.returncode != 0 or by_hand.stdout == ours


def test_another_key_or_none_is_told(ledger, key, tmp_path):
    verifier = Signer(checkpoint.ORIGIN, key).verifier()
    assert "no signature of" in str(verify(ledger.folder, verifier=verifier).faults[0])
    ed25519.make(tmp_path / "other.pem")
    ledger.seal = Seal(checkpoint.ORIGIN, Signer(checkpoint.ORIGIN, tmp_path / "other.pem"))
    ledger.one("signed")
    assert not verify(ledger.folder, verifier=verifier).ok


@pytest.mark.parametrize("content", [None, b"", b"nonsense", "rsa"])
def test_a_key_that_is_none_costs_the_signature_not_the_record(ledger, tmp_path, content):
    path = tmp_path / "wrong.pem"
    if content == "rsa":
        command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]
        content = subprocess.run(command, capture_output=True, check=True).stdout
    if content is not None:
        path.write_bytes(content)
    ledger.seal = Seal.find({"LEDGER_KEY": "wrong.pem"}, tmp_path)
    assert ledger.one("x").outcome == "recorded"
    assert any("the record stands" in one for one in ledger.told)
    assert checkpoint.newest(ledger.folder).head.size == LINES


def test_a_key_is_private_and_never_overwritten(tmp_path):
    ed25519.make(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(CheckpointError, match="there is a key already"):
        ed25519.make(tmp_path / "key.pem")


def test_a_key_and_signature_that_others_publish_are_understood():
    # The example of Go's golang.org/x/mod/sumdb/note, where the format comes from.
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    signature = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    said = (
        b"If you think cryptography is the answer to your problem,\n"
        b"then you don't know what your problem is.\n"
    )
    verifier = Verifier.parse(text)
    assert verifier.text() == text
    assert signature[:4] == verifier.key_id
    assert ed25519.verify(verifier.public, said, signature[4:])
    assert not ed25519.verify(verifier.public, said + b"\n", signature[4:])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a+b+c",
        "x+00000000+AQ==",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(CheckpointError, match="not a key such as"):
        Verifier.parse(text)


def test_a_name_that_signed_notes_do_not_allow_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="LEDGER_ORIGIN"):
        Seal.find({"LEDGER_ORIGIN": "my ledger"}, tmp_path)


HEADS = st.builds(merkle.Head, st.integers(0, 2**40), st.binary(min_size=32, max_size=32))
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="+"),
                min_size=1, max_size=20)  # fmt: skip


@given(NAMES, HEADS, st.lists(st.tuples(NAMES, st.binary(min_size=5, max_size=70)), max_size=3))
def test_a_note_is_read_back(origin, head, signatures):
    made = Checkpoint(origin, head, tuple(signatures))
    assert checkpoint.parse(made.text()) == made


@given(st.text(max_size=120))
def test_any_text_is_a_note_or_refused(text):
    try:
        found = checkpoint.parse(text)
    except CheckpointError:
        return
    assert found.text() == text


# --- proofs -----------------------------------------------------------------------------------


def test_a_proof_file_proves_its_record_alone(ledger, key, tmp_path):
    ledger.seal = Seal.find({"LEDGER_KEY": str(key)}, tmp_path)
    ledger.one("signed")
    verifier = ledger.seal.signer.verifier()
    newest = checkpoint.newest(ledger.folder)
    for seq, record in enumerate(ledger.records(), 1):
        text = proof.make(ledger.lines(), seq, newest).text()
        assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
        assert proof.parse(text).check(verifier) == record


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_proof_that_was_changed_proves_nothing(ledger, data):
    newest = checkpoint.newest(ledger.folder)
    text = proof.make(ledger.lines(), data.draw(st.integers(1, LINES)), newest).text()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from("Aa1+/=\n \u2014")) + text[at + 1 :]
    origin = changed.partition("\n\n")[2].partition("\n")[0]
    try:
        found = proof.parse(changed)
        found.check()
    except CheckpointError:
        return
    # Who signed was not asked here: only the log's name, which no hash covers, may differ.
    assert changed == text or origin != newest.origin


def test_what_the_checkpoint_does_not_cover_has_no_proof(ledger):
    newest = checkpoint.newest(ledger.folder)
    for seq in (0, LINES + 1):
        with pytest.raises(CheckpointError, match="not in the checkpoint"):
            proof.make(ledger.lines(), seq, newest)
    lines = ledger.lines()
    lines[2] = lines[1]
    with pytest.raises(CheckpointError, match="not what the checkpoint says"):
        proof.make(lines, 1, newest)


def test_the_content_digest_leaves_out_what_differs_from_run_to_run():
    data = {"operation_id": "x", "outcome": "SUCCESS"}
    assert entry.content_digest({**data, "hostname": "a"}) == entry.content_digest(data)
    assert entry.content_digest({**data, "outcome": "PARTIAL"}) != entry.content_digest(data)


def test_changed_content_is_named_even_if_there_is_no_checkpoint_at_all(ledger):
    ledger.folder.checkpoint.unlink()
    ledger.folder.checkpoints.unlink()
    path = ledger.folder.segments()[1]
    path.write_bytes(path.read_bytes().replace(b"fix #21", b"fix #22"))
    report = verify(ledger.folder)
    assert (report.faults[0].segment, report.faults[0].number) == (path.name, 3)
    assert "not what its digest says" in str(report.faults[0])


def test_bytes_have_one_text_in_base64():
    assert checkpoint.unbase64("AA==") == b"\0"
    for text in ("AB==", "AA=", "AA", "A A==", "AA==\n", "\u00e9"):
        with pytest.raises(CheckpointError, match="not base64"):
            checkpoint.unbase64(text)
