"""A proof of archived entries: whatever is changed in it is found, and what it lacks it says."""

from __future__ import annotations

import base64
import json
import random
import shutil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops.history import attest, bundle
from quantum_ops.history.bundle import Bundle
from quantum_ops.history.errors import DamagedError, ProofError
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import checkpoint, ed25519
from quantum_ops.ledger.checkpoint import Signer
from tests.archive_rig import PLAN, RESULT, T0, fill, flat, id_of, writing

ORIGIN = "quantum-ops/archive"
COVERED = 700
"""More than a tile of 256 leaves: proofs go through nodes of indexes and through lines."""


@pytest.fixture(scope="module")
def signer(tmp_path_factory) -> Signer:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    ed25519.make(path)
    return Signer(ORIGIN, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, signer) -> Folder:
    """Sealed segments and an open one under a signed checkpoint, and ten entries behind it."""
    base = tmp_path_factory.mktemp("archive")
    filled = fill(base, COVERED, segment_bytes=20_000)
    checkpoint.publish(filled, Archive(filled).head, ORIGIN, signer)
    with writing(base) as made:
        for number in range(COVERED, COVERED + 10):
            made.add(PLAN, id_of(number), flat(number))
        made.commit()
    return filled


@pytest.fixture(scope="module")
def made(folder, signer) -> Bundle:
    wanted = [(PLAN, f"{T0 + n}-0") for n in (1, 302, 697)]
    wanted += [(PLAN, f"{T0 + COVERED + 3}-0"), ("apply.result", f"{T0 + 300}-0"), (PLAN, "7-7")]
    return attest.attest(Archive(folder), wanted, [signer.verifier()])


@pytest.fixture(scope="module")
def key(signer):
    return signer.verifier()


def meaning(verdict: bundle.Verdict) -> object:
    return verdict.checkpoint, verdict.entries, verdict.later, verdict.absent


def test_it_proves_what_it_holds_and_says_what_it_does_not(made, key):
    verdict = bundle.judge(bundle.parse(made.text()), key)
    assert verdict.faults == []
    assert verdict.signed
    shown = [(index, one.stream, one.id) for index, one in verdict.entries]
    assert shown == [(n, RESULT if n == 300 else PLAN, f"{T0 + n}-0") for n in (1, 300, 302, 697)]
    assert [index for index, _ in verdict.later] == [COVERED + 3]
    assert [(one.stream, one.id) for one in verdict.absent] == [(PLAN, "7-7")]
    assert not verdict.whole


def test_an_entry_asked_for_twice_stands_there_once(folder):
    twice = [(PLAN, f"{T0 + 1}-0"), ("apply.plan", f"{T0 + 1}-0")]
    assert len(attest.attest(Archive(folder), twice).entries) == 1


def test_of_an_id_that_came_again_both_are_proven(tmp_path):
    with writing(tmp_path) as one:
        one.add(PLAN, id_of(1), flat(1))
        one.add(PLAN, id_of(1), flat(2))
        one.commit()
        one.checkpoint()
    found = attest.attest(Archive(Folder(tmp_path)), [(PLAN, id_of(1).decode())])
    assert [one.index for one in found.entries] == [0, 1]


def test_without_a_checkpoint_nothing_is_called_proven(tmp_path):
    with writing(tmp_path) as one:
        one.add(PLAN, id_of(1), flat(1))
        one.commit()
    found = attest.attest(Archive(Folder(tmp_path)), [(PLAN, id_of(1).decode())])
    verdict = bundle.judge(found)
    assert (found.entries, len(found.later), verdict.faults) == ([], 1, [])
    assert not verdict.whole


def test_an_archive_that_is_not_what_its_checkpoint_says_gives_no_proof(folder, tmp_path):
    shutil.copytree(folder.base, tmp_path / "copy")
    copy = Folder(tmp_path / "copy")
    lines = copy.raw(copy.names()[-1]).read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b"EXECUTE", b"SKIPPED")
    copy.raw(copy.names()[-1]).write_bytes(b"".join(lines))
    with pytest.raises(DamagedError, match="not what its checkpoint of 700 entries says"):
        attest.attest(Archive(copy), [(PLAN, f"{T0 + 1}-0")])


def test_a_checkpoint_newer_than_the_look_at_the_archive_is_no_damage(tmp_path):
    filled = fill(tmp_path, 10)
    old = Archive(filled)
    fill(tmp_path, 10, start=10)
    found = attest.attest(old, [(PLAN, f"{T0 + 11}-0")])
    assert [one.index for one in found.entries] == [11]


