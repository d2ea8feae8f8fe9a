"""The only place where tests run the demo with its exporter and a Prometheus that scrapes it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tests.prometheus import Prometheus, program
from tests.supervised import ROOT, System, free_port
from tests.waiting import wait_until

PYTHON = f'exec "{sys.executable}"'


class Operated:
    """A demo as an operator has it: ``./run`` works in its folder, Prometheus watches it."""

    def __init__(self, *, patient: bool = False) -> None:
        program("prometheus")  # before anything is started
        self.system = System()
        self.exporter = free_port()
        self.system.environ |= {
            "QUANTUM_EXPORTER_PORT": str(self.exporter),
            "UNIVERSE_REFRESH_SEC": "1",
            "PATH": os.environ["PATH"],
        }
        run = self.system.tree / "run"
        run.write_text(f'#!/bin/sh\n{PYTHON} -m ops "$@"\n')
        run.chmod(0o755)
        try:
            # Sixteen programs at once: on a busy machine that takes its time.
            started = self.system.verb("demo", "--wait", "100", timeout_s=130)
            assert started.returncode == 0, started.stdout + started.stderr
            assert f"http://127.0.0.1:{self.exporter}/metrics" in started.stdout
            self.prometheus = Prometheus(self.exporter, patient=patient)
        except BaseException:
            self.system.close()
            raise

    @property
    def db(self) -> Any:
        """A client of the demo's server, as its administrator."""
        return self.system.connect()

    def type(self, line: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Type ``line`` into a shell in the checkout."""
        return subprocess.run(
            ["bash", "-c", line.replace("127.0.0.1:9790", f"127.0.0.1:{self.exporter}")],
            cwd=self.system.tree, env=self.system.environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip

    def wait_firing(self, *names: str, timeout_s: float = 60) -> dict[str, list[dict[str, Any]]]:
        """Wait until all of these alerts fire; gives everything that does."""

        def firing() -> Any:
            found = self.prometheus.firing()
            return found if set(names) <= set(found) else None

        found: Any = wait_until(firing, timeout_s, f"{names} fire")
        return found  # type: ignore[no-any-return]

    def wait_clear(self, *names: str, timeout_s: float = 60) -> None:
        """Wait until none of these alerts fires."""
        wait_until(
            lambda: not set(names) & set(self.prometheus.firing()), timeout_s, f"{names} end"
        )

    def close(self) -> None:
        """End both; every program's rights must have been enough for all that it did."""
        self.prometheus.close()
        denied = self.system.denials()
        self.system.verb("stop")
        self.system.close()
        assert denied == []


__all__ = ["ROOT", "Operated"]
