"""A copy of this checkout to run commands in: its files as they are now, in its own repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
            **WHO,
        }
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        for name in filter(None, names.decode().split("\0")):
            if (ROOT / name).is_file() and not name.startswith("tests/"):
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        self.git("init", "--quiet", "--initial-branch=main")

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
