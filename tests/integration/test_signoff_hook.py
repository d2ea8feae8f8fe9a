"""ops/hooks/pre-commit in real repositories: no change under ops/ without its entry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.checkout import Checkout

APPEND = ("python3", "ops/ops_ledger_append.py")
STAGE = ("add", "-A", "--", "ops/ledger", "docs/OPS_CHANGELOG*")
ENTRY = {
    "operation": "Change",
    "objective": "to tell a story",
    "risk_class": "FILESYSTEM_WRITE",
    "blast_radius": "None",
    "changes_summary": "changed",
}


class Repository(Checkout):
    """A checkout and what a story does in it."""

    def change(self, name="ops/stop.py", text="# changed\n", cwd=None):
        path = (cwd or self.root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
        self.git("add", "--", f":(literal){name}", cwd=cwd)

    def record(self, *paths, cwd=None, **changed):
        """Record an operation that names ``paths``, and stage it."""
        arguments = [
            part for name, one in {**ENTRY, **changed}.items() for part in (f"--{name}", one)
        ]
        named = ["--allowed_paths", *paths] if paths else []
        ran = self.ran(*APPEND, *arguments, *named, cwd=cwd)
        assert ran.returncode == 0, ran.stderr
        self.git(*STAGE, cwd=cwd)

    def commit(self, *more, cwd=None, **environ):
        """Whether it was committed; ``told`` is what the hook said."""
        before = self.ran("git", "rev-parse", "HEAD", cwd=cwd).stdout
        ran = self.ran("git", "commit", "--quiet", "--message", "story", *more, cwd=cwd, **environ)
        self.told = ran.stderr
        moved = self.ran("git", "rev-parse", "HEAD", cwd=cwd).stdout != before
        assert moved is (ran.returncode == 0)
        return moved


MODULES = ("quantum_ops/__init__", "quantum_ops/env_files")
NEEDED = ("README.md", "docs/OPS_CHANGELOG.md", "docs/universe.md", ".gitignore", ".gitattributes")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A small checkout; ``born`` is the same with a first commit."""
    made = Repository(tmp_path_factory.mktemp("template"))
    for path in sorted(made.root.rglob("*")):
        name = str(path.relative_to(made.root))
        needed = name.startswith(("ops/", ".git/", "quantum_ops/ledger/", *MODULES))
        if path.is_file() and not needed and name not in NEEDED:
            path.unlink()
    shutil.copytree(made.root, made.root.with_name("born"), symlinks=True)
    made.git("add", "--all", cwd=made.root.with_name("born"))
    made.git("commit", "--quiet", "--message", "all", cwd=made.root.with_name("born"))
    return made


def copy(template, name, tmp_path):
    made = object.__new__(Repository)
    made.root, made.environ = tmp_path / "check out", template.environ
    shutil.copytree(template.root.with_name(name), made.root, symlinks=True)
    made.git("config", "core.hooksPath", "ops/hooks")
    return made


@pytest.fixture
def repo(template, tmp_path):
    """A repository that has opted in."""
    return copy(template, "born", tmp_path)


@pytest.fixture
def fresh(template, tmp_path):
    """The same without a commit."""
    return copy(template, template.root.name, tmp_path)


def test_a_change_under_ops_needs_an_entry_that_names_it(repo):
    # given a change without an entry / when it is committed / then it is not, and told is how
    repo.change()
    assert not repo.commit()
    assert "pre-commit: nothing in this commit signs off what it changes under ops/:" in repo.told
    assert "\n  ops/stop.py\n" in repo.told
    assert "way out: git commit --no-verify" in repo.told
    # with an entry for something else it is not, with its own it is
    repo.record("docs")
    assert not repo.commit()
    repo.record("ops/stop.py")
    assert repo.commit()
    assert repo.told == ""
    # and an entry counts once
    repo.change()
    repo.record("docs")
    assert not repo.commit()


