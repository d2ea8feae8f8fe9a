"""The only place that remembers how many processes of a program are wanted, beyond a stop."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from ops.daemon import Process
from ops.paths import Paths

DEFAULT = 1
"""Processes of a program that nobody has scaled."""


def read(paths: Paths) -> dict[str, int]:
    """Program -> wanted processes, as scaled last in this profile; damaged entries are left out."""
    try:
        found = json.loads(paths.scale_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(program): number
        for program, number in found.items()
        if isinstance(number, int) and not isinstance(number, bool) and number >= 1
    }


def write(paths: Paths, program: str, number: int) -> None:
    """Remember ``number`` for ``program``; a reader sees the old file or the new one, never half.

    Under the lock of start and stop, which the caller holds.
    """
    wanted = {**read(paths), program: number}
    draft = paths.scale_file.with_suffix(".new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(wanted, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(paths.scale_file)


def is_wanted(process: Process, wanted: Mapping[str, int]) -> bool:
    """Whether ``process`` should run: those of supervisord's own start always, spares if asked."""
    return process.autostart or process.number < wanted.get(process.program, DEFAULT)
