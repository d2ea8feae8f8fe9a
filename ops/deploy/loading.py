"""The only place that tries a release's code and configuration before anything is restarted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ops.deploy.errors import SETTINGS, StopError
from ops.paths import Paths
from ops.terminal import safe

LOAD_S = 60.0
_TRY = """
import importlib, importlib.util, sys
from quantum_ops import knobs, settings
from quantum_ops.errors import ConfigurationError
problems = []
for section in settings.SECTIONS:
    try:
        knobs.load(section)
    except ConfigurationError as error:
        problems += [line for line in error.lines if line not in problems]
for name in sys.argv[1:]:
    if importlib.util.find_spec(name):
        importlib.import_module(name)
print("\\n".join(problems))
sys.exit(78 if problems else 0)
"""
_PARSE = """
import sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-c", sys.argv[1]], doc="")
"""


def environ_of(pid: int, paths: Paths, *, owned: bool) -> dict[str, str]:
    """The environment that supervisord gives its programs; ours, where it cannot be read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {**os.environ, **paths.environment(owned=owned)}
    pairs = (item.partition(b"=") for item in raw.split(b"\0") if item)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def load(release: Path, modules: list[str], environ: Mapping[str, str]) -> None:
    """Load all settings and ``modules`` with the release's own code, as its programs will.

    Raises :class:`StopError` with every unusable setting, or with the error of the import.
    """
    done = _python(_TRY, modules, environ, release)
    if done.returncode == SETTINGS:
        lines = [safe(line) for line in done.stdout.splitlines() if line]
        raise StopError("settings that the release cannot use:", *lines, code=SETTINGS)
    if done.returncode != 0:
        raise StopError("the release's code cannot be loaded:", *_last(done.stderr))


def parse(paths: Paths, environ: Mapping[str, str]) -> None:
    """Have supervisord's own code read its configuration; :class:`StopError` with its words."""
    # Not in the checkout: a folder named supervisor there must not be taken for the package.
    with tempfile.TemporaryDirectory() as folder:
        done = _python(_PARSE, [str(paths.supervisord_conf)], environ, Path(folder))
    if done.returncode != 0:
        raise StopError("supervisord's configuration is wrong:", *_last(done.stderr))


def _python(
    code: str, words: list[str], environ: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=cwd,
            env={**environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=LOAD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StopError(f"loading the release's code takes longer than {LOAD_S:.0f} s") from None


def _last(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    return [f"    {safe(line)}" for line in lines[-6:]] or ["    (it said nothing)"]
