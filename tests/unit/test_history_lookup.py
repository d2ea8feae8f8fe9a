"""Lookup files and resume points: the same answers with them, without them, and when they lie."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops import streams
from quantum_ops.asof import changes, ledger, orders, permits, universe
from quantum_ops.events import ApplyPlan, ApplyResult, UniverseChecked
from quantum_ops.history import blocks, lookup, pages, resume, segment
from quantum_ops.history.blocks import LAST
from quantum_ops.history.folder import Folder
from quantum_ops.history.indexer import AGAIN_S, Indexer
from quantum_ops.history.pages import PAGE, Pages, UnfitError
from quantum_ops.history.reader import Archive
from quantum_ops.history.search import Search
from quantum_ops.history.terms import (
    CHECKED,
    DOUBT,
    EPOCH,
    FLAG,
    ORDER,
    PLAN,
    RECORD,
    ROLLBACK,
    SYMBOL,
    Term,
    of,
)
from quantum_ops.history.verify import verify
from quantum_ops.ledger import durable
from tests.archive_rig import T0, fill, flat, id_of, writing
from tests.asof_rig import Past, changed, decided, deployed, finding, make_all, own, recorded, until

PLANS = ("a", "b", '"\\Ä\n')
ORDERS = ("77", "x/9")
SYMBOLS = ("A", "Bé")
EXAMPLES = 300 if os.environ.get("QUANTUM_FAULTS") == "full" else 10


class Log(list):
    """Notes which warnings were given."""

    def warning(self, event, **_more):
        self.append(event)


def postings(file: Path, fits: bytes, print_: int) -> list[int]:
    number = os.open(file, os.O_RDONLY)
    try:
        return Pages(number, fits).blocks(print_)
    finally:
        os.close(number)


@settings(max_examples=60, deadline=None)
@given(
    held=st.sets(
        st.tuples(
            st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 40), st.just(2**32 - 1)),
            st.integers(0, 900),
        ),
        max_size=3000,
    ),
    document=st.binary(max_size=9000),
)
def test_every_posting_is_found_and_no_other(tmp_path_factory, held, document):
    file = tmp_path_factory.mktemp("pages") / "one"
    numbers = sorted(pages.posting(print_, block) for print_, block in held)
    file.write_bytes(pages.encode(b"fits", document, numbers))
    some = [*{print_ for print_, _ in held}][:50]
    for print_ in (*some, 0, 7, 2**31, 2**32 - 1):
        expected = sorted(block for one, block in held if one == print_)
        assert postings(file, b"fits", print_) == expected
    number = os.open(file, os.O_RDONLY)
    assert Pages(number, b"fits").document() == document
    with pytest.raises(UnfitError, match="page 0 is not the one that was written"):
        Pages(number, b"other")
    os.close(number)


def test_a_term_in_every_block_is_found_in_all_of_them(tmp_path):
    numbers = [pages.posting(9, block) for block in range(3000)]
    (tmp_path / "one").write_bytes(pages.encode(b"x", b"", numbers))
    assert postings(tmp_path / "one", b"x", 9) == list(range(3000))
    assert postings(tmp_path / "one", b"x", 8) == []


EVENTS = st.one_of(
    st.builds(
        ApplyPlan, plan_id=st.sampled_from(PLANS), decision=st.sampled_from(["EXECUTE", "SKIP"]),
        symbol=st.sampled_from(SYMBOLS),
    ),
    st.builds(
        ApplyResult, plan_id=st.sampled_from(PLANS), executed=st.booleans(),
        order_id=st.sampled_from(["", *ORDERS]),
        details=st.sampled_from(["", '{"order_id":"\\u0037\\u0037"}', '{"order_id":"x\\/9"}', "{"]),
    ),
    st.builds(
        decided, st.sampled_from(PLANS), st.sampled_from(["no_position", "symbol_not_allowed"]),
        epoch=st.integers(0, 3), event_id=st.just("d"),
    ),
    st.builds(
        finding, st.sampled_from(["universe", "permit_audit", "archive", "operator"]),
        st.sampled_from(
            ["universe_stale", "universe_fresh", "permit_denied", "archive_gap", "redis_restored"]
        ),
        st.sampled_from([*PLANS, streams.UNIVERSE_CHANGED.key]), event_id=st.just("f"),
    ),
    st.builds(
        changed, st.integers(1, 4), st.sampled_from(["A", "A Bé", "Bé"]),
        added=st.sampled_from(["", "A"]), removed=st.sampled_from(["", "Bé"]),
        close_only=st.sampled_from(["", "A", "Bé"]), held=st.sampled_from(["", "held"]),
        quarantined=st.sampled_from([{}, {"A": "odd"}]),
        changed=st.sampled_from([{}, {"A": {"state": ("close_only", "trading")}}]),
    ),
    st.builds(
        lambda fresh, outcome: own(
            UniverseChecked, event_id="c", outcome=outcome, began_ms=1, fresh=fresh
        ),
        st.booleans(), st.sampled_from(["compared", "failed"]),
    ),
    st.builds(
        recorded, st.integers(1, 4), source=st.just(streams.DEPLOY_COMPLETED.key),
        source_id=st.sampled_from(["e1", "e2"]),
    ),
    st.builds(
        deployed, st.just("op"), event_id=st.sampled_from(["e1", "e2"]),
        outcome=st.sampled_from(["SUCCESS", "ROLLBACK"]),
        rollback_of=st.sampled_from(["", "OPS-2026-01-27-001"]),
    ),
)  # fmt: skip
TERMS = [
    *(Term(PLAN, one) for one in PLANS), *(Term(ORDER, one) for one in ORDERS),
    *(Term(SYMBOL, one) for one in SYMBOLS), Term(EPOCH, "2"), Term(RECORD, "2"),
    Term(ROLLBACK, "OPS-2026-01-27-001"), Term(FLAG), Term(CHECKED), Term(DOUBT),
    Term(PLAN, "nobody"),
]  # fmt: skip


def answers(search: Search, at: int) -> list[object]:
    """Everything that can be asked of a moment."""
    contents = ledger.FromArchive(search)
    return [
        universe.at(search, until(at)),
        *(permits.at(search, one, until(at)) for one in PLANS),
        *(orders.at(search, one, until(at)) for one in ORDERS),
        ledger.at(search, until(at), contents),
        ledger.at(search, until(at), contents, effective=True),
        changes.between(search, until(at - 20), until(at)),
        *(changes.of_symbol(search, one, until(at)) for one in SYMBOLS),
    ]


def without(folder: Folder) -> Search:
    for path in folder.base.glob("*.lookup"):
        path.unlink()
    return Search(Archive(folder))


@settings(
    max_examples=EXAMPLES, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(
    told=st.lists(
        # Times come back and ids come again: entries that were archived late, streams begun anew.
        st.tuples(st.integers(0, 60), EVENTS, st.sampled_from(["", "", "", "seal", "raw"])),
        min_size=1, max_size=40,
    ),
    moments=st.lists(st.integers(-5, 70), min_size=1, max_size=3),
)  # fmt: skip
def test_what_is_found_by_lookup_is_what_a_look_at_everything_finds(
    tmp_path_factory, told, moments
):
    past = Past(tmp_path_factory.mktemp("past"))
    for at, event, then in told:
        past.tell(at, event)
        if then == "raw":
            past.raw(at, streams.APPLY_RESULT.key, [b"plan_id", b"a", b"plan_id", b"b", b"\xff"])
        if then == "seal":
            past.archive(seal=True, index=False)
    search = past.archive()
    everything = list(search.archive.numbered())
    for at in moments:
        until_ = until(at)
        for term in TERMS:
            expected = [
                one for one in everything if one.entry.key <= until_ and term in of(one.entry)
            ]
            assert list(search.find(term, until_)) == expected, term
            lowest = min(expected, key=lambda one: (one.entry.key, one.at), default=None)
            assert search.first(term, until_) == lowest
            if len(term.streams) == 1:
                highest = max(expected, key=lambda one: (one.entry.key, one.at), default=None)
                assert search.newest(term, until_) == highest
    indexed = [answers(search, at) for at in moments]
    assert not search.scanned
    scanning = without(search.archive.folder)
    assert [answers(scanning, at) for at in moments] == indexed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three sealed segments of two blocks each, an open one; looked up."""
    base = tmp_path_factory.mktemp("archive")
    made = fill(base, 1500, segment_bytes=60_000)
    with writing(base, segment_bytes=10**9) as more:
        for number in range(1500, 2000):
            more.add(streams.APPLY_PLAN.key, id_of(number), flat(number, note="x" * 900))
        more.commit()
        more.seal()
        more.add(streams.APPLY_PLAN.key, id_of(2001), flat(2001))
        more.commit()
        more.checkpoint()
    make_all(made)
    return made


