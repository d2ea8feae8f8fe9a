"""The only place that says which user of Redis may do what: the catalogue of users. Pure.

A user has the name of its program. Whatever a program must do and may not by this list ends it
with exit code 78 and a line that says so; whatever it may do beyond its work is a way for somebody
who took it over. docs/acl.md is the concept, tests/integration/test_acl.py the proof.
"""

from __future__ import annotations

from typing import Final

from quantum_ops import streams
from quantum_ops.acl.rights import (
    GROUP,
    LOOKING,
    SCRIPTS,
    SESSION,
    Grant,
    User,
    appending,
    keeping,
    reading,
)
from quantum_ops.streams import Stream

ANY: Final = "*"
_HEX = "[0-9a-f]*"
"""Plan ids are hexadecimal: no pattern of the Governor's permits that reaches into P3.3's."""
_OURS = tuple(stream for stream in streams.CATALOGUE if stream.ours)
_ALL = tuple(stream.key for stream in streams.CATALOGUE)
_P33_PERMITS = streams.permit("p33", ANY)
_PERMITS = streams.governor_permit(ANY)
_UNIVERSE = (
    streams.UNIVERSE_ACTIVE,
    streams.UNIVERSE_LAST_OK,
    streams.UNIVERSE_META,
    streams.UNIVERSE_SYMBOLS,
)
PERMIT_NOTICES: Final = "__keyspace@*__:" + _PERMITS
"""The channel on which servers tell of permits (notify-keyspace-events)."""


def _program(
    name: str,
    doc: str,
    *more: Grant,
    tells: tuple[Stream, ...] = (streams.AUDIT_FINDING,),
    keeps: tuple[str, ...] = (),
    reads: tuple[str, ...] = (),
    commands: tuple[str, ...] = (),
    demo: bool = False,
) -> User:
    """A program that says that it is alive, and appends to ``tells``, each event once."""
    once = tuple(streams.idempotency(stream.key, ANY) for stream in tells)
    own = (streams.heartbeat(name, ANY), *once, *keeps)
    told = tuple(stream.key for stream in tells)
    # In the order of use: a server asks one after the other for each command.
    grants = (*more, keeping(*own))
    grants += (appending(*tells),) if tells else ()
    grants += (SCRIPTS, reading(*dict.fromkeys((*own, *told, *reads))))
    return User(name, doc, grants, SESSION + commands, demo=demo)


def _consumer(
    name: str,
    doc: str,
    *more: Grant,
    takes: tuple[Stream, ...],
    tells: tuple[Stream, ...] = (),
    keeps: tuple[str, ...] = (),
    reads: tuple[str, ...] = (),
    commands: tuple[str, ...] = (),
) -> User:
    """A consumer of ``takes``: its groups there, its checkpoints, the dead letter, Findings."""
    taken = tuple(stream.key for stream in takes)
    return _program(
        name,
        doc,
        Grant(GROUP, both=taken),
        *more,
        tells=(streams.AUDIT_FINDING, streams.DEAD_LETTER, *tells),
        keeps=(streams.checkpoint(ANY, name), streams.home(name), *keeps),
        reads=(*taken, *reads),
        commands=commands,
    )


PROGRAMS: Final = (
    _consumer(
        "p33",
        "The gate. The only writer of P3.3's permits.",
        # Let out to where executors look once the replicas have it.
        Grant(("rename",), both=(_P33_PERMITS, streams.unreplicated(_P33_PERMITS))),
        takes=(streams.APPLY_PLAN,),
        tells=(streams.PERMIT_DECIDED,),
        keeps=(
            _P33_PERMITS,
            streams.unreplicated(_P33_PERMITS),
            streams.decided("p33", ANY),
            streams.conflict("p33", ANY, ANY),
        ),
        reads=(
            *_UNIVERSE,
            streams.UNIVERSE_CHANGED.key,
            streams.position(ANY),
            streams.position_ledger(ANY),
            streams.cooldown(ANY),
            streams.reconcile_hold(ANY),
        ),
    ),
    _consumer(
        "permit_audit",
        "Watches the permits of all three gates.",
        Grant(("psubscribe", "punsubscribe", "unsubscribe"), channels=(PERMIT_NOTICES,)),
        takes=(streams.APPLY_PLAN, streams.PERMIT_DECIDED, streams.APPLY_RESULT),
        keeps=(
            streams.audited_case(ANY),
            streams.PERMIT_AUDIT_OPEN,
            streams.PERMIT_AUDIT_LOOKED,
        ),
        reads=(_PERMITS,),
    ),
    _consumer(
        "order_proof",
        "Proves that every execution has an order id.",
        takes=(streams.APPLY_PLAN, streams.APPLY_RESULT),
        keeps=(
            streams.planned(ANY),
            streams.proof_of_plan(ANY),
            streams.proof_of_order(ANY, ANY),
            streams.proofs_of_symbol(ANY),
            streams.proof_told(ANY, ANY),
        ),
    ),
    _consumer(
        "universe_audit",
        "Compares the universe with its keys, its readers and the exchange.",
        takes=(streams.UNIVERSE_CHANGED, streams.UNIVERSE_CHECKED),
        keeps=(
            streams.UNIVERSE_AUDITED,
            streams.UNIVERSE_AUDIT_CHECKS,
            streams.UNIVERSE_AUDIT_CHURN,
            streams.UNIVERSE_AUDIT_READERS,
        ),
        reads=(*_UNIVERSE, streams.heartbeat(ANY, ANY)),
    ),
    _consumer(
        "position_ledger",
        "Books what was executed.",
        takes=(streams.APPLY_RESULT,),
        keeps=(streams.position_ledger(ANY),),
    ),
    _consumer(
        "ledger",
        "Writes the signoff ledger. Collects evidence as the user audit.",
        takes=(streams.DEPLOY_COMPLETED,),
        tells=(streams.LEDGER_RECORDED,),
        keeps=(streams.LEDGER_TOLD, streams.ledger_warned(ANY, ANY)),
    ),
    _consumer(
        "archive",
        "Copies every stream, and may cut what it has proven to hold.",
        Grant(("xtrim",), write=_ALL),
        takes=streams.CATALOGUE,
        keeps=(streams.ARCHIVE_TRIMMED,),
    ),
    _program(
        "universe",
        "Publishes the universe.",
        tells=(streams.AUDIT_FINDING, streams.UNIVERSE_CHANGED),
        keeps=(
            *_UNIVERSE,
            streams.UNIVERSE_LEASE,
            streams.UNIVERSE_FENCE,
            streams.UNIVERSE_HELD,
            streams.UNIVERSE_ACCEPT,
        ),
    ),
    _program(
        "universe_check",
        "Asks the exchange a second time.",
        tells=(streams.UNIVERSE_CHECKED,),
        reads=_UNIVERSE,
    ),
    _program(
        "positions",
        "Writes the account's positions.",
        keeps=(
            streams.position(ANY),
            streams.POSITIONS_LEASE,
            streams.POSITIONS_FENCE,
            streams.POSITIONS_HEDGED,
            streams.POSITIONS_BAN,
        ),
    ),
    _program(
        "warden",
        "Tells of processes.",
        tells=(streams.AUDIT_FINDING, streams.OPS_PROCESS),
        keeps=(streams.WARDEN_RESTARTS, streams.WARDEN_HEALS),
        reads=(streams.heartbeat(ANY, ANY),),
    ),
    _program(
        "exporter",
        "Serves metrics.",
        tells=(),
        reads=(streams.EVERYTHING,),
        commands=LOOKING,
    ),
    _program(
        "status_page",
        "Serves the status page.",
        tells=(),
        reads=(streams.EVERYTHING,),
        commands=LOOKING,
    ),
)
"""Every program that talks to Redis, by the name of its stanza."""

