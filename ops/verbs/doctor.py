"""Look at everything that could be wrong and say what to do about it; exit 1 if anything is."""

from __future__ import annotations

import argparse

from ops import output
from ops.terminal import safe

LETTERS = {"l": "level", "s": "subject", "w": "what", "c": "cure"}


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument(
        "--exchange", action="store_true", help="ask the exchange for the time, too: one request"
    )
    parser.epilog = "It only looks: nothing is changed, started or mended."
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 nothing must be mended (warnings and notes may stand there), 1 problems."""
    import dataclasses
    import sys

    from ops.doctor import checks, collect

    report = checks.examine(collect.take(ask_exchange=args.exchange))
    rows = [dataclasses.asdict(one) for one in report.findings]
    if args.format.kind == "json":
        whole = {"verdict": report.verdict, "checked": report.checked, "findings": rows}
        print(output.as_json(whole))
    elif not args.format.is_text:
        for row in rows:
            print(args.format.line(row))
    else:
        paint = output.painter(args.color, sys.stdout)
        meanings = {"problem": "bad", "warning": "warn", "note": "dim"}
        for row in rows:
            head = paint(f"{row['level'].upper():<8}", meanings[row["level"]])
            print(f"{head} {row['subject']}: {safe(row['what'], 1000)}")
            print(f"         {safe(row['cure'], 1000)}")
        count = sum(row["level"] == "problem" for row in rows)
        looked = f"looked at {', '.join(report.checked)}"
        said = f"{count} problem{'s' if count != 1 else ''}" if count else "nothing must be mended"
        print(paint(f"{said}; {looked}", "bad" if count else "good"))
    return 1 if report.verdict == "problems" else 0
