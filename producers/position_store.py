"""The only place that writes the account's positions, each fetch in one atomic step."""

from __future__ import annotations

import redis
import walrus

from producers.lease import Lease, LostLeaseError
from producers.position_risk import Positions
from quantum_ops import codec, streams
from quantum_ops.events import AuditFinding

TTL_S = 3600
"""Seconds a position is kept when nobody refreshes it, as its readers know it."""
MAX_NAMED = 20
Command = tuple[str | int | bytes, ...]


class PositionStore:
    """The keys of the positions as the holder of ``lease`` writes them."""

    def __init__(self, db: walrus.Database, lease: Lease) -> None:
        self.lease = lease
        self._db = db

    def write(self, positions: Positions, asked_s: float) -> list[str]:
        """Write ``positions`` as they were at ``asked_s`` (seconds since 1970).

        Gives the keys that were of another type and had to be replaced. Raises
        :class:`LostLeaseError`, with nothing written, if the lease is no longer ours.
        """
        stamp = str(int(asked_s))
        writes = {
            streams.position(symbol): {**fields, "ts_epoch": stamp}
            for symbol, fields in positions.rows.items()
        }
        replies = self._commit(_hashes(writes), positions.hedged)
        # Two commands a key; a later one of ours cannot succeed where the first did not.
        wrong = [
            key
            for key, reply in zip(writes, replies[::2], strict=False)
            if isinstance(reply, redis.ResponseError)
        ]
        if wrong:
            # Nobody could ever read a position there, and nobody but us writes one.
            cleared: list[Command] = [("DEL", key) for key in wrong]
            self._commit(cleared + _hashes({key: writes[key] for key in wrong}), positions.hedged)
        return wrong

    def banned_until_s(self, host: str) -> float:
        """Until when (seconds since 1970) ``host`` wants to be left alone; 0 if it does not."""
        try:
            found = self._db.get(streams.POSITIONS_BAN) or b""
        except redis.ResponseError:  # a key of another type tells nothing
            return 0.0
        until, _, of = found.decode("utf-8", "replace").partition(" ")
        return float(until) if of == host and until.isdecimal() and len(until) < 12 else 0.0  # noqa: PLR2004 - digits of an epoch, with some to spare

    def ban(self, host: str, seconds: float, until_s: float) -> None:
        """Note that ``host`` wants to be left alone, for whoever is started meanwhile."""
        self._db.set(streams.POSITIONS_BAN, f"{int(until_s)} {host}", ex=int(seconds) + 1)

    def _commit(self, commands: list[Command], hedged: tuple[str, ...]) -> list[object]:
        """All of ``commands`` and what ``hedged`` changes, if the lease is still ours."""
        with self._db.pipeline(transaction=True) as pipe:
            # Watched: a lease that runs out or changes hands until EXEC makes it do nothing.
            pipe.watch(self.lease.key)
            if pipe.get(self.lease.key) != self.lease.value.encode():
                raise LostLeaseError("another process holds the lease")
            commands = commands + _turn(_told(pipe), hedged)
            pipe.multi()
            pipe.pexpire(self.lease.key, self.lease.ms)
            for command in commands:
                pipe.execute_command(*command)
            try:
                replies: list[object] = pipe.execute(raise_on_error=False)
            except redis.WatchError as error:
                raise LostLeaseError("the lease changed hands while positions were sent") from error
        return replies[1:]


def _hashes(writes: dict[str, dict[str, str]]) -> list[Command]:
    commands: list[Command] = []
    for key, fields in writes.items():
        commands.append(("HSET", key, *(part for pair in fields.items() for part in pair)))
        commands.append(("EXPIRE", key, TTL_S))
    return commands


def _told(pipe: walrus.Database) -> str:
    """The symbols of which a Finding told last that they are in hedge mode."""
    try:
        found = pipe.get(streams.POSITIONS_HEDGED)
    except redis.ResponseError:  # of another type: told anew, and put right by that
        return ""
    return (found or b"").decode("utf-8", "replace")


def _turn(told: str, hedged: tuple[str, ...]) -> list[Command]:
    """One Finding for each change of the set: in Redis, so that no restart tells it again."""
    now = ",".join(hedged)
    if now == told:
        return []
    named = ", ".join(hedged[:MAX_NAMED]) + (" ..." if len(hedged) > MAX_NAMED else "")
    finding = AuditFinding(
        auditor="positions",
        finding="positions_hedge_mode",
        severity="critical" if hedged else "info",
        subject=f"{len(hedged)} symbols",
        detail=f"no net position to tell, so P3.3 denies them: {named}; switch the account to "
        "one-way mode"
        if hedged
        else "no symbol is in hedge mode any more",
    )
    return [
        ("SET", streams.POSITIONS_HEDGED, now),
        ("XADD", streams.AUDIT_FINDING.key, "*", *codec.encode(finding)),
    ]
