"""The only place that makes worker processes quickly: a parent that has imported everything forks.

Starting Python and importing the product takes half a second of a processor; a fork takes
milliseconds, and a suite that kills two thousand processes lives on that. The parent answers one
line of JSON with another; it holds no server connection and no thread, so that a fork is clean.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Farm:
    """The side of the harness. ``close`` ends every process that was forked here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.farm"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "QUANTUM_ENV_DIR": "/nonexistent"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def fork(self, task: str, *, log: Path, env: dict[str, str], **spec: Any) -> int:
        """Fork a process that does ``task`` of tests/reliability/workers.py; gives its pid."""
        asked = {"do": "fork", "task": task, "log": str(log), "env": env, "spec": spec}
        return int(self._ask(asked)["pid"])

    def wait(self, pid: int, timeout_s: float) -> str:
        """``exited 0``, ``killed 9`` or ``stopped 19``; empty if none within ``timeout_s``."""
        return str(self._ask({"do": "wait", "pid": pid, "timeout_s": timeout_s})["state"])

    def kill(self, pid: int) -> str:
        """kill -9; gives what became of it, which may have been something else just before."""
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid, 10)

    def signal(self, pid: int, number: int) -> None:
        os.kill(pid, number)

    def end(self, pid: int, timeout_s: float = 15) -> str:
        """Ask it to stop, and give what came of that; it is killed if it does not."""
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGTERM)
        return self.wait(pid, timeout_s) or self.kill(pid)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _main() -> None:
    # Imported here: the harness itself needs none of it.
    from tests.reliability import workers

    gc.freeze()
    alive: set[int] = set()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request["do"] == "fork":
            pid = os.fork()
            if pid == 0:
                _child(workers.TASKS[request["task"]], request)
            alive.add(pid)
            answer: dict[str, Any] = {"pid": pid}
        else:
            answer = {"state": _state(request["pid"], request["timeout_s"], alive)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _state(pid: int, timeout_s: float, alive: set[int]) -> str:
    deadline = time.monotonic() + timeout_s
    while pid in alive:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found and os.WIFSTOPPED(status):
            return f"stopped {os.WSTOPSIG(status)}"
        if found:
            alive.discard(pid)
            if os.WIFSIGNALED(status):
                return f"killed {os.WTERMSIG(status)}"
            return f"exited {os.WEXITSTATUS(status)}"
        if time.monotonic() > deadline:
            return ""
        time.sleep(0.001)
    return "gone"


def _child(task: Any, request: dict[str, Any]) -> None:
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL), 0, 0, 0)
    code = 70
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.environ.update(request["env"])
        code = task(**request["spec"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - whatever it was, it must not run the parent's loop
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _main()
