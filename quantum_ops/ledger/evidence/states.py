"""The words for how a service is; the only place that knows what they mean for an operation."""

from __future__ import annotations

ACTIVE, UNKNOWN = "active", "unknown"
KNOWN = frozenset({
    ACTIVE, "inactive", "failed", "activating", "deactivating", "reloading", "refreshing",
    "maintenance", UNKNOWN,
})  # fmt: skip
"""systemd's words, for supervisord's processes, too."""

_OF_SUPERVISOR = {
    "RUNNING": ACTIVE,
    "STARTING": "activating",
    "BACKOFF": "activating",
    "STOPPING": "deactivating",
    "STOPPED": "inactive",
    "EXITED": "inactive",
    "FATAL": "failed",
}
# Of several processes, the worst speaks for the service.
_ORDER = ("failed", UNKNOWN, "deactivating", "inactive", "activating", ACTIVE)


def of_supervisor(state: str, exit_status: int = 0) -> str:
    """The state of supervisord as one of ``KNOWN``. Who exited with an error has failed."""
    if state == "EXITED" and exit_status:
        return "failed"
    return _OF_SUPERVISOR.get(state, UNKNOWN)


def worst(found: list[str]) -> str:
    """The state of a service that consists of several processes."""
    return min(found, key=lambda one: _ORDER.index(one) if one in _ORDER else 0, default=UNKNOWN)
