"""A program's tie to the supervisord that started it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from quantum_ops import lifeline
from tests.waiting import wait_until


def test_outside_supervisord_nothing_is_tied(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda *_a, **_k: pytest.fail("asked the kernel"))
    lifeline.die_with_parent()


@pytest.mark.parametrize("content", ["{ours}", "no number", None])
def test_a_living_supervisord_is_recognised_or_unknown(tmp_path, content):
    # given a pid file that names us, is broken or is not there
    if content is not None:
        (tmp_path / "supervisord.pid").write_text(content.format(ours=os.getpid()))
    environ = {**os.environ, "SUPERVISOR_ENABLED": "1", "QUANTUM_RUN_DIR": str(tmp_path)}
    code = "from quantum_ops.lifeline import die_with_parent; die_with_parent(); print('works')"
    # then a child of ours goes on, also behind a shell
    for command in (
        [sys.executable, "-c", code],
        ["sh", "-c", f'"{sys.executable}" -c "{code}"; :'],
    ):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.stdout == "works\n", done.stderr


def test_a_child_that_lost_its_supervisord_before_it_could_ask_leaves(tmp_path):
    # given a pid file of one that is no ancestor of ours: it died, and a new one may have started
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "supervisord.pid").write_text(f"{dead.pid}\n")
    environ = {**os.environ, "SUPERVISOR_ENABLED": "1", "QUANTUM_RUN_DIR": str(tmp_path)}
    code = "from quantum_ops.lifeline import die_with_parent; die_with_parent(); print('works')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    # then it does not begin to work
    assert done.returncode != 0
    assert "gone" in done.stderr
    assert done.stdout == ""


def test_where_the_kernel_does_not_tell_a_look_does(tmp_path):
    # given a grandchild that watches its parent, as on macOS
    told = tmp_path / "told"
    grandchild = (
        "import os, pathlib; from quantum_ops.lifeline import watch; "
        "parent = os.getppid(); print('up', flush=True); "
        f"watch(parent, lambda: pathlib.Path({str(told)!r}).touch(), 0.01)"
    )
    child = (
        "import subprocess, sys; "
        f"subprocess.run([sys.executable, '-c', {grandchild!r}], check=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"up\n"
    assert not told.exists()
    # when the parent is killed
    parent.kill()
    parent.communicate()
    # then the grandchild notices by itself
    wait_until(told.exists, 10, "the grandchild noticed")


def test_a_refusal_outlives_startsecs_under_supervisord_only(monkeypatch, capsys):
    began = time.monotonic()
    assert lifeline.refuse("A=1: write 2") == 78
    assert time.monotonic() - began < lifeline.STARTSECS_S
    # given supervisord, which ignores the exit code of what exits sooner
    naps = []
    monkeypatch.setenv("SUPERVISOR_ENABLED", "1")
    monkeypatch.setattr(lifeline.time, "sleep", naps.append)
    assert lifeline.refuse("A=1: write 2") == 78
    assert sum(naps) > lifeline.STARTSECS_S
    assert capsys.readouterr().err == "A=1: write 2\n" * 2
