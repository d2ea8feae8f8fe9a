"""The only place where tests deploy: a supervised system whose checkout is a git repository."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess

from ops.deploy.state import State, Store
from quantum_ops import streams
from quantum_ops.ledger import canonical
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from tests.supervised import PROGRAM, ROOT, System
from tests.waiting import wait_until

QUICK = ("--settle", "0.2", "--wait", "30", "--ledger_wait", "20")
CRASHES = 'raise SystemExit("broken release: no module named spoon")\n'
NEVER_READY = PROGRAM.replace('"ready"', '"waiting"')
REFUSES = PROGRAM.replace(
    'if name == "refuses":', 'if name == "worker":'
)  # exit 78, as for a wrong setting
DIES_LATER = PROGRAM.replace(
    "clock.wait(0.1)",
    'clock.wait(0.1)\n    if time.monotonic() - born > 1.6: raise SystemExit("oh")',
).replace("clock = Clock()", "clock = Clock()\nborn = time.monotonic()")
_UNLESS_LEDGER = """import sys
if sys.argv[1] == "ledger":
    from quantum_ops import consumer, program
    sys.exit(program.run(consumer.find("consumers", "ledger")))
"""


class Site(System):
    """One checkout with the real ledger and stand-ins: ``worker`` (two processes), ``feeder``."""

    def __init__(self) -> None:
        super().__init__()
        for folder in ("conf.d", "demo.d"):
            for path in (self.tree / "supervisor" / folder).glob("*.conf"):
                path.unlink()
        self.with_stand_ins()
        self.environ["DRAIN_S"] = "0"
        shutil.copy(ROOT / "supervisor" / "conf.d" / "ledger.conf", self.tree / "supervisor/conf.d")
        (self.tree / ".gitignore").write_text("__pycache__/\n*.pyc\n")
        self.git("init", "-q", "-b", "main")
        self.first = self.commit("the first")

    def git(self, *words: str) -> str:
        """What git says, run as nobody's configuration has it."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words],
            cwd=self.tree, env={**clean, "GIT_CONFIG_GLOBAL": os.devnull}, check=True,
            capture_output=True, text=True,
        ).stdout  # fmt: skip

    def commit(self, subject: str, code: str = PROGRAM) -> str:
        """Make ``code`` the consumers' program and commit it; gives the commit."""
        shared = code if code.strip().startswith('"""') else f'"""A release."""\n{code}'
        text = shared.replace('"""\n', f'"""\n{_UNLESS_LEDGER}', 1)
        (self.tree / "consumers" / "__main__.py").write_text(text)
        with (self.tree / "NEWS").open("a") as file:
            file.write(f"{subject}\n")
        # Not the ledger: its journal must not be taken back with the code.
        self.git("add", "-A", "--", ".", ":!ops/ledger", ":!docs")
        self.git("commit", "-q", "-m", subject)
        return self.git("rev-parse", "HEAD").strip()

    def deploy(
        self, program: str = "worker", *more: str, **environ: str
    ) -> subprocess.CompletedProcess:
        """Deploy, with little patience."""
        return self.verb("deploy", program, *QUICK, *more, **environ)

    def without(self, *groups: str) -> None:
        """Take stanzas out again, deployed or not."""
        for group in groups:
            (self.tree / "supervisor" / "conf.d" / f"{group}.conf").unlink()
            (self.paths.release_stanzas / f"{group}.conf").unlink()
        self.commit("without it")
        assert self.verb("supervisorctl", "update").returncode == 0

    def script(self, name: str, *argv: str) -> subprocess.CompletedProcess:
        """Run one of the scripts of ops/ from another folder."""
        return subprocess.run(
            ["bash", str(self.tree / "ops" / name), *argv], cwd="/", env=self.environ,
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    def deployed(self, program: str = "worker") -> State:
        """What is remembered of it."""
        return Store(self.paths).read(program)

    def runs(self, program: str = "worker") -> set[str]:
        """The commits that its processes run, by the folders they stand in."""
        pids = [pid for name, pid in self.pids().items() if name.startswith(f"{program}-") and pid]
        found = set()
        for pid in pids:
            with contextlib.suppress(OSError):  # it ended while we looked
                found.add(os.path.realpath(f"/proc/{pid}/cwd", strict=True).rpartition("/")[2])
        return found

    def entries(self) -> list[dict[str, str]]:
        """The events in deploy.completed, oldest first."""
        found = self.connect().xrange(streams.DEPLOY_COMPLETED.key)
        return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in found]

    def recorded(self) -> list[dict]:
        """The data of the ledger's records, oldest first."""
        lines = Journal(Folder.find(self.environ, self.tree)).lines()
        records = [canonical.load(line) for line in lines]
        return [one["data"] for one in records if one["type"] == "operation.recorded"]

    def begun(self, ready) -> dict:
        """Wait until the state file says that ``ready`` holds; gives its content."""
        path = Store(self.paths).path("worker")

        def look():
            try:
                found = json.loads(path.read_text())
            except (OSError, ValueError):
                return None
            return found if ready(found) else None

        return wait_until(look, 30, "the deploy has come so far")
