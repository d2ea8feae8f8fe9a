"""The only place that writes a deploy's proof file: what was checked, and what was seen."""

from __future__ import annotations

import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path

import quantum_ops
from ops.deploy.checks import Check
from ops.deploy.restarting import Restarts
from quantum_ops.ledger import durable, moment, redaction

_WIDTH = 12


@dataclass(slots=True)
class Proof:
    """What one deploy or rollback saw, in the order it happened.

    Lines of checks are data of anyone who can write to a stream: they are indented, so that none
    can look like a line of ours.
    """

    program: str
    commit: str
    before: str
    branch: str
    server: str
    secrets: tuple[str, ...] = ()
    steps: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def text(self, restarts: Restarts, result: str, now: datetime) -> str:
        """The whole file."""
        facts = {
            "program": self.program,
            "result": result,
            "commit": f"{self.commit} ({self.branch or 'detached HEAD'})",
            "before": self.before or "none",
            "written": moment.text(now),
            "host": socket.gethostname(),
            "server": self.server,
            "versions": _versions(),
        }
        lines = ["quantum ops: proof of a deploy", ""]
        lines += [f"{name + ':':<{_WIDTH}}{_first(value)}" for name, value in facts.items()]
        lines += ["", "processes"]
        lines += [
            f"    {name}: pid {restarts.before.get(name, 0) or '-'} -> {_after(restarts, name)}"
            for name in sorted({*restarts.before, *restarts.after})
        ]
        lines += ["", "steps", *_indented(self.steps), "", "checks"]
        lines += [] if self.checks else ["    none were made"]
        for check in self.checks:
            lines += _indented([f"{'pass' if check.passed else 'FAIL'}  {check.name}"])
            lines += _indented(check.lines, 10)
        return redaction.redact("\n".join(lines) + "\n", self.secrets)

    def write(self, folder: Path, restarts: Restarts, result: str, now: datetime) -> Path:
        """Write the file, mode 0600, and give its path. Raises ``OSError``."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = now.strftime("%Y%m%dT%H%M%S.%fZ")
        path = folder / f"{self.program}-{stamp}-{self.commit[:12]}.txt"
        durable.write(path, self.text(restarts, result, now).encode("utf-8", "backslashreplace"))
        path.chmod(0o600)
        return path


def _after(restarts: Restarts, name: str) -> str:
    if name in restarts.after:
        return str(restarts.after[name])
    return "not ready" if name in restarts.touched else "untouched"


def _versions() -> str:
    return (
        f"quantum ops {quantum_ops.__version__}, Python {platform.python_version()}, "
        f"supervisor {metadata.version('supervisor')}, redis-py {metadata.version('redis')}"
    )


def _first(text: str) -> str:
    first, *more = text.splitlines() or [""]
    return f"{first} (...)" if more else first


def _indented(lines: Sequence[str], by: int = 4) -> list[str]:
    return [" " * by + part for line in lines for part in line.splitlines() or [""]]
