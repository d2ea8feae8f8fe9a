"""The only place of what one look at the system found, part by part; what is unknown says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from quantum_ops.audit.verdict import Verdict
from quantum_ops.events import DeadLetter, UniverseChanged
from quantum_ops.lag import Lag
from quantum_ops.ledger.checkpoint import Checkpoint
from quantum_ops.ledger.summary import Summary
from quantum_ops.universe import Universe

T = TypeVar("T")
Id = str
WITHOUT_SERVER = frozenset({"ledger", "processes"})
"""Parts that can be seen while Redis does not answer."""


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What a look found of one thing: its ``value``, or ``problem``, why it is unknown.

    ``last`` is what was seen before it became unknown, at ``last_s`` (epoch seconds). It is never
    shown as what is.
    """

    value: T | None = None
    problem: str = "not looked at yet"
    last: T | None = None
    last_s: float = 0.0


@dataclass(frozen=True, slots=True)
class UniverseSeen:
    """The universe, what its churn guard holds back, and its latest changes, newest first."""

    universe: Universe
    held: tuple[str, ...] = ()
    changes: tuple[UniverseChanged, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupsSeen:
    """How far every group is behind. ``ours`` are the (stream key, group) that must be there."""

    lags: tuple[Lag, ...] = ()
    ours: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Decided:
    """So many decisions of one gate, of one kind, for one reason."""

    gate: str
    allow: bool
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class LettersSeen:
    """Dead letters that nobody has settled: the newest ones (id, letter), and how many by group.

    ``more`` says that there are more than were counted.
    """

    newest: tuple[tuple[Id, DeadLetter], ...] = ()
    by_group: Mapping[tuple[str, str], int] = field(default_factory=dict)
    count: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class LedgerSeen:
    """The ledger's latest entries, newest first, and what its newest checkpoint covers."""

    entries: tuple[Summary, ...] = ()
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """One process. ``fine``: it holds nothing up. ``ready`` and ``detail`` as in ./run status."""

    name: str
    state: str
    ready: str
    fine: bool
    detail: str = ""
    up_s: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessesSeen:
    """The processes, as supervisord has them; without one (``absent`` says why), as they beat.

    ``held`` are (program, why) that the warden leaves alone.
    """

    rows: tuple[Running, ...] = ()
    state: str = ""
    absent: str = ""
    held: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that one look found. ``taken_s`` is epoch seconds, on this machine's clock."""

    taken_s: float = 0.0
    profile: str = ""
    server: Part[str] = Part()
    universe: Part[UniverseSeen] = Part()
    groups: Part[GroupsSeen] = Part()
    letters: Part[LettersSeen] = Part()
    gates: Part[tuple[Decided, ...]] = Part()
    audit: Part[tuple[Verdict, ...]] = Part()
    ledger: Part[LedgerSeen] = Part()
    processes: Part[ProcessesSeen] = Part()
