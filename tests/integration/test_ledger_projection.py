"""Files that are rendered from the journal: always its bytes, never over somebody's own."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import adopt, drift, pages, project, render, sheets
from tests.ledger_rig import Shelf, operation, record, rollback
from tests.yaml_readers import FULL

MAIN = "OPS_CHANGELOG.md"


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf.at(tmp_path / "ledger")


@pytest.fixture
def rebuilt(monkeypatch) -> list[int]:
    """Grows by one whenever everything is rendered."""
    times: list[int] = []
    real = project.rebuild
    monkeypatch.setattr(project, "rebuild", lambda folder: times.append(1) or real(folder))
    return times


def as_rendered(shelf: Shelf) -> None:
    """The files are what the whole journal renders, and nothing else lies there."""
    assert shelf.files() == sheets.files(shelf.lines())
    assert project.check(shelf) == []


def test_an_entry_stands_in_its_month_as_the_specification_shows_it(shelf):
    # given two operations, and one of the month before / when they are projected
    shelf.append(operation(1, "2025-12-30"), operation(1), operation(2))
    assert project.project(shelf) == []
    # then months and entries stand newest first, each a fenced block that starts with ---
    text = shelf.changelog.read_text(encoding="utf-8")
    order = ["## 2026-01", "2026-01-27-002", "2026-01-27-001", "## 2025-12", "2025-12-30-001"]
    places = [text.index(one) for one in order]
    assert places == sorted(places)
    assert "\n```yaml\n---\noperation_id: OPS-2026-01-27-002\n" in text
    assert b"\r" not in shelf.changelog.read_bytes()
    # and the month's stream has them in the order of the journal
    stream = (shelf.base / "2026-01.yaml").read_text(encoding="utf-8")
    assert stream.index("27-001") < stream.index("27-002")
    as_rendered(shelf)


def test_a_rolled_back_operation_says_by_which(shelf):
    shelf.append(operation(1), operation(2), rollback(3, "OPS-2026-01-27-001"))
    project.project(shelf)
    shelf.append(rollback(4, "OPS-2026-01-27-001"), rollback(5, "OPS-2026-01-27-003"))
    project.project(shelf)
    text = shelf.changelog.read_text(encoding="utf-8")
    assert text.count("rolled_back_by: OPS-2026-01-27-003, OPS-2026-01-27-004\n") == 1
    assert "rollback_of: OPS-2026-01-27-001\nrolled_back_by: OPS-2026-01-27-005\n" in text
    assert "<!-- record 1, rolled back by 3, 4 -->" in text
    as_rendered(shelf)


def test_only_a_rollback_marks_what_it_names(shelf):
    shelf.append(operation(1), operation(2, rollback_of="OPS-2026-01-27-001"))
    shelf.append(rollback(3, "OPS-2026-01-27-999"))
    project.project(shelf)
    assert b"rolled_back_by" not in shelf.changelog.read_bytes()


def test_the_changelog_shows_a_hundred_entries_at_most_in_whole_parts():
    assert pages.shown({"2026-01": 100}) == {("2026-01", 2): 50, ("2026-01", 1): 50}
    assert pages.shown({"2026-01": 101}) == {("2026-01", 3): 1, ("2026-01", 2): 50}
    assert pages.shown({"2026-01": 60, "2026-02": 40, "2025-12": 1}) == {
        ("2026-02", 1): 40, ("2026-01", 2): 10, ("2026-01", 1): 50,
    }  # fmt: skip
    assert pages.shown({"2026-01": 60, "2026-02": 41, "2025-12": 1}) == {
        ("2026-02", 1): 41, ("2026-01", 2): 10,
    }  # fmt: skip


def test_an_append_renders_what_is_new_and_nothing_else(shelf, rebuilt, monkeypatch):
    # given a ledger with pages
    shelf.append(*(operation(number) for number in range(1, 231)))
    project.project(shelf)
    rebuilt.clear()
    blocks: list[int] = []
    entry = render.entry
    monkeypatch.setattr(render, "entry", lambda record: blocks.append(1) or entry(record))
    # when one is appended after the other, over the edge of a part
    for number in range(231, 261):
        shelf.append(operation(number))
        project.project(shelf)
    # then each was rendered once
    assert len(blocks) == 30
    assert rebuilt == []
    as_rendered(shelf)
    assert sorted(shelf.files()) == [
        "2026-01.yaml", MAIN, "OPS_CHANGELOG/2026-01-part-2.md", "OPS_CHANGELOG/2026-01-part-3.md",
        "OPS_CHANGELOG/2026-01-part-4.md", "OPS_CHANGELOG/2026-01.md",
    ]  # fmt: skip


days = st.sampled_from(["2025-11-02", "2025-12-30", "2026-01-27", "2026-01-28", "2026-02-01"])
steps = st.lists(
    st.tuples(st.sampled_from(["many", "one", "undo", "conflict", "drift", "lose"]), days),
    min_size=3,
    max_size=14,
)


@settings(
    max_examples=400 if FULL else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps, pick=st.randoms(use_true_random=False))
def test_step_by_step_gives_what_all_at_once_gives(tmp_path, steps, pick):
    shelf = Shelf.at(tmp_path / "ledger")
    shutil.rmtree(shelf.root, ignore_errors=True)
    known: list[str] = []
    for number, (step, day) in enumerate(steps, 1):
        if step == "many":
            batch = [operation(1000 * number + one, day) for one in range(pick.randrange(1, 75))]
        elif step == "undo" and known:
            batch = [rollback(1000 * number, pick.choice(known), day)]
        elif step == "conflict":
            batch = [record("conflict.rejected", {"operation_id": "x", "conflicts_with": 1}, day)]
        elif step == "drift":
            batch = [record("drift.detected", {"file": MAIN}, day)]
        else:
            batch = [operation(1000 * number, day)]
        if step == "lose":
            shutil.rmtree(shelf.base / "cache", ignore_errors=True)
        shelf.append(*batch)
        known += [one["data"]["operation_id"] for one in batch if one["type"][0] == "o"]
        assert project.project(shelf) == []
        as_rendered(shelf)


def test_rebuilding_twice_gives_the_same_bytes_and_any_prefix_what_it_gave_then(shelf):
    lines, history = [], {}
    for number in range(1, 130):
        shelf.append(operation(number) if number % 7 else rollback(number, "OPS-2026-01-27-003"))
        if number % 16 == 0:
            project.project(shelf)
            history[number] = shelf.files()
    lines = shelf.lines()
    for number, files in history.items():
        assert sheets.files(lines[:number]) == files
    project.rebuild(shelf)
    once = shelf.files()
    project.rebuild(shelf)
    assert shelf.files() == once == sheets.files(lines)


def test_an_edited_changelog_is_told_and_never_overwritten(shelf):
    # given a changelog that somebody edited
    shelf.append(operation(1))
    project.project(shelf)
    edited = shelf.changelog.read_bytes().replace(b"SUCCESS", b"PARTIAL")
    shelf.changelog.write_bytes(edited)
    # when the next operations are recorded
    shelf.append(operation(2))
    [first] = project.project(shelf)
    shelf.append(operation(3))
    [second] = project.project(shelf)
    # then it stands as it was edited, a copy is kept, and ours is beside it
    assert shelf.changelog.read_bytes() == edited
    assert first.kept.read_bytes() == edited
    assert (shelf.root / f"{MAIN}.rendered").read_bytes() == sheets.changelog(shelf.lines())
    # and it was news once
    assert (first.new, second.new) == (True, False)
    assert first.data()["sha256_found"] == drift.sha256(edited)
    assert f"mv {shelf.changelog}.rendered {shelf.changelog}" in str(first)
    assert project.check(shelf) == [f"{shelf.changelog} is not what the journal renders"]
    # and with ours put back all is as before
    (shelf.root / f"{MAIN}.rendered").replace(shelf.changelog)
    shelf.append(operation(4))
    assert project.project(shelf) == []
    as_rendered(shelf)


@pytest.mark.parametrize("name", ["2026-01.yaml", "OPS_CHANGELOG/2026-01.md"])
def test_every_other_file_is_guarded_too(shelf, name, rebuilt):
    shelf.append(*(operation(number) for number in range(1, 120)))
    project.project(shelf)
    path = shelf.root / name
    edited = path.read_bytes() + b"# mine\n"
    path.write_bytes(edited)
    shelf.append(rollback(120, "OPS-2026-01-27-002"))
    assert [one.file for one in project.project(shelf)] == [name]
    rebuilt.clear()
    shelf.append(rollback(121, "OPS-2026-01-27-001"))
    told = project.project(shelf)
    assert [(one.file, one.new) for one in told] == [(name, False)]
    assert rebuilt == [], "a drift that stays does not make every append render all"
    assert path.read_bytes() == edited
    beside = path.with_name(path.name + ".rendered")
    assert beside.read_bytes() == sheets.files(shelf.lines())[name]
    # another edit is another drift
    path.write_bytes(edited + b"# again\n")
    shelf.append(rollback(122, "OPS-2026-01-27-003"))
    assert [(one.file, one.new) for one in project.project(shelf)] == [(name, True)]
    assert path.read_bytes() == edited + b"# again\n"
    path.unlink()
    project.rebuild(shelf)
    as_rendered(shelf)
    assert not beside.exists()


def test_an_older_rendering_is_brought_up_to_date(shelf):
    # given a changelog of yesterday, as `git checkout docs/OPS_CHANGELOG.md` puts it back
    shelf.append(*(operation(number) for number in range(1, 90)))
    project.project(shelf)
    yesterday = shelf.files()
    shelf.append(operation(90), rollback(91, "OPS-2026-01-27-002"), *map(operation, range(92, 120)))
    project.project(shelf)
    # when it is found there, with or without what was remembered
    for cached in (True, False):
        for name, content in yesterday.items():
            (shelf.root / name).write_bytes(content)
        if not cached:
            shutil.rmtree(shelf.base / "cache")
        # then it was ours, and is replaced
        assert project.project(shelf) == []
        as_rendered(shelf)


def test_a_page_is_known_even_if_it_was_filled_long_before_it_left_the_changelog(shelf):
    # given a part that was complete while the changelog still showed it
    shelf.append(*(operation(number, "2025-11-02") for number in range(1, 50)))
    project.project(shelf)
    shelf.append(*(operation(number) for number in range(1, 90)))
    project.project(shelf)
    # when what was remembered is lost and a late entry changes its page
    shutil.rmtree(shelf.base / "cache")
    shelf.append(operation(50, "2025-11-02"))
    # then the page is ours
    assert project.project(shelf) == []
    as_rendered(shelf)


def test_a_file_that_was_deleted_comes_back(shelf):
    shelf.append(*(operation(number) for number in range(1, 120)))
    project.project(shelf)
    for name in list(shelf.files()):
        (shelf.root / name).unlink()
        project.rebuild(shelf) if "/" in name else project.project(shelf)
        shelf.append(operation(200 + len(shelf.lines())))
        project.project(shelf)
        as_rendered(shelf)


def test_a_kill_between_any_two_files_loses_and_doubles_nothing(shelf, monkeypatch):
    # given an update that touches the stream, a page that leaves, an old page and the changelog
    def prepared(root):
        one = Shelf.at(root)
        one.append(*(operation(number) for number in range(1, 151)))
        project.project(one)
        one.append(operation(151), rollback(152, "OPS-2026-01-27-001"))
        return one

    writes: list[str] = []
    real_put, real_extend, real_save = drift.Files.put, drift.Files.extend, drift.save

    class KilledError(BaseException):
        pass

    def dying(real, at):
        def call(*args, **more):
            found = real(*args, **more)
            writes.append(real.__name__)
            if len(writes) == at:
                raise KilledError
            return found

        return call

    for at in range(1, 20):
        one = prepared(shelf.root / str(at))
        writes.clear()
        with monkeypatch.context() as patched:
            patched.setattr(drift.Files, "put", dying(real_put, at))
            patched.setattr(drift.Files, "extend", dying(real_extend, at))
            patched.setattr(drift, "save", dying(real_save, at))
            try:
                project.project(one)
                ended = True
            except KilledError:
                ended = False
        # when it was killed there, and the next operation comes / then every file is whole
        one.append(operation(153))
        assert project.project(one) == []
        as_rendered(one)
        if ended:
            break
    assert ended
    assert at > 6


def test_a_full_disk_leaves_the_files_whole(shelf, monkeypatch):
    shelf.append(operation(1))
    project.project(shelf)
    before = shelf.files()

    def full(path, content, like):
        path.write_bytes(content[:10])
        raise OSError(28, "No space left on device")

    shelf.append(operation(2))
    with monkeypatch.context() as patched:
        patched.setattr(drift, "_write", full)
        with pytest.raises(OSError, match="No space"):
            project.project(shelf)
    assert shelf.files()[MAIN] == before[MAIN]
    assert project.project(shelf) == []
    as_rendered(shelf)


def test_a_stream_cut_short_by_a_kill_is_completed(shelf):
    shelf.append(operation(1), operation(2))
    project.project(shelf)
    stream = shelf.base / "2026-01.yaml"
    stream.write_bytes(stream.read_bytes()[:-7])
    shelf.append(operation(3))
    assert project.project(shelf) == []
    as_rendered(shelf)


def test_a_journal_put_back_from_a_copy_is_not_continued_in_the_middle(shelf):
    # given a journal whose last entries were replaced by others of the same length
    shelf.append(operation(1))
    project.project(shelf)
    shelf.append(operation(2))
    project.project(shelf)
    segment = shelf.journal / "2026-01.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b"change #2", b"change #7"))
    shelf.append(operation(3))
    # when it is projected / then nothing of the old one is left
    told = project.project(shelf)
    assert [one.file for one in told] == []
    as_rendered(shelf)


def test_a_symbolic_link_and_the_rights_of_a_file_stay(shelf, tmp_path):
    real = tmp_path / "elsewhere.md"
    shelf.root.mkdir()
    shelf.changelog.symlink_to(real)
    shelf.append(operation(1))
    project.project(shelf)
    real.chmod(0o600)
    shelf.append(operation(2))
    project.project(shelf)
    assert shelf.changelog.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert real.read_bytes() == sheets.changelog(shelf.lines())


def test_a_hand_written_changelog_is_kept_byte_for_byte(shelf):
    # given a changelog of before, written on Windows, with a month that was kept as a file
    before = (
        "\ufeff# Ops Changelog\r\n\r\n## 2026-01\r\n\r\n```yaml\r\n"
        "operation_id: OPS-2026-01-27-010\r\n"
        "notes: fixed: it works\r\n```\r\n\r\n## Before the ledger\r\n```yaml\r\n# never closed"
    ).encode() + b"\xff\xfe\x00"
    shelf.root.mkdir()
    shelf.changelog.write_bytes(before)
    month = b"---\noperation_id: OPS-2025-12-01-001\nnotes: a: b\n"
    (shelf.base / "2025-12.yaml").write_bytes(month)
    # when it is adopted with the first operation, which rolls back one of before
    shelf.append(*(record("legacy.imported", data) for data in adopt.pending(shelf)))
    assert adopt.operation_ids(shelf.lines()) == {"OPS-2026-01-27-010", "OPS-2025-12-01-001"}
    shelf.append(rollback(11, "OPS-2026-01-27-010"), operation(1, "2025-12-02"))
    assert project.project(shelf) == []
    # then it ends ours, every byte of it
    assert shelf.changelog.read_bytes().endswith(b"bytes -->\n\n" + before)
    assert (shelf.base / "2025-12.legacy.yaml").read_bytes() == month
    # and stays there
    for number in range(12, 130):
        shelf.append(operation(number))
        assert project.project(shelf) == []
    assert shelf.changelog.read_bytes().endswith(b"bytes -->\n\n" + before)
    as_rendered(shelf)
    # and if git puts it back, nothing is lost by rendering over it: the journal holds it
    shelf.changelog.write_bytes(before)
    assert project.project(shelf) == []
    as_rendered(shelf)


def test_a_very_long_changelog_of_before_has_a_page_of_its_own(shelf):
    before = b"".join(b"- line %d: \xc3\xa9\n" % number for number in range(20_000))
    shelf.root.mkdir()
    shelf.changelog.write_bytes(before)
    shelf.append(*(record("legacy.imported", data) for data in adopt.pending(shelf)), operation(1))
    assert project.project(shelf) == []
    assert (shelf.root / render.LEGACY_PAGE).read_bytes() == before
    assert shelf.changelog.stat().st_size < 2_000
    as_rendered(shelf)


def test_nothing_is_adopted_where_nothing_was_written(shelf):
    assert adopt.pending(shelf) == []
    project.project(shelf)
    assert shelf.changelog.read_bytes() == sheets.changelog([])
    assert adopt.pending(shelf) == []


def test_a_file_of_somebody_else_that_appears_later_is_drift(shelf):
    shelf.append(operation(1))
    shelf.changelog.write_bytes(b"# mine\n")
    [told] = project.project(shelf)
    assert (told.file, told.new) == (MAIN, True)
    assert shelf.changelog.read_bytes() == b"# mine\n"


def test_a_torn_end_of_the_journal_is_not_rendered(shelf):
    shelf.append(operation(1))
    with (shelf.journal / "2026-01.jsonl").open("ab") as file:
        file.write(b'{"torn')
    project.project(shelf)
    assert shelf.files() == sheets.files(shelf.lines()[:1])


def test_a_line_that_is_none_is_named(shelf):
    shelf.append(operation(1))
    with (shelf.journal / "2026-01.jsonl").open("ab") as file:
        file.write(b'{"v":1}\n')
    with pytest.raises(ValueError, match="ledger verify"):
        project.project(shelf)


def test_what_does_not_belong_there_is_named(shelf):
    shelf.append(operation(1))
    project.project(shelf)
    (shelf.base / "2031-01.yaml").write_bytes(b"a: b\n")
    (shelf.root / pages.FOLDER).mkdir()
    (shelf.root / pages.FOLDER / "x.md").write_bytes(b"")
    (shelf.base / "2026-01.yaml").unlink()
    assert [one.split("ledger/")[1] for one in project.check(shelf)] == [
        "2026-01.yaml is missing",
        "2031-01.yaml is nothing that the journal renders",
        "OPS_CHANGELOG/x.md is nothing that the journal renders",
    ]
