"""The only place that judges the server: version, persistence, rights, keys, groups. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ops.doctor import flaws
from ops.doctor.finding import Finding, note, problem, warning
from ops.doctor.snapshot import Snapshot
from ops.server_binary import OLDEST
from ops.terminal import safe
from quantum_ops import streams
from quantum_ops.acl import text

PENDING_OLD_S = 300.0
"""Seconds after which an entry that was delivered and not acknowledged is worth a look."""

TEARS = (7, 0)
"""The series of redis whose torn transactions come back (tests/reliability/test_torn_transaction);
Valkey 9.1 is free of it, those between were not looked at."""


def reachable(seen: Snapshot) -> Iterator[Finding]:
    """Whether it answers, and lets us look."""
    facts = seen.server
    if facts.problem:
        cure = "./run starts it; if it should run: ./run logs redis"
        if not seen.owned:
            cure = "check that it runs and that REDIS_URL is right: ./run redis-cli PING"
        yield problem("server", f"{seen.url} does not answer: {facts.problem}", cure)
    if facts.refused:
        yield warning(
            "server",
            f"user {facts.user or '?'} may not send {', '.join(facts.refused)}: checked less",
            "look as a user who may: REDIS_USERNAME and REDIS_PASSWORD for this one command",
        )
    if facts.info.get("loading") == "1":
        yield warning("server", "it is loading its files", "wait: programs wait as well")
    if facts.info.get("role", "master") != "master":
        yield problem(
            "server", "it is a replica: it takes no writes", "name the primary in REDIS_URL"
        )


def version(seen: Snapshot) -> Iterator[Finding]:
    """Its version: old enough to lack what we use, or known to be unsafe."""
    flavour = seen.server.flavour
    if flavour is None:
        return
    if flavour.version[:2] < OLDEST:
        yield problem("version", f"{flavour} is too old", "use redis or valkey 7.0 or newer")
    for flaw, mended in flaws.of(flavour):
        words = f"{flavour} has {flaw.name}: {flaw.what}"
        if mended:
            yield problem("version", words, f"upgrade to {mended} or newer; {flaw.source}")
        else:
            # Debian and others mend a series that its makers have left, under the same number.
            yield warning(
                "version",
                f"{words}, and its makers release no mend for this series",
                f"look for {flaw.name} in the changelog of the package (apt changelog NAME); "
                f"not there: use a newer series; {flaw.source}",
            )


def persistence(seen: Snapshot) -> Iterator[Finding]:
    """Whether what was acknowledged is on disk, and stays."""
    config, info = seen.server.config, seen.server.info
    wanted = {
        "appendonly": ("yes", "without it a restart loses everything since the last snapshot"),
        "appendfsync": ("always", "everysec lost 83,045 of 212,007 entries at a power loss here"),
        "no-appendfsync-on-rewrite": ("no", "yes stops syncing during a rewrite"),
        "maxmemory-policy": ("noeviction", "an evicted key is a silent hole in the history"),
    }
    for name, (value, why) in wanted.items():
        found = config.get(name)
        if found is not None and found != value:
            tell = warning if name == "no-appendfsync-on-rewrite" else problem
            yield tell(
                "persistence",
                f"{name} is {found}, not {value}: {why}",
                f"redis-cli CONFIG SET {name} {value}, and in its configuration file",
            )
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status"):
        if info.get(name, "ok") != "ok":
            yield problem(
                "persistence",
                f"{name} is {info[name]}: it could not write its file",
                "make room on its disk and read its log",
            )
    flavour = seen.server.flavour
    if flavour and flavour.name == "redis" and flavour.version[:2] == TEARS:
        yield note(
            "persistence",
            f"{flavour} may apply a transaction twice that a power loss tore (docs/reliability.md)",
            "after a power loss, before you start it: "
            "redis-check-aof --fix appendonlydir/appendonly.aof.manifest",
        )
    used, most = _int(info.get("used_memory")), _int(info.get("maxmemory"))
    if most and used > 0.9 * most:
        yield problem(
            "persistence",
            f"{used // 2**20} of {most // 2**20} MiB of memory are used; full, it refuses writes",
            "raise maxmemory, or let old entries go: ./run archive trim",
        )


def rights(seen: Snapshot) -> Iterator[Finding]:
    """Who may do what on it."""
    facts = seen.server
    flavour = facts.flavour
    if (
        facts.default_may_all is False
        and flavour
        and not text.replays_all(flavour.name, flavour.version)
    ):
        yield problem(
            "acl",
            f"{flavour} drops what scripts and transactions wrote when it starts: it judges its "
            "file by the rights of the user default, which lacks some",
            "before it is started again, ./run acl apply; on a server of your own: ACL SETUSER "
            "default off resetpass ~* &* +@all, then ACL SAVE (docs/acl.md)",
        )
    if facts.has_no_password and not seen.owned:
        yield problem(
            "acl",
            f"user {facts.user or 'default'} needs no password",
            "give it one (ACL SETUSER default >PASSWORD) and put it into REDIS_PASSWORD",
        )
    if facts.may_write_trading and not seen.owned:
        yield problem(
            "acl",
            f"user {facts.user or 'default'} may write {streams.APPLY_PLAN.key}, which is the "
            "trading side's alone",
            "take the right away: ACL SETUSER with %R~ for quantum:stream:apply.* "
            "(docs/doctor.md shows a user)",
        )
    elif facts.may_write_trading:
        yield problem(
            "acl",
            f"on our own server user {facts.user or 'default'} may write {streams.APPLY_PLAN.key}: "
            "it was started before it had users, or somebody changed them",
            "./run restart; while it runs: ./run acl apply",
        )
    elif facts.lets_anybody_in and seen.owned:
        yield note(
            "acl",
            "whoever may open a port on this machine reads the keys and appends to "
            f"{streams.DEPLOY_COMPLETED.key} without a password",
            "if others use this machine: QUANTUM_DEFAULT_USER=off (docs/acl.md)",
        )
    if facts.denied:
        yield warning(
            "acl",
            f"commands were refused for want of a right: {', '.join(facts.denied)}",
            "a program of ours has every right that it needs: find out who else uses its name; "
            "./run redis-cli --user admin ACL LOG tells more, ACL LOG RESET forgets it",
        )


def keys(seen: Snapshot) -> Iterator[Finding]:
    """Keys that must be there, of the type they must have."""
    facts = seen.server
    for key, wanted in EXPECTED.items():
        found = facts.types.get(key)
        if found is None or found == wanted:
            continue
        if found != "none":
            yield problem(
                "keys", f"{key} is a {found}, not a {wanted}",
                "somebody wrote over it: RENAME it away with redis-cli, its owner makes it anew",
            )  # fmt: skip
        elif key in _UNIVERSE:
            yield problem(
                "keys", f"{key} is not there: gates fall back to P33_ALLOWLIST",
                "look why the producer has not published: ./run universe, ./run logs universe",
            )  # fmt: skip
    if facts.types.get(streams.RESTORE, "none") != "none":
        yield warning("keys", "a restore is under way or was broken off", "./run restore --help")
    if facts.letters:
        yield warning("keys", f"{facts.letters} dead letters wait for somebody", "./run dlq list")


def failover(seen: Snapshot) -> Iterator[Finding]:
    """Whether a planned change of the master was killed, and left sentinels that wait too long."""
    told = seen.server.failover
    if not told:
        return
    words = [safe(word, 60) for word in told.split()]
    until_s, host, pid, patience_ms, *sentinels = [*words, "", "", "", ""]
    left_s = _int(until_s) - seen.server.now_s
    if left_s > 0:
        yield note(
            "failover",
            f"ops/redis/failover.sh changes the master (process {pid} on {host}), or was killed",
            f"if that process is gone, or in {left_s} s: ops/redis/failover.sh --check",
        )
        return
    places = ", ".join(one.replace("=", ", before ") + " ms" for one in sentinels if one)
    yield problem(
        "failover",
        f"ops/redis/failover.sh was killed (process {pid} on {host}); sentinels may call a dead "
        f"master dead after {patience_ms} ms only: {places}",
        "set them back: ops/redis/failover.sh --check",
    )


def groups(seen: Snapshot) -> Iterator[Finding]:
    """Where each consumer group stands."""
    there = {one.group for one in seen.server.groups}
    at_work = {
        v.process.program
        for v in seen.verdicts
        if v.ready == "READY" and v.process.role == "consumers"
    }
    for program in sorted(at_work - there) if not seen.server.problem else ():
        yield problem(
            "groups", f"{program} works, and no stream has a group of its name",
            f"it makes its groups when it starts: ./run restart {program}",
        )  # fmt: skip
    for one in seen.server.groups:
        name = f"{one.group} in {streams.short(one.stream)}"
        if one.lost:
            yield problem(
                "groups", f"{name}: {one.lost} entries were removed before it had them",
                "nothing of ours removes unread entries: find who trims, then ./run replay",
            )  # fmt: skip
        if one.pending and (one.pending_s or 0.0) > PENDING_OLD_S:
            yield warning(
                "groups",
                f"{name}: {one.pending} pending, the oldest for {one.pending_s:.0f} s",
                f"./run pending {one.group}; ./run logs {one.group}",
            )
        if one.entries and (one.seconds or 0.0) > PENDING_OLD_S:
            yield warning(
                "groups",
                f"{name}: {one.entries} entries behind, {one.seconds:.0f} s",
                f"./run lag; more processes: ./run scale {one.group} N",
            )


_UNIVERSE = {
    streams.UNIVERSE_ACTIVE: "string",
    streams.UNIVERSE_LAST_OK: "string",
    streams.UNIVERSE_META: "hash",
}
EXPECTED = {**_UNIVERSE, **{stream.key: "stream" for stream in streams.CATALOGUE}}
"""Key -> the type that it must have if it is there."""

CHECKS: tuple[tuple[str, Callable[[Snapshot], Iterator[Finding]]], ...] = (
    ("server", reachable),
    ("version", version),
    ("persistence", persistence),
    ("acl", rights),
    ("keys", keys),
    ("failover", failover),
    ("groups", groups),
)


def _int(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0
