"""The only place that builds what is preloaded into servers: a recorder of syncs, a wrong clock."""

from __future__ import annotations

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
    target = Path(tempfile.mkdtemp(prefix="qo-native-")) / f"{name}.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", target, HERE / f"{name}.c"]
    subprocess.run([*command, "-ldl"], check=True, capture_output=True)
    return target
