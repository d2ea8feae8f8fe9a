"""The only place that says what was done to single processes: a line each, of text or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ops.terminal import safe


def configure(parser: argparse.ArgumentParser) -> None:
    """The option ``-F``."""
    parser.add_argument(
        "-F", "--format", choices=("text", "json"), default="text", help="json: an object a line"
    )


class Teller:
    """Tells of processes on stdout, and what went wrong with them on stderr."""

    def __init__(self, form: str) -> None:
        self._is_json = form == "json"

    def row(self, name: str, did: str, detail: str = "", **fields: Any) -> None:
        """``name`` is a process or a program, ``did`` a word (``READY``, ``stopped``, ``held``)."""
        if self._is_json:
            print(json.dumps({"name": name, "did": did, "detail": detail, **fields}), flush=True)
        else:
            print(safe(f"{name}: {did} {detail}".rstrip(), 1000), flush=True)

    def line(self, text: str) -> None:
        """A closing remark for people: data readers do without."""
        if not self._is_json:
            print(safe(text, 1000), flush=True)

    def trouble(self, text: str) -> None:
        """One line on stderr."""
        print(text, file=sys.stderr, flush=True)
