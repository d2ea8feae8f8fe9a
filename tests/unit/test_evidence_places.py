"""Which files, which server, which proof: evidence is of the right ones, or a problem."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess

import pytest

from quantum_ops.ledger.evidence import places, proof_file, server
from tests.evidence_rig import Host, soon


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_a_proof_file_is_known_by_its_digest_size_and_time(host):
    path = host.root / "PROOF.txt"
    path.write_bytes(b"proof\n" * 3000)
    os.utime(path, (1_769_494_528, 1_769_494_528))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = {
        "sha256": digest[:16], "sha256_full": digest, "size_bytes": 18000,
        "mtime_utc": "2026-01-27T06:15:28Z",
    }  # fmt: skip
    # by its path, and by one from the checkout on
    for name in (str(path), "PROOF.txt"):
        found = host.collect(proof_path=name)
        assert found["proof_file"] == expected
        assert "evidence" not in found


def _fifo(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _unreadable(path):
    if os.getuid() == 0:
        pytest.skip("root reads everything")
    path.write_text("x")
    path.chmod(0)


@pytest.mark.parametrize(("make", "told"), [
    (lambda _: None, "No such file"), (lambda path: path.mkdir(), "is a directory"),
    (_fifo, "is a pipe"), (_unreadable, "Permission denied"),
    (lambda path: path.symlink_to(path), "symbolic links"),
    (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    (lambda path: path.write_bytes(b""), "is empty"),
])  # fmt: skip
def test_what_is_no_proof_is_told_and_does_not_hang(host, make, told):
    make(host.root / "P")
    found = host.collect(proof_path="P")
    assert found["evidence"] == "incomplete"
    assert told in found["evidence_problems"][0]


def test_a_socket_is_no_proof(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    _socket(folder / "s")
    assert "is a socket" in proof_file.look(folder / "s", soon()).problems[0]


def test_a_name_with_a_zero_byte_is_no_proof(host):
    assert "proof_file" in host.problems(proof_path="a\0b")[0]


def test_a_proof_that_grows_is_told(host, monkeypatch):
    # given a file to which something is written once it was opened
    path = host.root / "P"
    path.write_bytes(b"a" * 10)

    class Growing:
        def __getattr__(self, name):
            return getattr(os, name)

        def fstat(self, number):
            found = os.fstat(number)
            with path.open("ab") as file:
                file.write(b"more")
            return found

    monkeypatch.setattr(proof_file, "os", Growing())
    found = proof_file.look(path, soon())
    # then what it was at first is hashed, and the growth is a problem
    assert found.fields["proof_file"]["sha256_full"] == hashlib.sha256(b"a" * 10).hexdigest()
    assert "changed while it was read" in found.problems[0]


def test_a_huge_proof_has_size_and_time_but_no_digest(host):
    path = host.root / "P"
    with path.open("wb") as file:
        file.truncate(1 << 42)
    found = proof_file.look(path, soon(0.2))
    assert set(found.fields["proof_file"]) == {"size_bytes", "mtime_utc"}
    assert "take too long to read" in found.problems[0]


SERVERS = {
    "nothing": ({}, (("127.0.0.1", 6379), "", "", 0)),
    "host": ({"REDIS_HOST": "h", "REDIS_PORT": "7", "REDIS_DB": "3"}, (("h", 7), "", "", 3)),
    "login": (
        {"REDIS_HOST": "h", "REDIS_USERNAME": "u", "REDIS_PASSWORD": "p"},
        (("h", 6379), "u", "p", 0),
    ),
    "url": ({"REDIS_URL": "redis://u:p%40@h:7/2"}, (("h", 7), "u", "p@", 2)),
    "unix": ({"REDIS_URL": "unix:///a%20b/s?db=4"}, ("/a b/s", "", "", 4)),
    "audit": (
        {"REDIS_URL": "redis://u:p@h", "REDIS_AUDIT_PASSWORD": "q"},
        (("h", 6379), "audit", "q", 0),
    ),
    "named audit": (
        {"REDIS_HOST": "h", "REDIS_AUDIT_PASSWORD": "q", "REDIS_AUDIT_USERNAME": "looker"},
        (("h", 6379), "looker", "q", 0),
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_the_server_is_the_one_of_the_project_s_settings(host, name):
    environ, (where, username, password, db) = SERVERS[name]
    found = server.find(host.root, {"QUANTUM_ENV_DIR": "/nonexistent", **environ})
    assert (found.where, found.username, found.password, found.db) == (
        where,
        username,
        password,
        db,
    )


def test_settings_of_the_env_files_count_and_the_environment_wins(host, tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "a.env").write_text("# c\nexport REDIS_HOST='from file'\nREDIS_PORT=7 # note\n")
    environ = {"QUANTUM_ENV_DIR": str(folder)}
    assert server.find(host.root, environ).where == ("from file", 7)
    assert server.find(host.root, {**environ, "REDIS_HOST": "h"}).where == ("h", 7)
    (folder / "b.env").write_text("REDIS_PORT=8\n")
    with pytest.raises(ValueError, match="disagree"):
        server.find(host.root, environ)


def test_without_settings_the_running_system_s_server_is_asked(host, tmp_path):
    run = tmp_path / "var" / "run"
    run.mkdir(parents=True)
    (run / "current.env").write_text("REDIS_URL=unix:///x/redis.sock\nQUANTUM_RUN_DIR=/x\n")
    environ = {name: value for name, value in host.environ.items() if name != "REDIS_URL"}
    assert server.find(host.root, environ).where == "/x/redis.sock"
    assert str(places.supervisor_socket(host.root, environ)) == "/x/supervisor.sock"


def test_evidence_is_the_user_audit_where_there_are_users(host, tmp_path):
    folder = tmp_path / "acl"
    folder.mkdir()
    (folder / "audit.password").write_text("of the file\n")
    # given a running system with users: nothing is set, its file says where they are
    run = tmp_path / "var" / "run"
    run.mkdir(parents=True)
    (run / "current.env").write_text(f"REDIS_URL=unix:///x/redis.sock\nQUANTUM_ACL_DIR={folder}\n")
    host.environ.pop("REDIS_URL", None)
    host.environ["QUANTUM_HOME"] = str(tmp_path / "var")
    found = server.find(host.root, host.environ)
    assert (found.where, found.username, found.password) == (
        "/x/redis.sock",
        "audit",
        "of the file",
    )
    # a server of somebody's own is not given the passwords of ours
    host.environ["REDIS_URL"] = "redis://far:1/0"
    assert server.find(host.root, host.environ).password == ""
    # unless they are said to be its; a login of its own wins
    host.environ["QUANTUM_ACL_DIR"] = str(folder)
    assert server.find(host.root, host.environ).username == "audit"
    host.environ["REDIS_URL"] = "redis://u:pw@far:1/0"
    assert server.find(host.root, host.environ).username == "u"
    # and a file that cannot be read is told, with the cure
    host.environ["REDIS_URL"] = "redis://far:1/0"
    (folder / "audit.password").unlink()
    with pytest.raises(ValueError, match=r"\./run acl apply"):
        server.find(host.root, host.environ)


def test_the_places_are_those_of_run(monkeypatch, tmp_path):
    from ops.paths import Paths

    for home in (tmp_path, tmp_path / ("long" * 40)):
        environ = {"QUANTUM_HOME": str(home)}
        assert (
            places.supervisor_socket(tmp_path, environ)
            == Paths.find(environ=environ).supervisor_socket
        )


@pytest.mark.parametrize("environ", [
    {"REDIS_URL": "http://u:hunter2word@h"}, {"REDIS_URL": "redis://u:hunter2word@h:port"},
    {"REDIS_PORT": "hunter2word"}, {"REDIS_URL": "redis://h/hunter2word"},
])  # fmt: skip
def test_an_unusable_setting_is_told_without_its_value(host, environ):
    del host.environ["REDIS_URL"]
    host.environ |= environ
    (told,) = host.problems(redis_cmds=["PING"])
    assert told.startswith("redis: REDIS_")
    assert "hunter2word" not in told


def git(root, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(host):
    git(host.root, "init", "--quiet", "--initial-branch=main")
    (host.root / "file").write_text("x")
    git(host.root, "add", ".")
    git(host.root, "commit", "--quiet", "-m", "one")
    return host


def test_the_commit_is_the_checkout_s_wherever_the_tool_is_run(checkout, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    checkout.environ["GIT_DIR"] = str(tmp_path / "other")
    found = checkout.collect()
    assert found["git_commit"] == git(checkout.root, "rev-parse", "HEAD")
    assert len(found["git_commit"]) == 40
    assert (found["git_branch"], found["git_dirty"]) == ("main", False)


def test_a_changed_and_an_untracked_file_make_it_dirty(checkout):
    (checkout.root / "file").write_text("changed")
    assert checkout.collect()["git_dirty"] is True
    git(checkout.root, "checkout", "file")
    (checkout.root / "new").write_text("x")
    git(checkout.root, "add", "--intent-to-add", "new")
    assert checkout.collect()["git_dirty"] is True


def test_what_the_ledger_writes_makes_nothing_dirty(checkout):
    for name in (
        "docs/OPS_CHANGELOG.md",
        "docs/OPS_CHANGELOG/2026-01.md",
        "ops/ledger/2026-01.yaml",
    ):
        path = checkout.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert checkout.collect()["git_dirty"] is False
    checkout.environ["LEDGER_DIR"] = "elsewhere"
    assert checkout.collect()["git_dirty"] is True


def test_a_detached_head_says_so_and_a_new_commit_is_seen_at_once(checkout):
    first = checkout.collect()["git_commit"]
    git(checkout.root, "commit", "--quiet", "--allow-empty", "-m", "two")
    assert checkout.collect()["git_commit"] == git(checkout.root, "rev-parse", "HEAD") != first
    git(checkout.root, "checkout", "--quiet", "--detach", "HEAD~1")
    found = checkout.collect()
    assert (found["git_commit"], found["git_branch"]) == (first, "(detached)")


def test_a_checkout_without_a_commit_is_a_problem(host):
    git(host.root, "init", "--quiet", "--initial-branch=main")
    found = host.collect()
    assert "git_commit" not in found
    assert found["git_branch"] == "main"
    assert "has no commit yet" in found["evidence_problems"][0]


def test_outside_of_a_checkout_there_is_no_commit_and_no_problem(host):
    assert set(host.collect()) == {"hostname"}


def test_a_folder_that_lies_in_somebody_s_repository_is_not_of_its_commit(checkout):
    inner = checkout.root / "deployed"
    inner.mkdir()
    assert "git_commit" not in checkout.collect(root=inner)
    (inner / "file").write_text("x")
    git(checkout.root, "add", ".")
    git(checkout.root, "commit", "--quiet", "-m", "two")
    assert checkout.collect(root=inner)["git_commit"] == git(checkout.root, "rev-parse", "HEAD")


def test_a_checkout_of_another_user_is_told_with_the_cure(checkout):
    checkout.program("git", "echo \"fatal: detected dubious ownership in '/x'\" >&2; exit 128")
    (told,) = checkout.problems()
    assert f"git config --global --add safe.directory {checkout.root}" in told


def test_a_checkout_without_git_is_told(checkout):
    checkout.without("git")
    assert checkout.problems() == ["git: git is not installed"]


def test_a_status_runs_no_program_that_the_checkout_names(checkout, tmp_path):
    git(checkout.root, "config", "core.fsmonitor", f"touch {tmp_path}/ran; false")
    assert checkout.collect()["git_dirty"] is False
    assert not (tmp_path / "ran").exists()
