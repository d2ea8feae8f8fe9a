"""``python -m ops VERB`` (= ``./run VERB``): finds the verb, runs it, turns errors into exit codes.

A verb is a file of ``ops/verbs``: its docstring's first line is its help, ``configure(parser)``
adds its arguments, ``run(args)`` does it and gives the exit code. A verb with ``raw = True`` has
``run_raw(argv)`` instead and takes its arguments unparsed. One with ``intermixed = True`` takes
words and options in any order; ``dashed`` names options whose values may begin with a dash (-1h).
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ops import reader
from quantum_ops.errors import ConfigurationError, PublishUnknownError, RefusedError

VERBS = Path(__file__).resolve().parent / "verbs"
DEFAULT = "start"
ERROR, USAGE, UNREACHABLE, NOT_YET, CONFIG, INTERRUPTED = 1, 2, 69, 75, 78, 130


def names() -> list[str]:
    """The verbs there are."""
    return sorted(
        path.stem.replace("_", "-") for path in VERBS.glob("*.py") if not path.stem.startswith("_")
    )


def summary(verb: str) -> str:
    """First line of the verb's docstring, read without importing it."""
    source = (VERBS / f"{verb.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def overview() -> str:
    """What ``--help`` prints."""
    rows = [f"  {verb:<15} {summary(verb)}" for verb in names()]
    return "\n".join(
        [
            "usage: ./run [VERB] [ARGUMENTS]",
            "",
            "Without a verb the whole system is started; -f keeps it in the foreground.",
            "",
            *rows,
            "",
            "./run VERB --help tells more.",
        ]
    )


def main(argv: list[str]) -> int:
    """Run one verb; gives its exit code."""
    if argv[:1] in (["--help"], ["-h"], ["help"]):
        print(overview())
        return 0
    if not argv or argv[0].startswith("-"):
        argv = [DEFAULT, *argv]
    verb, *rest = argv
    if verb not in names():
        print(f"{verb}: no such verb\n\n{overview()}", file=sys.stderr)
        return USAGE
    module = _module(verb)
    if getattr(module, "raw", False):
        return int(module.run_raw(rest))
    parser = parser_of(verb)
    assert parser is not None  # noqa: S101 - a verb that is not raw has one
    parse = parser.parse_args
    if getattr(module, "intermixed", False):
        parse = parser.parse_intermixed_args
    return int(module.run(parse(_joined(rest, parser, getattr(module, "dashed", ())))))


def parser_of(verb: str) -> argparse.ArgumentParser | None:
    """The parser of a verb's arguments; None if it takes them unparsed and shows no parser."""
    module = _module(verb)
    if hasattr(module, "configure"):
        parser = argparse.ArgumentParser(
            prog=f"./run {verb}", description=summary(verb), epilog=getattr(module, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        module.configure(parser)
        return parser
    made: argparse.ArgumentParser | None = module.parser() if hasattr(module, "parser") else None
    return made


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"ops.verbs.{verb.replace('-', '_')}")


def _joined(
    argv: Sequence[str], parser: argparse.ArgumentParser, dashed: Sequence[str]
) -> list[str]:
    """``argv`` with ``--since=-1h`` for ``--since -1h``, which argparse takes for an option."""
    options = {name for one in parser._actions for name in one.option_strings}  # noqa: SLF001 - argparse has no public list of them
    found: list[str] = []
    for one in argv:
        if found and found[-1] in dashed and one[:1] == "-" and one not in options:
            found[-1] += f"={one}"
        else:
            found.append(one)
    return found


def guarded(argv: list[str]) -> int:
    """:func:`main` with every expected error told in one line instead of a traceback."""
    try:
        return main(argv)
    except ConfigurationError as error:
        for line in error.lines:
            print(line, file=sys.stderr)
        return CONFIG
    except RefusedError as error:
        print(error, file=sys.stderr)
        return CONFIG
    except PublishUnknownError as error:
        print(error, file=sys.stderr)
        return NOT_YET
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        code = _redis_exit_code(error)
        if code is None:
            raise
        return code


def _redis_exit_code(error: Exception) -> int | None:
    # Looked up only now: importing redis-py costs every verb 100 ms, and most errors are not its.
    if "redis" not in sys.modules:
        return None
    from quantum_ops import client  # noqa: PLC0415 - see above

    try:
        # First: redis-py counts a wrong password among the lost connections.
        client.refuse_or_raise(error)
    except RefusedError as refused:
        print(refused, file=sys.stderr)
        return CONFIG
    if isinstance(error, client.TRANSPORT_ERRORS):
        print(f"Redis is unreachable: {error}; is it running? see ./run status", file=sys.stderr)
        return UNREACHABLE
    if isinstance(error, client.SERVER_ERRORS):
        print(f"Redis answered: {error}", file=sys.stderr)
        return ERROR
    return None


def entry(argv: list[str]) -> int:
    """:func:`guarded`, and a silent end when the reader of our output leaves early.

    Not by the default action of SIGPIPE: that would end us as silently when a server or
    supervisord closes its socket, in the middle of a drain.
    """
    try:
        status = guarded(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        if not reader.has_left():
            raise
        # Or the interpreter's own flush at exit complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return reader.LEFT
    return status


if __name__ == "__main__":
    status = entry(sys.argv[1:])
    # Past the interpreter's own shutdown there is nothing left to do.
    os._exit(status) if status == INTERRUPTED else sys.exit(status)
