"""The only place of the shape of what the doctor finds; named apart from an auditor's Finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["problem", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: ``problem`` makes the exit code 1, ``warning`` and ``note`` do not."""

    level: Level
    subject: str
    what: str
    cure: str
    """What to do; never empty."""


def problem(subject: str, what: str, cure: str) -> Finding:
    """Something that must be mended."""
    return Finding("problem", subject, what, cure)


def warning(subject: str, what: str, cure: str) -> Finding:
    """Something that may be meant, may pass by itself, or could not be looked at."""
    return Finding("warning", subject, what, cure)


def note(subject: str, what: str, cure: str) -> Finding:
    """Something to know."""
    return Finding("note", subject, what, cure)
