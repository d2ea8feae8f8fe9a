"""The only place that makes a picture out of what the readers say, whatever happens to them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ops.status_page.picture import WITHOUT_SERVER, Part, Picture
from ops.status_page.readers import Reader
from quantum_ops import client, logs
from quantum_ops.errors import QuantumError

MAX_WHY = 300
TREND_S = 300.0
MAX_TRENDS = 200
"""Groups whose past is remembered; whoever makes more groups than that gets no lines for them."""
EXPECTED = (*client.TRANSPORT_ERRORS, *client.SERVER_ERRORS, QuantumError, OSError)
Trend = Mapping[tuple[str, str], tuple[float | None, ...]]


class Collector:
    """Looks at the system, part by part; a part that cannot be read is unknown and says why.

    ``every_s`` is how far apart looks are, which decides how many of them are remembered.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        every_s: float,
        *,
        profile: str = "",
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._readers = readers
        self._profile = profile
        self._now_s = now_s
        self._kept = max(2, round(TREND_S / every_s))
        self._past: dict[tuple[str, str], deque[float | None]] = {}
        self._known: dict[str, Part[Any]] = {}
        self._told: dict[str, str] = {}

    def look(self) -> Picture:
        """One look. Raises nothing; takes as long as the slowest server lets it."""
        parts = {"server": self._part("server")}
        silent = parts["server"].problem
        for name in self._readers:
            if name == "server":
                continue
            if silent and name not in WITHOUT_SERVER:
                # Asking each of them would make the page wait once more for the same silence.
                parts[name] = self._unknown(name, f"Redis: {silent}")
            else:
                parts[name] = self._part(name)
        self._remember(parts.get("groups", Part()))
        return Picture(taken_s=self._now_s(), profile=self._profile, **parts)

    def trend(self) -> Trend:
        """Seconds behind of each group, oldest look first; None where it was unknown."""
        return {key: tuple(past) for key, past in self._past.items()}

    def _part(self, name: str) -> Part[Any]:
        try:
            value = self._readers[name]()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts must be seen
            return self._unknown(name, why(error), error)
        self._told.pop(name, None)
        found = Part(value, problem="", last=value, last_s=self._now_s())
        self._known[name] = found
        return found

    def _unknown(self, name: str, problem: str, error: Exception | None = None) -> Part[Any]:
        if self._told.get(name) != problem:
            self._told[name] = problem
            expected = error is None or isinstance(error, EXPECTED)
            logs.get().warning("part_unknown", part=name, why=problem, exc_info=not expected)
        known = self._known.get(name)
        return Part(None, problem, known.last if known else None, known.last_s if known else 0.0)

    def _remember(self, groups: Part[Any]) -> None:
        now = {}
        if groups.value is not None:
            now = {(lag.stream, lag.group): lag.behind_s for lag in groups.value.lags}
        if not groups.problem:
            for gone in self._past.keys() - now.keys():
                del self._past[gone]
        for key in [*self._past, *(key for key in now if key not in self._past)]:
            if key in self._past or len(self._past) < MAX_TRENDS:
                past = self._past.setdefault(key, deque(maxlen=self._kept))
                past.append(now.get(key))


def why(error: Exception) -> str:
    """What is wrong, in a line; never a password, which no error of ours or of redis-py names."""
    if client.is_refusal(error):
        return f"Redis refuses us: {error}; check user, password and the ACL"[:MAX_WHY]
    text = str(error) or type(error).__name__
    if not isinstance(error, EXPECTED):
        text = f"{type(error).__name__}: {text}"
    return text[:MAX_WHY]
