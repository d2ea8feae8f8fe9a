"""The only place that makes docs/simulation.md: kept results, put into words.

python -m tests.simulation.page     the page anew, of what is kept in docs/simulation
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "simulation"
PAGE = ROOT / "docs" / "simulation.md"
TEXT = Path(__file__).with_name("page.md")
NEVER = "Not run yet on this code.\n"
GOALS = {"seeds": 100_000, "programs": 5_000}


def keep(part: str, **found: Any) -> None:
    """Keep what a run of ``part`` found, and make the page anew."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(found, indent=1, sort_keys=True)
    (FOLDER / f"{part}.json").write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(made(), encoding="utf-8")


def kept(part: str) -> Any:
    """What was kept; None if it never ran."""
    try:
        return json.loads((FOLDER / f"{part}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def made() -> str:
    """The page: its text, in which each ``{part}`` is replaced by what was found."""
    text = TEXT.read_text(encoding="utf-8")
    for part, tell in _PARTS.items():
        found = kept(part)
        text = text.replace(f"{{{part}}}\n", tell(found) if found else NEVER)
    return text


def _simulation(found: Any) -> str:
    rows = {
        "seeds": f"{found['seeds']} ({found['first']} to {found['first'] + found['seeds'] - 1})",
        "events": found["events"],
        "effects applied": found["effects"],
        "dead letters": found["letters"],
        **found["counts"],
        "**seeds that went wrong**": f"**{found['failures']}**",
    }
    lines = ["| in all seeds | |", "| --- | ---: |", *(f"| {a} | {b} |" for a, b in rows.items())]
    lines += ["", goal("seeds", found["seeds"])]
    if found["failures"]:
        lines += ["", "They failed:", ""]
        lines += [f"- `--seed {seed}`: {wrong[0]}" for seed, wrong in found["failed"]]
    else:
        lines += ["", f"{bound(found['seeds'])} worlds fail."]
    if found["caught"]:
        lines += ["", "| bad protocol | seeds in which it was caught |", "| --- | ---: |"]
        lines += [f"| {name} | {n} of {found['of']} |" for name, n in found["caught"].items()]
    return "\n".join([*lines, "", *_facts(found), ""])


def _stateful(found: Any) -> str:
    lines = ["| server | programs | steps | failed |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {one['server']} | {one['programs']} | {one['steps']} | {one['failed']} |"
        for one in found["servers"]
    ]
    total = sum(one["programs"] for one in found["servers"])
    lines += ["", goal("programs", total)]
    if not any(one["failed"] for one in found["servers"]):
        lines += ["", f"{bound(total)} programs fail."]
    return "\n".join([*lines, "", *_facts(found), ""])


def _soak(found: Any) -> str:
    lines = ["| | |", "| --- | ---: |"]
    lines += [f"| {label} | {value} |" for label, value in found["rows"].items()]
    lines += ["", "**It held.**" if not found["broken"] else "**It did not hold:**"]
    lines += [f"- {one}" for one in found["broken"]]
    return "\n".join([*lines, "", *_facts(found), ""])


def goal(what: str, count: int) -> str:
    """Whether as many were run as are promised."""
    wanted = GOALS[what]
    met = "met" if count >= wanted else "**missed** so far"
    return f"The goal of {wanted} {what} is {met}."


def bound(trials: int) -> str:
    """What no failure in so many trials says."""
    return f"No failure in {trials}: with 95 % confidence fewer than {300 / trials:.2g} % of such"


def _facts(found: Any) -> list[str]:
    told = found["machine"]
    kept_ = [f"- {label}: {told[label]}" for label in ("Date", "Commit", "Machine", "Python")]
    took = f"- Took: {found['took_s']} s"
    return [*kept_, f"- Packages: {told['Packages']}", took]


_PARTS = {"simulation": _simulation, "stateful": _stateful, "soak": _soak}

if __name__ == "__main__":
    PAGE.write_text(made(), encoding="utf-8")
    sys.exit(0)
