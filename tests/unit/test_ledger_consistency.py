"""A file that proves that the log only grew: for a checkpoint that was kept, and for no other."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import checkpoint, consistency, ed25519, merkle
from quantum_ops.ledger.checkpoint import Checkpoint
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.seal import Seal
from tests.ledger_story import Ledger

SIZE = 11


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    made = Ledger(tmp_path_factory.mktemp("ledger"))
    made.fill(SIZE)
    return made


@pytest.fixture(scope="module")
def heads(ledger):
    """The checkpoint of each size, the empty one too."""
    tree = merkle.Tree(map(merkle.leaf, ledger.lines()))
    return [
        Checkpoint(checkpoint.ORIGIN, merkle.Head(size, tree.root(size)))
        for size in range(SIZE + 1)
    ]


def test_every_older_checkpoint_has_its_proof_and_it_holds_for_no_other(ledger, heads):
    newest = checkpoint.newest(ledger.folder)
    for old in heads:
        text = consistency.make(ledger.lines(), old, newest).text()
        assert text.startswith(f"old {old.head.size}\n")
        assert text.endswith("\n\n" + newest.text())
        found = consistency.parse(text)
        found.check(old)
        for other in heads:
            if other != old:
                with pytest.raises(CheckpointError, match="give the one that it was made for"):
                    found.check(other)
        if old.head.size:
            forged = Checkpoint(old.origin, merkle.Head(old.head.size, merkle.leaf(b"forged")))
            with pytest.raises(CheckpointError, match="its history was rewritten"):
                found.check(forged)


def test_a_history_that_was_rewritten_has_no_proof(ledger, heads):
    newest = checkpoint.newest(ledger.folder)
    forged = Checkpoint(checkpoint.ORIGIN, merkle.Head(3, merkle.leaf(b"forged")))
    with pytest.raises(CheckpointError, match="the first 3 records are not those"):
        consistency.make(ledger.lines(), forged, newest)
    with pytest.raises(CheckpointError, match="records are missing"):
        consistency.make(ledger.lines(), newest, heads[5])
    lines = ledger.lines()
    lines[2] = lines[1]
    for changed in (lines, ledger.lines()[:-1]):
        with pytest.raises(CheckpointError, match="not what the checkpoint says"):
            consistency.make(changed, heads[3], newest)


def test_what_was_appended_since_does_not_matter(ledger, heads):
    text = consistency.make([*ledger.lines(), b"{}"], heads[4], heads[9]).text()
    consistency.parse(text).check(heads[4])


def test_two_logs_are_two(ledger, heads):
    found = consistency.make(ledger.lines(), heads[4], heads[9])
    other = Checkpoint("example.com/other", heads[4].head)
    with pytest.raises(CheckpointError, match="two logs"):
        found.check(other)


def test_both_checkpoints_must_be_signed_if_a_key_is_given(ledger, heads, tmp_path):
    ed25519.make(tmp_path / "key.pem")
    signer = Seal.find({"LEDGER_KEY": str(tmp_path / "key.pem")}, tmp_path).signer
    old, new = signer.sign(heads[4]), signer.sign(heads[9])
    consistency.make(ledger.lines(), old, new).check(old, signer.verifier())
    for pair in ((old, heads[9]), (heads[4], new)):
        with pytest.raises(CheckpointError, match="no signature of"):
            consistency.make(ledger.lines(), *pair).check(pair[0], signer.verifier())


@pytest.mark.parametrize(
    "text",
    [
        "", "old", "old x\n\n", "old 01\n\na\n1\nb\n", "old 1\nAA==\n\na\n1\nb\n", "old -1\n\n",
        "old 1\n" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" * 64 + "\na\n1\nb\n",
        "old 1\n\nnonsense", "new 1\n\n", "old \u0661\n\n",
    ],
)  # fmt: skip
def test_what_is_no_proof_is_refused(text):
    with pytest.raises(CheckpointError):
        consistency.parse(text)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_proof_that_was_changed_proves_nothing(ledger, heads, data):
    old = heads[data.draw(st.integers(1, SIZE - 1))]
    newest = checkpoint.newest(ledger.folder)
    text = consistency.make(ledger.lines(), old, newest).text()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from("Aa1+/=\n \u2014")) + text[at + 1 :]
    try:
        consistency.parse(changed).check(old)
    except CheckpointError:
        return
    assert changed == text
