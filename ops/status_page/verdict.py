"""The only place that says in one word how the system is. Decides without I/O.

In doubt it is not OK: what is unknown, old or missing asks for attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ops.status_page.picture import WITHOUT_SERVER, GroupsSeen, Part, Picture
from quantum_ops.audit.verdict import Verdict as Audit
from quantum_ops.lag import Lag
from quantum_ops.streams import short

Word = Literal["OK", "attention", "VIOLATION"]
PARTS = ("server", "universe", "groups", "letters", "gates", "audit", "ledger", "processes")
OLD_LOOKS = 5
"""Looks that may be missed, and at least ``OLD_S`` seconds, before a picture counts as old."""
OLD_S = 10.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why it is not OK. ``about`` is the part of the page that shows more.

    ``runbook`` is what to do: a page of docs/runbooks, without its ending.
    """

    word: Word
    text: str
    about: str
    runbook: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one word, and every reason, the worst first; OK has none."""

    word: Word
    reasons: tuple[Reason, ...] = ()


def judge(picture: Picture, *, behind_s: float) -> Verdict:
    """The verdict on ``picture``; a consumer of ours may be ``behind_s`` seconds behind."""
    found = list(_reasons(picture, behind_s))
    found.sort(key=lambda reason: reason.word != "VIOLATION")  # stable: the rest keeps its order
    return Verdict(found[0].word if found else "OK", tuple(found))


def aged(verdict: Verdict, age_s: float, every_s: float) -> Verdict:
    """The verdict when its picture is ``age_s`` seconds old: nothing old is OK."""
    if age_s <= max(OLD_S, OLD_LOOKS * every_s):
        return verdict
    old = Reason("attention", "nothing was seen lately: all of this is old", "verdict")
    word: Word = "VIOLATION" if verdict.word == "VIOLATION" else "attention"
    return Verdict(word, (old, *verdict.reasons))


def _reasons(picture: Picture, behind_s: float) -> Iterator[Reason]:
    yield from _audit(picture.audit)
    if picture.server.problem:
        yield Reason(
            "attention", f"Redis does not answer: {picture.server.problem}", "server", "redis-away"
        )
    for name in PARTS[1:]:
        part: Part[Any] = getattr(picture, name)
        if part.problem and (name in WITHOUT_SERVER or not picture.server.problem):
            yield Reason("attention", f"{name} unknown: {part.problem}", name)
    yield from _universe(picture)
    yield from _processes(picture)
    yield from _groups(picture.groups.value, behind_s)
    letters = picture.letters.value
    if letters is not None and letters.count:
        more = " and more" if letters.more else ""
        yield Reason(
            "attention", f"{letters.count}{more} in the dead letter", "letters", "dead-letters"
        )


def _audit(part: Part[tuple[Audit, ...]]) -> Iterator[Reason]:
    made = part.value
    if made is None:
        # What was open when it was last seen is not settled by our not seeing it.
        for one in part.last or ():
            if one.state == "VIOLATED":
                yield Reason(
                    "VIOLATION",
                    f"{one.name}: {one.detail} when last seen",
                    "audit",
                    "violation-open",
                )
        return
    for one in made:
        if one.state == "VIOLATED":
            text = f"{one.name}: {one.detail}"
            if one.violations:
                newest = one.violations[-1].finding
                text += f", the newest {newest.finding} {newest.subject}".rstrip()
            yield Reason("VIOLATION", text, "audit", "violation-open")
    for one in made:
        if one.state == "UNPROVEN":
            yield Reason("attention", f"{one.name} unproven: {one.detail}", "audit")


def _universe(picture: Picture) -> Iterator[Reason]:
    seen = picture.universe.value
    if seen is None:
        return
    if seen.universe.status != "fresh":
        text = f"the universe is {seen.universe.status}: {seen.universe.code}"
        yield Reason("attention", text, "universe", "universe-stale")
    if seen.held:
        count = len(seen.held)
        yield Reason(
            "attention",
            f"{count} removals wait for ./run universe accept",
            "universe",
            "universe-shrank",
        )


def _processes(picture: Picture) -> Iterator[Reason]:
    seen = picture.processes.value
    if seen is None:
        return
    if seen.absent:
        yield Reason("attention", f"no supervisord: {seen.absent}", "processes")
    elif seen.state != "RUNNING":
        yield Reason("attention", f"supervisord is in state {seen.state}", "processes")
    if not seen.rows:
        yield Reason("attention", "no process is known", "processes")
    for row in seen.rows:
        if not row.fine:
            yield Reason(
                "attention",
                f"{row.name} is {row.ready}: {row.detail}",
                "processes",
                "process-hangs" if row.ready == "STALE" else "process-down",
            )


def _groups(seen: GroupsSeen | None, behind_s: float) -> Iterator[Reason]:
    if seen is None:
        return
    for one in seen.lags:
        # Groups of strangers are shown; whether they work is their owners' business.
        if (one.stream, one.group) not in seen.ours:
            continue
        problem, runbook = _lag(one, behind_s)
        if problem:
            text = f"{one.group} on {short(one.stream)} {problem}"
            yield Reason("attention", text, "groups", runbook)
    missing = seen.ours - {(one.stream, one.group) for one in seen.lags}
    for stream, group in sorted(missing):
        yield Reason(
            "attention", f"{group} has no group on {short(stream)}", "groups", "lag-unknown"
        )


def _lag(one: Lag, behind_s: float) -> tuple[str, str]:
    """What is wrong with it, and its runbook."""
    if one.delivered is None:
        return "has no group yet", "lag-unknown"
    if one.entries is None or one.behind_s is None:
        return "is behind by nobody knows how much", "lag-unknown"
    if one.behind_s > behind_s:
        return f"is more than {behind_s:g} s behind", "consumer-behind"
    if one.lost:
        return f"has lost {one.lost} entries, removed before it read them", "entries-lost"
    return "", ""
