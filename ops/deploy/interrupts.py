"""The only place where a deploy hears that it shall end: ^C, SIGTERM, a terminal that went away."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

from ops.deploy.errors import InterruptedDeployError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While it goes forward a signal ends the deploy, which then goes back.

    Going back is not ended: half of each would be worse than either.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._forward = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Hear them while this lasts."""
        before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """What is done in this may be ended by a signal; :class:`InterruptedDeployError` then."""
        self._forward = True
        try:
            yield
        finally:
            self._forward = False

    def _hear(self, number: int, _frame: Any) -> None:
        name = signal.Signals(number).name
        if self._forward:
            self._forward = False
            raise InterruptedDeployError(f"interrupted by {name}")
        self._told(f"{name}: heard; what was begun is brought to its end first")
