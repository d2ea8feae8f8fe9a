"""The only place that makes what readers seek by, beside a running archive, a little at a time.

Nothing waits for it: until a lookup file is there, whoever searches reads the segment itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from quantum_ops.history import blocks, lookup, resume
from quantum_ops.history.blocks import Growing
from quantum_ops.history.errors import DamagedError
from quantum_ops.history.folder import Folder, Name
from quantum_ops.history.lookup import Making
from quantum_ops.history.reader import Archive

SLICE_S = 0.05
"""Longest work in one turn, but for the last step of a file, which sorts and writes it: no entry
may wait for it longer than for a slow disk."""
BLOCKS = 4
AGAIN_S = 60.0
"""Seconds until the next try after a disk refused."""


class Indexer:
    """Makes the lookup files that ``folder`` lacks, the oldest segment first, and resume points."""

    def __init__(
        self, folder: Folder, log: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._log = log
        self._clock = clock
        self._settled: set[Name] = set()
        self._name: Name | None = None
        self._making: Making | None = None
        self._follower = resume.Follower(folder)
        self._due_s = 0.0

    def turn(self, sealed: Archive, name: Name | None, growing: Growing) -> bool:
        """Work for about ``SLICE_S``; whether a lookup file was finished. Raises nothing.

        ``sealed`` are the segments that there are, ``name`` and ``growing`` the open one.
        """
        started_s = self._clock()
        if started_s < self._due_s:
            return False
        try:
            last = sealed.segments[-1].frontier() if sealed.segments else blocks.empty()
            if self._follower.follow(name, growing, last):
                return False
            if self._making is None:
                self._name = self._next(sealed)
                if self._name is None:
                    return False
                self._making = Making(self._folder, self._name)
            while not self._making.step(BLOCKS):
                if self._clock() - started_s >= SLICE_S:
                    return False
            self._making.write()
        except DamagedError as error:
            # Told in full by ./run archive verify; this process does not try it again.
            self._making = None
            self._log.warning("lookup_not_made", segment=str(self._name), error=str(error))
        except OSError as error:
            self._due_s = started_s + AGAIN_S
            self._making = None
            self._log.warning("lookup_not_written", error=str(error))
            return False
        done = self._making is not None
        if self._name:
            self._settled.add(self._name)
        self._making = None
        return done

    def _next(self, sealed: Archive) -> Name | None:
        for one in sealed.segments:
            if one.name not in self._settled:
                if lookup.missing(one):
                    return one.name
                self._settled.add(one.name)
        return None