def test_the_command_that_it_tells_does_it(repo):
    names = ["ops/a b.sh", 'ops/it\'s "new".sh', "ops/$HOME/x"]
    for name in names:
        repo.change(name)
    assert not repo.commit()
    command = re.search(r"^  (python3 .*?)^an entry", repo.told, re.MULTILINE | re.DOTALL)[1]
    ran = repo.ran("sh", "-ec", command)
    assert ran.returncode == 0, ran.stderr
    assert repo.commit(), repo.told
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.parametrize("named", ["ops", "./ops//demo/", "{root}/ops/demo"])
def test_a_folder_covers_what_is_in_it(repo, named):
    repo.change("ops/demo/listing.py")
    repo.record(named.format(root=repo.root))
    assert repo.commit(), repo.told


def test_what_does_not_name_it_covers_nothing(repo):
    repo.change("ops/demo/listing.py")
    repo.record(
        "ops/dem", ".", "/", "ops/demo/listing", "*", "../ops", "", "listing.py", "ops/DEMO"
    )
    repo.record()
    assert not repo.commit()


def test_what_allows_no_change_signs_none(repo):
    repo.change()
    repo.record("ops/stop.py", risk_class="READ_ONLY")
    assert not repo.commit()
    assert "an entry counts if it names the file or its folder, and is not READ_ONLY" in repo.told


def test_a_conflict_is_no_entry(repo):
    repo.record("ops/start.py")
    name = re.search(
        r"OPS-\d{4}-\d\d-\d\d-\d{3}", (repo.root / "docs/OPS_CHANGELOG.md").read_text()
    )
    assert repo.commit()
    repo.change()
    repo.record("ops/stop.py", operation_id=name[0])
    assert not repo.commit()


def test_an_entry_that_is_not_staged_is_hinted_at(repo):
    repo.change()
    repo.record("ops/stop.py")
    repo.git("reset", "--quiet", "--", "ops/ledger")
    assert not repo.commit()
    assert "the journal has entries that are not staged" in repo.told
    repo.git(*STAGE)
    assert repo.commit()
    # nor is it part of a commit that takes some files only
    repo.change()
    repo.record("ops/stop.py")
    assert not repo.commit("--", "ops/stop.py")
    assert repo.commit("--all")


def test_other_commits_pass(repo):
    repo.change("docs/universe.md")
    repo.change("opsx/file")
    assert repo.commit()
    repo.record("elsewhere")
    assert repo.commit()  # the ledger itself
    assert repo.commit("--allow-empty")


