"""The only place that judges a simulated run: by the server's data and the workload alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from quantum_ops import streams
from tests.simulation.server import Server
from tests.simulation.stream import Stream, parse
from tests.simulation.workload import EFFECTS, GROUP, KEYS, Disk, Given

ONLY_LETTER = ("poison", "killer", "garbage", "wrong", "refused")
EXHAUSTED = ("too_many_deliveries", "handler_failed")
LETTERS = streams.DEAD_LETTER.key.encode()
FINDINGS = streams.AUDIT_FINDING.key.encode()


@dataclass
class Verdict:
    """What came of a run. ``wrong`` says in words what must not be; empty if all is well."""

    wrong: list[str] = field(default_factory=list)
    effects: int = 0
    letters: int = 0


def pending(server: Server) -> list[str]:
    """What is not done yet: pending or not even delivered."""
    left = []
    for key in KEYS:
        stream = server.keys.get(key)
        group = stream.groups.get(GROUP.encode()) if isinstance(stream, Stream) else None
        if group is None:
            left.append(f"{key.decode()} has no group")
            continue
        left += [f"{key.decode()} {one} is pending" for one in group.ordered()]
        if stream.entries:
            last = next(reversed(stream.entries))
            if last > group.last:
                left.append(f"{key.decode()} {last} was not delivered")
    return left


def vanishings(server: Server) -> int:
    """How many Findings say that a group had vanished."""
    stream = server.keys.get(FINDINGS)
    flats = stream.entries.values() if isinstance(stream, Stream) else ()
    return sum(b"group_recreated" in flat for flat in flats)


def judge(
    server: Server, given: dict[str, Given], disk: Disk | None, *, destroyed: bool
) -> Verdict:
    """Compare what stands on the server with what was given to it.

    ``destroyed``: a group was destroyed meanwhile and made anew at its checkpoint; what is not
    guarded by ``once`` may then happen again, but nothing may be missing.
    """
    verdict = Verdict([f"stuck: {one}" for one in pending(server)])
    effects = {
        name.decode(): int(count) for name, count in (server.keys.get(EFFECTS) or {}).items()
    }
    letters = _letters(server, verdict, destroyed=destroyed)
    for event in given.values():
        buried = [
            reason for one in event.entry_ids for reason in letters.pop((event.stream, one), [])
        ]
        count = effects.pop(event.name, 0)
        verdict.effects += count
        verdict.letters += len(buried)
        delivered = sum(
            (event.stream, GROUP.encode(), parse(one)) in server.delivered
            for one in event.entry_ids
        )
        problem = _problem(event, count, buried, delivered, destroyed=destroyed)
        if problem:
            verdict.wrong.append(f"{event.name} ({event.kind}): {problem}")
        settled = count or (event.kind == "silent" and not buried and event.entry_ids)
        if disk is not None and settled and event.name not in disk.names:
            verdict.wrong.append(f"{event.name}: acknowledged before it was durable")
    verdict.wrong += [f"{name}: {count} effects of nothing" for name, count in effects.items()]
    verdict.wrong += [f"a letter of nothing: {one}" for one in letters]
    return verdict


def _problem(
    event: Given, count: int, buried: list[str], delivered: int, *, destroyed: bool
) -> str:
    """What is wrong with one event; empty if its ending is one of those it may have."""
    told = f"{count} effects, {len(buried)} letters {buried}, {delivered} delivered"
    if destroyed:
        if event.kind == "twice" and count > 1:
            return f"{told}: once means once"
        return "" if count or buried or event.kind in ("silent", "deleted") else f"{told}: lost"
    entries = len(event.entry_ids)
    given_up = [reason for reason in buried if reason in EXHAUSTED]
    if event.kind in ONLY_LETTER:
        good = count == 0 and len(buried) == entries
    elif event.kind == "refused_noted":
        good = len(buried) == 1 and count == (not given_up)
    elif event.kind == "silent":
        good = count == 0 and len(buried) == len(given_up) <= 1 and (event.handled or buried)
    elif event.kind == "twice":
        good = len(buried) == len(given_up) and count == (len(buried) < entries)
    elif event.kind == "deleted":
        good = count + len(buried) == delivered
    else:
        good = count + len(buried) == 1 and buried == given_up
    return "" if good else told


def _letters(
    server: Server, verdict: Verdict, *, destroyed: bool
) -> dict[tuple[bytes, bytes], list[str]]:
    """Reasons of the letters of each entry; one entry has one letter, with its original bytes."""
    found: dict[tuple[bytes, bytes], list[str]] = {}
    stream = server.keys.get(LETTERS)
    for flat in stream.entries.values() if isinstance(stream, Stream) else ():
        row = dict(zip(flat[::2], flat[1::2], strict=True))
        at = (row[b"stream"], row[b"entry_id"])
        found.setdefault(at, []).append(row[b"reason"].decode())
        original = server.keys[at[0]].entries.get(parse(at[1]))
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        kept = [
            part
            for name, value in pairs
            if name.startswith(b"original.")
            for part in (name.removeprefix(b"original."), value)
        ]
        if original is not None and kept != original:
            verdict.wrong.append(f"the letter of {at} does not hold its bytes")
    if not destroyed:
        verdict.wrong += [
            f"{len(one)} letters of {at}" for at, one in found.items() if len(one) > 1
        ]
    return found
