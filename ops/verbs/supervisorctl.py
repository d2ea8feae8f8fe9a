"""Run supervisorctl against this system, with the environment that its configuration needs."""

from __future__ import annotations

import argparse

raw = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Everything after the verb goes to supervisorctl as it is."""
    parser.add_argument("args", nargs=argparse.REMAINDER)


def run(args: argparse.Namespace) -> int:
    """The same as :func:`run_raw`."""
    return run_raw(args.args)


def run_raw(argv: list[str]) -> int:
    """Exec supervisorctl; its exit codes are its own (4: unknown name or nothing running)."""
    import os
    import sys

    from ops import system

    paths, current = system.find()
    environ = {**os.environ, **paths.environment(owned=current.owned)}
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(paths.supervisord_conf)]
    os.execve(sys.executable, [*command, *argv], environ)  # noqa: S606 - its exit code and signals are then its own
