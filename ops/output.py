"""The one style in which verbs print rows: ``-F text|json|raw|%fmt``, in colour or not.

Rows go to stdout and nothing else does; what is said about them goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from ops.terminal import safe

OVER, NOT_FOUND = 3, 4
"""Exit codes: above a threshold or not ready; no such stream or group."""
_PIECE = re.compile(r"%(?:%|([a-z])|\{([^{}]+)\})|\\(.)|([^%\\]+)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "0": "\0"}
_LONGEST = 100_000
Row = Mapping[str, Any]


class Format:
    """One of ``text``, ``json``, ``raw``, or a template with ``%x`` and ``%{name}``."""

    def __init__(self, text: str, letters: Mapping[str, str]) -> None:
        self.kind = text
        self._pieces: list[tuple[str, str]] = []
        if text in ("text", "json", "raw"):
            return
        if "%" not in text:
            raise ValueError(f"{text!r} is no format; write text, json, raw or a template with %")
        self.kind = "template"
        at = 0
        while at < len(text):
            found = _PIECE.match(text, at)
            if found is None or (found[1] and found[1] not in letters):
                known = " ".join(f"%{one}" for one in letters)
                raise ValueError(
                    f"{text[at:]!r}: no such part; there are {known} %{{NAME}} %% \\n \\t"
                )
            at = found.end()
            self._pieces.append(_piece(found, letters))

    @property
    def is_text(self) -> bool:
        """Whether a table or lines for people are wanted."""
        return self.kind == "text"

    def line(self, row: Row, raw: Sequence[Any] = ()) -> str:
        """``row`` as JSON, as the template has it, or ``raw``, its plain values, parted by tabs.

        Whatever came from a stream is escaped: a line stays a line, a terminal stays as it is.
        """
        if self.kind == "raw":
            return "\t".join(_plain(value) for value in raw or row.values())
        if self.kind == "template":
            return "".join(
                piece if how == "text" else _plain(_find(row, piece)) for how, piece in self._pieces
            )
        return as_json(row)


def as_json(row: Row) -> str:
    """One object on one line, in printable ASCII."""
    return json.dumps(row).replace("\x7f", "\\u007f")


def add_format(parser: argparse.ArgumentParser, letters: Mapping[str, str]) -> None:
    """Add ``-F``; ``letters`` are short names for keys of a row, for templates."""

    def parse(text: str) -> Format:
        try:
            return Format(text, letters)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    short = "".join(f"%%{letter} {name}, " for letter, name in letters.items())
    parser.add_argument(
        "-F", "--format", type=parse, default=Format("text", {}), metavar="FORMAT",
        help=f"text, json (one object a line), raw, or a template: {short}%%{{NAME}} of json",
    )  # fmt: skip
    parser.add_argument(
        "--json", dest="format", action="store_const", const=Format("json", {}), help="as -F json"
    )
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto",
        help="auto: on a terminal, unless NO_COLOR is set",
    )  # fmt: skip


def positive(text: str) -> float:
    """A number of seconds above 0, for argparse; also written 500ms, 30s, 5m, 2h, 1d."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)?", text)
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else 0.0
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 30 or 30s, 5m, 2h")
    return seconds


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def whole(text: str) -> int:
    """A whole number from 0, for argparse."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 10")
    return int(text[:18])


def note(text: str) -> None:
    """Say something about what is printed."""
    print(safe(text, 2000), file=sys.stderr, flush=True)


Paint = Callable[[str, str], str]
_CODES = {"bad": "31", "warn": "33", "good": "32", "name": "36", "dim": "2", "head": "1"}


def plain(text: str, _meaning: str) -> str:
    """No colour."""
    return text


def painter(choice: str, out: TextIO, environ: Mapping[str, str] | None = None) -> Paint:
    """A function that colours a text by what it means: bad, warn, good, name, dim, head."""
    environ = os.environ if environ is None else environ
    on = choice == "always" or (
        choice == "auto"
        and not environ.get("NO_COLOR")
        and (bool(environ.get("CLICOLOR_FORCE")) or _is_screen(out, environ))
    )
    if not on:
        return plain
    return lambda text, meaning: f"\x1b[{_CODES[meaning]}m{text}\x1b[0m" if meaning else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]], paint: Paint) -> list[str]:
    """Lines of a table; ``rows`` hold one more cell than ``head``: what the row means.

    Numbers (a head that ends with ``>``) stand at the right. Cells are escaped here.
    """
    names = [name.rstrip(">") for name in head]
    shown = [[safe(cell) for cell in row[:-1]] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *shown, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if name.endswith(">") else cell.ljust(width)
            for cell, width, name in zip(cells, widths, head, strict=True)
        ).rstrip()

    lines = [paint(line(names), "head")]
    return lines + [paint(line(cells), row[-1]) for cells, row in zip(shown, rows, strict=True)]


def duration(seconds: float | None) -> str:
    """How long, in at most two units: 0.4 s, 12 s, 3 m 20 s, 2 h 5 m, 4 d 1 h; ``?`` if unknown."""
    if seconds is None:
        return "?"
    if seconds < 10:  # noqa: PLR2004 - where a tenth still matters
        return f"{seconds:.1f} s" if seconds else "0 s"
    left = int(seconds)
    for size, big, small, name in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if left >= size:
            return f"{left // size} {big} {left % size // small} {name}"
    return f"{left} s"


def _is_screen(out: TextIO, environ: Mapping[str, str]) -> bool:
    return out.isatty() and environ.get("TERM") != "dumb"


def _piece(found: re.Match[str], letters: Mapping[str, str]) -> tuple[str, str]:
    if found[1]:
        return "key", letters[found[1]]
    if found[2]:
        return "key", found[2]
    if found[3]:
        return "text", _ESCAPES.get(found[3], found[0])
    return "text", found[4] or "%"


def _find(row: Row, name: str) -> Any:
    """The value of ``name``, or of ``name`` inside an object: ``data.symbol``. Names have dots."""
    if name in row:
        return row[name]
    outer, _, inner = name.partition(".")
    held = row.get(outer)
    return _find(held, inner) if inner and isinstance(held, Mapping) else None


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return safe(value, _LONGEST)
    return safe(json.dumps(value), _LONGEST)
