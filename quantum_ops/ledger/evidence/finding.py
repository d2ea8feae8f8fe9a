"""What one look came to; the only place of its shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Finding:
    """``fields`` of the entry, each only if there is something to show; ``problems`` beside them.

    ``logs`` are the last log lines of services, by name.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    logs: dict[str, bytes] = field(default_factory=dict)


def failed(problem: str) -> Finding:
    """A look that saw nothing, and why."""
    return Finding(problems=[problem])


def one_line(told: object, limit: int = 300) -> str:
    """``told`` on one line of at most ``limit`` characters, for a problem's text."""
    text = " ".join(str(told).split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


Statuses = Mapping[str, str]
