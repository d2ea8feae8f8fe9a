"""The only place where a stream or key of Redis is spelt: the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quantum_ops import events

_PREFIX: Final = "quantum:stream:"
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream: its name, the event it carries and how long entries are wanted.

    ``retention_s`` seconds is a promise to readers, never a licence to cut: entries go only once
    they are archived and acknowledged. ``ours`` is False for streams of the trading side, which no
    program of this project may write.
    """

    name: str
    event: type[events.Event]
    retention_s: int
    written_by: str
    ours: bool = True

    @property
    def key(self) -> str:
        """The Redis key."""
        return _PREFIX + self.name


UNIVERSE_CHANGED = Stream(
    "universe.changed", events.UniverseChanged, 365 * DAY_S, "universe producer"
)
UNIVERSE_CHECKED = Stream("universe.checked", events.UniverseChecked, 90 * DAY_S, "universe_check")
DEPLOY_COMPLETED = Stream(
    "deploy.completed", events.DeployCompleted, 365 * DAY_S, "deploy scripts, operators"
)
APPLY_PLAN = Stream("apply.plan", events.ApplyPlan, 30 * DAY_S, "trading side", ours=False)
APPLY_RESULT = Stream("apply.result", events.ApplyResult, 30 * DAY_S, "trading side", ours=False)
PERMIT_DECIDED = Stream("permit.decided", events.PermitDecided, 90 * DAY_S, "p33")
AUDIT_FINDING = Stream("audit.finding", events.AuditFinding, 365 * DAY_S, "auditors, runner")
LEDGER_RECORDED = Stream("ledger.recorded", events.LedgerRecorded, 365 * DAY_S, "ledger")
OPS_PROCESS = Stream("ops.process", events.OpsProcess, 90 * DAY_S, "warden")
DEAD_LETTER = Stream("dead_letter", events.DeadLetter, 365 * DAY_S, "runner")

CATALOGUE: Final = (
    UNIVERSE_CHANGED,
    UNIVERSE_CHECKED,
    DEPLOY_COMPLETED,
    APPLY_PLAN,
    APPLY_RESULT,
    PERMIT_DECIDED,
    AUDIT_FINDING,
    LEDGER_RECORDED,
    OPS_PROCESS,
    DEAD_LETTER,
)


def find(name: str) -> Stream:
    """The stream of that name or key; ``KeyError`` names the ones there are."""
    for stream in CATALOGUE:
        if name in (stream.name, stream.key):
            return stream
    known = ", ".join(stream.name for stream in CATALOGUE)
    raise KeyError(f"no stream {name!r}; there are {known}")


def short(key: str) -> str:
    """The name of a stream's key; any other key as it is."""
    return key.removeprefix(_PREFIX)


_BY_EVENT: Final = {stream.event: stream for stream in CATALOGUE}


def of(event: events.Event) -> Stream:
    """The stream that carries events of this type."""
    try:
        return _BY_EVENT[type(event)]
    except KeyError:
        raise KeyError(f"no stream carries {type(event).__name__}") from None


UNIVERSE_ACTIVE: Final = "quantum:cfg:universe:active"
UNIVERSE_LAST_OK: Final = "quantum:cfg:universe:last_ok"
UNIVERSE_META: Final = "quantum:cfg:universe:meta"
UNIVERSE_SYMBOLS: Final = "quantum:cfg:universe:symbols"
UNIVERSE_LEASE: Final = "quantum:cfg:universe:lease"
UNIVERSE_FENCE: Final = "quantum:cfg:universe:fence"
UNIVERSE_HELD: Final = "quantum:cfg:universe:held"
UNIVERSE_ACCEPT: Final = "quantum:cfg:universe:accept"

POSITIONS_LEASE: Final = "quantum:ops:positions:lease"
POSITIONS_FENCE: Final = "quantum:ops:positions:fence"
POSITIONS_HEDGED: Final = "quantum:ops:positions:hedged"
POSITIONS_BAN: Final = "quantum:ops:positions:ban"

UNIVERSE_AUDITED: Final = "quantum:ops:universe_audit:last"
UNIVERSE_AUDIT_CHECKS: Final = "quantum:ops:universe_audit:checks"
UNIVERSE_AUDIT_CHURN: Final = "quantum:ops:universe_audit:churn"
UNIVERSE_AUDIT_READERS: Final = "quantum:ops:universe_audit:readers"
FINDINGS_SETTLED: Final = "quantum:ops:audit:settled"
PERMIT_AUDIT_OPEN: Final = "quantum:ops:permit_audit:open"
LEDGER_TOLD: Final = "quantum:ops:ledger:told"
PERMIT_AUDIT_LOOKED: Final = "quantum:ops:permit_audit:looked"
ARCHIVE_TRIMMED: Final = "quantum:ops:archive:trimmed"
DEAD_LETTER_RESOLVED: Final = "quantum:ops:dead_letter:resolved"
RESTORE: Final = "quantum:ops:restore"
FAILOVER: Final = "quantum:ops:failover"
WARDEN_RESTARTS: Final = "quantum:ops:warden:restarts"
WARDEN_HEALS: Final = "quantum:ops:warden:heals"

