"""A copy of this checkout to run commands in: its files as they are now, in its own repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.contract.reference import ROOT

WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Story"), ("EMAIL", "story@example.com"))
}


class Checkout:
    """The copy at ``root``, in which ``git`` and ``python`` are found and nothing is configured."""

    def __init__(self, base: Path) -> None:
        self.root = base / "check out"  # a blank in its path, as on some machines
        self.bin = base / "bin"
        self.bin.mkdir(parents=True)
        for name in ("python", "python3"):
            (self.bin / name).symlink_to(sys.executable)
        self.environ = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(base),
            "GIT_CONFIG_NOSYSTEM": "1",
            "QUANTUM_ENV_DIR": str(base / "etc"),
            # Nobody listens there: a story that needs a server names it.
            "REDIS_URL": f"unix://{base}/no-redis",
            **WHO,
        }
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        for name in filter(None, names.decode().split("\0")):
            if (ROOT / name).is_file() and not name.startswith("tests/"):
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        self.git("init", "--quiet", "--initial-branch=main")

    def copy(self, base: Path) -> Self:
        """Another one in ``base``, as this one is now."""
        made = object.__new__(type(self))
        made.root, made.bin = base / self.root.name, base / "bin"
        shutil.copytree(self.root, made.root, symlinks=True)
        shutil.copytree(self.bin, made.bin, symlinks=True)
        made.environ = {**self.environ, "PATH": f"{made.bin}:{os.environ['PATH']}"}
        return made

    def program(self, name: str, script: str) -> None:
        """Put a shell script on PATH, before the host's own program of that name."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def git(self, *arguments: str | bytes, cwd: Path | None = None) -> str:
        """What git prints; a failure is one of the test."""
        ran = self.ran("git", *arguments, cwd=cwd)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def commit_all(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "all")

    def ran(self, *command, cwd: Path | None = None, **environ) -> subprocess.CompletedProcess[str]:
        """``command`` run to its end in the copy."""
        return subprocess.run(
            command, cwd=cwd or self.root, env={**self.environ, **environ}, check=False,
            capture_output=True, encoding="utf-8", errors="backslashreplace", timeout=60,
        )  # fmt: skip
