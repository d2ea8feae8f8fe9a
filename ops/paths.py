"""The only place that knows where the running system keeps its files."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantum_ops.errors import ConfigurationError

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ("live", "demo")
MAX_SOCKET_PATH = 92
"""Bytes a socket path may have. macOS takes 103, and supervisord first binds ``PATH.PID``."""
_LONGEST_SOCKET = "supervisor.sock"
# Glob signs would change what supervisord includes, quotes and backslashes how it splits commands.
_UNUSABLE = frozenset("*?[]\"'\\\n\r")


@dataclass(frozen=True, slots=True)
class Paths:
    """Every path of one system: ``home`` holds all that it writes, ``run_dir`` its sockets."""

    root: Path
    home: Path
    run_dir: Path
    profile: str = "live"

    @classmethod
    def find(cls, profile: str = "live", environ: Mapping[str, str] | None = None) -> Paths:
        """The paths that ``QUANTUM_HOME`` (default ``<root>/var``) means; creates nothing.

        Raises :class:`ConfigurationError` for a path that supervisord could not carry.
        """
        environ = os.environ if environ is None else environ
        home = Path(environ.get("QUANTUM_HOME") or ROOT / "var")
        home = Path(os.path.abspath(home))  # noqa: PTH100 - resolve() would change a symlinked home's name
        for name, path in (("QUANTUM_HOME", home), ("the checkout", ROOT)):
            unusable = sorted(_UNUSABLE.intersection(str(path)))
            if unusable:
                raise ConfigurationError(
                    f"{name}={str(path)!r}: supervisord cannot carry {unusable[0]!r} in a path; "
                    "use another folder"
                )
        run_dir = Path(environ.get("QUANTUM_RUN_DIR") or run_dir_for(home, os.getuid()))
        return cls(ROOT, home, run_dir, environ.get("QUANTUM_PROFILE") or profile)

    @property
    def log(self) -> Path:
        """Folder of all logs."""
        return self.home / "log"

    @property
    def data(self) -> Path:
        """Folder of the embedded server's files; the demo never touches the live ones."""
        return self.home / "demo" / "data" if self.profile == "demo" else self.home / "data"

    @property
    def demo_archive(self) -> Path:
        """Folder of the demo's archive; that of the live system is ARCHIVE_DIR's business."""
        return self.home / "demo" / "archive"

    @property
    def demo_ledger(self) -> Path:
        """Folder of the demo's ledger; that of the live system is LEDGER_DIR's business."""
        return self.home / "demo" / "ledger"

    @property
    def current_env(self) -> Path:
        """File that describes the running system; see ops/running.py."""
        return self.home / "run" / "current.env"

    @property
    def acl(self) -> Path:
        """Folder of the Redis users' passwords and the ACL file; see ops/acl_files.py."""
        return self.home / "acl"

    @property
    def scale_file(self) -> Path:
        """File that remembers how many processes are wanted; see ops/scale_plan.py."""
        return self.home / f"scale-{self.profile}.json"

    @property
    def warden(self) -> Path:
        """Folder of what the warden keeps: its hold list, events that Redis has not taken yet."""
        return self.home / "warden" / self.profile

    @property
    def releases(self) -> Path:
        """Folder of the code that deployed programs run from; see ops/deploy/releases.py."""
        return self.home / "releases"

    @property
    def release_stanzas(self) -> Path:
        """Folder of the stanzas of deployed programs, which come after those of the checkout."""
        return self.releases / "conf.d"

    @property
    def can_release(self) -> bool:
        """Whether deployed programs can be told to supervisord, which splits paths at blanks."""
        return self.profile == "live" and not any(char.isspace() for char in str(self.home))

    @property
    def deploys(self) -> Path:
        """Folder of what is known of each program's deploys; see ops/deploy/state.py."""
        return self.home / "deploys"

    @property
    def proofs(self) -> Path:
        """Folder of the proof files of deploys."""
        return self.home / "proofs"

    @property
    def start_lock(self) -> Path:
        """File locked while somebody starts or stops the system."""
        return self.home / "run" / "start.lock"

    @property
    def redis_socket(self) -> Path:
        """Unix socket of the embedded server."""
        return self.run_dir / "redis.sock"

    @property
    def supervisor_socket(self) -> Path:
        """Unix socket of supervisord."""
        return self.run_dir / _LONGEST_SOCKET

    @property
    def supervisord_conf(self) -> Path:
        """The configuration file of supervisord."""
        return self.root / "supervisor" / "supervisord.conf"

    def environment(self, *, owned: bool) -> dict[str, str]:
        """What the supervisor's configuration and every program under it find in their environment.

        ``owned`` says whether the server is ours, which decides the stanzas that are included.
        """
        include = ["server.d/*.conf"] if owned else []
        include += ["demo.d/*.conf"] if self.profile == "demo" else []
        include += [f"{self.release_stanzas}/*.conf"] if self.can_release else []
        users = {"QUANTUM_ACL_DIR": str(self.acl)} if owned else {}
        return {
            **users,
            "QUANTUM_HOME": str(self.home),
            "QUANTUM_INCLUDE": " ".join(include),
            "QUANTUM_PROFILE": self.profile,
            "QUANTUM_PYTHON": sys.executable,
            "QUANTUM_ROOT": str(self.root),
            "QUANTUM_RUN_DIR": str(self.run_dir),
        }

    def create(self) -> None:
        """Make the folders, private to this user.

        Raises :class:`ConfigurationError` if the run folder is somebody else's: its sockets would
        be theirs to replace.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        for folder in (self.log, self.current_env.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        if self.can_release:
            self.release_stanzas.mkdir(mode=0o700, parents=True, exist_ok=True)
            # supervisord complains of an include that matches nothing.
            note = self.release_stanzas / "00-note.conf"
            note.write_text("; written by ./run deploy: docs/deploys.md\n", encoding="utf-8")
        own_privately(self.run_dir)


def run_dir_for(home: Path, uid: int) -> Path:
    """``home/run``, or a short name under /tmp if a socket path there would be too long.

    Always the same answer for the same home and user: it depends neither on TMPDIR nor on
    XDG_RUNTIME_DIR, which a login shell and a cron job see differently (two systems would start),
    and the latter of which disappears with the last logout, sockets and all.
    """
    wanted = home / "run"
    if len(os.fsencode(wanted / _LONGEST_SOCKET)) <= MAX_SOCKET_PATH:
        return wanted
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(f"/tmp/quantum-{uid}-{digest}")  # noqa: S108 - ownership is checked before use


def own_privately(folder: Path) -> None:
    """Make ``folder`` mode 0700, ours and no symlink, or raise :class:`ConfigurationError`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigurationError(
            f"{folder}: is not a folder of user {os.getuid()}; remove it, or set QUANTUM_HOME to a "
            "shorter path so that it is not needed"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
