"""The only place that says how far work runs ahead of the server, and how long to leave it alone.

Pure, but for the jitter.
"""

from __future__ import annotations

import random

MOST = 128
"""Entries, however quick: the server settles them while we go on; more would keep it waiting."""
FIRST = 16
LONGEST_S = 0.05
"""Work that a kill may undo: outside effects of about this much time may happen twice."""
GROWTH = 4
LONGEST_AHEAD_S = 0.5
"""A batch that took longer is read when its turn comes: what is read ahead cannot be taken by
another process of the group, a claim and a retry wait for it, and so does a stop."""
CLAIM_PART = 4
"""Part of the time after which others may claim an entry: a batch that takes more is not read
ahead, so that the one behind it is in hand well before that time."""
BACKOFF_BASE_S = 0.05
BACKOFF_CAP_S = 2.0


class Pace:
    """``size`` entries are handled before what came of them is sent."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = FIRST

    def took(self, count: int, seconds: float) -> None:
        """Learn that ``count`` entries took ``seconds``: as many as fit into the time are next.

        Slower at once, quicker by steps: one quick entry among slow ones tells little.
        """
        fitting = count * LONGEST_S / seconds if seconds > 0 else MOST
        self.size = max(1, int(min(fitting, self.size * GROWTH, MOST)))


def is_quick(batch_s: float, claim_after_s: float) -> bool:
    """Whether the next batch may be asked for before this one is handled, as the last one took."""
    return batch_s <= min(LONGEST_AHEAD_S, claim_after_s / CLAIM_PART)


def back_off_s(attempt: int) -> float:
    """Seconds to wait after ``attempt`` attempts that failed, one after the other; with jitter."""
    pause_s: float = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(attempt, 10))
    return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
