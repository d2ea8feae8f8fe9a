"""A process that restores a server from an archive: ``... restore_process URL FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from quantum_ops import client
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive
from quantum_ops.settings import RedisSettings
from tests.recovery_rig import restored


def main(url: str, base: str) -> None:
    db = client.connect(RedisSettings(url=url))
    done = restored(db, Archive(Folder(Path(base))))
    print("resumed" if done.resumed else "done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
