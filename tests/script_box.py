"""The only place where tests run the audit scripts as an operator does, on two kinds of box."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("a set-up checkout", "sh and redis-cli alone")


class Box:
    """A machine with a ``PATH`` of its own; ``run(script, *argv, **environment)`` runs there."""

    def __init__(self, folder: Path, url: str, kind: str) -> None:
        self.kind = kind
        self.environ = {"REDIS_URL": url, "QUANTUM_HOME": str(folder / "home"), "PATH": "/nowhere"}
        if kind == KINDS[0]:
            python = folder / "home" / "venv" / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            python.chmod(0o755)
            (folder / "home" / "venv" / "quantum.stamp").touch()
        else:
            tools = folder / "tools"
            tools.mkdir(parents=True)
            (tools / "redis-cli").symlink_to(redis_cli())
            self.environ["PATH"] = str(tools)

    def run(self, script: str, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Exit code, stdout and stderr; bytes that are no UTF-8 are kept as surrogates."""
        return subprocess.run(
            ["/bin/sh", str(ROOT / "ops" / script), *argv], capture_output=True, text=True,
            errors="surrogateescape", check=False, timeout=60, cwd="/",
            env={**self.environ, **more},
        )  # fmt: skip

    def start(self, script: str, *argv: str) -> subprocess.Popen[str]:
        """The same, left running."""
        return subprocess.Popen(
            ["/bin/sh", str(ROOT / "ops" / script), *argv], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd="/", env=self.environ,
        )  # fmt: skip


def redis_cli() -> str:
    """The client; CI fails without one, a developer's machine skips."""
    return needed("redis-cli", "redis-tools")


def without(program: str, package: str) -> pytest.MarkDecorator:
    """A mark: skipped without ``program``, but in CI, where it fails."""
    absent = shutil.which(program) is None and not os.environ.get("CI")
    return pytest.mark.skipif(absent, reason=f"no {program} here (apt-get install {package})")


def needed(program: str, package: str) -> str:
    """Path of ``program``, whose absence CI does not pass over."""
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"CI installs {program} first")
        pytest.skip(f"no {program} here (apt-get install {package})")
    return found
