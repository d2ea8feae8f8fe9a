"""The only place that asks git: what is checked out, what it changes, a commit's files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.deploy.errors import StopError
from ops.terminal import safe

GIT_S = 60.0
"""Seconds one git command may take."""
_REFLOG = 1000


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: 40 hex digits, the branch it was taken from ("" if detached), its first line."""

    sha: str
    branch: str
    subject: str

    @property
    def short(self) -> str:
        """Twelve digits, for people."""
        return self.sha[:12]


class Repository:
    """The git repository of the checkout at ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def head(self) -> Commit:
        """What is checked out. Raises :class:`StopError` if that is no commit of this folder."""
        top = self._git("rev-parse", "--show-toplevel", wrong="is no git checkout")
        if os.path.realpath(top.rstrip("\n")) != os.path.realpath(self.root):
            raise StopError(
                f"{self.root}: lies inside the git checkout {safe(top.strip())} but is not it; "
                "deploys take a commit of a checkout of their own"
            )
        sha = self._git("rev-parse", "--verify", "HEAD^{commit}", wrong="has no commit yet").strip()
        branch = self._try("symbolic-ref", "--quiet", "--short", "HEAD").strip()
        return Commit(sha, branch, self.subject(sha))

    def subject(self, sha: str) -> str:
        """First line of the message of ``sha``, fit for a terminal."""
        return safe(self._git("show", "-s", "--format=%s", sha).strip(), 200)

    def dirty(self, but: list[Path]) -> list[str]:
        """Files that differ from the commit or are unknown to it, except those under ``but``."""
        excluded = [
            f":(exclude,top,literal){path.relative_to(self.root)}"
            for path in but
            if path.is_relative_to(self.root) and path != self.root
        ]
        told = self._git(
            "--no-optional-locks", "status", "--porcelain=v1", "-z", "--untracked-files=all",
            "--no-renames", "--", ".", *excluded,
        )  # fmt: skip
        return [line for line in told.split("\0") if line]

    def has(self, sha: str) -> bool:
        """Whether ``sha`` is a commit of this repository."""
        return bool(self._try("rev-parse", "--verify", "--quiet", f"{sha}^{{commit}}").strip())

    def at(self, epoch_s: int) -> str:
        """The commit that was checked out at that time, by git's own journal; "" if unknown."""
        told = self._try(
            "log", "-g", f"-n{_REFLOG}", "--format=%H %gd", "--date=unix", "HEAD", "--"
        )
        for line in told.splitlines():
            sha, _, when = line.partition(" ")
            moment = when.rpartition("{")[2].rstrip("}")
            if moment.isdecimal() and int(moment) <= epoch_s:
                return sha
        return ""

    def subjects(self, old: str, new: str) -> list[str]:
        """First lines of the commits that ``new`` has and ``old`` has not, newest first."""
        told = self._try("log", "-z", "--format=%s", f"{old}..{new}", "--")
        return [safe(line, 200) for line in told.split("\0") if line]

    def paths(self, old: str, new: str) -> list[str]:
        """Files that differ between two commits; a name that is no text is shown escaped."""
        told = self._try("diff", "--name-only", "-z", "--no-renames", old, new, "--")
        return [safe(name) for name in told.split("\0") if name]

    def unpack(self, sha: str, folder: Path) -> None:
        """Write the files of ``sha`` into ``folder``. Raises :class:`StopError`.

        With an index of its own, so that neither the work tree nor the index is touched.
        """
        index = {"GIT_INDEX_FILE": f"{folder}.index"}
        try:
            self._git("read-tree", sha, more=index)
            self._git("checkout-index", "--all", "--quiet", f"--prefix={folder}/", more=index)
        finally:
            Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)

    def _git(self, *words: str, wrong: str = "", more: Mapping[str, str] | None = None) -> str:
        done = self._run(*words, more=more)
        if done.returncode != 0:
            said = safe(done.stderr.decode("utf-8", "replace").strip(), 500)
            raise StopError(
                f"{self.root}: {wrong or f'git {words[0]} failed'}; git says: {said}",
                *([] if wrong else ["nothing was changed"]),
            )
        return done.stdout.decode("utf-8", "backslashreplace")

    def _try(self, *words: str) -> str:
        done = self._run(*words)
        text = done.stdout.decode("utf-8", "backslashreplace")
        return text if done.returncode == 0 else ""

    def _run(
        self, *words: str, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["git", "-C", str(self.root), *words],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                env={**_environ(), **(more or {})},
                timeout=GIT_S,
                check=False,
            )
        except FileNotFoundError:
            raise StopError(
                "git is not installed; deploys take commits: apt-get install git"
            ) from None
        except subprocess.TimeoutExpired:
            raise StopError(f"git {words[0]} took longer than {GIT_S:.0f} s") from None


def _environ() -> dict[str, str]:
    # GIT_DIR and its like, as a hook has them set, would have us look at another repository.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**clean, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