HEARTBEAT_PREFIX: Final = "quantum:ops:heartbeat:"
EVERYTHING: Final = "quantum:*"
"""The pattern of every key of the system, ours and the trading side's."""


def heartbeat(program: str, process_num: int | str) -> str:
    """Hash in which one process says that it is alive and what it is doing."""
    return f"{HEARTBEAT_PREFIX}{program}:{process_num}"


def heartbeat_hosts(program: str) -> str:
    """Hash: the processes of `program` on hosts that have a name, each with its last beat (ms)."""
    return heartbeat(program, "hosts")


def home(program: str) -> str:
    """String: the host that has the files of `program`, which stands by on all others."""
    return f"quantum:ops:home:{program}"


def checkpoint(stream_key: str, group: str) -> str:
    """String: the last id of ``stream_key`` up to which everything is acknowledged by ``group``.

    Kept outside the group, so that a destroyed group is recreated there and nowhere else.
    """
    return f"quantum:ops:checkpoint:{group}:{short(stream_key)}"


def refilled(stream_key: str) -> str:
    """Stream that a restore fills, until it takes the place of the real one."""
    return f"quantum:ops:refilled:{short(stream_key)}"


def idempotency(stream_key: str, event_id: str) -> str:
    """String: entry id under which an event was published, so that a repeat is a no-op."""
    return f"quantum:ops:published:{short(stream_key)}:{event_id}"


def permit(gate: str, plan_id: str) -> str:
    """String: what ``gate`` decided on a plan, for the executors to read."""
    return f"quantum:permit:{gate}:{plan_id}"


def governor_permit(plan_id: str) -> str:
    """String: the Governor's permit, whose key has no gate in it."""
    return f"quantum:permit:{plan_id}"


def proof_of_plan(plan_id: str) -> str:
    """Hash: the execution that proves this plan: entry_id, symbol, order_id, executed_at."""
    return f"quantum:ops:order_proof:plan:{plan_id}"


def proof_of_order(symbol: str, order_id: str) -> str:
    """String: the plan that this order was of. Order ids are unique in their symbol only."""
    return f"quantum:ops:order_proof:order:{symbol}:{order_id}"


def proofs_of_symbol(symbol: str) -> str:
    """Sorted set: plan ids with a proven execution in this symbol, by epoch ms."""
    return f"quantum:ops:order_proof:symbol:{symbol}"


def planned(plan_id: str) -> str:
    """String: entry id of the plan, for whoever meets its result."""
    return f"quantum:ops:order_proof:planned:{plan_id}"


def proof_told(finding: str, plan_id: str) -> str:
    """String: this Finding about this plan has been told."""
    return f"quantum:ops:order_proof:told:{finding}:{plan_id}"


def ledger_warned(entry_id: str, record: str) -> str:
    """String: what the ledger had to warn of with this deployment and record (digest) was told."""
    return f"quantum:ops:ledger:warned:{entry_id}:{record}"


def audited_case(plan_id: str) -> str:
    """Hash: what permit_audit knows of one plan, each fact written once."""
    return f"quantum:ops:permit_audit:case:{plan_id}"


def unreplicated(key: str) -> str:
    """String: what `key` will hold once the replicas have it; nobody acts on it here."""
    return f"quantum:ops:unreplicated:{key}"


def decided(gate: str, plan_id: str) -> str:
    """String: the fingerprint of the plan that ``gate`` has decided under this id."""
    return f"quantum:ops:{gate}:decided:{plan_id}"


def conflict(gate: str, plan_id: str, fingerprint: str) -> str:
    """String: ``gate`` has denied this other plan under a known id."""
    return f"quantum:ops:{gate}:conflict:{plan_id}:{fingerprint}"


def position(symbol: str) -> str:
    """Hash: the exchange's position in ``symbol`` as it was seen last."""
    return f"quantum:state:positions:{symbol}"


def position_ledger(symbol: str) -> str:
    """Hash: what the executors believe to hold of ``symbol``."""
    return f"quantum:position:ledger:{symbol}"


def cooldown(symbol: str) -> str:
    """String: epoch milliseconds of the last execution in ``symbol``."""
    return f"quantum:cooldown:last_exec_ts:{symbol}"


def reconcile_hold(symbol: str) -> str:
    """String: exists while P3.4 reconciles ``symbol``."""
    return f"quantum:reconcile:hold:{symbol}"
