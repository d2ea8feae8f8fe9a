"""The only place that makes docs/mutation.md: what was kept of each module, and why survivors live.

python -m tests.mutation.page     the page anew, of what is kept in docs/mutation
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.mutation.run import KILLED, Found
from tests.mutation.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "mutation"
PAGE = ROOT / "docs" / "mutation.md"
REASONS = Path(__file__).with_name("reasons.json")
GOAL = 0.9
UNTOLD = {
    "survived": "**not explained**",
    "uncovered": "none of these tests executes it",
}
TEXT = Path(__file__).with_name("page.md")


def survivors(modules: list[str]) -> set[str]:
    """Keys of the mutants that survived the last run of ``modules``."""
    rows = [json.loads((FOLDER / f"{one}.json").read_text(encoding="utf-8")) for one in modules]
    return {
        f"{row['module']}: {text} [{change}]"
        for row in rows
        for _, text, change, _ in row["survivors"]
    }


def keep(found: list[Found], facts: dict[str, str], every: int, *, again: bool = False) -> None:
    """Keep what was found, module by module, and make the page anew.

    ``again``: only survivors of the kept run were tried; what was killed before stays killed.
    """
    FOLDER.mkdir(exist_ok=True)
    for one in found:
        if again:
            before = json.loads((FOLDER / f"{one.module}.json").read_text(encoding="utf-8"))
            # By what is left, not by what was tried: lines of the same text are tried together.
            one.counts[KILLED] = sum(before["counts"].values()) - len(one.survivors)
            one.endless += before.get("endless", 0)
            every = before["every"]
        row = {**asdict(one), "machine": facts, "every": every, "again": again}
        text = json.dumps(row, indent=1, sort_keys=True)
        (FOLDER / f"{one.module}.json").write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(made(), encoding="utf-8")


def reasons() -> dict[str, str]:
    """Why a survivor is right to live, by ``module: line [change]``, or by its beginning."""
    told: dict[str, str] = json.loads(REASONS.read_text(encoding="utf-8"))
    return told


def explained(module: str, text: str, change: str, why: dict[str, str]) -> str:
    """The reason of one survivor; empty if there is none."""
    key = f"{module}: {text} [{change}]"
    return why.get(key) or why.get(f"{module}: {text}", "")


def summary(found: list[Found]) -> int:
    """Print the shares; exit code 1 if the goal is missed."""
    total = sum(sum(one.counts.values()) for one in found)
    killed = sum(one.counts.get(KILLED, 0) for one in found)
    print(f"{killed} of {total} mutants killed ({100 * killed / max(1, total):.1f} %)")
    return int(killed < GOAL * total)


def made() -> str:
    """The page."""
    why = reasons()
    rows: list[dict[str, Any]] = []
    for module in TARGETS:
        path = FOLDER / f"{module}.json"
        if path.exists():
            rows.append(json.loads(path.read_text(encoding="utf-8")))
    lines = ["| module | mutants | killed | survived | not executed | killed |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    lines += [_row(row["module"], row["counts"]) for row in rows]
    totals = {
        name: sum(row["counts"].get(name, 0) for row in rows)
        for name in ("killed", "survived", "uncovered")
    }
    lines.append(_row("**all**", totals))
    missing = [module for module in TARGETS if module not in [row["module"] for row in rows]]
    if missing:
        told = ", ".join(missing)
        lines += ["", f"**The goal (90 % of all) is missed so far**: not run yet are {told}."]
    else:
        lines += ["", _verdict(rows, totals, why)]
    lines += ["", "## Survivors", ""]
    for row in rows:
        if not row["survivors"]:
            continue
        lines += [
            "",
            f"### {row['module']}",
            "",
            "| line | change | why it may live |",
            "| --- | --- | --- |",
        ]
        for line, text, change, ending in row["survivors"]:
            reason = explained(row["module"], text, change, why)
            told = reason or (
                "no test without a server executes it"
                if ending == "uncovered"
                else "**not explained**"
            )
            lines.append(f"| {line}: `{_cell(text)}` | {_cell(change)} | {told} |")
    lines += ["", "## The runs", ""]
    lines += [_run(row) for row in rows]
    if rows:
        lines.append(f"- {rows[0]['machine']['Machine']}, {rows[0]['machine']['Python']}")
    return TEXT.read_text(encoding="utf-8") + "\n" + "\n".join(lines) + "\n"


def _verdict(rows: list[dict[str, Any]], totals: dict[str, int], why: dict[str, str]) -> str:
    """Whether the goal is met, which modules miss it, and how much is not explained."""
    total = sum(totals.values())
    ending = "met" if totals["killed"] >= GOAL * total else "missed"
    below = [row["module"] for row in rows
             if row["counts"].get("killed", 0) < GOAL * sum(row["counts"].values())]  # fmt: skip
    part = f"below it: {', '.join(below)}" if below else "by each module, too"
    untold = sum(
        not explained(row["module"], text, change, why)
        for row in rows
        for _, text, change, _ in row["survivors"]
    )
    return (
        f"**The goal (90 % of all) is {ending}**, {part}. "
        f"Survivors without an explanation: {untold}."
    )


def _run(row: dict[str, Any]) -> str:
    """When a module was run, and how."""
    facts = row["machine"]
    part = "" if row["every"] == 1 else f", each {row['every']}. mutant only"
    if row.get("again"):
        part += "; only what had survived an earlier run, with more tests"
    if row.get("endless"):
        part += f"; of the killed, {row['endless']} because a test did not end"
    return f"- {row['module']}: {facts['Date']}, commit {facts['Commit']}, {row['took_s']} s{part}"


def _row(name: str, counts: dict[str, int]) -> str:
    total = sum(counts.values())
    killed, survived, uncovered = (
        counts.get(word, 0) for word in ("killed", "survived", "uncovered")
    )
    share = f"{100 * killed / total:.1f} %" if total else ""
    return f"| {name} | {total} | {killed} | {survived} | {uncovered} | {share} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(made(), encoding="utf-8")
    sys.exit(0)
