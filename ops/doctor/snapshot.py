"""The only place of the shape of what the doctor looks at: facts, no judgements, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.leftovers import Leftover
from ops.readiness import Verdict
from ops.server_binary import Flavour
from ops.warden.holds import Hold
from quantum_ops.lag import Lag


@dataclass(frozen=True, slots=True)
class Disk:
    """One folder's file system: bytes and inodes, free and in all; 0 inodes: no such limit."""

    name: str
    path: str
    free: int
    total: int
    inodes_free: int = 0
    inodes: int = 0


@dataclass(frozen=True, slots=True)
class FileMode:
    """One file or folder that is nobody else's business. ``mode`` is its permission bits."""

    path: str
    mode: int
    is_ours: bool
    wanted: int = 0o077
    """Bits that must not be set."""


@dataclass(frozen=True, slots=True)
class Port:
    """One port of this machine that a program of ours listens on, and whether somebody does now."""

    number: int
    program: str
    setting: str
    taken: bool


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server answered. ``problem`` says why it did not; then nothing else is known.

    ``refused`` are commands that this user may not send: what they would have told is unknown.
    """

    problem: str = ""
    flavour: Flavour | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    skew_ms: float | None = None
    """Our clock less the server's; half of ``trip_ms`` uncertain."""
    trip_ms: float = 0.0
    user: str = ""
    may_write_trading: bool | None = None
    has_no_password: bool | None = None
    lets_anybody_in: bool | None = None
    default_may_all: bool | None = None
    """Whether the user ``default`` may write any key, switched off or not."""
    denied: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    """Key -> its type, ``none`` for one that is not there."""
    groups: tuple[Lag, ...] = ()
    letters: int = 0
    """Dead letters that nobody has settled."""
    failover: str = ""
    """What ops/redis/failover.sh noted before it made sentinels patient; empty without a note."""
    now_s: int = 0
    """The server's clock."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment."""

    settings: tuple[str, ...] = ()
    """Settings that cannot be used, a line each."""
    url: str = ""
    """Address of the server, fit to be shown."""
    owned: bool = True
    ports: tuple[Port, ...] = ()
    supervisor: str = ""
    """State of supervisord; empty if none runs."""
    supervisor_problem: str = ""
    verdicts: tuple[Verdict, ...] = ()
    orphans: tuple[Leftover, ...] = ()
    disks: tuple[Disk, ...] = ()
    files: tuple[FileMode, ...] = ()
    server: ServerFacts = field(default_factory=ServerFacts)
    exchange_skew_ms: float | None = None
    exchange_problem: str = ""
    held: Mapping[str, Hold] = field(default_factory=dict)