def found(folder: Folder, numbers: Iterable[int]) -> tuple[list[int], Search]:
    search = Search(Archive(folder))
    terms = [Term(PLAN, f"{number:016x}") for number in numbers]
    return [one.at for term in terms for one in search.find(term)], search


def test_the_same_segment_gives_the_same_bytes(folder):
    files = {path: path.read_bytes() for path in folder.base.glob("*.lookup")}
    assert len(files) == sum(one.sealed for one in Archive(folder).segments) > 1
    make_all(folder)
    assert {path: path.read_bytes() for path in files} == files


def test_a_byte_flipped_in_any_page_is_noticed_and_changes_no_answer(folder):
    asked = [0, 400, 1499, 1999, 2001]
    expected, _ = found(folder, asked)
    assert expected == [0, 400, 1499, 1999, 2000]
    noticed = 0
    for path in sorted(folder.base.glob("*.lookup")):
        good = path.read_bytes()
        for at in [*range(11, len(good), PAGE), len(good) - 1]:
            bad = bytearray(good)
            bad[at] ^= 0x40
            path.write_bytes(bad)
            ids, search = found(folder, asked)
            assert ids == expected
            noticed += bool(search.scanned)
            [fault] = verify(folder).faults
            assert fault.segment == path.name
            assert "make it anew with: ./run archive reindex" in fault.why
        for bad in (b"", good[:-1], good[:PAGE], good + b"x", b"\0" * len(good)):
            path.write_bytes(bad)
            ids, search = found(folder, asked)
            assert (ids, bool(search.scanned)) == (expected, True)
        path.write_bytes(good)
    assert noticed
    assert verify(folder).ok


