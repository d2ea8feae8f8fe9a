"""The only place that remembers which pending entries wait for their next attempt."""

from __future__ import annotations

import heapq


class Waiting:
    """Entries by the time (monotonic seconds) at which they are due again."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str, bytes]] = []
        self._held: set[tuple[str, bytes]] = set()

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, due_s: float, stream: str, entry_id: bytes) -> None:
        """Remember an entry."""
        heapq.heappush(self._heap, (due_s, stream, entry_id))
        self._held.add((stream, entry_id))

    def holds(self, stream: str, entry_id: bytes) -> bool:
        """Whether the entry waits here."""
        return (stream, entry_id) in self._held

    def next_due(self) -> float:
        """When the first entry is due; infinity if none waits."""
        return self._heap[0][0] if self._heap else float("inf")

    def pop_due(self, now_s: float) -> list[tuple[str, bytes]]:
        """Entries that are due at ``now_s``, forgotten here."""
        due = []
        while self._heap and self._heap[0][0] <= now_s:
            _, stream, entry_id = heapq.heappop(self._heap)
            self._held.discard((stream, entry_id))
            due.append((stream, entry_id))
        return due
