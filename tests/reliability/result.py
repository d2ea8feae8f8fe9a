"""The only place of what a scenario found: one JSON file each, kept beside the page."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reliability"


@dataclass
class Result:
    """One run of one scenario on one server.

    ``faults`` is what was injected, kind -> count. ``verdict`` is the outside checker's.
    ``figures`` are further numbers of the scenario, label -> value, ``broken`` what was promised
    and not kept.
    """

    scenario: str
    server: str
    settings: str
    seed: int
    goal: int
    faults: dict[str, int] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    fenced: int = 0
    recovery_s: tuple[float, float] | None = None
    recovery_n: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    took_s: float = 0.0
    at: str = ""
    machine: dict[str, str] = field(default_factory=dict)

    def expect(self, what: str, *, holds: bool) -> None:
        """Note ``what`` as broken unless it ``holds``."""
        if not holds:
            self.broken.append(what)

    def clean(self, verdict: dict[str, Any], *, dead_letters: int | None = 0) -> None:
        """Take the checker's verdict, and hold it to: none lost, doubled, late, unexplained, stuck.

        ``dead_letters`` None takes any number of them.
        """
        self.verdict = verdict
        for name in ("lost", "doubled", "late", "unexplained", "pending"):
            held = verdict[name] == 0
            examples = verdict["examples"].get(name, "")
            self.expect(f"{verdict[name]} {name} {examples}", holds=held)
        if dead_letters is not None:
            many = verdict["dead_letters"]
            self.expect(f"{many} dead letters", holds=many == dead_letters)

    @property
    def trials(self) -> int:
        """Faults in all."""
        return sum(self.faults.values())


def path(scenario: str, server: str) -> Path:
    """Where the result is kept."""
    return FOLDER / f"{scenario}.{server}.json"


def write(result: Result) -> None:
    """Keep it in its place."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(asdict(result), indent=1, sort_keys=True)
    path(result.scenario, result.server).write_text(text + "\n", encoding="utf-8")


def kept(scenario: str, server: str) -> Result | None:
    """What was kept of it; None if it was never run."""
    try:
        return Result(**json.loads(path(scenario, server).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