def test_the_file_of_another_segment_is_not_believed(folder):
    first, second, *_ = sorted(folder.base.glob("*.lookup"))
    good = first.read_bytes()
    first.write_bytes(second.read_bytes())
    ids, search = found(folder, [0, 400])
    first.write_bytes(good)
    assert ids == [0, 400]
    assert "is not the one that was written for this segment" in next(iter(search.scanned.values()))


def test_the_indexer_makes_what_is_missing_a_little_at_a_time(tmp_path):
    folder = fill(tmp_path, 1500, segment_bytes=40_000)
    sealed = Archive(folder, sealed_only=True)
    clock = iter(range(10_000))  # each look at the clock is a second later: a slice is one step
    indexer = Indexer(folder, Log(), lambda: float(next(clock)))
    turns = 0
    while len(list(tmp_path.glob("*.lookup"))) < len(sealed.segments):
        indexer.turn(sealed, None, blocks.Growing(0, blocks.empty()))
        turns += 1
        assert turns < 100
    assert turns >= len(sealed.segments) > 1
    assert found(folder, [3])[0] == [3]


def test_a_full_disk_costs_time_only_and_is_tried_again(tmp_path, monkeypatch):
    folder = fill(tmp_path, 600, segment_bytes=50_000)
    sealed = Archive(folder, sealed_only=True)
    now = [0.0]
    log = Log()
    indexer = Indexer(folder, log, lambda: now[0])
    growing = blocks.Growing(0, blocks.empty())

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write", full)
        assert not indexer.turn(sealed, None, growing)
    assert not indexer.turn(sealed, None, growing)
    assert log == ["lookup_not_written"]
    ids, search = found(folder, [3, 500])
    assert (ids, set(search.scanned.values())) == ([3, 500], {"is not made yet"})
    now[0] = AGAIN_S
    assert indexer.turn(sealed, None, growing)
    assert len(list(tmp_path.glob("*.lookup"))) == 1


def test_an_open_segment_is_read_on_from_its_point(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "STEP_BYTES", 20_000)
    fill(tmp_path, 300, segment_bytes=30_000)
    folder = Folder(tmp_path)
    reads = []
    grow = segment.grow
    monkeypatch.setattr(segment, "grow", lambda *args: reads.append(len(args[1])) or grow(*args))
    with writing(tmp_path, segment_bytes=10**9) as made:
        follower = resume.Follower(folder)
        before = made.sealed.segments[-1].frontier()
        for number in range(300, 900):
            made.add(streams.APPLY_PLAN.key, id_of(number), flat(number))
            if number % 50 == 49:
                made.commit()
                follower.follow(*made.growing(), before)
        made.commit()
        [point] = tmp_path.glob("*.resume")
        good = point.read_bytes()
        whole = made.head
        size = made.growing()[1].size
        # Read on, less is read and nothing is otherwise
        reads.clear()
        one = Archive(folder)
        assert sum(reads) < size / 2
        assert one.head == whole
        assert [each.at for each in one.numbered()] == list(range(900))
        spans = one.spans()
        # A point that is damaged, cut, or of other bytes is passed over
        for bad in (b"", good[:-9], good[:500] + b"7" + good[501:], b"x" * 64 + good[64:]):
            point.write_bytes(bad)
            reads.clear()
            again = Archive(folder)
            assert (again.head, again.spans(), sum(reads) > size / 2) == (whole, spans, True)
        point.write_bytes(good)
        # And so is one that is whole, if the segment is not what it was made of
        raw = folder.raw(made.growing()[0])
        content = raw.read_bytes()
        raw.write_bytes(content.replace(b'"decision","EXECUTE"', b'"decision","EXECUTF"', 1))
        reads.clear()
        assert Archive(folder).head != whole
        assert sum(reads) > size / 2
        raw.write_bytes(content)
        made.seal()
        follower.follow(*made.growing(), made.sealed.segments[-1].frontier())
    assert not list(tmp_path.glob("*.resume"))
    assert Archive(folder).head == whole


def test_names_of_an_unreadable_file_are_told(folder, monkeypatch):
    def refused(path, flags, *mode):
        if str(path).endswith(".lookup"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_(path, flags, *mode)

    open_ = os.open
    monkeypatch.setattr(os, "open", refused)
    ids, search = found(folder, [7])
    assert ids == [7]
    assert set(search.scanned.values()) == {"cannot be read (Permission denied)"}


def test_the_moment_limits_what_is_read(folder):
    search = Search(Archive(folder))
    assert list(search.find(Term(PLAN, f"{9:016x}"), (T0 + 8, LAST[1]))) == []
    assert not lookup.problem(search.archive.segments[0])
