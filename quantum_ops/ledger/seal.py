"""The only place that knows who signs a log's checkpoints, and under which name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantum_ops.ledger import checkpoint, merkle
from quantum_ops.ledger.errors import CheckpointError


@dataclass(frozen=True)
class Seal:
    """The log's name, and the key that signs. Without a key checkpoints are written unsigned."""

    origin: str = checkpoint.ORIGIN
    signer: checkpoint.Signer | None = None

    @classmethod
    def find(cls, environ: Mapping[str, str], root: Path) -> Seal:
        """What ``LEDGER_ORIGIN`` (the log's name) and ``LEDGER_KEY`` (a private key's file) say.

        Raises:
            CheckpointError: if the name is none that C2SP allows, or the key's path is none.
        """
        origin = checkpoint.check_name(environ.get("LEDGER_ORIGIN") or checkpoint.ORIGIN)
        key = environ.get("LEDGER_KEY", "")
        path = root / os.path.expanduser(key)  # noqa: PTH111 - Path raises RuntimeError
        if str(path).startswith(f"{root}/~"):
            raise CheckpointError(f"LEDGER_KEY: {key!r}: there is no such user; write it from / on")
        signer = checkpoint.Signer(origin, path) if key else None
        return cls(origin, signer)

    def publish(self, folder: checkpoint.Folder, head: merkle.Head) -> checkpoint.Checkpoint | None:
        """Write a checkpoint of ``head``, unless there is one already; gives the newest one.

        Raises:
            CheckpointError: if the key cannot be used. The checkpoint before stays the newest.
            OSError: if it cannot be written.
        """
        known = checkpoint.newest(folder)
        signed = bool(known and known.signatures) or not self.signer
        if not head.size or (known and known.head == head and signed):
            return known
        return checkpoint.publish(folder, head, self.origin, self.signer)
