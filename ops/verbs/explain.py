"""Tell one plan's whole story: universe, plan, permits, result, order id, Findings, deploys."""

from __future__ import annotations

import argparse
import os
import sys

ERROR, NO_SUCH = 1, 4


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    from ops import output, proving

    parser.add_argument("plan_id", metavar="PLAN_ID")
    output.add_format(parser, {})
    proving.configure(parser)
    parser.add_argument("--archive", default="", metavar="DIR", help="another archive's folder")
    parser.epilog = "Exit code: 0; 1 an error; 4 there is no such plan; 69 Redis is unreachable."


def run(args: argparse.Namespace) -> int:
    """See ops.__main__."""
    from ops import archive_place, explain_view, explaining, output, proving
    from ops.terminal import safe
    from quantum_ops.history.errors import ArchiveError

    plan_id = os.fsencode(args.plan_id)
    try:
        folder = archive_place.find(args.archive, archive_place.paths())
        sources = explaining.open_sources(folder, plan_id)
        story = explaining.explain(sources, plan_id)
    except ArchiveError as error:
        print(f"explain: {safe(str(error), 1000)}", file=sys.stderr)
        return ERROR
    if story is None:
        for note in sources.notes:
            print(f"note: {safe(note)}", file=sys.stderr)
        print(
            f"{safe(plan_id)}: there is no such plan, and nothing that names one", file=sys.stderr
        )
        return NO_SUCH
    if args.prove != proving.STDOUT:
        paint = output.painter(args.color, sys.stdout)
        told = explain_view.lines(story, sources.notes, paint)
        if not args.format.is_text:
            told = [args.format.line(explain_view.as_object(story, sources.notes))]
        print("\n".join(told))
    return proving.attach(args.prove, sources.archive, story.rests_on)
