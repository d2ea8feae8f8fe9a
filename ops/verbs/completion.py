"""Print the shell completion of ./run: eval "$(./run completion bash)", or zsh."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell that reads it")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0."""
    from ops import __main__ as table
    from ops import completion
    from ops.paths import ROOT

    names = table.names()
    print(
        completion.script(args.shell, names, table.parser_of, completion.known(), ROOT / "run"),
        end="",
    )
    return 0