TRADING_SIDE: Final = _program(
    "demo_trading",
    "The demo's stand-in for the trading side: plans, results, the other gates' permits.",
    Grant(
        ("set",),
        write=(
            streams.governor_permit(_HEX),
            streams.permit("p26", ANY),
            streams.cooldown(ANY),
        ),
    ),
    Grant(("hset",), write=(streams.position_ledger(ANY), streams.position(ANY))),
    Grant(("get", "getdel"), both=(_PERMITS,)),
    tells=(streams.APPLY_PLAN, streams.APPLY_RESULT, streams.DEPLOY_COMPLETED),
    reads=(streams.UNIVERSE_CHANGED.key, *_UNIVERSE, _PERMITS),
    demo=True,
)

OPERATOR: Final = User(
    "operator",
    "The verbs of ./run, and what is typed into ./run redis-cli: reads everything of ours, "
    "settles, requeues, sets groups back, trims.",
    (
        reading(streams.EVERYTHING),
        appending(*_OURS),
        keeping(
            streams.idempotency(ANY, ANY),
            streams.FINDINGS_SETTLED,
            streams.DEAD_LETTER_RESOLVED,
            streams.UNIVERSE_ACCEPT,
            streams.ARCHIVE_TRIMMED,
            streams.home(ANY),
        ),
        Grant(("xclaim", "xgroup|setid", "xgroup|delconsumer", "xtrim"), both=_ALL),
        SCRIPTS,
    ),
    (*SESSION, *LOOKING, "config|get", "acl|dryrun", "acl|log"),
)
AUDIT: Final = User(
    "audit",
    "Evidence of the ledger and the audit scripts: reads, and nothing else.",
    (reading(streams.EVERYTHING), SCRIPTS),
    (*SESSION, *LOOKING),
)
DEPLOYER: Final = User(
    "deployer",
    "Deploy scripts: may append to deploy.completed, and read nothing.",
    (appending(streams.DEPLOY_COMPLETED),),
    SESSION,
)
EXECUTOR: Final = User(
    "executor",
    "An executor of the trading side: looks at a permit and consumes it.",
    (Grant(("get", "getdel"), both=(_PERMITS,)),),
    SESSION,
)
ADMIN: Final = User(
    "admin",
    "Everything: ./run restore, and a person in an emergency. No program connects as it.",
    all_rights=True,
)
PEOPLE: Final = (OPERATOR, AUDIT, DEPLOYER, EXECUTOR, ADMIN)
"""Users that are no programs."""

DEFAULT: Final = User(
    "default",
    "Whoever names no user, without a password: appends to deploy.completed as the deployer does, "
    "and reads as the specification's commands do.",
    (appending(streams.DEPLOY_COMPLETED), reading(streams.EVERYTHING)),
    (*SESSION, *LOOKING),
)
"""What the default user may if it is not switched off."""


def users(*, demo: bool) -> tuple[User, ...]:
    """All users that a server has, without ``default``; the trading side's in the ``demo`` only."""
    return (*PROGRAMS, *PEOPLE, *((TRADING_SIDE,) if demo else ()))


def names() -> frozenset[str]:
    """The names of all users that there can be."""
    return frozenset(user.name for user in users(demo=True))
