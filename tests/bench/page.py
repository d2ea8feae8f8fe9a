"""The only place that makes the page of a benchmark: its head, the machine's facts, what it found.

``python -m tests.bench`` has a page of its own, ``report.py``, since others read its figures, too.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import machine


class WrongError(Exception):
    """A run did not come to what it had to: its time means nothing."""


def parser(name: str, description: str | None, sample: str) -> argparse.ArgumentParser:
    """The options that every benchmark has; ``name`` is that of its module in ``tests.bench``."""
    made = argparse.ArgumentParser(prog=f"python -m tests.bench.{name}", description=description)
    made.add_argument("--quick", action="store_true", help=f"a few {sample} once: does it work?")
    made.add_argument("--write", action="store_true", help=f"write docs/{path(name).name}")
    return made


def path(name: str) -> Path:
    """The page of the benchmark ``name``."""
    return machine.ROOT / "docs" / f"performance-{name.replace('_', '-')}.md"


def make(name: str, head: str, measure: Callable[[Path], str], *, write: bool) -> int:
    """Measure in a folder that goes afterwards, and print the page, or write it to its place.

    Gives the exit code: 0, or 1 if ``measure`` raised :class:`WrongError`. Then nothing is written.
    Told to stop (SIGTERM), whatever ``measure`` holds open is closed.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    facts = "\n".join(f"- {label}: {told}" for label, told in machine.facts().items())
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = measure(Path(folder))
        except WrongError as error:
            print(f"FAILED {error}", file=sys.stderr)
            return 1
    text = f"{head}\n{facts}\n\n{found.rstrip()}\n"
    if write:
        path(name).write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0
