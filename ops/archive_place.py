"""The only place that says which archive a restore or a replay reads."""

from __future__ import annotations

from pathlib import Path

from ops.paths import Paths
from quantum_ops import knobs
from quantum_ops.history.folder import Folder
from quantum_ops.settings import ArchiveSettings


def find(named: str, paths: Paths) -> Folder:
    """The one that is named, else the demo's if ``paths`` is the demo's, else the settings'."""
    if named:
        return Folder(Path(named))
    if paths.profile == "demo":
        # Whatever the machine's settings say: the demo's archive is its own.
        return Folder(paths.demo_archive)
    wanted = knobs.load(ArchiveSettings).folder
    return Folder.find({"QUANTUM_HOME": str(paths.home), "ARCHIVE_DIR": wanted})
