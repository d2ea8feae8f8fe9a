"""The only place that says which archive a system keeps: the demo has one of its own."""

from __future__ import annotations

from pathlib import Path

from ops import ledger_place, running
from ops.paths import Paths
from quantum_ops import knobs
from quantum_ops.history.folder import Folder
from quantum_ops.settings import ArchiveSettings


def paths() -> Paths:
    """The paths of the system that runs, of the live one if none does."""
    found = Paths.find()
    current = running.read(found.current_env)
    return Paths.find(current.profile) if current else found


def find(named: str, paths: Paths) -> Folder:
    """The one that is named, else the demo's if ``paths`` is the demo's, else the settings'."""
    if named:
        return Folder(Path(named))
    if paths.profile == "demo":
        # Whatever the machine's settings say: the demo's archive is its own.
        return Folder(paths.demo_archive)
    wanted = knobs.load(ArchiveSettings).folder
    return Folder.find({"QUANTUM_HOME": str(paths.home), "ARCHIVE_DIR": wanted})


def demo(paths: Paths) -> dict[str, str]:
    """The settings of the demo's archive, which no real key signs."""
    return {
        "ARCHIVE_DIR": str(paths.demo_archive),
        "ARCHIVE_ORIGIN": "quantum-ops/demo-archive",
        "ARCHIVE_KEY": str(ledger_place.demo_key(paths)),
    }


def signer(paths: Paths) -> tuple[str, str]:
    """Name of the archive's log, and the file of the key that signs it; empty if none does."""
    if paths.profile == "demo":
        known = demo(paths)
        return known["ARCHIVE_ORIGIN"], known["ARCHIVE_KEY"]
    settings = knobs.load(ArchiveSettings)
    return settings.origin, settings.key
