"""The only place that says what one case process is asked to do and how it counts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

BATCH = 500
BLOCK_MS = 1000
SENT_OFFSET_NS = 10**18
"""Added to the moment of sending, so that it always has the same number of digits."""


@dataclass
class Job:
    """Read ``count`` entries of ``stream_name`` as ``group`` and handle each once.

    ``seen`` counts handled entries. With ``live``, handlers note how long ago each entry was sent
    (``latencies_ns``) and say so on ``reply_fd``, one byte for each.
    """

    url: str
    stream_name: str
    key: str
    group: str
    count: int
    live: bool = False
    reply_fd: int = 1
    seen: int = 0
    latencies_ns: list[int] = field(default_factory=list)

    def handler(self, sent_ns: Callable[[Any], Any]) -> Callable[[Any], None]:
        """The trivial function that every case calls for every entry."""

        def count(_event: Any) -> None:
            self.seen += 1

        def note(event: Any) -> None:
            self.latencies_ns.append(time.perf_counter_ns() + SENT_OFFSET_NS - int(sent_ns(event)))
            self.seen += 1
            os.write(self.reply_fd, b".")

        return note if self.live else count
