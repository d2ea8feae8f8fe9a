"""Become the embedded server (what supervisord runs; by hand it stays in the foreground)."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """No options: place and port come from QUANTUM_HOME and REDIS_PORT."""
    parser.epilog = "Exits 78 when the data folder is held by another server or unreadable to it."


def run(_args: argparse.Namespace) -> int:
    """Exec the server; gives 78 when it may not start, which supervisord leaves alone."""
    from ops.server import become_server
    from quantum_ops import lifeline
    from quantum_ops.errors import ConfigurationError

    try:
        become_server()
    except ConfigurationError as error:
        return lifeline.refuse(*error.lines)
