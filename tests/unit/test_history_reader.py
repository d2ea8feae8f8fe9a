"""Reading the archive: by time, by id, by number, beside a writer, with proofs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops.history.blocks import Growing, tally
from quantum_ops.history.proofs import Grown
from quantum_ops.history.reader import Archive, from_ms, until_ms
from quantum_ops.ledger import merkle
from tests.archive_rig import PLAN, RESULT, T0, flat, id_of, ids, writing

COUNT = 2000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Several sealed segments of several blocks, and an open one."""
    note = "x" * 900
    base = tmp_path_factory.mktemp("archive")
    with writing(base, segment_bytes=600_000) as made:
        for number in range(COUNT):
            made.add(PLAN if number % 3 else RESULT, id_of(number), flat(number, note=note))
            if number % 50 == 49:
                made.commit()
        made.checkpoint()
        return made.folder


def test_the_rig_has_blocks_and_segments(folder):
    found = Archive(folder).segments
    assert len(found) > 2
    assert [one.sealed for one in found] == [True] * (len(found) - 1) + [False]
    assert all(len(one.blocks()) > 1 for one in found[:-1])


def test_the_whole_and_its_spans(folder):
    archive = Archive(folder)
    assert [one.id for one in archive.read()] == [id_of(n).decode() for n in range(COUNT)]
    spans = archive.spans()
    assert spans[PLAN].count + spans[RESULT].count == len(archive) == COUNT
    assert spans[RESULT].low == (T0, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(-5, COUNT + 5), st.integers(-5, COUNT + 5), st.sampled_from([None, PLAN, RESULT])
)
def test_a_window_holds_exactly_what_it_should(folder, low, high, stream):
    expected = [
        id_of(n).decode()
        for n in range(max(0, low), min(COUNT - 1, high) + 1)
        if stream is None or (stream == PLAN) == bool(n % 3)
    ]
    wanted = None if stream is None else {stream}
    window = {"since": from_ms(T0 + low), "until": until_ms(T0 + high)}
    assert ids(folder, streams=wanted, **window) == expected
    numbered = Archive(folder).numbered(wanted, **window)
    assert [one.entry.id for one in numbered] == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(-5, COUNT + 5))
def test_the_newest_up_to_a_moment(folder, upto):
    found = Archive(folder).newest(RESULT, until_ms(T0 + upto))
    expected = [n for n in range(0, COUNT, 3) if n <= upto]
    assert (found.entry.id if found else None) == (
        id_of(expected[-1]).decode() if expected else None
    )
    if found:
        assert found.at == expected[-1]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, COUNT + 5))
def test_reading_on_from_a_number(folder, start):
    assert ids(folder, start=start) == [id_of(n).decode() for n in range(start, COUNT)]


def test_an_entry_by_its_id(folder):
    archive = Archive(folder)
    for number in (0, 1, 777, COUNT - 1):
        stream = PLAN if number % 3 else RESULT
        (found,) = archive.find(stream, (T0 + number, 0))
        assert (found.at, found.entry.ms) == (number, T0 + number)
        assert archive.line(number) == found.line
    assert archive.find(PLAN, (T0, 0)) == []
    with pytest.raises(IndexError, match=f"{COUNT} entries, none at {COUNT}"):
        archive.line(COUNT)


def test_only_blocks_that_matter_are_read(folder, monkeypatch):
    archive = Archive(folder)
    read = []
    for one in archive.segments:
        real = one.raw
        monkeypatch.setattr(
            one,
            "raw",
            lambda held, wanted, real=real: (read.append(b) or b for b in real(held, wanted)),
        )
    assert len(list(archive.read({PLAN}, from_ms(T0 + 700), until_ms(T0 + 710)))) == 8
    assert len(read) == 1


def test_a_reader_beside_a_writer_sees_what_was_durable(tmp_path):
    with writing(tmp_path, segment_bytes=3000) as made:
        made.add(PLAN, id_of(0), flat(0))
        made.commit()
        archive = Archive(made.folder)
        for number in range(1, 60):
            made.add(PLAN, id_of(number), flat(number))
            made.commit()
        # Its segment was sealed and its file removed meanwhile.
        assert [one.id for one in archive.read()] == [id_of(0).decode()]
        archive.refresh()
        assert len(list(archive.read())) == len(archive) == 60


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_proofs_hold_for_every_entry_and_every_older_head(folder, data):
    archive = Archive(folder)
    tree = Grown(archive)
    plain = merkle.Tree(merkle.leaf(one.line) for one in archive.numbered())
    at = data.draw(st.integers(0, COUNT - 1))
    size = data.draw(st.integers(at + 1, COUNT))
    head = merkle.Head(size, tree.root(size))
    assert head.root == plain.root(size)
    proof = tree.inclusion(at, size)
    assert proof == plain.inclusion(at, size)
    assert merkle.verify_inclusion(merkle.leaf(archive.line(at)), at, head, proof)
    old = data.draw(st.integers(1, size))
    assert tree.consistency(old, size) == plain.consistency(old, size)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 700), max_size=8), st.integers(0, 9))
def test_the_tree_grows_the_same_in_parts_of_any_size(parts, level):
    grown, plain, leaves, completed = merkle.Frontier(), merkle.Frontier(), [], []
    for part in parts:
        new = [merkle.leaf(b"%d" % (len(leaves) + one)) for one in range(part)]
        leaves += new
        completed += grown.extend(new, level)
        for one in new:
            plain.append(one)
        assert grown == plain
    assert completed == (merkle.Tree(leaves)._levels + [[]] * 20)[level][: len(leaves) >> level]


def test_a_segment_index_counts_what_is_appended():
    growing = Growing(10, merkle.Frontier(10, [b"x" * 32, b"y" * 32]))
    growing.grow([b"abc", b"de"], tally([("s", (5, 0)), ("s", (3, 1))]))
    (block,) = growing.blocks
    assert (growing.size, block.first, block.lines) == (7, 10, 2)
    assert (block.spans["s"].count, block.spans["s"].low, block.spans["s"].high) == (
        2,
        (3, 1),
        (5, 0),
    )
