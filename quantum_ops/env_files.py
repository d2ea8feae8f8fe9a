"""The only place that reads the ``*.env`` files of ``QUANTUM_ENV_DIR`` (default ``/etc/quantum``).

Standard library only, Python 3.10: the scripts of a deployment read them, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

DEFAULT_DIR = "/etc/quantum"
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)", re.DOTALL)


class Found(NamedTuple):
    """One value as text, and where it stands (``environment`` or ``file:line``)."""

    text: str
    place: str


def read(environ: Mapping[str, str], problems: list[str]) -> dict[str, list[Found]]:
    """Each name that a file sets, with all its values; what cannot be read goes to ``problems``."""
    values: dict[str, list[Found]] = {}
    for path in sorted(Path(environ.get("QUANTUM_ENV_DIR") or DEFAULT_DIR).glob("*.env")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read ({error}); check owner and mode")
            continue
        for number, line in enumerate(lines, 1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            match = _LINE.fullmatch(stripped)
            if match is None:
                # Never the line itself: a secret is one under a misspelt name, too, and so is the
                # second line of a key.
                problems.append(f"{path}:{number}: (hidden) is no NAME=value line")
                continue
            values.setdefault(match[1], []).append(Found(_unquote(match[2]), f"{path}:{number}"))
    return values


def merged(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """``environ`` with what only the files say: what a program started from it would go by.

    A name that two files set differently is left out and told in ``problems``: nobody knows which
    counts.
    """
    found = dict(environ)
    for name, values in read(environ, problems).items():
        if environ.get(name):
            continue
        if len({value.text for value in values}) > 1:
            places = " and ".join(value.place for value in values)
            problems.append(f"{name}: {places} disagree; keep one of them")
        else:
            found[name] = values[-1].text
    return found


def _unquote(raw: str) -> str:
    """The value as systemd's EnvironmentFile and a shell both read it; ``  # note`` is cut off."""
    raw = raw.strip()
    if len(raw) > 1 and raw[0] in "'\"":
        end = raw.find(raw[0], 1)
        if end > 0:
            return raw[1:end]
    return re.split(r"\s+#", raw, maxsplit=1)[0].strip() if not raw.startswith("#") else ""
