"""The only place that says after how many entries of a batch their settlement is sent. Pure."""

from __future__ import annotations

MOST = 128
"""Entries, however quick: the server settles them while we go on; more would keep it waiting."""
FIRST = 16
LONGEST_S = 0.05
"""Work that a kill may undo: outside effects of about this much time may happen twice."""
GROWTH = 4


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
