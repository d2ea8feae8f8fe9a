"""The only place that shows the same look again and again (``-w``)."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from ops import output

DEFAULT_S = 2.0
_CLEAR = "\x1b[H\x1b[2J"
Look = Callable[[], tuple[list[str], int]]
"""Gives lines and an exit code."""


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Add ``-w``."""
    parser.add_argument(
        "-w", "--watch", type=output.positive, nargs="?", const=DEFAULT_S, default=0.0,
        metavar="SECONDS", help="look again every so often (default 2) until ^C",
    )  # fmt: skip


def shown(look: Look, every_s: float) -> int:
    """Print the lines of ``look`` once, or every ``every_s`` seconds; gives its exit code.

    On a terminal each look takes the place of the last one; in a pipe the lines follow each other.
    A server that is away is waited for, once it has answered a first time.
    """
    lines, code = look()
    while True:
        clear = _CLEAR if every_s and sys.stdout.isatty() else ""
        sys.stdout.write(clear + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        if not every_s:
            return code
        time.sleep(every_s)
        lines, code = _again(look, every_s)


def _again(look: Look, every_s: float) -> tuple[list[str], int]:
    from quantum_ops import client  # noqa: PLC0415 - redis-py takes 100 ms to import

    told = False
    while True:
        try:
            lines, code = look()
        except Exception as error:
            if not client.is_passing(error):
                raise
            if not told:
                output.note(f"Redis is away ({error}); waiting for it")
            told = True
            time.sleep(every_s)
        else:
            if told:
                output.note("Redis is back")
            return lines, code
