"""Whatever is changed in the archive is found, and named by segment and line."""

from __future__ import annotations

import json
import random
import shutil
import subprocess

import pytest
import zstandard

from quantum_ops.history import blocks, entry, marks, sealing
from quantum_ops.history.folder import Folder
from quantum_ops.history.verify import verify
from quantum_ops.ledger import checkpoint, ed25519
from quantum_ops.ledger.seal import Seal
from tests.archive_rig import PLAN, fill, flat, id_of, ids, writing

COUNT = 400


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Folder:
    """Several sealed segments, some of several blocks, and an open one."""
    base = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 2000)
        return fill(base, COUNT, step=10, segment_bytes=8000)


@pytest.fixture
def folder(written, tmp_path) -> Folder:
    """A copy of it, to be damaged."""
    shutil.copytree(written.base, tmp_path / "archive")
    return Folder(tmp_path / "archive")


def sealed(folder: Folder):
    return [name for name in folder.names() if folder.packed(name).exists()]


def open_one(folder: Folder):
    return folder.names()[-1]


def repack(folder: Folder, name, change) -> None:
    """Change the lines of a sealed segment as somebody would who knows zstd."""
    done = subprocess.run(["zstd", "-dcq", folder.packed(name)], capture_output=True, check=True)
    lines = done.stdout.splitlines(keepends=True)
    change(lines)
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(b"".join(lines))
    folder.packed(name).write_bytes(packed)


def faults(folder: Folder, *trusted) -> list[str]:
    return [str(one) for one in verify(folder, trusted).faults]


def test_what_was_written_holds(folder):
    report = verify(folder)
    assert report.ok, report.faults
    assert (report.lines, report.proven, report.notes) == (COUNT, COUNT, [])
    assert len(sealed(folder)) >= 5


