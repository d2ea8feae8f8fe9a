"""The only place that says which ledger a system keeps: the demo has one of its own."""

from __future__ import annotations

import os
from pathlib import Path

from ops import running
from ops.paths import Paths
from quantum_ops import env_files, knobs
from quantum_ops.settings import LedgerSettings


def demo_key(paths: Paths) -> Path:
    """The key that signs the demo's checkpoints."""
    return paths.demo_ledger.with_name("ledger.pem")


def demo(paths: Paths) -> dict[str, str]:
    """The settings of the demo's ledger.

    Pretend deployments belong into no real ledger, are signed by no real key, and tag no commit of
    this checkout.
    """
    return {
        "LEDGER_DIR": str(paths.demo_ledger),
        "LEDGER_ORIGIN": "quantum-ops/demo",
        "LEDGER_KEY": str(demo_key(paths)),
        "LEDGER_TAGS": "false",
        "STRICT_LEDGER": "false",
    }


def environ() -> dict[str, str]:
    """The environment with the settings of the ledger that the running system keeps.

    Its consumer takes what the environment does not say from the ``*.env`` files, and so must
    whoever looks at the same ledger. Raises :class:`ConfigurationError` for an unusable one.
    """
    paths = Paths.find()
    current = running.read(paths.current_env)
    if current is not None and current.profile == "demo":
        return {**demo(paths), **os.environ}
    knobs.load(LedgerSettings)  # raises for what is wrong in them
    return env_files.merged(os.environ, [])