def test_python_is_needed_only_where_something_is_to_be_signed(repo, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(shutil.which("git"))
    repo.change("README.md")
    assert repo.commit(PATH=str(tmp_path / "bin")), repo.told
    repo.change()
    assert not repo.commit(PATH=str(tmp_path / "bin"))
    assert "python3, which decides, is not in the PATH: install it" in repo.told


def test_the_way_out(repo):
    repo.change()
    assert repo.commit("--no-verify")


@pytest.mark.parametrize("how", ["delete", "rename in", "rename out", "mode", "link"])
def test_every_kind_of_change_counts(repo, how):
    path, name = repo.root / "ops" / "stop.py", "ops/stop.py"
    if how == "delete":
        repo.git("rm", "--quiet", name)
    elif how == "rename in":
        repo.git("mv", "README.md", "ops/README.md")
        name = "ops/README.md"
    elif how == "rename out":
        repo.git("mv", name, "stop.py")
    elif how == "mode":
        path.chmod(0o755)
        repo.git("add", name)
    else:
        path.unlink()
        path.symlink_to("start.py")
        repo.git("add", name)
    assert not repo.commit()
    assert f"\n  {name}\n" in repo.told
    repo.record(name)
    assert repo.commit(), repo.told


def test_a_rename_inside_needs_both_names(repo):
    repo.git("mv", "ops/stop.py", "ops/halt.py")
    repo.record("ops/halt.py")
    assert not repo.commit()
    assert "\n  ops/stop.py\n" in repo.told
    assert "\n  ops/halt.py\n" not in repo.told


@pytest.mark.parametrize(
    ("name", "shown", "scope"),
    [("ops/two\nlines", "'ops/two\\nlines'", "ops"),
     ("ops/q'\"uote", "ops/q'\"uote", "'ops/q'\"'\"'\"uote'"),
     ("ops/back\\slash", "ops/back\\slash", "ops"),
     ("ops/-dash", "ops/-dash", "ops/-dash"),
     ("ops/münchen ✅", "ops/münchen ✅", "'ops/münchen ✅'"),
     ("ops/sub/\x1b[31m", "'ops/sub/\\x1b[31m'", "ops/sub")],
)  # fmt: skip
def test_any_name_is_shown_and_signed(repo, name, shown, scope):
    repo.change(name)
    assert not repo.commit()
    assert f"\n  {shown}\n" in repo.told
    assert f"--allowed_paths {scope}\n" in repo.told
    assert repo.told.isprintable() or set(filter(lambda c: not c.isprintable(), repo.told)) == {
        "\n"
    }
    repo.record(name)
    assert repo.commit(), repo.told


def test_a_name_that_is_no_text_is_signed_by_its_folder(repo):
    path = os.path.join(os.fsencode(repo.root), b"ops/sub/caf\xe9")  # noqa: PTH118 - bytes
    os.mkdir(os.path.dirname(path))  # noqa: PTH102, PTH120 - bytes
    with open(path, "wb"):  # noqa: PTH123 - bytes
        repo.git("add", "ops/sub")
    assert not repo.commit()
    assert "\n  ops/sub/caf\\xe9\n" in repo.told
    assert "--allowed_paths ops/sub\n" in repo.told
    repo.record("ops/sub")
    assert repo.commit(), repo.told


def test_many_changes_are_told_shortly(repo):
    for number in range(30):
        repo.change(f"ops/many/{number}")
    assert not repo.commit()
    assert "\n  and 22 more\n" in repo.told
    assert "--allowed_paths ops/many\n" in repo.told


# --- where it runs


def test_the_first_commit(fresh):
    fresh.git("add", "--all")
    assert not fresh.commit()
    # More folders than are named one by one: the one around them is.
    assert "--allowed_paths ops\n" in fresh.told
    fresh.record("ops")
    assert fresh.commit(), fresh.told


def test_a_linked_hook_and_a_second_work_tree(repo, tmp_path):
    """Given the hook as a link, when one commits in any work tree, that tree's ledger counts."""
    repo.git("config", "--unset", "core.hooksPath")
    hooks = repo.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "pre-commit").symlink_to(repo.root / "ops" / "hooks" / "pre-commit")
    other = tmp_path / "other tree"
    repo.git("worktree", "add", "--quiet", "-b", "other", str(other))
    for cwd in (repo.root, other, other / "ops" / "demo"):
        top = other if other in (cwd, *cwd.parents) else repo.root
        repo.change(cwd=top)
        assert not repo.commit(cwd=cwd)
        repo.record("ops/stop.py", cwd=top)
        assert repo.commit(cwd=cwd), repo.told


def test_a_merge_needs_an_entry_only_for_what_neither_side_has(repo):
    # given a change signed off on a branch, and one on main, in conflict
    repo.git("checkout", "--quiet", "-b", "side")
    repo.change("ops/new.sh", "side\n")
    repo.change("ops/other.sh", "side\n")
    repo.record("ops")
    assert repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.change("ops/new.sh", "main\n")
    assert repo.commit("--no-verify")
    assert repo.ran("git", "merge", "--quiet", "side").returncode != 0
    # when it is settled by what is on neither side / then that is to be signed off, the rest is not
    (repo.root / "ops" / "new.sh").write_text("both\n")
    repo.git("add", "--all")
    assert not repo.commit()
    assert "\n  ops/new.sh\n" in repo.told
    assert "ops/other.sh" not in repo.told
    repo.record("ops/new.sh")
    assert repo.commit(), repo.told
    assert len(repo.git("rev-list", "--parents", "-1", "HEAD").split()) == 3


def test_a_merge_settled_by_one_side_needs_none(repo):
    repo.git("checkout", "--quiet", "-b", "side")
    repo.change("ops/new.sh", "side\n")
    repo.record("ops")
    assert repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.change("ops/new.sh", "main\n")
    assert repo.commit("--no-verify")
    assert repo.ran("git", "merge", "--quiet", "side").returncode != 0
    repo.git("checkout", "--theirs", "ops/new.sh")
    repo.git("add", "--all")
    assert repo.commit(), repo.told


