"""The only place that provides axe-core, which looks for what keeps people from using a page."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.page_rig import ROOT

PINNED = ROOT / "tests" / "browser"


def source() -> str:
    """axe-core as package-lock.json pins it, hash included; skips where npm is missing."""
    home = Path(os.environ.get("QUANTUM_HOME") or ROOT / "var") / "browser"
    lock = (PINNED / "package-lock.json").read_text(encoding="utf-8")
    script = home / "node_modules" / "axe-core" / "axe.min.js"
    stamp = home / "installed.lock"  # written last: what it says stands there is there
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text(encoding="utf-8") == lock):
            _install(home)
            stamp.write_text(lock, encoding="utf-8")
    return script.read_text(encoding="utf-8")


def _install(home: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        reason = "no npm here (apt-get install npm)"
        # In CI it is installed first, so its absence is a fault of CI.
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PINNED / name, home / name)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
        cwd=home, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    if done.returncode:
        reason = f"npm could not install axe-core: {done.stderr.strip()[-300:]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
