"""A consumer process for the kill tests: counts every Finding in Redis, as a real program runs."""

from __future__ import annotations

import os
import sys

from quantum_ops import program, streams
from quantum_ops.consumer import consumer


@consumer(streams.AUDIT_FINDING, batch=5)
def counting(event, context):
    """Count each subject once."""
    context.hincr("count", event.subject)
    context.hset("seen_by", {event.subject: os.getpid()})


if __name__ == "__main__":
    sys.exit(program.run(counting))
