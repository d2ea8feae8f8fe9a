"""The only place that builds what is preloaded into servers: a recorder of syncs, a wrong clock."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


class NoCompilerError(Exception):
    """There is no C compiler here, so a scenario that needs one cannot be run."""


@functools.cache
def built(name: str) -> Path:
    """The shared object of ``name``.c. Raises :class:`NoCompilerError`."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompilerError("no C compiler here (apt-get install gcc)")
    folder = tempfile.mkdtemp(prefix="qo-native-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = Path(folder) / f"{name}.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", target, HERE / f"{name}.c"]
    subprocess.run([*command, "-ldl"], check=True, capture_output=True)
    return target
