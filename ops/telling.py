"""The only place that says what was done to single processes: a line each, in the verbs' style."""

from __future__ import annotations

import argparse
from typing import Any

from ops import output
from ops.output import Format
from ops.terminal import safe

LETTERS = {"n": "name", "d": "did", "w": "detail"}


def configure(parser: argparse.ArgumentParser) -> None:
    """The options ``-F``, ``--json`` and ``--color``."""
    output.add_format(parser, LETTERS)


class Teller:
    """Tells of processes on stdout, and what went wrong with them on stderr."""

    def __init__(self, form: Format) -> None:
        self._form = form

    def row(self, name: str, did: str, detail: str = "", **fields: Any) -> None:
        """``name`` is a process or a program, ``did`` a word (``READY``, ``stopped``, ``held``)."""
        if self._form.is_text:
            print(safe(f"{name}: {did} {detail}".rstrip(), 1000), flush=True)
        else:
            row = {"name": name, "did": did, "detail": detail, **fields}
            print(self._form.line(row, [name, did, detail]), flush=True)

    def line(self, text: str) -> None:
        """A closing remark for people: data readers do without."""
        if self._form.is_text:
            print(safe(text, 1000), flush=True)

    def trouble(self, text: str) -> None:
        """One line on stderr."""
        output.note(text)
