"""./run lag, pending, tail, publish, dlq, status: one style, whatever stands in the streams."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from ops import __main__ as ops_main
from quantum_ops import streams
from tests.signoff_rig import DEPLOY, SignoffRig
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PLAN = streams.APPLY_PLAN.key


@pytest.fixture(autouse=True)
def named(valkey, monkeypatch, tmp_path):
    monkeypatch.setenv("REDIS_URL", valkey.url)
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path / "home"))


@pytest.fixture
def db(valkey):
    return valkey.connect()


@pytest.fixture
def run(capsys):
    """A verb, run here: its exit code, its lines, what it says."""

    def ran(*argv: str) -> tuple[int, list[str], str]:
        try:
            code = ops_main.entry(list(argv))
        except SystemExit as left:  # of argparse
            code = int(left.code or 0)
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return ran


def behind(db, count=5, taken=2):
    """P3.3 has ``taken`` of ``count`` plans in hand and has not seen the rest."""
    for at in range(count):
        db.xadd(PLAN, {"plan_id": f"{at:016x}", "decision": "EXECUTE", "symbol": "BTCUSDT"})
    db.xgroup_create(PLAN, "p33", "0")
    if taken:
        db.xreadgroup("p33", "host:p33:00", {PLAN: ">"}, count=taken)


def test_lag_names_who_is_behind_and_fails_above_a_threshold(db, run):
    behind(db)
    code, lines, told = run("lag")
    assert (code, told) == (0, "")
    assert lines[0].split() == [
        "STREAM", "GROUP", "LAG", "BEHIND", "PENDING", "OLDEST", "CONSUMERS", "LOST",
    ]  # fmt: skip
    assert lines[1].split()[:3] == ["apply.plan", "p33", "3"]
    assert run("lag", "p33", "--max", "3")[0] == 0
    code, lines, told = run("lag", "p33", "--max", "2")
    assert (code, len(lines)) == (3, 2)
    assert told.startswith("p33 is behind in apply.plan: 3 undelivered")
    wait_until(lambda: run("lag", "--max-seconds", "50ms")[0] == 3)
    assert run("lag", "--max-seconds", "1d")[0] == 0
    # and a script gets numbers, and null for what nobody knows
    code, lines, _ = run("lag", "-F", "json")
    [row] = map(json.loads, lines)
    assert (row["group"], row["lag"], row["how"], row["pending"]) == ("p33", 3, "exact", 2)
    assert row["behind_s"] >= row["lag_s"] > 0
    assert row["first_undelivered"] > row["last_delivered"] > row["first_pending"]
    assert run("lag", "-F", "%g %l %h")[1] == ["p33 3 exact"]


def test_what_is_not_known_is_shown_as_such(db, run, monkeypatch):
    behind(db, count=300)
    monkeypatch.setenv("QUANTUM_LAG_LIMIT", "150")
    assert run("lag")[1][1].split()[2] == ">=150"
    assert json.loads(run("lag", "--json")[1][0])["how"] == "atleast"
    db.xtrim(PLAN, maxlen=10, approximate=False)
    db.xdel(PLAN, db.xrange(PLAN)[-2][0])
    row = json.loads(run("lag", "--json")[1][0])
    assert (row["lag"], row["how"], row["lost"]) == (9, "exact", 289)


def test_a_group_that_was_destroyed_is_not_taken_for_one_that_keeps_up(db, run):
    behind(db)
    db.set(streams.checkpoint(PLAN, "p33"), db.xrange(PLAN)[0][0])
    db.xgroup_destroy(PLAN, "p33")
    code, lines, told = run("lag", "p33", "--max", "1000")
    assert (code, lines[1].split()[2:4]) == (3, ["?", "?"])
    assert "p33 has no group in apply.plan any more" in told
    assert json.loads(run("lag", "--json")[1][0])["lag"] is None


def test_no_such_group_or_stream_is_its_own_exit_code(db, run):
    behind(db)
    for argv in (("lag", "nobody"), ("pending", "nobody"), ("tail", "nowhere"),
                 ("publish", "nowhere", "a=b"), ("pending", "--stream", "nowhere")):  # fmt: skip
        code, lines, told = run(*argv)
        assert (code, lines) == (4, []), argv
        assert "no such" in told or "no stream" in told
    for argv in (("lag", "--max", "x"), ("tail", "-F", "jsn"), ("tail", "=x"), ("tail", "-n", "x"),
                 ("tail", "--since", "yesterday"), ("tail", "-e", "-f"), ("publish", "deploy", "x"),
                 ("tail", "--since", "1h", "-n", "3")):  # fmt: skip
        code, lines, told = run(*argv)
        assert (code, lines) == (2, []), argv
        assert told, argv


def test_a_server_that_is_not_there_is_its_own_exit_code(valkey, run, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    deploy = [f"{name}={value}" for name, value in DEPLOY.items()]
    for argv in (("lag",), ("pending",), ("tail", "-f"), ("dlq",), ("publish", "deploy", *deploy)):
        code, lines, told = run(*argv)
        assert (code, lines) == (69, []), argv
        assert told.startswith("Redis is unreachable")
    monkeypatch.setenv("REDIS_URL", valkey.url)
    monkeypatch.setattr("quantum_ops.publisher.Publisher.publish", _unknown)
    code, _, told = run("publish", "deploy", *deploy)
    assert code == 75
    assert "again with the same event_id" in told


def _unknown(_self, event):
    from quantum_ops.errors import PublishUnknownError

    raise PublishUnknownError(f"publish {event.event_id} again with the same event_id")


def test_pending_names_who_holds_what(db, run):
    behind(db, count=30, taken=25)
    db.xreadgroup("p33", "other", {PLAN: ">"}, count=1)
    code, lines, told = run("pending", "-n", "2")
    assert code == 0
    assert "p33 has 26 pending in all" in told
    assert [line.split()[3] for line in lines] == ["CONSUMER", "host:p33:00", "host:p33:00"]
    [row] = map(json.loads, run("pending", "p33", "--consumer", "other", "-F", "json")[1])
    assert (row["stream"], row["consumer"], row["deliveries"]) == ("apply.plan", "other", 1)
    assert run("pending", "--min-idle", "1h") == (0, [], "nothing is pending\n")


HOSTILE = {"plan_id": "a", "decision": "x\x1b[2J\u202e", "symbol": "\u2066BTC\n", "qty": b"\xff"}


def test_tail_shows_streams_merged_and_obeys_nothing_in_them(db, run):
    db.xadd(PLAN, {"plan_id": "a", "decision": "SKIP", "symbol": "ETHUSDT"}, id="1000-0")
    db.xadd(streams.APPLY_RESULT.key, {"plan_id": "a", "executed": "true"}, id="2000-0")
    db.xadd(PLAN, HOSTILE, id="3000-0")
    code, lines, _ = run("tail")
    assert code == 0
    assert lines[0] == ("1970-01-01T00:00:01.000Z  1000-0  apply.plan        SKIP ETHUSDT, plan a")
    assert [line.split()[2] for line in lines] == ["apply.plan", "apply.result", "apply.plan"]
    assert "x\\x1b[2J\\u202e" in lines[2]
    for form in ("json", "%d", "%m", "text"):
        shown = "\n".join(run("tail", "apply.result", "apply.plan", "-F", form)[1])
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    row = json.loads(run("tail", "apply.plan", "-F", "json", "-n", "1")[1][0])
    assert (row["stream"], row["id"], row["type"]) == ("apply.plan", "3000-0", "ApplyPlan")
    assert row["data"]["symbol"] == HOSTILE["symbol"]
    assert base64.b64decode(row["data_b64"]["qty"]) == b"\xff"
    # and words and options come in any order
    assert len(run("tail", "symbol=ETHUSDT", "-n", "5", "apply.plan")[1]) == 1
    assert len(run("tail", "--since", "@1970-01-01T00:00:02Z", "apply.plan")[1]) == 1
    assert run("tail", "--until", "-1000000h", "-n", "1", "-F", "%i") == (0, [], "")
    assert run("tail", "--since", "start", "-c", "2", "-F", "%i")[1] == ["1000-0", "2000-0"]
    # and a name that stands twice is not lost
    db.execute_command("XADD", PLAN, "4000-0", "plan_id", "a", "plan_id", "b")
    row = json.loads(run("tail", "-n", "1", "--json")[1][0])
    assert row["fields"] == ["plan_id", "a", "plan_id", "b"]


FINDING = ("auditor=me", "finding=looked", "severity=info")


def test_publish_judges_first_and_sends_once(db, run, monkeypatch):
    code, [entry_id], _ = run("publish", "audit.finding", *FINDING, "event_id=x")
    assert code == 0
    assert run("publish", "audit.finding", "event_id=x", *FINDING)[1] == [entry_id]
    assert db.xlen(streams.AUDIT_FINDING.key) == 1
    # what is wrong is named, and nothing is sent: not even the right lines before it
    for words, told in {
        ("apply.plan", "plan_id=1", "decision=EXECUTE"): "of the trading side",
        ("permit.decided", "gate=p33"): "add --by-hand",
        ("audit.finding", *FINDING, "detial=x"): "did you mean detail?",
        ("audit.finding", *FINDING, "--wait"): "the options are of a deploy",
    }.items():
        code, lines, said = run("publish", *words)
        assert (code, lines) == (2, [])
        assert told in said
    lines_in = b'{"finding":"a"}\nfinding=b severity=grave\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines_in)))
    code, lines, said = run("publish", "audit.finding", "auditor=me", "severity=info", "-")
    assert (code, lines) == (2, [])
    assert "line 2: audit.finding: field 'severity'" in said
    assert db.xlen(streams.AUDIT_FINDING.key) == 1
    lines_in = b'{"finding":"a"}\n\nfinding=b detail="two words"\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines_in)))
    code, lines, _ = run("publish", "audit.finding", "auditor=me", "severity=info", "-")
    assert (code, len(lines)) == (0, 2)
    assert not db.exists(PLAN)


def test_a_deploy_is_published_and_says_what_the_ledger_made_of_it(
    valkey, db, run, monkeypatch, tmp_path
):
    rig = SignoffRig(valkey, tmp_path)
    monkeypatch.setenv("LEDGER_DIR", str(tmp_path))
    options = [part for name, value in DEPLOY.items() for part in (f"--{name}", value)]
    options += [
        "--allowed_services",
        "a",
        "--allowed_services",
        "b,c",
        "--notes",
        "--force",
        "--event_id",
        "run-7",
    ]
    # when the ledger is down, then nothing is lost, and it is not known what it will be
    code, [entry_id], told = run("publish", "deploy", *options, "--wait", "50ms")
    assert code == 75
    assert "nothing is lost" in told
    # and when it has run
    rig.settle()
    code, lines, _ = run("publish", "deploy", *options, "--wait")
    assert (code, lines) == (0, [entry_id, rig.ids()[0]])
    assert rig.operations()[0]["allowed_services"] == ["a", "b", "c"]
    assert rig.operations()[0]["notes"] == "--force"
    code, [line], _ = run("publish", "deploy", *options, "--wait", "-F", "json")
    assert json.loads(line)["operation_id"] == rig.ids()[0]
    # and what the ledger refuses is told
    wrong = [*options[:-2], "--outcome", "ROLLBACK", "--strict"]
    code, [entry_id], _ = run("publish", "deploy", *wrong)
    rig.settle()
    again = [f"--event_id={db.xrange(streams.DEPLOY_COMPLETED.key)[-1][1][b'event_id'].decode()}"]
    code, lines, told = run("publish", "deploy", *wrong, *again, "--wait")
    assert (code, lines) == (1, [entry_id])
    assert "the ledger refused it" in told
    assert "rollback_of" in told


def test_dead_letters_and_status_have_the_same_style(db, run):
    from quantum_ops.events import DeadLetter
    from quantum_ops.publisher import Publisher

    Publisher(db).publish(
        DeadLetter(stream=PLAN, group="p33", consumer="c", entry_id="1-0", deliveries=1,
                   reason="bad", error="\x1b[2J")
    )  # fmt: skip
    code, [line], _ = run("dlq")
    assert code == 0
    assert "\\x1b[2J" in line
    assert run("dlq", "list", "-F", "%g %r %e")[1] == ["p33 bad 1-0"]
    assert json.loads(run("dlq", "list", "--json")[1][0])["reason"] == "bad"
    assert run("status", "-F", "%n") == (3, [], "")
    assert json.loads(run("status", "--json")[1][0])["running"] is False


class Screen:
    """A verb on a terminal of its own."""

    def __init__(self, *argv: str, **environ: str) -> None:
        self.fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.process = subprocess.Popen(
            argv, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm", **environ},
            # A suite that a script runs in its background ignores ^C, and so would whom it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - as above
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self.fd, False)
        self.text = ""

    def shows(self, text: str, times: int = 1) -> bool:
        with contextlib.suppress(OSError):
            self.text += os.read(self.fd, 65536).decode()
        return self.text.count(text) >= times

    def close(self) -> int:
        # Read on meanwhile, as a terminal does: a full one would hold up the verb's last words.
        wait_until(lambda: self.shows("") and self.process.poll() is not None, 30, "its end")
        self.shows("")
        os.close(self.fd)
        return self.process.returncode


@pytest.fixture
def on_screen():
    """Verbs on terminals of their own, ended with the test."""
    shown: list[Screen] = []

    def start(*argv: str, **environ: str) -> Screen:
        shown.append(Screen(*argv, **environ))
        return shown[-1]

    yield start
    for one in shown:
        if one.process.poll() is None:
            one.process.kill()
            one.close()


def verb(*argv: str) -> list[str]:
    return [sys.executable, "-m", "ops", *argv]


def test_on_a_terminal_there_is_colour_and_each_look_takes_the_place_of_the_last(
    db, valkey, on_screen
):
    behind(db)
    screen = on_screen(*verb("lag", "-w", "0.1", "--max", "1"))
    wait_until(lambda: screen.shows("\x1b[H\x1b[2J", 3), what="three looks")
    assert "\x1b[31mapply.plan" in screen.text
    # when the server is away for a while
    valkey.kill()
    wait_until(lambda: screen.shows("Redis is away"))
    valkey.start()
    wait_until(lambda: screen.shows("Redis is back"))
    os.kill(screen.process.pid, signal.SIGINT)
    assert screen.close() == 130
    assert "Traceback" not in screen.text
    # and without colour, if so wanted, nothing but text reaches it, whatever was asked for
    db.xadd(PLAN, HOSTILE)
    screen = on_screen(*verb("tail", "apply.plan", "-F", "raw"), NO_COLOR="1")
    wait_until(lambda: screen.shows("\\x1b[2J"))
    assert screen.close() == 0
    assert "\x1b" not in screen.text


def test_a_reader_that_leaves_ends_every_verb_without_a_word(db):
    behind(db)
    for argv in (("lag", "-w", "0.1"), ("tail", "-f"), ("status",), ("redis-cli", "PING")):
        out, into = os.pipe()
        os.close(out)
        done = subprocess.run(
            verb(*argv), cwd=ROOT, stdout=into, stderr=subprocess.PIPE, check=False, timeout=30
        )
        os.close(into)
        assert done.stderr == b"", argv
        # By redis-cli itself, which the signal ends, or by us.
        assert done.returncode in (141, -signal.SIGPIPE), argv


def test_a_start_does_not_fail_because_nobody_reads_what_it_says():
    out, into = os.pipe()
    os.close(out)
    code = (
        "import sys; from ops import __main__ as m; from ops.verbs import start;"
        "start._start = lambda _: print('up', flush=True); sys.exit(m.entry(['start']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=into, stderr=subprocess.PIPE, check=False
    )
    os.close(into)
    assert (done.returncode, done.stderr) == (141, b"")


def test_bash_completes_verbs_options_and_names(tmp_path, on_screen):
    # given a terminal with the script, and a ./run that says what it was told
    script = tmp_path / "completion"
    script.write_text(subprocess.run(
        verb("completion", "bash"), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout)  # fmt: skip
    fake = tmp_path / "run"
    fake.write_text('#!/bin/sh\necho "<$*>"\n')
    fake.chmod(0o700)
    screen = on_screen(shutil.which("bash"), "--norc", "--noprofile", "-i", HISTFILE="", PS1="$ ")

    def typed(keys: str, said: str) -> None:
        os.write(screen.fd, keys.encode())
        wait_until(lambda: screen.shows(f"<{said}>"), what=said)

    os.write(screen.fd, f"cd {tmp_path}; . ./completion; echo '<ready>'\n".encode())
    wait_until(lambda: screen.shows("<ready>", 2))
    # when the tabulator is pressed, then the only word that fits is there
    typed("./run la\tp3\t--max-s\t5\n", "lag p33 --max-seconds 5")
    typed("./run ta\taudit.f\t-F js\t\n", "tail audit.finding -F json")
    typed("./run pub\tdeploy --risk_c\tSERV\t\n", "publish deploy --risk_class SERVICE_RESTART")
    typed("./run dl\treq\t--rea\tx\n", "dlq requeue --reason x")
    os.write(screen.fd, b"exit\n")
    assert screen.close() == 0


def test_the_completion_for_zsh_is_that_of_bash_under_its_own_name(run):
    code, lines, _ = run("completion", "zsh")
    assert code == 0
    assert lines[:2] == [
        "autoload -U +X compinit && compinit", "autoload -U +X bashcompinit && bashcompinit",
    ]  # fmt: skip
    assert lines[3:] == run("completion", "bash")[1][1:]
