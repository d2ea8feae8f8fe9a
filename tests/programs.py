"""The only place where tests run our consumers as processes of their own, to kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
FULL = os.environ.get("QUANTUM_FAULTS") == "full"


class Program:
    """Process ``number`` of a consumer, as supervisord would run it."""

    def __init__(self, url: str, name: str, number: int = 0, **settings: str) -> None:
        self.name = name
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": url,
            "QUANTUM_ENV_DIR": "/nonexistent",
            "QUANTUM_BLOCK_MS": "50",
            "QUANTUM_CLAIM_AFTER_SEC": "0.5",
            "QUANTUM_RETRY_CAP_SEC": "0.2",
            "SUPERVISOR_PROCESS_NAME": f"{name}-{number:02d}",
            **settings,
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumers", self.name],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and start it again."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            # On a busy machine others may have done all the work before this one was up.
            wait_until(lambda: self.process.poll() is not None or self._hears(), 15, "up")
            self.process.terminate()
        return self.process.wait(15)

    def _hears(self) -> bool:
        """Whether it would stop in order; before it has got that far, a signal just ends it."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except FileNotFoundError:
            return True
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)
