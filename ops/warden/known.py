"""The only place that notices a change of a process that no event told of."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ops.daemon import Process


class Known:
    """The state of each process by the events so far, compared with what supervisord answers.

    supervisord drops events when too many wait. A difference counts once it was seen twice in a
    row with no event in between: the first time, the event may still be on its way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._doubts: dict[str, str] = {}

    def told(self, name: str, state: str) -> None:
        """An event said that process ``name`` is in ``state`` now."""
        with self._lock:
            self._states[name] = state
            self._doubts.pop(name, None)

    def missed(self, processes: Iterable[Process]) -> list[tuple[Process, str]]:
        """Processes whose state no event told of, each with the state known before."""
        found: list[tuple[Process, str]] = []
        with self._lock:
            for process in processes:
                known = self._states.setdefault(process.name, process.state)
                doubted = self._doubts.pop(process.name, "")
                if known == process.state:
                    continue
                if doubted == process.state:
                    found.append((process, known))
                    self._states[process.name] = process.state
                else:
                    self._doubts[process.name] = process.state
        return found
