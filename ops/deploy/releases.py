"""The only place that knows where a deployed program's code lies and how supervisord is told.

    releases/COMMIT/            the files of one commit, as git has them
    releases/run/PROGRAM        a link to the release that PROGRAM runs from
    releases/conf.d/GROUP.conf  the release's stanza of it, with that link as its folder

A process takes its code from the folder it starts in. So a switch of the link followed by restarts,
one after the other, is a rolling deploy, and the same backwards takes it back: the operator's work
tree is never touched.
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from ops.deploy.source import Repository
from ops.paths import Paths
from quantum_ops.ledger import durable

MARK = ".release"
"""File in each release that names its commit; written last, so that half a release has none."""
KEPT = 5
"""Releases kept beside those in use, newest first: going back to one costs no unpacking."""
_HEAD = "; {program}: written by ./run deploy, from its release. docs/deploys.md\n"
_DIRECTORY = "%(ENV_QUANTUM_HOME)s/releases/run/{program}"


class Releases:
    """The releases under one ``QUANTUM_HOME``."""

    def __init__(self, paths: Paths, repository: Repository) -> None:
        self._paths, self._repository = paths, repository
        self._folder = paths.releases

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a release that was just found from being cleared away by another deploy."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def path(self, commit: str) -> Path:
        """Where the release of ``commit`` lies, or would."""
        return self._folder / commit

    def make(self, commit: str) -> Path:
        """The release of ``commit``, unpacked if it is not there yet; whole or not there at all."""
        path = self.path(commit)
        if _marked(path) == commit:
            os.utime(path)
            return path
        shutil.rmtree(path, ignore_errors=True)
        draft = self._folder / f".{commit}.{os.getpid()}.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        try:
            self._repository.unpack(commit, draft)
            durable.write(draft / MARK, f"{commit}\n".encode())
            draft.rename(path)
            durable.sync_folder(self._folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return path

    def link(self, program: str) -> Path:
        """The folder that processes of ``program`` start in."""
        return self._folder / "run" / program

    def pointed(self, program: str) -> str:
        """The commit that ``program`` starts from; "" if it starts from the checkout."""
        with contextlib.suppress(OSError):
            return _marked(self.link(program))
        return ""

    def point(self, program: str, commit: str) -> None:
        """Let ``program`` start from ``commit``: the old one or the new one, never none."""
        link = self.link(program)
        durable.make_folder(link.parent)
        draft = link.with_name(f".{program}.{os.getpid()}.new")
        draft.unlink(missing_ok=True)
        draft.symlink_to(Path("..") / commit)
        draft.replace(link)
        durable.sync_folder(link.parent)

    def configure(self, program: str, commit: str) -> set[str]:
        """Write the stanzas of that release for supervisord to read; gives their groups."""
        wanted = {
            f"{group}.conf": _HEAD.format(program=program)
            + f"{text.rstrip()}\n\n[program:{group}]\n"
            + f"directory={_DIRECTORY.format(program=program)}\n"
            for group, text in stanzas(self.path(commit), program).items()
        }
        folder = self._paths.release_stanzas
        head = _HEAD.format(program=program)
        for path in folder.glob("*.conf"):
            if path.name not in wanted and path.read_text(encoding="utf-8").startswith(head):
                path.unlink()
        for name, text in wanted.items():
            durable.write(folder / name, text.encode())
        return {name.removesuffix(".conf") for name in wanted}

    def unconfigure(self, program: str) -> None:
        """Take the stanzas and the link away: the program is the checkout's again."""
        head = _HEAD.format(program=program)
        for path in self._paths.release_stanzas.glob("*.conf"):
            if path.read_text(encoding="utf-8").startswith(head):
                path.unlink()
        self.link(program).unlink(missing_ok=True)

    def prune(self, used: AbstractSet[str]) -> None:
        """Remove releases that are neither used nor among the newest; under :meth:`locked`."""
        there = [path for path in self._folder.iterdir() if _marked(path) == path.name]
        running = {self.pointed(path.name) for path in (self._folder / "run").glob("*")}
        spare = [path for path in there if path.name not in used | running]
        spare.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in spare[KEPT:]:
            (path / MARK).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)


def stanzas(tree: Path, program: str) -> dict[str, str]:
    """The stanzas of ``program`` in a checkout or a release, by group, its spares' too."""
    return {group: text for group, name, text in _declared(tree) if name == program}


def programs(tree: Path) -> list[str]:
    """Names of all programs that a checkout or a release declares."""
    return sorted({name for _, name, _ in _declared(tree)})


def _declared(tree: Path) -> Iterator[tuple[str, str, str]]:
    for path in sorted((tree / "supervisor" / "conf.d").glob("*.conf")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for group, options in _programs(text):
            yield group, _program_of(group, options), text


def roles(text: str) -> set[str]:
    """The packages that the programs of a stanza file run with ``-m``."""
    found = set()
    for _, options in _programs(text):
        words = options.get("command", "").split()
        found |= {words[at + 1] for at, word in enumerate(words[:-1]) if word == "-m"}
    return found


def _programs(text: str) -> list[tuple[str, dict[str, str]]]:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        parser.read_string(text)
    except configparser.Error:
        return []  # what supervisord makes of it is told by the check of the configuration
    return [
        (section.removeprefix("program:"), dict(parser[section]))
        for section in parser.sections()
        if section.startswith("program:")
    ]


def _program_of(group: str, options: dict[str, str]) -> str:
    name = options.get("process_name", "%(program_name)s").replace("%(program_name)s", group)
    return name.partition("-%(process_num)")[0]


def _marked(path: Path) -> str:
    try:
        return (path / MARK).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
