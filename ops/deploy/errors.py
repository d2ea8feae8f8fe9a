"""Everything that ends a deploy early, as types; each carries the exit code of its cause."""

from __future__ import annotations

from quantum_ops.errors import QuantumError

DEPLOYED, REFUSED, USAGE, ROLLED_BACK, UNKNOWN, BROKEN = 0, 1, 2, 3, 4, 5
UNREACHABLE, BUSY, SETTINGS = 69, 75, 78


class StopError(QuantumError):
    """The deploy stopped before it changed anything. Next: what the message says, then again."""

    def __init__(self, *lines: str, code: int = REFUSED) -> None:
        super().__init__("\n".join(lines))
        self.code = code


class UnprovenError(QuantumError):
    """The release did not prove itself after it was started; the deploy goes back."""


class InterruptedDeployError(UnprovenError):
    """Somebody asked the deploy to end: ^C, SIGTERM, or a terminal that went away."""
