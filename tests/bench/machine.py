"""The only place that says on what the benchmark ran."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from tests.bench import place

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("redis", "hiredis", "walrus", "msgspec", "faststream", "taskiq-redis")


def facts() -> dict[str, str]:
    """Label -> text: date, commit, machine, versions."""
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Commit": _commit(),
        "Machine": f"{_processor()}, {os.cpu_count()} processors, {platform.machine()}",
        "System": f"{platform.system()} {platform.release()}, load before {_load()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "Processors": (
            f"server on {place.SERVER_CPU}, case process on {place.CLIENT_CPU}"
            if place.CAN_PIN
            else "not pinned: this machine does not let us"
        ),
    }


def _commit() -> str:
    try:
        said = subprocess.run(
            ["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown (no git here)"
    return said.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
