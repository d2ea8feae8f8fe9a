"""The only place where evidence learns where the system at hand lies and what it was told.

The same files that ``./run`` writes and reads, without anything of its code: the ledger's tools
work on a bare host.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_LONGEST_SOCKET_PATH = 92
_MOST_BYTES = 65536


def running(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What ``./run`` wrote down about the system that it started; empty without one."""
    return _read(_home(root, environ) / "run" / "current.env")


def supervisor_socket(root: Path, environ: Mapping[str, str]) -> Path:
    """Where our supervisord listens, if it does."""
    named = environ.get("QUANTUM_RUN_DIR") or running(root, environ).get("QUANTUM_RUN_DIR")
    return Path(named or _run_dir(_home(root, environ))) / "supervisor.sock"


def setting(name: str, environ: Mapping[str, str]) -> str:
    """A setting: of the environment, else of the files in ``QUANTUM_ENV_DIR``, else empty."""
    if environ.get(name):
        return environ[name].strip()
    folder = Path(environ.get("QUANTUM_ENV_DIR") or "/etc/quantum")
    found = {one[name] for path in sorted(folder.glob("*.env")) if name in (one := _read(path))}
    if len(found) > 1:
        raise ValueError(f"{name}: the files in {folder} disagree; keep one of them")
    return found.pop() if found else ""


def _home(root: Path, environ: Mapping[str, str]) -> Path:
    return Path(os.path.abspath(environ.get("QUANTUM_HOME") or root / "var"))  # noqa: PTH100 - as ./run does


def _run_dir(home: Path) -> Path:
    wanted = home / "run"
    if len(os.fsencode(wanted / "supervisor.sock")) <= _LONGEST_SOCKET_PATH:
        return wanted
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(f"/tmp/quantum-{os.getuid()}-{digest}")  # noqa: S108 - asked only if it is our own


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    return {found[1]: _unquoted(found[2]) for line in lines if (found := _LINE.fullmatch(line))}


def _unquoted(raw: str) -> str:
    if raw[:1] in {"'", '"'} and raw.find(raw[0], 1) > 0:
        return raw[1 : raw.find(raw[0], 1)]
    return re.split(r"\s+#", raw, maxsplit=1)[0] if not raw.startswith("#") else ""
