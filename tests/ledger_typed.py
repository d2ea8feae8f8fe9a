"""The rig of stories about ``./run ledger``: a ledger that it finds, and somebody who types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ops.__main__ import entry
from tests.ledger_story import Ledger

Told = tuple[int, str, str]
"""The exit code, what was printed, what was complained about."""


def found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger below ``folder``, and an environment that names it and nothing else."""
    made = Ledger(folder / "ledger")
    monkeypatch.setenv("LEDGER_DIR", str(made.folder.base))
    for name in ("LEDGER_KEY", "LEDGER_ORIGIN", "STRICT_LEDGER", "QUANTUM_CALLED_FROM"):
        monkeypatch.delenv(name, raising=False)
    return made


def verb(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Runs ``ledger`` with the arguments it is given."""

    def typed(*arguments: object) -> Told:
        code = entry(["ledger", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return typed
