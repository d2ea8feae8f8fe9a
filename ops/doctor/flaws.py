"""The only place of the known security flaws of the servers that this can run on, with sources.

Only what reaches a server as it is used here: scripts, streams, blocked clients, logins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ops.server_binary import Flavour

Series = tuple[int, int]
Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One flaw of one flavour: the release that mends it in each series, and since when it is."""

    name: str
    what: str
    flavour: Literal["redis", "valkey"]
    mended: Mapping[Series, int]
    """Series -> the first patch number without it. A later series never had it; an earlier or
    other one has no release that mends it."""
    source: str
    since: Version = (0, 0, 0)


_LUA = "a Lua script may run code on the server (use after free)"
_UNBLOCK = "a client that blocks may run code on the server (use after free)"
_RDB = "a crafted stream given to RESTORE may run code on the server"
_REPLY = "a Lua script may forge replies to others on the same connection"

FLAWS = (
    Flaw(
        "CVE-2025-49844", _LUA, "redis",
        {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
        "https://github.com/docker-library/official-images/pull/20011",
    ),
    Flaw(
        "CVE-2025-49844", _LUA, "valkey", {(7, 2): 11, (8, 0): 6, (8, 1): 4},
        "https://github.com/valkey-io/valkey/releases/tag/8.1.4",
    ),
    Flaw(
        "CVE-2025-67733", _REPLY, "valkey", {(7, 2): 12, (8, 0): 7, (8, 1): 6, (9, 0): 2},
        "https://osv.dev/vulnerability/BIT-valkey-2025-67733",
    ),
    # 7.4.9 and 8.6.3 had it first; of the other series, releases that surely have it.
    Flaw(
        "CVE-2026-23479", _UNBLOCK, "redis",
        {(7, 2): 15, (7, 4): 9, (8, 2): 8, (8, 4): 5, (8, 6): 3},
        "https://github.com/redis/redis/security/advisories/GHSA-93m2-935m-8rj3",
        since=(7, 2, 0),
    ),
    Flaw(
        "the flaw of 2026-07-24", _RDB, "redis",
        {(6, 2): 23, (7, 2): 15, (7, 4): 10, (8, 2): 8, (8, 4): 5, (8, 6): 5, (8, 8): 1},
        "https://github.com/docker-library/official-images/pull/21922",
    ),
    Flaw(
        "CVE-2026-63639", _RDB, "valkey", {(8, 1): 9, (9, 0): 5, (9, 1): 1},
        "https://github.com/valkey-io/valkey/releases/tag/8.1.9",
    ),
)  # fmt: skip


def of(server: Flavour, flaws: tuple[Flaw, ...] = FLAWS) -> list[tuple[Flaw, str]]:
    """The flaws that ``server`` has by its version, each with the release that mends it.

    That is of its own series, and empty where there is none: a distribution may have mended it.
    """
    found = []
    for flaw in flaws:
        if flaw.flavour != server.name or server.version < flaw.since:
            continue
        major, minor, patch = server.version
        fixed = flaw.mended.get((major, minor))
        if fixed is not None:
            if patch < fixed:
                found.append((flaw, f"{major}.{minor}.{fixed}"))
        elif (major, minor) < max(flaw.mended):
            found.append((flaw, ""))
    return found
