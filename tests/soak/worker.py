"""A consumer process of the soak: the product's program with a handler that counts.

    python -m tests.soak.worker [leak]

``leak`` keeps a little of each event for ever: the soak must notice.
"""

from __future__ import annotations

import os
import signal
import sys

from quantum_ops import heartbeat, program, streams
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.events import ApplyPlan

GROUP = "soak"
EFFECTS = "soak:effects"
LEAK_BYTES = 4096
kept: list[bytearray] = []


@consumer(streams.APPLY_PLAN)
def soak(event: ApplyPlan, context: Context) -> None:
    """Count the plan, or go wrong in the way that it names."""
    if LEAKS:
        kept.append(bytearray(LEAK_BYTES))
    if event.source == "flaky" and context.attempt == 1:
        raise ValueError("not this time")
    if event.source == "poison":
        raise ValueError("never")
    if event.source == "killer" and context.attempt == 1:
        if heartbeat.process_num() == 0:
            # The steady one lives, or its memory would say nothing: another takes its place.
            raise ValueError("not here")
        os.kill(os.getpid(), signal.SIGKILL)
    context.hincr(EFFECTS, event.plan_id)


LEAKS = "leak" in sys.argv[1:]

if __name__ == "__main__":
    sys.exit(program.run(soak))
