"""The only place that looks for regular expressions of others in texts of others.

Some patterns take for ever on some texts, and nothing in this process could stop them: they are
looked for in a process of its own, which is killed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence

from quantum_ops.ledger.evidence import programs
from quantum_ops.ledger.evidence.finding import one_line
from quantum_ops.ledger.evidence.jobs import Deadline

_LITERAL = re.compile(r"[A-Za-z0-9_:/ =\"-]*")
_MOST_MEMORY = 512 * 1024 * 1024
_PROGRAM = f"""
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({_MOST_MEMORY}, {_MOST_MEMORY}))
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
asked = json.load(sys.stdin.buffer)
patterns = [re.compile(one) for one in asked["patterns"]]
lines = asked["lines"]
print(json.dumps([n for n, line in enumerate(lines) if any(p.search(line) for p in patterns)]))
"""


class GrepError(Exception):
    """The patterns could not be looked for; says why."""


def grep(
    lines: Sequence[str], patterns: Sequence[str], environ: Mapping[str, str], deadline: Deadline
) -> list[str]:
    """Those of ``lines`` in which any of ``patterns`` (Python's ``re``) is found.

    Raises:
        GrepError: if a pattern is none, or they take longer than the deadline.
    """
    if all(_LITERAL.fullmatch(one) for one in patterns):
        return [line for line in lines if any(one in line for one in patterns)]
    asked = json.dumps({"patterns": list(patterns), "lines": list(lines)}).encode("ascii")
    python = sys.executable or "python3"
    ran = programs.run([python, "-I", "-S", "-c", _PROGRAM], deadline, environ, given=asked)
    if ran.problem:
        raise GrepError(f"the patterns take too long on it ({ran.problem})")
    if ran.code:
        last = ran.err.strip().rsplit("\n", 1)[-1]
        raise GrepError(f"not a pattern: {one_line(last)}")
    numbers: list[int] = json.loads(ran.out)
    return [lines[number] for number in numbers]