def test_any_flipped_byte_is_found_or_changes_nothing(made, key):
    """A third of all bytes, each with a random bit."""
    raw = made.text().encode()
    whole = meaning(bundle.judge(made, key))
    dice = random.Random(7)
    silent = 0
    for at in range(dice.randrange(3), len(raw), 3):
        bad = bytearray(raw)
        bad[at] ^= 1 << dice.randrange(8)
        try:
            verdict = bundle.judge(bundle.parse(bytes(bad)), key)
        except ProofError:
            continue
        if not verdict.faults:
            silent += 1
            assert meaning(verdict) == whole, f"byte {at} of {raw[at - 30 : at + 30]!r}"
    # Blanks between the parts, for another kind of blank.
    assert silent < len(raw) // 30


PARTS = st.sampled_from(["line", "index", "hashes", "checkpoint", "key", "later", "drop"])


@given(st.data())
def test_a_forger_who_repairs_the_sum_is_found_by_the_proof_itself(made, key, data):
    """Whatever part of a proof is replaced, with a fitting ``sha256``, it proves no other thing."""
    loose = msgspec.to_builtins(made)
    part, at = data.draw(PARTS), data.draw(st.integers(0, len(made.entries) - 1))
    one = loose["entries"][at]
    if part == "line":
        spot = data.draw(st.integers(0, len(one["line"]) - 1))
        other = data.draw(st.characters(codec="ascii", exclude_characters=one["line"][spot]))
        one["line"] = one["line"][:spot] + other + one["line"][spot + 1 :]
    elif part == "index":
        other = st.integers(0, 2**40).filter(lambda index: index != one["index"])
        one["index"] = data.draw(other)
    elif part == "hashes":
        step = data.draw(st.integers(0, len(one["hashes"]) - 1))
        changed = bytearray(base64.b64decode(one["hashes"][step]))
        changed[data.draw(st.integers(0, 31))] ^= data.draw(st.integers(1, 255))
        one["hashes"][step] = base64.b64encode(changed).decode()
    elif part == "checkpoint":
        name, size, rest = loose["checkpoint"].split("\n", 2)
        loose["checkpoint"] = f"{name}\n{int(size) + data.draw(st.integers(1, 99))}\n{rest}"
    elif part == "key":
        loose["key"] = loose["key"].replace(key.key_id.hex(), "00000000")
    elif part == "later":
        moved = loose["entries"].pop(at)
        loose["later"].insert(0, {"line": moved["line"], "index": moved["index"]})
    else:
        one["hashes"] = one["hashes"][:-1]
    forged = msgspec.convert(loose, Bundle).sealed()
    assert bundle.judge(forged, key).faults


def test_a_whole_proof_of_ones_own_making_needs_ones_own_key(tmp_path, key):
    """It holds in itself, under its own key; the log's key did not sign it."""
    ed25519.make(tmp_path / "other.pem")
    other = Signer(ORIGIN, tmp_path / "other.pem")
    filled = fill(tmp_path / "archive", 20)
    checkpoint.publish(filled, Archive(filled).head, ORIGIN, other)
    forged = attest.attest(Archive(filled), [(PLAN, f"{T0 + 1}-0")], [other.verifier()])
    alone = bundle.judge(forged)
    assert (alone.faults, alone.signed) == ([], False)
    [fault] = bundle.judge(forged, key).faults
    assert "the checkpoint has no signature of quantum-ops/archive+" in fault


BROKEN = {
    "no JSON": ("{", "not a proof of archived entries"),
    "a list": ("[]", "Expected `object`"),
    "a name twice": ('{"format": "a", "format": "b"}', "the name 'format' stands twice"),
    "nested deep": ("[" * 100_000, "nested too deep"),
    "NaN": ('{"format": NaN}', "NaN is no number"),
    "UTF-16": ('{"format": 1}'.encode("utf-16"), "not a proof"),
    "half a character": ('{"format": "\\ud800"}', "not a proof"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_proof_is_said_to_be_none(name):
    text, why = BROKEN[name]
    with pytest.raises(ProofError, match=why):
        bundle.parse(text)


def test_another_format_and_an_unknown_part_are_refused(made):
    loose = msgspec.to_builtins(made)
    with pytest.raises(ProofError, match="format: 'x' is none that is known"):
        bundle.parse(json.dumps({**loose, "format": "x"}))
    with pytest.raises(ProofError, match="claim"):
        bundle.parse(json.dumps({**loose, "claim": "all is well"}))
