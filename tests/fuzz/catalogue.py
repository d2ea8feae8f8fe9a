"""The only place that lists the fuzzed parsers. Making a target may take a while: one at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import edge_ledger, edge_streams, edge_words
from tests.fuzz.target import Tally, Target, attack, honest

GROUPS = (edge_streams, edge_ledger, edge_words)
TARGETS = {target.name: group for group in GROUPS for target in group.targets()}


def make(name: str) -> Target:
    """The target of that name, with its corpus made anew."""
    return next(one for one in TARGETS[name].targets() if one.name == name)


def named(parts: Sequence[str]) -> list[str]:
    """The targets whose names have one of ``parts`` in them; all without parts."""
    return [name for name in TARGETS if not parts or any(part in name for part in parts)]


def work(job: tuple[str, int, str]) -> Tally:
    """Attack one target, in a process of its own."""
    name, inputs, seed = job
    # What a target writes is thrown away with this process; in memory, where there is such a place.
    memory = Path("/dev/shm")  # noqa: S108 - a folder of a name of its own is made in it
    with tempfile.TemporaryDirectory(
        prefix="fuzz-", dir=memory if memory.is_dir() else None
    ) as folder:
        tempfile.tempdir = folder
        target = make(name)
        honest(target)
        return attack(target, inputs, seed)
