"""The only place that makes the metrics' part of an entry: samples as an exporter shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from quantum_ops.ledger import emitter
from quantum_ops.ledger.evidence import grep, http_get, programs
from quantum_ops.ledger.evidence.finding import Finding, failed, one_line
from quantum_ops.ledger.evidence.jobs import Deadline

LINES = 30
LINE_CHARACTERS = 500


def look(
    url: str, patterns: Sequence[str], environ: Mapping[str, str], deadline: Deadline
) -> Finding:
    """``metrics_snapshot`` of one address: the samples that match any pattern, else all.

    Comments (``# HELP``) are no samples. That nothing matches is a problem: what the operation was
    to show is not there.
    """
    # Behind the problem, in brackets: "/etc/passwd: no" would be taken for a password.
    name = f"({one_line(url, 200)})"
    try:
        body = http_get.get(url, deadline)
        lines = [one for one in _lines(body) if one.strip() and not one.startswith("#")]
        if patterns:
            lines = grep.grep(lines, patterns, environ, deadline)
    except (http_get.GetError, grep.GrepError) as error:
        return failed(f"metrics: {error} {name}")
    problems = []
    if not body.whole:
        problems.append(f"metrics: more than 1 MiB, only its beginning was looked at {name}")
    if not lines:
        problems.append(f"metrics: no sample {'matches' if patterns else 'there'} {name}")
        return Finding(problems=problems)
    shown = [_shown(line) for line in lines[:LINES]]
    if len(lines) > LINES:
        shown.append(f"... {len(lines) - LINES} more")
    head = f"# {_shown(url)}{_asked(patterns)}"
    return Finding({"metrics_snapshot": "\n".join([head, *shown, ""])}, problems)


def _lines(body: http_get.Body) -> list[str]:
    raw = body.raw if body.whole else body.raw[: body.raw.rfind(b"\n") + 1]
    return programs.text(raw).split("\n")


def _asked(patterns: Sequence[str]) -> str:
    """How a shell would look for them."""
    if not patterns:
        return ""
    quoted = ["'" + _shown(one).replace("'", "'\\''") + "'" for one in patterns]
    return f" | grep {quoted[0] if len(quoted) == 1 else ' '.join(f'-e {one}' for one in quoted)}"


def _shown(line: str) -> str:
    """``line`` without what cannot be seen, and not too long."""
    line = emitter.UNSEEN.sub(_escape, line.rstrip())
    return line if len(line) <= LINE_CHARACTERS else f"{line[:LINE_CHARACTERS]}..."


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
