"""The only place where a look tells Findings and remembers it, in one step.

Handlers need none of it: their Findings go with the acknowledgement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import walrus

from quantum_ops import client, codec, streams
from quantum_ops.events import AuditFinding
from quantum_ops.publisher import run_scripts
from quantum_ops.scripts import TELL


def tell(
    db: walrus.Database, key: str, before: Any, after: str, findings: Sequence[AuditFinding]
) -> bool:
    """Append ``findings`` and set ``key`` to ``after``, if it still holds ``before``.

    ``before`` is the reply to GET that ``findings`` were judged on: None, or an error value for a
    key of another type, which is replaced. Both MUST happen or neither, so that nothing is told
    twice or never, whatever dies in between. False if another process was first: look again.
    Raises what the connection raises; whether it happened shows at the next look.
    """
    args: list[Any] = [before if isinstance(before, bytes) else b"", after]
    for finding in findings:
        flat = codec.encode(finding)
        args += (len(flat), *flat)
    [outcome] = run_scripts(db, TELL, [([key, streams.AUDIT_FINDING.key], args)])
    if isinstance(outcome, Exception):
        client.refuse_or_raise(outcome)
        raise outcome
    return bool(outcome)
