"""--remote of both audit scripts, against a real SSH server on this machine."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from quantum_ops import streams
from tests.script_box import ROOT, needed, redis_cli
from tests.servers import Server
from tests.silent import Silent
from tests.sshd import Sshd

PERMITS, PROOF = "permit_audit.sh", "proof_order_id.sh"
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """A machine with nothing but sh and redis-cli; no checkout, no Python."""
    folder = tmp_path_factory.mktemp("remote")
    tools = folder / "tools"
    tools.mkdir()
    for program, package in (("sh", "dash"), ("redis-cli", "redis-tools")):
        (tools / program).symlink_to(
            redis_cli() if program == "redis-cli" else needed(program, package)
        )
    with Sshd(folder / "ssh", str(tools)) as sshd:
        yield sshd


@pytest.fixture
def audit(remote, valkey, tmp_path):
    def run(script: str, *argv: str, given: bool = True, **more: str):
        environ = {
            "PATH": f"{Path(needed('ssh', 'openssh-client')).parent}:/usr/bin:/bin",
            "QUANTUM_HOME": str(tmp_path), "HOME": str(tmp_path),
            "PERMIT_AUDIT_KNOWN_HOSTS": str(remote.known_hosts),
            "PERMIT_AUDIT_REDIS_URL": valkey.url,
            # This machine's own server must never answer for the remote one.
            "REDIS_URL": f"unix://{tmp_path}/none",
            **more,
        }  # fmt: skip
        where = ("--host", remote.address, "--key", str(remote.key)) if given else ()
        return subprocess.run(
            ["/bin/sh", ROOT / "ops" / script, "--remote", *where, *argv],
            capture_output=True, text=True, check=False, timeout=60, env=environ, cwd="/",
        )  # fmt: skip

    return run


def permits(db) -> None:
    for prefix, count in (("", 15), ("p26:", 16), ("p33:", 16)):
        for number in range(count):
            db.set(f"quantum:permit:{prefix}plan{number}", 1)


def test_permits_over_there_give_the_same_frame(audit, valkey):
    permits(valkey.connect())
    done = audit(PERMITS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (GOLDEN / "permit_audit.txt").read_text()


def test_missing_permits_and_missing_proof_keep_their_exit_codes(audit):
    done = audit(PERMITS, "--json")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (2, "missing")
    done = audit(PROOF, "--json")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (3, "unproven")


def test_host_and_key_may_come_from_the_environment(audit, valkey, remote):
    permits(valkey.connect())
    done = audit(PERMITS, given=False, PERMIT_AUDIT_HOST=remote.address,
                 PERMIT_AUDIT_KEY=str(remote.key))  # fmt: skip
    assert done.returncode == 0


ODD = [
    "a'; touch PWNED; '", '$(touch PWNED) `touch PWNED` "', "two\nlines\n\nEOF\n}\ntouch PWNED\n",
    "\\ \\' * ? [x] ~ #", "-n --json", "%s%n €",
]  # fmt: skip


@pytest.mark.parametrize("plan_id", ODD, ids=range(len(ODD)))
def test_argument_arrives_as_it_was_given_and_is_run_by_no_shell(audit, valkey, plan_id, tmp_path):
    db = valkey.connect()
    db.xadd(streams.APPLY_RESULT.key, {"plan_id": plan_id, "executed": "true", "order_id": "7"})
    done = audit(PROOF, "--json", f"--plan_id={plan_id}")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["proof"]["plan_id"] == plan_id
    assert not list(Path("/").glob("PWNED"))
    assert not list(Path.home().glob("PWNED"))


def test_follow_waits_over_there(audit):
    started = time.monotonic()
    done = audit(PROOF, "--follow", "--timeout", "1")
    assert (done.returncode, done.stderr) == (3, "")
    assert time.monotonic() - started >= 1


def test_unknown_host_is_refused_and_never_learnt(audit, tmp_path):
    empty = tmp_path / "known"
    done = audit(PERMITS, PERMIT_AUDIT_KNOWN_HOSTS=str(empty))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Host key verification failed" in done.stderr
    assert not empty.exists()


def test_changed_host_key_is_refused(audit, remote, tmp_path):
    other = tmp_path / "known"
    key = Path(f"{remote.stranger}.pub").read_text().split()[1]
    other.write_text(f"[127.0.0.1]:{remote.port} ssh-ed25519 {key}\n")
    done = audit(PERMITS, PERMIT_AUDIT_KNOWN_HOSTS=str(other))
    assert (done.returncode, done.stdout) == (1, "")
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_refused_key_is_an_error_and_nothing_is_asked(audit, remote):
    done = audit(PERMITS, "--key", str(remote.stranger))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Permission denied" in done.stderr


def test_redis_that_is_away_over_there_is_an_error_and_never_missing(audit, tmp_path):
    done = audit(PERMITS, PERMIT_AUDIT_REDIS_URL=f"unix://{tmp_path}/away")
    assert (done.returncode, done.stdout) == (1, "")
    assert "permit_audit: Redis: Could not connect" in done.stderr


def test_wrong_password_over_there_is_an_error_and_never_missing(audit):
    server = Server("valkey")
    try:
        db = server.connect()
        permits(db)
        db.config_set("requirepass", "right")
        url = server.url.replace("unix://", "unix://:{}@")
        wrong = audit(PERMITS, PERMIT_AUDIT_REDIS_URL=url.format("wrong"))
        right = audit(PERMITS, PERMIT_AUDIT_REDIS_URL=url.format("right"))
    finally:
        server.close()
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert right.returncode == 0


def test_running_system_over_there_is_found_by_its_checkout(audit, valkey, tmp_path):
    permits(valkey.connect())
    running = tmp_path / "checkout" / "var" / "run"
    running.mkdir(parents=True)
    (running / "current.env").write_text(f"REDIS_URL={valkey.url}\n")
    done = audit(PERMITS, PERMIT_AUDIT_REDIS_URL="", PERMIT_AUDIT_DIR=str(tmp_path / "checkout"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "host",
    ["-oProxyCommand=touch PWNED", "user@host;id", "user@host id", "$(id)", "a\nb", "--json"],
)
def test_host_that_is_none_is_refused_before_ssh_sees_it(audit, remote, host):
    done = audit(PERMITS, f"--host={host}", "--key", str(remote.key), given=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "write user@host, a name of ssh's configuration, or ssh://user@host:port" in done.stderr


def test_key_that_cannot_be_read_is_named(audit, remote):
    done = audit(PERMITS, "--host", remote.address, "--key", "/no/such key", given=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--key '/no/such key': there is no such file, or it cannot be read" in done.stderr


def test_host_that_never_answers_is_an_error_within_the_time_limit(audit, remote):
    with Silent() as silent:
        started = time.monotonic()
        done = audit(PERMITS, "--host", f"ssh://root@127.0.0.1:{silent.port}", "--key",
                     str(remote.key), given=False, PERMIT_AUDIT_TIMEOUT_SEC="1")  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "within 1 s (PERMIT_AUDIT_TIMEOUT_SEC)" in done.stderr
    assert time.monotonic() - started < 20


def test_command_line_over_there_holds_no_argument(audit, tmp_path):
    # Given a server that notes down what it was asked to run, and the script that came with it
    asked, script = tmp_path / "asked", tmp_path / "script"
    forced = f'printf %s "$SSH_ORIGINAL_COMMAND" > {asked}; cat > {script}; exit 3'
    with Sshd(tmp_path / "ssh", "/usr/bin:/bin", forced) as noting:
        done = audit(PROOF, "--plan_id", "seen-by-nobody", "--host", noting.address,
                     "--key", str(noting.key), given=False,
                     PERMIT_AUDIT_KNOWN_HOSTS=str(noting.known_hosts))  # fmt: skip
    assert done.returncode == 3
    assert asked.read_text() == "sh -s"
    assert "plan_id='seen-by-nobody'" in script.read_text()


def test_script_that_was_cut_off_on_its_way_does_nothing(audit, valkey, tmp_path):
    permits(valkey.connect())
    script = tmp_path / "script"
    with Sshd(tmp_path / "ssh", "/usr/bin:/bin", f"cat > {script}") as noting:
        audit(PERMITS, "--host", noting.address, "--key", str(noting.key), given=False,
              PERMIT_AUDIT_KNOWN_HOSTS=str(noting.known_hosts))  # fmt: skip
    whole = script.read_text()
    for part in (0.3, 0.9, 0.999):
        cut = subprocess.run(["/bin/sh", "-s"], input=whole[: int(len(whole) * part)], text=True,
                             capture_output=True, check=False, timeout=20)  # fmt: skip
        assert (cut.stdout, cut.returncode != 0) == ("", True)
