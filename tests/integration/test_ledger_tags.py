"""Annotated tags of operations, in real repositories."""

from __future__ import annotations

import os
import subprocess

import pytest

from quantum_ops.ledger import reader, tags
from tests.ledger_rig import operation, record


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A repository with one commit, and a way to ask it."""
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "repository"
    root.mkdir()

    def run(*arguments):
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "-q")
    run("config", "user.name", "Ops")
    run("config", "user.email", "ops@example.org")
    run("commit", "-q", "--allow-empty", "-m", "first")
    run.root = root
    return run


def recorded(**more):
    return {**operation(1, **more), "seq": 1}


def test_an_operation_is_tagged_with_its_block_on_its_commit(git):
    # given an operation of the commit before, with empty lines that git would take out
    first = git("rev-parse", "HEAD")
    git("commit", "-q", "--allow-empty", "-m", "second")
    one = recorded(
        git_commit=first[:12], redis_snapshot="# redis-cli PING\n\n\nPONG\n", notes="é: ✅"
    )
    # when it is tagged, twice
    assert tags.tag(git.root, one) == ("ops-2026-01-27-001", True)
    assert tags.tag(git.root, one) == ("ops-2026-01-27-001", False)
    # then the annotated tag stands there, and its message is the operation
    assert git("cat-file", "-t", "ops-2026-01-27-001") == "tag"
    assert git("rev-parse", "ops-2026-01-27-001^{commit}") == first
    message = tags.message_of(git.root, "ops-2026-01-27-001")
    assert reader.block(message) == one["data"]


@pytest.mark.parametrize("commit", ["", "pending", "--output=x", "ffffffffffff", "a b"])
def test_an_operation_whose_commit_is_not_known_is_tagged_on_head(git, commit):
    tags.tag(git.root, recorded(git_commit=commit))
    assert git("rev-parse", "ops-2026-01-27-001^{commit}") == git("rev-parse", "HEAD")


def test_a_tag_that_says_something_else_is_never_moved(git):
    git("tag", "-a", "ops-2026-01-27-001", "-m", "mine")
    before = git("rev-parse", "ops-2026-01-27-001")
    with pytest.raises(tags.TagError, match="git tag -d ops-2026-01-27-001"):
        tags.tag(git.root, recorded())
    assert git("rev-parse", "ops-2026-01-27-001") == before


def test_a_light_tag_of_that_name_counts_as_another(git):
    git("tag", "ops-2026-01-27-001")
    with pytest.raises(tags.TagError, match="another message"):
        tags.tag(git.root, recorded())


def test_without_a_name_git_says_so_and_the_cure_is_told(git):
    git("config", "--unset", "user.email")
    git("config", "user.useConfigOnly", "true")
    with pytest.raises(tags.TagError, match=r"user\.name and user\.email"):
        tags.tag(git.root, recorded())


def test_inside_a_hook_the_repository_is_the_one_that_was_asked_for(git, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert tags.tag(git.root, recorded()) == ("ops-2026-01-27-001", True)


def test_what_is_no_operation_has_no_tag(git, tmp_path):
    for kind, data in (
        ("conflict.rejected", {"operation_id": "OPS-2026-01-27-001"}),
        ("operation.recorded", {"operation_id": "--delete"}),
    ):
        with pytest.raises(tags.TagError, match="record 7"):
            tags.tag(git.root, {**record(kind, data), "seq": 7})
    assert git("tag") == ""


def test_a_folder_without_git_is_named(tmp_path):
    with pytest.raises(tags.TagError, match="git"):
        tags.tag(tmp_path, recorded())
    with pytest.raises(tags.TagError, match="missing"):
        tags.tag(tmp_path / "missing", recorded())
