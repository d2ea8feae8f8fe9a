"""The only place that checks what a release does once it is ready: streams, metrics, Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import redis
import walrus

from ops import redis_text
from ops.deploy import progress
from ops.deploy.order import Order
from ops.terminal import safe
from quantum_ops import client, entry_id, lag_reading, streams
from quantum_ops.lag import Id, Lag
from quantum_ops.ledger.evidence import commands, grep, http_get
from quantum_ops.ledger.evidence.jobs import Deadline

METRICS_S = 2.0
_POLL_S = 0.25
_SHOWN = 20
_READ = 1000


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, whether it passed, and what it saw, a line each."""

    name: str
    passed: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marks:
    """Ends of the streams before anything was restarted: what comes after them is of the deploy."""

    letters: Id
    findings: Id


def marks(db: walrus.Database) -> Marks:
    """Where the streams end now. Raises what the client raises."""
    return Marks(
        lag_reading.newest(db, streams.DEAD_LETTER),
        lag_reading.newest(db, streams.AUDIT_FINDING),
    )


def run(
    db: walrus.Database,
    order: Order,
    before: Marks,
    at_ready: Sequence[Lag] | None,
    environ: Mapping[str, str],
) -> Iterator[Check]:
    """Every check that ``order`` wants, each as it is done; the streams' ones last.

    A server that does not answer fails the check that asked.
    """
    yield from metrics(order, environ)
    for command in order.redis_cmds:
        yield _guarded(f"redis: {safe(command)}", lambda command=command: _redis(db, command))  # type: ignore[misc]  # mypy does not infer the default
    stream_checks: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("lag", lambda: _keeps_up(db, order, at_ready)),
        ("dead_letters", lambda: _no_letters(db, order.program, before.letters)),
        ("findings", lambda: _no_findings(db, before.findings)),
    )
    for name, check in stream_checks:
        if name in order.skipped:
            yield Check(name, passed=True, lines=("skipped, as asked",))
        else:
            yield _guarded(name, check)


def metrics(order: Order, environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether each page answers and each pattern matches a sample of one of them."""
    samples: list[str] = []
    for url in order.metrics_urls:
        name = f"metrics: {safe(url)}"
        try:
            body = http_get.get(url, Deadline(METRICS_S))
        except http_get.GetError as error:
            yield Check(name, passed=False, lines=(safe(str(error)),))
            continue
        lines = body.raw.decode("utf-8", "backslashreplace").splitlines()
        samples += [line for line in lines if line.strip() and not line.startswith("#")]
        yield Check(name, passed=True, lines=(f"{len(body.raw)} bytes",))
    for pattern in order.metrics_grep:
        name = f"metrics_grep: {safe(pattern)}"
        try:
            found = grep.grep(samples, [pattern], environ, Deadline(METRICS_S))
        except grep.GrepError as error:
            yield Check(name, passed=False, lines=(safe(str(error)),))
            continue
        shown = tuple(safe(line) for line in found[:_SHOWN])
        yield Check(name, passed=bool(found), lines=shown or ("no sample matches",))


def _redis(db: walrus.Database, command: str) -> Check:
    """The reply to a command that only reads; an error or nothing at all does not pass."""
    name = f"redis: {safe(command)}"
    try:
        wanted = commands.parse(command)
    except commands.CommandError as error:
        return Check(name, passed=False, lines=(f"not sent: {safe(str(error))}",))
    try:
        reply = client.raw(db, *wanted.arguments)
    except redis.exceptions.NoPermissionError as error:
        # Keys that are none of ours, above all: no user of ours reads them.
        return Check(name, passed=False, lines=(f"refused: {safe(str(error))}",))
    if reply is None or reply in (b"", [], 0):
        return Check(name, passed=False, lines=("there is nothing",))
    text = redis_text.plain(reply).decode("utf-8", "backslashreplace").splitlines()
    return Check(name, passed=True, lines=tuple(safe(one) for one in text[:_SHOWN]))


def _keeps_up(db: walrus.Database, order: Order, at_ready: Sequence[Lag] | None) -> Check:
    if at_ready is None:
        return Check("lag", passed=False, lines=("its backlog could not be read",))
    if not at_ready:
        return Check("lag", passed=True, lines=("it reads no stream as a group",))
    was = {one.stream: one for one in at_ready}
    deadline = time.monotonic() + order.wait_s
    while True:
        found = lag_reading.of_group(db, order.program, limit=progress.CAP)
        now = [one for one in found if one.stream in was]
        behind = [one for one in now if not progress.keeps_up(was[one.stream], one)]
        gone = set(was) - {one.stream for one in now}
        if not behind and not gone:
            return Check("lag", passed=True, lines=tuple(map(progress.told, now)))
        if time.monotonic() > deadline:
            lines = [
                f"{progress.told(one)}; at first {was[one.stream].left} left" for one in behind
            ]
            lines += [f"{stream}: its group has vanished" for stream in sorted(gone)]
            return Check("lag", passed=False, lines=tuple(lines))
        time.sleep(_POLL_S)


def _no_letters(db: walrus.Database, program: str, since: Id) -> Check:
    new = [
        f"{shown}: {safe(told.get('reason', ''))} {safe(told.get('error', ''))}".rstrip()
        for shown, told in _since(db, streams.DEAD_LETTER, since)
        if told.get("group") == program
    ]
    lines = tuple(new[:_SHOWN]) or ("no new one of it",)
    return Check("dead_letters", passed=not new, lines=lines)


def _no_findings(db: walrus.Database, since: Id) -> Check:
    new = [
        f"{shown}: {safe(told.get('finding', ''))} {safe(told.get('subject', ''))}"
        for shown, told in _since(db, streams.AUDIT_FINDING, since)
        if told.get("severity") == "critical"
    ]
    return Check("findings", passed=not new, lines=tuple(new[:_SHOWN]) or ("no new critical one",))


def _since(
    db: walrus.Database, stream: streams.Stream, mark: Id
) -> Iterator[tuple[str, dict[str, str]]]:
    while True:
        page = db.xrange(stream.key, f"({entry_id.text(mark)}", "+", count=_READ)
        for found, fields in page:
            mark = entry_id.parse(found)
            yield (
                found.decode(),
                {
                    name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
                    for name, value in fields.items()
                },
            )
        if len(page) < _READ:
            return


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (redis.RedisError, OSError) as error:
        client.refuse_or_raise(error)
        return Check(name, passed=False, lines=(f"Redis: {safe(str(error))}",))
