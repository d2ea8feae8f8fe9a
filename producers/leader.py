"""The only place where one of several equal producers works, and the others stand by."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Any

from producers import off
from producers.lease import Lease, LostLeaseError
from quantum_ops import client, logs
from quantum_ops.clock import Clock
from quantum_ops.heartbeat import EVERY_S, Heartbeat


class Leader(ABC):
    """A producer that works while it holds ``lease``: its turns, and the rests between them.

    Neither a lost lease nor a server that is away ends it; both are waited out inside.
    """

    def __init__(self, lease: Lease, clock: Clock, heartbeat: Heartbeat) -> None:
        self._lease = lease
        self._clock = clock
        self._heartbeat = heartbeat
        self._log: Any = logs.get()
        self._leading = False
        self._not_before_s = 0.0  # on the monotonic clock

    @abstractmethod
    def turn(self) -> float:
        """One turn, with :meth:`_leads` asked first. Gives the seconds until the next one."""

    @abstractmethod
    def _beat(self) -> None:
        """Say in the heartbeat how it stands."""

    @abstractmethod
    def _standby_s(self) -> float:
        """Seconds until a standby looks at the lease again."""

    def _heal(self, error: Exception) -> None:  # noqa: B027 - most have nothing to mend
        """Mend what a server's ``error`` tells of, if that can be mended."""

    def run(self) -> None:
        """Work until asked to stop. Redis away: wait inside, with back-off."""
        attempt = 0
        while not self._clock.stopping():
            try:
                # Redis may break off a rest; what the exchange asked for holds all the same.
                left_s = self._not_before_s - self._clock.monotonic_s()
                self._rest(left_s if left_s > 0 else self.turn())
                attempt = 0
            except LostLeaseError as error:
                self._leading = False
                self._log.warning("lease_lost", why=str(error))
                # Whoever moved the keys may do so for ever: never fetch in a tight loop.
                self._clock.wait(self._standby_s())
            except client.TRANSPORT_ERRORS + client.SERVER_ERRORS as error:
                client.refuse_or_raise(error)
                attempt += 1
                self._log.warning("redis_away", error=str(error), attempt=attempt)
                self._heal(error)
                pause = min(2.0, 0.05 * 2 ** min(attempt, 10))
                self._clock.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._leave()

    def _leads(self) -> bool:
        """Take or renew the lease; False, with that said, while another process holds it."""
        if self._lease.acquire():
            return True
        if self._leading:
            self._log.warning("lease_lost", why="another process holds it")
        self._leading = False
        return False

    def _keep(self) -> None:
        """Renew the lease in the midst of a turn or rest. Raises :class:`LostLeaseError`."""
        if not self._lease.acquire():
            raise LostLeaseError("another process holds the lease")

    def _pause(self, seconds: float) -> float:
        """No turn before ``seconds`` have passed, whatever happens; gives them back."""
        self._not_before_s = self._clock.monotonic_s() + seconds
        return seconds

    def _rest(self, seconds: float) -> None:
        """Wait, and keep lease and heartbeat alive meanwhile."""
        until = self._clock.monotonic_s() + seconds
        slice_s = min(self._lease.ms / 3000, EVERY_S)
        while not self._clock.stopping():
            left = until - self._clock.monotonic_s()
            if left <= 0:
                return
            self._clock.wait(min(left, slice_s))
            if left <= slice_s:
                return
            if self._leading:
                self._keep()
            self._beat()

    def _leave(self) -> None:
        try:
            if self._leading:
                self._lease.release()
        except client.TRANSPORT_ERRORS + client.SERVER_ERRORS as error:
            self._log.debug("left_without_goodbye", error=str(error))
        off.leave(self._heartbeat)
