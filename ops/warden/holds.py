"""The only place of the hold list: programs that the warden leaves alone, over every restart.

supervisord tells nobody of a ``stop`` on a program in state FATAL, so that the warden could not
know that somebody meant it. What stands here it does not touch, until it is released.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.paths import Paths
from quantum_ops.errors import QuantumError

FILE = "holds.json"


class UnreadableHoldsError(QuantumError):
    """The list cannot be read, so everything counts as held. Next: mend or remove the file."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a program is left alone: ``since`` is RFC 3339 UTC, ``by`` a user at a host."""

    since: str
    by: str
    why: str = ""
    until_started: bool = False
    """Made by ``./run stop PROGRAM``: ends when the program, or the whole system, is started."""


def read(paths: Paths) -> dict[str, Hold]:
    """Program or process name -> hold. Raises :class:`UnreadableHoldsError`."""
    path = paths.warden / FILE
    try:
        found = json.loads(path.read_bytes())
        return {str(name): Hold(**fields) for name, fields in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableHoldsError(
            f"{path}: cannot be read ({error}); the warden touches nothing until it is mended or "
            "removed"
        ) from error


def add(paths: Paths, names: list[str], hold: Hold) -> None:
    """Hold ``names``. A hold that only lasts until a start never weakens one that lasts longer."""

    def change(holds: dict[str, Hold]) -> None:
        for name in names:
            standing = holds.get(name)
            if standing is None or standing.until_started or not hold.until_started:
                holds[name] = hold

    _change(paths, change)


def remove(paths: Paths, names: list[str]) -> list[str]:
    """Release ``names`` and give those that were held."""
    were: list[str] = []

    def change(holds: dict[str, Hold]) -> None:
        were.extend(name for name in names if holds.pop(name, None) is not None)

    _change(paths, change)
    return were


def started(paths: Paths, names: list[str] | None = None) -> None:
    """End the holds of ``./run stop``: of ``names``, or all because the whole system was started.

    A list that cannot be read or written is left as it is: it holds more, which is the safe side.
    """

    def change(holds: dict[str, Hold]) -> None:
        for name in [n for n, hold in holds.items() if hold.until_started]:
            if names is None or name in names:
                del holds[name]

    with contextlib.suppress(UnreadableHoldsError, OSError):
        if read(paths):
            _change(paths, change)


def is_held(holds: Mapping[str, Hold], process: str, program: str) -> bool:
    """Whether this process is to be left alone, by its own name or its program's."""
    return process in holds or program in holds


def _change(paths: Paths, change: Callable[[dict[str, Hold]], None]) -> None:
    """Change the list so that a reader sees the old file or the new one, and two writers both."""
    with _alone(paths.warden):
        holds = read(paths)
        change(holds)
        draft = paths.warden / f"{FILE}.new"
        with draft.open("w", encoding="utf-8") as file:
            json.dump({name: asdict(hold) for name, hold in sorted(holds.items())}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(paths.warden / FILE)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
