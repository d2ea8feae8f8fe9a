"""Whatever is changed in the archive is found, and named by segment and line."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess

import pytest
import zstandard

from quantum_ops.history import blocks, entry, marks, salvage, sealing
from quantum_ops.history.folder import Folder
from quantum_ops.history.verify import verify
from quantum_ops.ledger import checkpoint, ed25519
from quantum_ops.ledger.seal import Seal
from tests.archive_rig import PLAN, fill, flat, id_of, ids, writing
from tests.script_box import without

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


def marked(folder: Folder, name, one, index) -> bytes:
    """The marks of a block's lines."""
    before = one.first - index.first
    found = marks.read(folder.marks(name))
    return found[before * marks.SIZE : (before + one.lines) * marks.SIZE]


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

    def test_names_each_block_that_does_not_unpack_and_the_lines_in_it(self, folder):
        name = sealed(folder)[-2]
        index = blocks.decode_index(folder.index(name).read_bytes())
        assert len(index.blocks) > 2
        path = folder.packed(name)
        good = path.read_bytes()
        rng, narrow = random.Random(9), 0
        for _ in range(20):
            # Given a flip in two blocks
            bad, hit = bytearray(good), [index.blocks[1], index.blocks[2]]
            ends = [one.packed_at for one in index.blocks[2:]] + [len(good)]
            for one, end in zip(hit, ends, strict=False):
                bad[rng.randrange(one.packed_at, end)] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            found = faults(folder)
            # Then each is named, with a place inside of it
            for one, told in zip(hit, found, strict=False):
                first = one.first - index.first + 1
                last = first + one.lines - 1
                if "lines are all intact" in told:
                    break  # a bit of zstd that changes nothing
                place = re.search(r" line (\d+): the block of lines (\d+) to (\d+) does not", told)
                assert place, told
                assert [int(place[2]), int(place[3])] in [
                    [first, last], [last + 1, last + hit[1].lines]
                ]  # fmt: skip
                assert int(place[2]) <= int(place[1]) <= int(place[3])
                narrow += int(place[1]) > int(place[2]) or "damage is in line " in told
        # And at times narrower than the block: such short ones often do not unpack at all
        assert narrow > 3
        path.write_bytes(good)

    def test_of_a_block_that_unpacks_in_spite_of_it_the_very_line_is_named(self, folder):
        # Given a block whose content was changed, but not the sum at its end
        name = sealed(folder)[-2]
        index = blocks.decode_index(folder.index(name).read_bytes())
        path = folder.packed(name)
        good = path.read_bytes()
        one, end = index.blocks[1], index.blocks[2].packed_at
        raw = zstandard.ZstdDecompressor().decompress(good[one.packed_at : end])
        sum_ = good[end - 4 : end]
        lines = raw.split(b"\n")
        lines[2] = lines[2].replace(b"EXECUTE", b"SKIPPED")
        packed = zstandard.ZstdCompressor(write_checksum=True).compress(b"\n".join(lines))
        forged = packed[:-4] + sum_
        place = salvage.judge(forged, marked(folder, name, one, index), one.lines)
        assert place
        assert (place.first, place.last) == (3, 3)

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


@without("zstd", "zstd")
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
