"""Everything that a restore refuses, as types; the only place of them."""

from __future__ import annotations

from quantum_ops.errors import QuantumError


class RestoreError(QuantumError):
    """The restore was refused; nothing that readers see was changed. The message names the cure."""


class DisorderedError(RestoreError):
    """Too much of the archive stands out of order to be put in its place in memory."""


class MovedError(RestoreError):
    """Somebody wrote to the server meanwhile. Next: stop whoever writes, then restore again."""
