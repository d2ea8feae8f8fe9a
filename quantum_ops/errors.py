"""The only place of error types; each says what the operator does next."""

from __future__ import annotations


class QuantumError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigurationError(QuantumError):
    """A setting is missing or unusable.

    ``lines`` holds one line for each problem, naming the setting, its value, where it stands and
    the cure. Mains print them to stderr and exit 78 (EX_CONFIG), which supervisord is told to
    leave alone: restarting cannot cure a wrong setting. Next: fix the named lines, start again.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class RefusedError(QuantumError):
    """Redis refuses us for good (NOPERM, WRONGPASS, NOAUTH).

    Next: check the user and password in REDIS_URL and the server's ACL. Treated like a wrong
    setting (exit 78), because trying again only fills the server's ACL log.
    """


class PublishUnknownError(QuantumError):
    """An event may or may not stand in its stream: the reply to the write was lost.

    Next: publish the same event (same ``event_id``) again; the repeat is a no-op if the first
    attempt had reached the server.
    """


class DecodeError(QuantumError):
    """Entry bytes do not make the event that the stream promises.

    ``field`` names the culprit (empty if it is the entry as a whole). The runner dead-letters the
    entry at once with its original bytes: another attempt cannot succeed. Next: read the reason
    in ``./run dlq show ID``, fix the sender, requeue or drop.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"field {field!r}: {problem}" if field else problem)
        self.field = field


class Retry(QuantumError):  # noqa: N818 - an instruction to the runner, not a fault
    """Raised by a handler: not now. Deliver the same event again after ``after_s`` seconds.

    The wait is capped by the consumer's ``retry_cap_s`` so that it stays shorter than the idle
    time after which another process would claim the entry.
    """

    def __init__(self, after_s: float = 1.0, reason: str = "") -> None:
        super().__init__(reason or f"retry after {after_s} s")
        self.after_s = after_s


class Hold(QuantumError):  # noqa: N818 - an instruction to the runner, not a fault
    """Raised by ``prepare``, ``tick`` or ``hold``: our own trouble, and no event's fault.

    The runner stops reading and shows ``reason`` in the heartbeat until the hook passes; no entry
    is charged for it, and none is buried. With ``standby`` another process does the work, as it
    should be; without, a critical Finding tells of it after some seconds.
    """

    def __init__(self, reason: str, *, standby: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.standby = standby


class Reject(QuantumError):  # noqa: N818 - an instruction to the runner, not a fault
    """Raised by a handler: this event can never be handled. It goes to the dead letter now.

    With ``keep_effects`` the effects declared so far are applied in the same step; without, they
    are dropped.
    """

    def __init__(self, reason: str, *, keep_effects: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.keep_effects = keep_effects
