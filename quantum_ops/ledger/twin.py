"""The only place that notices an operation which was recorded a second time under another id.

By the specification an operation without an id is a new one each time. A script that was run twice
looks the same, and nobody would notice; so it is told, and both records stand.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from operator import attrgetter

from quantum_ops.ledger import moment, query, summary
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.summary import Summary

LOOK_BACK = 50
NEAR = timedelta(hours=1)
"""A second run of a deploy comes soon; the same restart a day later is another operation."""

_same = attrgetter(
    "kind", "operation", "risk_class", "outcome", "changes_summary", "services", "rollback_of"
)


def before(folder: Folder, seq: int) -> Summary | None:
    """The newest operation like record ``seq`` that was recorded shortly before it, if any."""
    wanted = query.Wanted(kinds=frozenset({summary.OPERATION}))
    recent = itertools.islice(query.newest(folder, wanted), LOOK_BACK)
    recorded = next((one for one in recent if one.seq == seq), None)
    if recorded is None:
        return None
    since = moment.parse(recorded.recorded_at) - NEAR
    for one in recent:
        if moment.parse(one.recorded_at) < since:
            break
        if _same(one) == _same(recorded):
            return one
    return None
