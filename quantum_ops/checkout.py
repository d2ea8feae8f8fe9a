"""The only place that knows which checkout this system is of: where its ledger and its git lie."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """``QUANTUM_ROOT``, which supervisord's programs are given; else the folder of this code.

    They differ for a deployed program: its code is a release under ``QUANTUM_HOME``, which is
    replaced by the next one and has no git.
    """
    named = os.environ.get("QUANTUM_ROOT", "")
    return Path(named) if named else Path(__file__).resolve().parent.parent