def test_a_clone_that_changes_line_ends_keeps_those_that_count(repo, tmp_path):
    """Given a ledger, when it is cloned as on Windows, its bytes are the same and it goes on."""
    repo.record("ops/stop.py")
    assert repo.commit()
    clone = tmp_path / "clone"
    repo.git("clone", "--quiet", "--config", "core.autocrlf=true", str(repo.root), str(clone))
    assert b"\r\n" in (clone / "docs" / "universe.md").read_bytes()
    for name in ("ops/hooks/pre-commit", "docs/OPS_CHANGELOG.md", "ops/ledger/checkpoint"):
        assert (clone / name).read_bytes() == (repo.root / name).read_bytes()
    repo.git("config", "core.hooksPath", "ops/hooks", cwd=clone)
    repo.change("ops/stop.py", cwd=clone)
    assert not repo.commit(cwd=clone)
    repo.record("ops/stop.py", cwd=clone)
    assert repo.commit(cwd=clone), repo.told
    (segment,) = (clone / "ops" / "ledger" / "journal").iterdir()
    assert b"\r" not in segment.read_bytes()
    assert repo.git("status", "--porcelain", cwd=clone) == ""


# --- what is not trusted


@pytest.mark.parametrize("how", ["rewritten", "cut", "deleted"])
def test_a_journal_that_lost_lines_is_not_committed(repo, how):
    repo.record("ops/stop.py")
    repo.record("ops/start.py", operation="Another")
    assert repo.commit()
    (segment,) = (repo.root / "ops" / "ledger" / "journal").iterdir()
    text = segment.read_bytes()
    if how == "rewritten":
        segment.write_bytes(text.replace(b"Another", b"Changed"))
    elif how == "cut":
        segment.write_bytes(text[: text[:-1].rindex(b"\n") + 1])
    else:
        segment.unlink()
    repo.git("add", "--all")
    assert not repo.commit()
    assert "the journal only grows at its end" in repo.told
    assert repo.ran("sh", "-c", "git checkout HEAD -- ops/ledger/journal").returncode == 0
    assert repo.commit("--allow-empty")


def test_a_line_that_is_no_record_signs_nothing(repo):
    repo.change()
    journal = repo.root / "ops" / "ledger" / "journal"
    journal.mkdir(parents=True)
    data = b'{"type":"operation.recorded","data":{"risk_class":"X","allowed_paths":%s}}'
    other = data.replace(b"operation.recorded", b"conflict.rejected") % b'["ops/stop.py"]'
    lines = [other, b"", b"{", b"[]", b"1", b'{"type":"operation.recorded"}',
             b'{"type":1,"data":[]}', data % b"7", data % b"null",
             data % b'[7,"","\\u0000","/\\u0000"]', b"\xff", b"[" * 100_000]  # fmt: skip
    (journal / "2026-01.jsonl").write_bytes(b"\n".join(lines))
    repo.git("add", "--all")
    assert not repo.commit()
    assert "Traceback" not in repo.told
    assert "\n  ops/stop.py\n" in repo.told


def test_without_what_decides_nothing_passes(repo):
    repo.change()
    (repo.root / "ops" / "ops_signoff.py").unlink()
    assert not repo.commit()
    assert "ops/ops_signoff.py, which decides, is not in this work tree: put it back" in repo.told
    assert "way out" in repo.told


def test_a_ledger_elsewhere_is_told(repo, tmp_path):
    repo.change()
    assert not repo.commit(LEDGER_DIR=str(tmp_path))
    assert "LEDGER_DIR is set" in repo.told


def test_it_needs_no_more_than_a_bare_python(repo):
    repo.change()
    repo.record("ops/stop.py")
    hook = (repo.root / "ops" / "hooks" / "pre-commit").read_text()
    assert hook.startswith("#!/bin/sh\n")
    assert "exec python3 -I -S ops/ops_signoff.py\n" in hook
    assert subprocess.run(["dash", "-n"], input=hook, text=True, check=False).returncode == 0
    assert repo.commit(), repo.told
