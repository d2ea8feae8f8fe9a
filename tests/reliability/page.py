"""The only place that makes docs/reliability.md, of the results that are kept beside it."""

from __future__ import annotations

from typing import Any

from tests.reliability import result, rig, run
from tests.reliability.points import POINTS
from tests.reliability.result import Result
from tests.reliability.scenarios import wire
from tests.servers import FLAVOURS

SETTINGS = ", ".join(f"`{name}={value}`" for name, value in rig.HARD.items())
PATH = result.FOLDER.parent / "reliability.md"
COMMAND = "python -m tests.reliability --write"
HEAD = f"""# What was broken on purpose, and what came of it

Generated; do not edit. `{COMMAND}` runs every scenario in full on both servers and writes this page;
`--only NAME` runs one of them and leaves the other rows as they are, `--scale 0.1` does a tenth.
Each `./test` runs all of them in a bounded form (on Valkey; kills on both), `./test --faults
tests/reliability` in full.

**How it is judged.** Producers note each event before they send it, and afterwards whether it was *acknowledged*, *failed*
(refused, or never sent) or *unknown* (the reply was lost). A [checker](../tests/reliability/checker.py), a process of its own,
knows nothing of the product: it reads Redis and these notes. *Lost*: acknowledged, and neither counted nor in the dead letter.
*Doubled*: counted, buried or standing in the stream more than once; what is unknown may stand there once or not at all.
*Late*: done by a process that slept through the claim of its work. *Fenced*: settlements that came too late and were refused.
*Recovery* is from the fault until what it held up is done: what the dead or sleeping process held is settled; a killed server
is back, producers and consumers at work; after a wipe new events are done and it is told of; the gate decides new plans.
What is killed is what runs in production: `quantum_ops.program.run` with a consumer that counts, and P3.3, forked from a
parent that has imported them. 0 failures in N trials still allow a rate of 3/N, with 95 % confidence: that is the *bound*.

**Settings.** Impatient, so that faults fit in minutes: {SETTINGS}.
What a killed or sleeping process held is claimed after that time here, after a minute as shipped; its own successor needs no
claim. A line is given up after {wire.PATIENCE_S} s in `wire` (as shipped: five seconds more than the read blocks), and the archive looks
ten times a second in `wipes` (as shipped: once).

**Points.** Processes die or fall asleep by themselves, to the instruction:
{"; ".join(f"`{name}`: {what}" for name, what in POINTS.items())}.
"""
ELSEWHERE = """## Proven elsewhere

| what | command |
| --- | --- |
| the ledger: writers killed at each step, disks that fill at each byte, two writers | `./test --faults tests/fault/test_ledger_faults.py` |
| the ledger's consumer: kills, held-up disks, a second process | `./test --faults tests/fault/test_ledger_consumer_faults.py` |
| the archive: kills, full disks, torn files; and whoever makes its lookup files | `./test --faults tests/fault/test_archive_faults.py tests/fault/test_lookup_kills.py` |
| P3.3: a killed server, lost replies, servers that take no writes, missing rights | `./test --faults tests/fault/test_p33_kills.py` |
| auditors and their findings | `./test --faults tests/fault/test_auditor_kills.py tests/fault/test_universe_audit_kills.py` |
| restore, killed in the middle | `./test --faults tests/fault/test_restore_kills.py` |
| supervisord, the warden, deploys | `./test --faults tests/fault/test_supervision_kills.py tests/fault/test_warden.py tests/fault/test_deploy_faults.py` |
| `./run tail -f` while its server is killed | `./test --faults tests/fault/test_tail_kills.py` |
"""
COLUMNS = (
    "scenario", "server", "faults", "acked", "unknown", "lost", "doubled", "late", "fenced",
    "dead-lettered", "recovery p50 / p99", "bound", "verdict",
)  # fmt: skip


def write() -> None:
    """Make the page anew."""
    PATH.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page, of what is kept."""
    found = {(name, server): result.kept(name, server) for name in run.NAMES for server in FLAVOURS}
    lines = [HEAD, "## Results", "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
    lines += [_row(_cells(one)) for one in found.values() if one is not None]
    lines += ["", _short(found), "## Each scenario", ""]
    for name in run.NAMES:
        kept = [found[name, server] for server in FLAVOURS if found[name, server] is not None]
        lines += _details(name, [one for one in kept if one is not None])
    return "\n".join(lines) + "\n" + ELSEWHERE


def _row(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(one: Result) -> list[str]:
    told = one.verdict

    def count(name: str) -> str:
        return f"{told[name]:,}" if name in told else "-"

    took = "-"
    if one.recovery_s is not None:
        took = f"{one.recovery_s[0]:.2f} / {one.recovery_s[1]:.2f} s"
    bad = sum(told.get(name, 0) for name in ("lost", "doubled", "late"))
    known_bad = one.scenario == "known_bad"
    # What broke off before its end has no trials.
    bound = "-" if bad or known_bad or not one.trials else f"{3 / one.trials:.2g}"
    return [
        one.scenario, one.machine["Server"], f"{one.trials:,}", count("acked"), count("unknown"),
        count("lost"), count("doubled"), count("late"), f"{one.fenced:,}", count("dead_letters"),
        took, bound, "**BROKEN**" if one.broken else "caught" if known_bad else "held",
    ]  # fmt: skip


def _short(found: dict[tuple[str, str], Result | None]) -> str:
    """What was not run, or not in full."""
    lines = []
    for (name, server), one in found.items():
        goal = run.module(name).GOAL
        if one is None:
            lines.append(f"- `{name}` was not run on {server}.")
        elif one.trials < goal:
            lines.append(f"- `{name}` on {server}: {one.trials:,} of {goal:,} faults.")
    if not lines:
        return "All were run in full.\n"
    return "Not run, or not in full:\n\n" + "\n".join(lines) + "\n"


def _details(name: str, kept: list[Result]) -> list[str]:
    module = run.module(name)
    said = " ".join((module.__doc__ or "").split())
    lines = [f"### {name}: {module.TITLE}", "", said, ""]
    for one in kept:
        lines.append(
            f"- **{one.machine['Server']}** ({one.settings or 'nothing on disk, noeviction'}), "
            f"{one.at}, {one.took_s:,.0f} s, seed {one.seed}, commit {one.machine['Commit']}, "
            f"{one.machine['Machine']}, {one.machine['System']}, "
            f"Python {one.machine['Python'].split()[-1]}, {one.machine['Packages']}"
        )
        lines.append(f"  - faults: {_told(one.faults)}")
        lines += [f"  - {label}: {_told(value)}" for label, value in one.figures.items()]
        lines += [f"  - **broken**: {what}" for what in one.broken]
    if hasattr(module, "FOUND"):
        lines.append(f"- {module.FOUND}.")
    return [*lines, f"- Not tested: {module.NOT_TESTED}.", ""]


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(part)}" for name, part in sorted(value.items())) or "none"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