class TestAFlippedByte:
    def test_in_each_sealed_segment_in_turn_is_found_and_named(self, folder):
        rng = random.Random(6)
        for name in sealed(folder):
            path = folder.packed(name)
            good = path.read_bytes()
            for at in {0, len(good) // 2, len(good) - 1, *rng.sample(range(len(good)), 5)}:
                bad = bytearray(good)
                bad[at] ^= 1 << rng.randrange(8)
                path.write_bytes(bad)
                found = faults(folder)
                assert any(one.startswith(path.name) for one in found), (at, found)
                # Some bits of zstd change nothing: then there is no line to name.
                assert " line " in found[0] or "lines are all intact" in found[0]
            path.write_bytes(good)
        assert verify(folder).ok

    def test_in_each_line_of_the_open_segment_is_found_and_named(self, folder):
        path = folder.raw(open_one(folder))
        good = path.read_bytes()
        lines = good.splitlines(keepends=True)
        rng, start = random.Random(7), 0
        for number, line in enumerate(lines, 1):
            bad = bytearray(good)
            bad[start + rng.randrange(len(line) - 1)] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            # A flip may make two lines of one, then it is the first of them.
            assert faults(folder)[0].startswith(f"{path.name} line {number}: ")
            start += len(line)
        path.write_bytes(good)
        assert verify(folder).ok

    def test_names_the_block_that_does_not_unpack(self, folder):
        name = sealed(folder)[-2]
        index = blocks.decode_index(folder.index(name).read_bytes())
        assert len(index.blocks) > 2
        path = folder.packed(name)
        bad = bytearray(path.read_bytes())
        bad[index.blocks[1].packed_at + 20] ^= 1
        path.write_bytes(bad)
        first = index.blocks[1].first - index.first + 1
        last = first + index.blocks[1].lines - 1
        [found] = faults(folder)
        assert found.startswith(f"{path.name} line {first}: the block of lines {first} to {last} ")

    @pytest.mark.parametrize("which", ["SHA256SUMS", "checkpoint", "index", "marks"])
    def test_in_what_belongs_to_the_segments_is_found(self, folder, which):
        name = sealed(folder)[1]
        path = {
            "SHA256SUMS": folder.sums,
            "checkpoint": folder.checkpoint,
            "index": folder.index(name),
            "marks": folder.marks(name),
        }[which]
        good = path.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        path.write_bytes(bad)
        assert len(faults(folder)) >= 1
        if which in ("index", "marks"):
            sealing.reindex(folder, name)
            assert path.read_bytes() == good
            assert verify(folder).ok

    def test_in_the_marks_of_the_open_segment_accuses_no_line_that_is_proven(self, folder):
        path = folder.marks(open_one(folder))
        bad = bytearray(path.read_bytes())
        bad[20] ^= 1
        path.write_bytes(bad)
        report = verify(folder)
        assert report.ok
        assert "marks are damaged" in report.notes[0]


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd here")
class TestSomebodyWhoKnowsTheFormat:
    def change(self, lines):
        lines[6] = entry.encode(PLAN, id_of(999), flat(999)) + b"\n"

    def delete(self, lines):
        del lines[6]

    def insert(self, lines):
        lines.insert(6, entry.encode(PLAN, id_of(999), flat(999)) + b"\n")

    def cut(self, lines):
        del lines[-3:]

    @pytest.mark.parametrize(
        ("how", "why"),
        [
            ("change", "line 7: another line than the one that was written"),
            ("delete", "line 7: a line was taken out before it"),
            ("insert", "line 7: it was put in"),
            ("cut", "3 lines are missing after it"),
        ],
    )
    @pytest.mark.parametrize("which", [0, -1, "open"])
    def test_changes_lines(self, folder, how, why, which):
        if which == "open":
            path = folder.raw(open_one(folder))
            lines = path.read_bytes().splitlines(keepends=True)
            getattr(self, how)(lines)
            path.write_bytes(b"".join(lines))
        else:
            name = sealed(folder)[which]
            repack(folder, name, getattr(self, how))
        found = faults(folder)
        assert any(why in one for one in found), found

    def test_and_makes_sum_marks_and_index_anew(self, folder):
        name = sealed(folder)[2]
        first = blocks.decode_summary(folder.index(name).read_bytes()).first
        repack(folder, name, self.change)
        folder.sums.unlink()
        self.rewritten(folder)
        [found] = faults(folder)
        # No single line can be named any more, but the checkpoint proves it
        assert "are not those of the checkpoint" in found
        assert first < COUNT

    def rewritten(self, folder):
        """Sums, marks and indexes that fit the lines that are there now."""
        rows = []
        for name in sealed(folder):
            done = subprocess.run(
                ["zstd", "-dcq", folder.packed(name)], capture_output=True, check=True
            )
            import hashlib

            rows.append(f"{hashlib.sha256(done.stdout).hexdigest()}  {name}\n")
        folder.sums.write_text("".join(rows))
        for name in sealed(folder):
            sealing.reindex(folder, name)

    def test_and_the_checkpoints_too_is_caught_by_one_that_was_kept_elsewhere(self, folder):
        kept = checkpoint.newest(folder)
        name = sealed(folder)[2]
        repack(folder, name, self.change)
        folder.sums.unlink()
        self.rewritten(folder)
        folder.checkpoint.unlink()
        folder.checkpoints.unlink()
        assert verify(folder).ok
        assert "no checkpoint" in verify(folder).notes[0]
        [found] = faults(folder, kept)
        assert f"not those of the checkpoint of {COUNT} entries" in found


def test_a_missing_segment_is_named(folder):
    name = sealed(folder)[1]
    folder.packed(name).unlink()
    folder.index(name).unlink()
    found = faults(folder)
    assert any("a segment before it is missing" in one for one in found)
    assert any(one.startswith(str(name)) and "no such segment" in one for one in found)


def test_a_cut_end_is_told_by_the_checkpoint(folder):
    name = open_one(folder)
    folder.raw(name).unlink()
    folder.marks(name).unlink()
    [found] = faults(folder)
    assert "entries are missing at its end: a checkpoint covers 400" in found


def test_a_write_that_goes_on_is_a_note(folder):
    with folder.raw(open_one(folder)).open("ab") as file:
        file.write(b'{"fields":[')
    report = verify(folder)
    assert report.ok
    assert "11 bytes without an end of line" in report.notes[0]


def test_lines_that_no_checkpoint_covers_are_still_named_by_their_marks(folder):
    with writing(folder.base, segment_bytes=8000) as made:
        for number in range(COUNT, COUNT + 5):
            made.add(PLAN, id_of(number), flat(number))
        made.commit()
    path = folder.raw(open_one(folder))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[-2] = entry.encode(PLAN, id_of(1), flat(77)) + b"\n"
    path.write_bytes(b"".join(lines))
    [found] = faults(folder)
    assert found == f"{path.name} line {len(lines) - 1}: another line than the one that was written"


def test_a_signature_is_checked(folder, tmp_path):
    ed25519.make(tmp_path / "key.pem")
    ed25519.make(tmp_path / "other.pem")
    signer = checkpoint.Signer("quantum-ops/archive", tmp_path / "key.pem")
    seal = Seal("quantum-ops/archive", signer)
    head = verify(folder).head
    seal.publish(folder, head)
    report = verify(folder, verifier=signer.verifier())
    assert (report.ok, report.signed) == (True, True)
    other = checkpoint.Signer("quantum-ops/archive", tmp_path / "other.pem")
    assert "has no signature of" in str(verify(folder, verifier=other.verifier()).faults[0])


@pytest.mark.parametrize("number", range(4))
def test_marks_are_compared_in_every_way(number):
    one = [bytes([n]) * marks.SIZE for n in range(1, 6)]
    cases = [
        (one, one, ""),
        (one[:3], one, ""),
        ([*one[:4], bytes(marks.SIZE)], one, ""),
        (one, one[:4], "line 4: 1 lines are missing after it"),
    ]
    known, found, expected = cases[number]
    assert marks.compare(b"".join(known), b"".join(found)) == expected


def test_reading_goes_on_behind_what_was_verified(folder):
    assert len(ids(folder)) == COUNT
    assert json.loads(next(iter(folder.raw(open_one(folder)).read_bytes().splitlines())))
